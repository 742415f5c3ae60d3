from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.checksums import item_checksum
from kerio_resync.cache.integrity import check
from kerio_resync.cache.mutations import ApplyChanges, EnqueueItems, PutAttachmentBytes, PutItems, SkipEntry
from kerio_resync.cache.write.items import read_item_row
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Item, ItemPatch
from tests.support.cache import attachment, listed, mail, put, source, whole

TWO = (attachment("a"), attachment("b"))


def stored(found: WriteSession, name: str) -> Item:
    ((_, item, told),) = read_item_row(found.db, "item.id = ?", (name,))
    assert told == item_checksum(item)
    return item


def content(found: WriteSession, number: int) -> Iterator[bytes]:
    offset = 0
    while piece := queries.chunk(found.db, "chunk", number, offset):
        yield piece
        offset += len(piece)


def states(found: WriteSession) -> list[tuple[str, str, int]]:
    return found.db.execute("SELECT name, state, received FROM attachment ORDER BY item, ordinal").fetchall()


def test_put_items_stores_every_field(tables: WriteSession) -> None:
    first = mail("1", 7, ("inbox", "work"), attached=TWO, extra=b'{"new":1}', title="\0 grüße 🎉", date=None)
    first = first._replace(text="a\0b ü", html="<p>", details=b'{"a":1}', seen=False, draft=True)
    put(tables, PutItems((first,)))
    assert stored(tables, "1") == first


