from __future__ import annotations

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import (
    ApplyChanges,
    DeleteItems,
    EnqueueItems,
    PutItems,
    PutPage,
    ResetListing,
    SkipEntry,
    UnskipEntry,
)
from kerio_resync.cache.queries import QueueCursor
from kerio_resync.cache.write import fetch_queue
from kerio_resync.cache.write.session import WriteSession
from tests.support.cache import attachment, listed, mail, put


def ids(found: object) -> list[str]:
    return [each.id for each in queries.queued_items(found.db, 99, None)]  # type: ignore[attr-defined]  # Tables


def test_put_page_queues_rows_not_stored_in_that_version(tables: WriteSession) -> None:
    put(tables, PutItems((mail("same", 5), mail("older", 4), mail("newer", 6))))
    put(tables, PutPage(("inbox",), tuple(listed(name, 5) for name in ("same", "older", "newer", "missing"))))
    assert ids(tables) == ["missing", "newer", "older"]


def test_put_page_stores_items_without_queueing(tables: WriteSession) -> None:
    put(tables, PutPage(("inbox",), (listed("1"), listed("2")), (mail("1"),), position=b"p"))
    assert ids(tables) == ["2"]
    assert queries.versions(tables.db, ["1"]) == {"1": "1"}


def test_put_page_keeps_position_and_end(tables: WriteSession) -> None:
    put(tables, PutPage(("inbox",), (), position=b"p", done=True), PutPage(("inbox",), ()))
    row = queries.folders(tables.db)[0]
    assert (row.position, row.listed) == (b"p", True)


def test_put_page_of_several_folders_records_position_in_each(tables: WriteSession) -> None:
    put(tables, PutPage(("inbox", "work"), position=b"p", listed=7))
    found = {row.folder.id: (row.position, row.listed_rows, row.listed) for row in queries.folders(tables.db)}
    assert found["inbox"] == found["work"] == (b"p", 7, False)
    assert found["people"] == (None, 0, False)
    put(tables, PutPage(("inbox", "work"), position=b"q", listed=9, done=True), ResetListing(("inbox", "people")))
    found = {row.folder.id: (row.position, row.listed_rows, row.listed) for row in queries.folders(tables.db)}
    assert (found["inbox"], found["work"]) == ((None, 0, False), (b"q", 9, True))


ORDER = [
    ("inbox", listed("b", date="2026-03-02")),
    ("inbox", listed("c", date="2026-03-02")),
    ("inbox", listed("a", date="2026-03-01")),
    ("inbox", listed("z", date=None)),
    ("work", listed("n", date="2027-01-01")),
]


@pytest.mark.parametrize("step", [1, 2, 3, 9])
def test_queued_items_are_ordered_in_pages_of_any_size(tables: WriteSession, step: int) -> None:
    for folder, row in reversed(ORDER):
        put(tables, EnqueueItems(folder, "mail", (row,)))
    after: QueueCursor | None = None
    met: list[str] = []
    while page := queries.queued_items(tables.db, step, after):
        after = page[-1].cursor
        met += [each.id for each in page]
    assert met == [row.id for _, row in ORDER]


@pytest.mark.parametrize("after", [None, QueueCursor(0, "2026", "x")])
def test_queued_items_reads_no_more_than_a_page(tables: WriteSession, after: QueueCursor | None) -> None:
    asked: list[str] = []
    tables.db.set_trace_callback(asked.append)
    queries.queued_items(tables.db, 9, after)
    tables.db.set_trace_callback(None)
    assert asked
    for sql in asked:
        plan = [row[3] for row in tables.db.execute(f"EXPLAIN QUERY PLAN {sql}")]
        assert "wanted_in_order" in plan[0]
        assert not any("TEMP B-TREE" in each for each in plan)


