from __future__ import annotations

from kerio_resync.cache import queries
from kerio_resync.cache.checksums import item_checksum
from kerio_resync.cache.mutations import ApplyChanges, EnqueueItems, PutAttachmentBytes, PutItems, SkipEntry
from kerio_resync.cache.write.items import read_item_row
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Item
from tests.support.cache import attachment, listed, mail, put, whole

TWO = (attachment("a"), attachment("b"))


def stored(found: WriteSession, name: str) -> Item:
    ((_, item, told),) = read_item_row(found.db, "item.id = ?", (name,))
    assert told == item_checksum(item)
    return item


def states(found: WriteSession) -> list[tuple[str, str, int]]:
    return found.db.execute("SELECT name, state, received FROM attachment ORDER BY item, ordinal").fetchall()


def test_put_items_stores_every_field(tables: WriteSession) -> None:
    first = mail("1", 7, attached=TWO, extra=b'{"new":1}', title="\0 grüße 🎉", date=None)
    put(tables, PutItems((first,)))
    assert stored(tables, "1") == first


def test_put_items_ignores_older_version(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", 5, title="new", attached=TWO),)), PutItems((mail("1", 4, title="old"),)))
    assert stored(tables, "1").title == "new"
    assert len(states(tables)) == 2


def test_put_items_replaces_same_version(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", 5),)))
    tables.db.execute("UPDATE item SET title = 'damaged'")
    put(tables, PutItems((mail("1", 5),)))
    assert stored(tables, "1").title == "Subject"


def test_put_items_takes_newer_of_two_versions(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", 5, title="new"), mail("1", 4, title="old"))))
    assert stored(tables, "1").title == "new"


def test_put_items_dequeues_and_unskips(tables: WriteSession) -> None:
    put(tables, EnqueueItems("inbox", "mail", (listed("1", 3), listed("2", 3))), SkipEntry("item", "1", "broken"))
    put(tables, EnqueueItems("inbox", "mail", (listed("1", 3),)), PutItems((mail("1", 3),)))
    assert [each.id for each in queries.queued_items(tables.db, 9, None)] == ["2"]
    assert queries.skipped(tables.db) == ()


def test_put_items_keeps_newer_queue_entry_once(tables: WriteSession) -> None:
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
    assert stored(tables, "9").folder_id == "work"
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