def test_put_items_replaces_any_other_version(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", "z", title="first", attached=TWO),)), PutItems((mail("1", "a", title="second"),)))
    assert stored(tables, "1").title == "second"
    assert states(tables) == []


def test_put_items_replaces_same_version(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", 5),)))
    tables.db.execute("UPDATE item SET title = 'damaged'")
    put(tables, PutItems((mail("1", 5),)))
    assert stored(tables, "1").title == "Subject"


def test_put_items_takes_last_of_equal_ids(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", 5, title="first"), mail("1", 4, title="last"))))
    assert stored(tables, "1").title == "last"


def test_put_items_dequeues_and_unskips(tables: WriteSession) -> None:
    put(tables, EnqueueItems("inbox", "mail", (listed("1", 3), listed("2", 3))), SkipEntry("item", "1", "broken"))
    put(tables, EnqueueItems("inbox", "mail", (listed("1", 3),)), PutItems((mail("1", 3),)))
    assert [each.id for each in queries.queued_items(tables.db, 9, None)] == ["2"]
    assert queries.skipped(tables.db) == ()


def test_put_items_dequeues_entry_of_unknown_version(tables: WriteSession) -> None:
    put(tables, EnqueueItems("inbox", "mail", (listed("1", ""),)), PutItems((mail("1", 8),)))
    assert queries.queued_items(tables.db, 9, None) == ()


def test_put_items_keeps_queue_entry_of_other_version_once(tables: WriteSession) -> None:
    put(tables, EnqueueItems("inbox", "mail", (listed("1", 9),)), PutItems((mail("1", 8),)))
    assert len(queries.queued_items(tables.db, 9, None)) == 1
    put(tables, PutItems((mail("1", 8),)))
    assert queries.queued_items(tables.db, 9, None) == ()


def test_put_items_drops_attachments_of_changed_item(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", attached=TWO),)), *whole(1, b"12345"), PutItems((mail("1", 2, attached=TWO),)))
    assert states(tables) == [("a", "wanted", 0), ("b", "wanted", 0)]
    assert tables.db.execute("SELECT count(*) FROM chunk").fetchone() == (0,)


def test_put_items_keeps_named_attachments_by_id_and_size(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", attached=TWO),)), *whole(1, b"12345"), *whole(2, b"12345"))
    changed = (attachment("new"), attachment("b", 6), attachment("a"))
    put(tables, PutItems((mail("1", 2, attached=changed),), keep_contents=frozenset({"1"})))
    assert states(tables) == [("new", "wanted", 0), ("b", "wanted", 0), ("a", "done", 5)]
    assert stored(tables, "1").attachments == changed


def test_put_items_keeps_attachments_of_moved_item_by_place(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", attached=TWO),)), *whole(1, b"12345"), PutAttachmentBytes(2, 0, b"12"))
    put(tables, ApplyChanges("key-2", moved=(("1", "9", "work"),)))
    assert stored(tables, "9").folder_ids == ("work",)
    (row,) = queries.queued_items(tables.db, 9, None)
    assert (row.id, row.folder_id, row.keep_contents) == ("9", "work", True)
    renamed = tuple(attachment(each.name) for each in TWO)
    put(tables, PutItems((mail("9", 2, "work", attached=renamed),)))
    assert states(tables) == [("a", "done", 5), ("b", "wanted", 0)]
    assert queries.queued_items(tables.db, 9, None) == ()


def test_put_items_omits_attachments_by_policy(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", attached=TWO),), omit_attachments=True))
    assert tables.db.execute("SELECT DISTINCT state, reason FROM attachment").fetchall() == [("omitted", "policy")]
    assert queries.queued_attachments(tables.db, 9, 0) == ()


def test_put_items_stores_two_thousand_at_once(tables: WriteSession) -> None:
    put(tables, PutItems(tuple(mail(str(n)) for n in range(2000))))
    assert tables.db.execute("SELECT count(*), count(DISTINCT number) FROM item").fetchone() == (2000, 2000)


def placements(found: WriteSession) -> list[tuple[str, str]]:
    return found.db.execute(
        "SELECT item.id, folder.id FROM placement JOIN item ON item.number = item JOIN folder ON folder.number = folder"
        " ORDER BY 1, 2"
    ).fetchall()


def test_put_items_replaces_placements(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", folder=("work", "inbox", "work")), mail("2", folder="work"))))
    assert placements(tables) == [("1", "inbox"), ("1", "work"), ("2", "work")]
    put(tables, PutItems((mail("1", 2, ("people", "inbox")),)))
    assert placements(tables) == [("1", "inbox"), ("1", "people"), ("2", "work")]
    assert stored(tables, "1").folder_ids == ("inbox", "people")


def test_item_without_folder_waits_for_one_without_id(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", folder=()),)))
    assert stored(tables, "1").folder_ids == ("",)


def test_put_items_stores_contents_that_came_with_the_item(tables: WriteSession) -> None:
    data = b"From: ann\r\n" * 100_000
    parts = (source(data), attachment("in")._replace(in_source=True), attachment("b")._replace(data=b"12345"))
    put(tables, PutItems((mail("1", attached=parts),)))
    assert states(tables) == [("source", "done", len(data)), ("in", "source", 0), ("b", "done", 5)]
    assert b"".join(content(tables, 1)) == data
    assert b"".join(content(tables, 3)) == b"12345"
    assert tables.db.execute("SELECT sha256 FROM attachment WHERE number = 1").fetchone() == (
        hashlib.sha256(data).digest(),
    )
    plain, kept = tables.db.execute("SELECT sum(size), sum(length(data)) FROM chunk WHERE attachment = 1").fetchone()
    assert plain == len(data)
    assert kept < plain / 10
    assert stored(tables, "1").attachments == tuple(part._replace(data=None) for part in parts)
    assert check.check_items(tables.db, 0) == ([], None)
    assert queries.queued_attachments(tables.db, 9, 0) == ()


def test_put_items_omits_no_source(tables: WriteSession) -> None:
    parts = (source(None, 9), attachment("a"), attachment("b")._replace(in_source=True))
    put(tables, PutItems((mail("1", attached=parts),), omit_attachments=True))
    assert states(tables) == [("source", "wanted", 0), ("a", "omitted", 0), ("b", "source", 0)]


def test_put_items_keeps_source_by_id_and_size(tables: WriteSession) -> None:
    part = source(b"From: ann", 9)
    put(tables, PutItems((mail("1", attached=(part,)),)))
    again = PutItems((mail("1", 2, attached=(part._replace(data=None),)),), keep_contents=frozenset({"1"}))
    put(tables, again)
    assert states(tables) == [("source", "done", 9)]


def test_put_items_leaves_in_source_what_was_stored_apart(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", attached=(attachment("a")._replace(data=b"12345"),)),)))
    parts = (attachment("a")._replace(in_source=True),)
    put(tables, PutItems((mail("1", 2, attached=parts),), keep_contents=frozenset({"1"})))
    assert states(tables) == [("a", "source", 0)]
    assert tables.db.execute("SELECT count(*) FROM chunk").fetchone() == (0,)


def patch(name: str, version: str, folders: tuple[str, ...] = ("inbox",), **more: object) -> ItemPatch:
    values: dict[str, Any] = {"seen": True, "flagged": False, "answered": False, "draft": False, "members": b"{}"}
    return ItemPatch(name, folders, version, **{**values, **more})


@pytest.mark.parametrize(("blob", "queued"), [(b'"B1"', []), (b'"B2"', ["1"])])
def test_patch_of_an_id_with_another_content_queues_the_item(
    blob: bytes, queued: list[str], tables: WriteSession
) -> None:
    put(tables, PutItems((mail("1", "a")._replace(payload=b'{"blobId":"B1"}'),)))
    put(tables, ApplyChanges("k", patched=(patch("1", "b", same=b'{"blobId":%s}' % blob),)))
    assert [row.id for row in queries.queued_items(tables.db, 9, None)] == queued
    assert queries.versions(tables.db, ["1"]) == {"1": "a" if queued else "b"}


def test_patch_changes_flags_folders_and_members_only(tables: WriteSession) -> None:
    first = mail("1", "a", attached=(attachment("x"),), extra=b'{"n":1}')
    put(tables, PutItems((first, mail("2"))), *whole(1, b"12345"))
    members = '{"keywords":{"$ü":true},"subject":null}'.encode()
    change = patch("1", "b", ("work", "people"), seen=False, flagged=True, answered=True, draft=True, members=members)
    put(tables, ApplyChanges("k", patched=(patch("1", "never"), change)))
    payload = json.dumps({**json.loads(first.payload), **json.loads(members)}, sort_keys=True, separators=(",", ":"),
                         ensure_ascii=False).encode()  # fmt: skip
    assert stored(tables, "1") == first._replace(
        folder_ids=("people", "work"), version="b", seen=False, flagged=True, answered=True, draft=True,
        payload=payload,
    )  # fmt: skip
    assert states(tables) == [("x", "done", 5)]
    assert placements(tables) == [("1", "people"), ("1", "work"), ("2", "inbox")]
    assert queries.queued_items(tables.db, 9, None) == ()
    assert queries.meta(tables.db, "sync_key") == "k"


def test_patch_of_unknown_item_queues_it(tables: WriteSession) -> None:
    put(tables, ApplyChanges("k", patched=(patch("1", "b", ("work", "inbox")),)))
    (row,) = queries.queued_items(tables.db, 9, None)
    assert (row.id, row.folder_id, row.version, row.kind) == ("1", "inbox", "b", "mail")


def test_patch_of_queued_item_updates_its_row(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", "a"),)), EnqueueItems("work", "mail", (listed("1", "b", size=7),)))
    put(tables, PutItems((mail("1", "other"),)))  # it stays queued, once
    put(tables, ApplyChanges("k", patched=(patch("1", "c"),)))
    assert stored(tables, "1").version == "c"
    (row,) = queries.queued_items(tables.db, 9, None)
    assert (row.folder_id, row.version, row.size) == ("inbox", "c", 7)
    assert tables.db.execute("SELECT late FROM wanted").fetchone() == (0,)


def test_patches_of_many_items_are_applied(tables: WriteSession) -> None:
    put(tables, PutItems(tuple(mail(str(n)) for n in range(500))))
    put(tables, ApplyChanges("k", patched=tuple(patch(str(n), "2", seen=False) for n in range(450))))
    assert tables.db.execute("SELECT seen, count(*) FROM item GROUP BY seen").fetchall() == [(0, 450), (1, 50)]
    assert check.check_items(tables.db, 0)[0] == []
