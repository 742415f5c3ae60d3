from __future__ import annotations

from pathlib import Path

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import AddChange, ChangeState, LocalChange, LocalFile
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.outbox_rows import ancestors_of_pending
from tests.support.cache import FOLDERS, filled, mail, rows

FILE = LocalFile("plan.pdf", "application/pdf", bytes(range(256)) * 2000, "cid")


async def test_add_records_durable_change_with_files(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    outbox = Outbox(cache)
    name = await outbox.add("create", "mail", folder_id="inbox", struct=b'{"subject":"Hi"}', files=[FILE])
    assert rows(tmp_path / "cache.db", "SELECT uuid, state FROM outbox") == [(name, "pending")]
    (change,) = await outbox.list()
    assert (change.uuid, change.action, change.kind, change.folder_id) == (name, "create", "mail", "inbox")
    assert change.struct == b'{"subject":"Hi"}'
    (file,) = change.files
    assert b"".join([piece async for piece in outbox.content(file)]) == FILE.data
    assert (file.name, file.content_type, file.content_id, file.size) == (
        "plan.pdf", "application/pdf", "cid", len(FILE.data),
    )  # fmt: skip
    assert change.as_json()["id"] == name
    assert "Hi" not in str(change.as_json())
    assert await cache.check() == ()
    await cache.close()


async def test_begin_attempt_records_and_counts_attempt(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    outbox = Outbox(cache)
    name = await outbox.add("flags", "mail", item_id="1", version="3", struct=b'{"seen":true}')
    await outbox.begin_attempt(name, "first")
    assert rows(tmp_path / "cache.db", "SELECT state, attempt, attempts FROM outbox") == [("sending", "first", 1)]
    await outbox.mark_pending(name)
    await outbox.begin_attempt(name, "second")
    await outbox.mark_sent(name, "new-id")
    (change,) = await outbox.list(["sent"])
    assert (change.attempts, change.attempt, change.new_id) == (2, "second", "new-id")
    assert await outbox.list() == ()
    await cache.close()


async def test_sent_and_withdrawn_changes_keep_their_state(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    outbox = Outbox(cache)
    sent, withdrawn = [await outbox.add("delete", "note", item_id=each) for each in "ab"]
    await outbox.mark_sent(sent)
    await outbox.mark_withdrawn(withdrawn)
    for each in (sent, withdrawn):
        await outbox.mark_pending(each)
        await outbox.mark_refused(each, "late")
    assert await outbox.list() == ()
    await cache.close()


async def test_refused_change_keeps_reason_until_pending(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    outbox = Outbox(cache)
    name = await outbox.add("move", "mail", item_id="1", folder_id="inbox", target_id="work")
    await outbox.mark_refused(name, "quota reached")
    (change,) = await outbox.list(["refused"])
    assert (change.reason, change.target_id) == ("quota reached", "work")
    await outbox.mark_pending(name)
    assert [each.state for each in await outbox.list()] == ["pending"]
    await cache.close()


async def test_add_change_with_known_uuid_changes_nothing(tmp_path: Path) -> None:
    fact = AddChange(LocalChange("u-1", "create", "mail", folder_id="inbox"), (FILE,))
    cache = await filled(tmp_path / "cache.db", fact, fact)
    assert len(await Outbox(cache).list()) == 1
    await cache.close()


async def test_record_conflict_keeps_item_in_conflicts(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    outbox = Outbox(cache)
    name = await outbox.add("edit", "mail", item_id="1", version="3", files=[FILE])
    for _ in range(2):
        await outbox.record_conflict(name, mail("1", title="mine"), "the server's 1 is newer", [FILE])
    await cache.apply(FOLDERS)
    (change,) = await outbox.list()
    assert (change.state, change.reason) == ("conflict", "the server's 1 is newer")
    assert await cache.check() == ()
    assert await cache.read(queries.items) == ()
    assert (await cache.read(queries.totals)).items["mail"] == 0
    assert (await cache.read(queries.totals)).attachments == 0
    await cache.close()
    query = "SELECT folder, subject, id, has_attachment FROM mail"
    assert rows(tmp_path / "cache.db", query) == [("Conflicts", "mine", f"local:{name}", 1)]
    assert rows(tmp_path / "cache.db", "SELECT name, state, size FROM mail_attachment") == [
        ("plan.pdf", "done", len(FILE.data))
    ]


async def test_begin_attempt_replaces_record(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    outbox = Outbox(cache)
    name = await outbox.add("create", "mail", folder_id="inbox")
    assert [each.attempt for each in await outbox.list()] == [""]
    await outbox.begin_attempt(name, "looked for in inbox")
    assert [each.attempt for each in await outbox.list()] == ["looked for in inbox"]
    await outbox.mark_pending(name)
    await outbox.begin_attempt(name)
    assert [each.attempt for each in await outbox.list()] == [""]
    await cache.close()


async def test_mark_sent_records_version(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    outbox = Outbox(cache)
    known, unknown, refused = [await outbox.add("edit", "mail", item_id=each) for each in "abc"]
    await outbox.mark_sent(known, version="v7")
    await outbox.mark_sent(unknown)
    await outbox.mark_refused(refused, "version 9")
    assert [each.sent_version for each in await outbox.list(["sent", "refused"])] == ["v7", "", ""]
    await cache.close()


async def test_ancestors_of_pending_follow_ids_of_sent_changes(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db")
    outbox = Outbox(cache)
    made = await outbox.add("create", "mail", folder_id="inbox")
    moved = await outbox.add("move", "mail", item_id="1", target_id="work")
    moved_on = await outbox.add("move", "mail", item_id="2", target_id="work")
    alone = await outbox.add("flags", "mail", item_id="9")
    for name, new_id in ((made, "n"), (moved, "2"), (moved_on, "3"), (alone, "")):
        await outbox.mark_sent(name, new_id)
    states: tuple[ChangeState, ...] = ("pending", "sending", "sent")
    assert ancestors_of_pending(await outbox.list(states)) == frozenset()
    await outbox.add("edit", "mail", item_id=f"local:{made}")
    last = await outbox.add("flags", "mail", item_id="3")
    assert ancestors_of_pending(await outbox.list(states)) == {made, moved, moved_on}
    await outbox.mark_withdrawn(last)
    assert ancestors_of_pending(await outbox.list(states)) == {made}
    await cache.close()


async def test_ancestors_of_pending_include_similar_creations(tmp_path: Path) -> None:
    """Two alike: of the first it is known what it became, of the second not whether it became anything."""
    cache = await filled(tmp_path / "cache.db")
    outbox = Outbox(cache)
    first, second = [await outbox.add("create", "note", folder_id="notes") for _ in range(2)]
    other = await outbox.add("create", "note", folder_id="elsewhere")
    await outbox.mark_sent(first, "n1")
    await outbox.mark_sent(other, "n2")
    assert ancestors_of_pending(await outbox.list(("pending", "sent"))) == frozenset()
    await outbox.begin_attempt(second)
    assert ancestors_of_pending(await outbox.list(("sending", "sent"))) == {first}
    await cache.close()