def test_mails_without_source_reads_no_row_of_a_mail_that_has_one(tables: WriteSession) -> None:
    asked: list[str] = []
    tables.db.set_trace_callback(asked.append)
    queries.mails_without_source(tables.db, 0, 9)
    tables.db.set_trace_callback(None)
    (sql,) = asked
    plan = [row[3] for row in tables.db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert "COVERING INDEX item_by_kind" in plan[0]
    places = {name: next(n for n, step in enumerate(plan) if step.startswith(f"SEARCH {name} ")) for name in PLANNED}
    assert places["attachment"] < places["item"]  # rows of items are large
    assert not any(word in step for step in plan for word in ("SCAN", "TEMP B-TREE"))


PLANNED = ("attachment", "item", "folder", "placement")


def test_enqueue_again_keeps_what_is_known(tables: WriteSession) -> None:
    put(
        tables,
        EnqueueItems("inbox", "mail", (listed("1", 5, size=9),)),
        EnqueueItems("inbox", "mail", (listed("1", "", None, 0),)),
    )
    (row,) = queries.queued_items(tables.db, 9, None)
    assert (row.version, row.size, row.date) == ("5", 9, "2026-03-01T00:00:00Z")
    put(tables, EnqueueItems("inbox", "mail", (listed("1", 7), listed("1", 6, "2026-01-01", 3))))
    (row,) = queries.queued_items(tables.db, 9, None)
    assert (row.version, row.size, row.date) == ("6", 3, "2026-01-01")


def test_row_of_several_folders_is_queued_in_that_of_lowest_rank(tables: WriteSession) -> None:
    rows = (listed("1")._replace(folder_ids=("work", "inbox")), listed("2")._replace(folder_ids=("work",)), listed("3"))
    put(tables, PutPage(("people", "inbox", "work"), rows))
    found = {row.id: (row.folder_id, row.rank) for row in queries.queued_items(tables.db, 9, None)}
    assert found == {"1": ("inbox", 0), "2": ("work", 10), "3": ("people", 5)}


def test_delete_removes_item_attachments_and_queue_entry(tables: WriteSession) -> None:
    put(
        tables,
        PutItems((mail("1", attached=(attachment("a"),)),)),
        EnqueueItems("inbox", "mail", (listed("1"), listed("2"))),
    )
    put(tables, DeleteItems(("1", "2", "never")))
    for table in ("item", "attachment", "wanted"):
        assert tables.db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_apply_changes_stores_changes_and_key(tables: WriteSession) -> None:
    put(tables, PutItems((mail("gone"), mail("stays"))), EnqueueItems("inbox", "mail", (listed("old"),)))
    put(tables, ApplyChanges("key-2", ("gone",), (("work", "mail", listed("new", 4)),), (("old", "moved", "work"),)))
    assert queries.versions(tables.db, ["gone", "stays"]) == {"stays": "1"}
    assert [(each.id, each.folder_id) for each in queries.queued_items(tables.db, 9, None)] == [
        ("moved", "work"),
        ("new", "work"),
    ]
    assert queries.meta(tables.db, "sync_key") == "key-2"


def test_apply_changes_queues_unknown_moved_item(tables: WriteSession) -> None:
    put(tables, ApplyChanges("k", moved=(("x", "y", "people"), ("x", "z", "root"))))
    assert [(each.id, each.kind) for each in queries.queued_items(tables.db, 9, None)] == [("y", "contact")]


def test_apply_changes_twice_moves_once(tables: WriteSession) -> None:
    put(
        tables,
        PutItems((mail("1"),)),
        ApplyChanges("k", moved=(("1", "2", "work"),)),
        PutItems((mail("2", 2, "work"),)),
    )
    put(tables, ApplyChanges("k", moved=(("1", "2", "work"),)))
    assert ids(tables) == []
    assert queries.versions(tables.db, ["1", "2"]) == {"2": "2"}


def test_apply_changes_drops_old_id_if_new_is_stored(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1"), mail("2", 2, "work"))), ApplyChanges("k", moved=(("1", "2", "work"),)))
    assert queries.versions(tables.db, ["1", "2"]) == {"2": "2"}


def test_skip_records_reason_and_dequeues_item(tables: WriteSession) -> None:
    put(
        tables,
        EnqueueItems("inbox", "mail", (listed("1"),)),
        SkipEntry("item", "1", "no struct"),
        SkipEntry("folder", "x", "denied"),
    )
    assert ids(tables) == []
    assert [(row.scope, row.id) for row in queries.skipped(tables.db)] == [("folder", "x"), ("item", "1")]
    put(tables, UnskipEntry("folder", "x"))
    assert [row.id for row in queries.skipped(tables.db)] == ["1"]


def test_mark_listed_returns_rows_that_differ(tables: WriteSession) -> None:
    put(tables, PutItems((mail("same"), mail("stale", 1), mail("extra"), mail("elsewhere", folder="work"))))
    put(tables, EnqueueItems("inbox", "mail", (listed("coming"),)))
    rows = [listed("same"), listed("stale", 2), listed("missing"), listed("coming"), listed("elsewhere")]
    odd = fetch_queue.mark_listed(tables, ("inbox",), rows, 1)
    assert [each.id for each in odd] == ["stale", "missing", "elsewhere"]
    assert unlisted(tables, ("inbox",), 1) == ["extra"]
    assert unlisted(tables, ("inbox",), 2) == ["same", "stale", "extra"]
    assert len(queries.items_not_listed(tables.db, ("inbox",), 2, (0, 0), 2)) == 2


def unlisted(found: WriteSession, folder_ids: tuple[str, ...], round_: int, step: int = 9) -> list[str]:
    after, names = (0, 0), list[str]()
    while page := queries.items_not_listed(found.db, folder_ids, round_, after, step):
        assert len(page) <= step
        after = page[-1].folder, page[-1].number
        names += [row.id for row in page]
    return names


@pytest.mark.parametrize("step", [1, 2, 9])
def test_items_of_several_folders_that_are_not_listed_come_once(tables: WriteSession, step: int) -> None:
    put(
        tables,
        PutItems(
            (
                mail("both", folder=("inbox", "work")), mail("work", folder="work"), mail("inbox"),
                mail("met", folder=("work", "inbox")), mail("other", folder="people"),
                mail("half", folder=("people", "work")),
            )
        ),
    )  # fmt: skip
    assert fetch_queue.mark_listed(tables, ("inbox", "work"), [listed("met"), listed("other")], 1) == (listed("other"),)
    assert sorted(unlisted(tables, ("work", "inbox"), 1, step)) == ["both", "half", "inbox", "work"]
    assert sorted(unlisted(tables, ("people",), 1, step)) == ["half", "other"]
    assert unlisted(tables, (), 1, step) == unlisted(tables, ("never",), 1, step) == []


def test_deleted_item_is_no_longer_met(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1"), mail("2"))))
    fetch_queue.mark_listed(tables, ("inbox",), [listed("1"), listed("2")], 1)
    put(tables, DeleteItems(("1",)))
    assert tables.db.execute("SELECT count(*) FROM seen").fetchone() == (1,)
