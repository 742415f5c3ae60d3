from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.mutations import ChangeState, LocalChange, LocalFile, PutItems
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.outbox_rows import ALL_STATES, ancestors_of_pending
from kerio_resync.errors import FolderDenied, OutcomeUnknown, Overloaded, ProtocolError, SessionExpired, Unreachable
from kerio_resync.events import ignore_events
from kerio_resync.model import ItemBatch, MalformedItem, WriteResult
from kerio_resync.settings import Settings
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.outbox.attempt import Attempt
from kerio_resync.sync.outbox.attempt_result import AttemptRecord, Sent, StillUnknown
from kerio_resync.sync.outbox.replay import IdMap, ItemAddress, Replayed, enqueue_results, replay, retryable
from simulation import virtual_time
from tests.support.cache import FOLDERS, WORK, filled, mail
from tests.support.fake_mailbox import OutboxServer as Server


def change(uuid: str, action: str = "edit", item_id: str = "", **more: Any) -> LocalChange:
    values: dict[str, Any] = {
        "number": 1, "uuid": uuid, "action": action, "kind": "mail", "item_id": item_id, "folder_id": "f",
        "target_id": "", "version": "5", "made": "", "struct": b"{}", "state": "pending", "attempt": "", "attempts": 0,
        "reason": "", "new_id": "",
    }  # fmt: skip
    return LocalChange(**values | more)


def address(item_id: str, *versions: str) -> ItemAddress:
    return ItemAddress(item_id, frozenset(versions))


def test_id_map_follows_item_through_moves() -> None:
    names = IdMap()
    assert names.find(change("e", item_id="X")) == address("X", "5")
    names.settle(change("c", "create"), "A", "7")
    names.settle(change("m", "move", "X"), "Y", "8")
    assert names.find(change("e", item_id="local:c")) == address("A", "5", "7")
    assert [names.find(change("e", item_id=each)) for each in "XY"] == [address("Y", "5", "8")] * 2
    names.settle(change("m", "move", "Y"), "Z", "")
    assert [names.find(change("e", item_id=each)) for each in "XYZ"] == [address("Z", "5", "8")] * 3
    names.settle(change("e", "edit", "X"), "", "12")
    assert names.find(change("e", item_id="Z", version="20")) == address("Z", "12", "20")
    assert names.find(change("e", item_id="Z")) == address("Z", "5", "12")
    assert names.claimed == {"A", "Y", "Z"}


def test_id_map_keeps_items_without_id_apart() -> None:
    names = IdMap()
    names.settle(change("c", "create"), "", "")
    assert names.find(change("e", item_id="local:c")).id == ""
    assert names.find(change("e", item_id="")) == address("", "5")
    assert names.claimed == set()


@pytest.mark.parametrize(
    ("item_id", "code", "again"),
    [
        ("X", 4102, True),
        ("X", 1003, True),
        ("X", -1004, True),
        ("X", 4104, False),
        ("X", 0, False),
        ("local:c", 0, True),
        ("local:x", 0, False),
    ],
)
def test_retryable_has_temporary_refusals_and_what_builds_on_them(item_id: str, code: int, again: bool) -> None:
    base = change("c", "create", state="refused", code=4102)
    other = change("e", item_id=item_id, state="refused", code=code)
    assert retryable([base, other]) == ([base, other] if again else [base])
    assert retryable([base._replace(state="conflict")]) == []


def test_ancestors_of_pending_are_what_open_changes_build_on() -> None:
    made = change("c", "create", state="sent", new_id="A")
    moved = change("m", "move", "A", state="sent", new_id="B")
    alone = change("d", "delete", "Q", state="sent")
    alike = change("k", "create", state="sent", new_id="K")
    edit = change("e", item_id="B")
    assert ancestors_of_pending([made, moved, alone, alike, edit]) == {"c", "m"}
    assert ancestors_of_pending([made, moved, alone, alike]) == frozenset()
    assert ancestors_of_pending([made, change("e", item_id="local:c")]) == {"c"}
    assert ancestors_of_pending([alike, change("n", "create", state="sending")]) == {"k"}


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"known":[],"like":3}', '{"known":5,"like":"{}","alone":true}'])
def test_attempt_record_of_invalid_text_is_none(text: str) -> None:
    assert AttemptRecord.from_json(text) is None


def test_attempt_record_survives_json() -> None:
    record = AttemptRecord(("a", "b c"), b'{"text":"\xc3\xbc"}', False)
    assert AttemptRecord.from_json(record.to_json()) == record


def replayed(
    folder: Path, server: Server, *changes: dict[str, Any]
) -> tuple[Replayed, list[ChangeState], list[str], float]:
    """Return the result, the states of the changes, the notices, and the seconds it took."""

    async def work() -> tuple[Replayed, list[ChangeState], list[str], float]:
        loop = asyncio.get_running_loop()
        store = await filled(folder / "cache.db", PutItems((mail("1", "5"),)))
        try:
            outbox = Outbox(store)
            for each in changes:
                await outbox.add(**{"action": "create", "kind": "note", "folder_id": "work", **each})
            settings = Settings(profile=folder, server="https://mail.example.com", user="jan")
            mailbox = cast(Any, server)  # what a test does not need is not there
            run = RebuildContext.begin(settings, ignore_events, mailbox, store, loop.time)
            run.set_folders(FOLDERS.folders)
            start = loop.time()
            found = await replay(run)
            took = loop.time() - start
            await enqueue_results(run, found)
            states = [each.state for each in await outbox.list(ALL_STATES)]
            wanted = [each.id for each in await store.read(queries.queued_items, 10)]
            assert set(wanted) == {each[2] for each in found.new}
            return found, states, run.announced.notices, took
        finally:
            await store.close()

    return virtual_time.run(work())


NOTE = {"struct": json.dumps({"text": "x"}).encode()}
EDIT: dict[str, Any] = {"action": "edit", "kind": "mail", "item_id": "1", "version": "5", "struct": b'{"subject":"y"}'}
THERE = ItemBatch((mail("1", "5"),))


def test_replay_searches_for_created_item_without_id(tmp_path: Path) -> None:
    there = mail("N", "9", kind="note")._replace(folder_ids=(WORK.id,))
    server = Server({"find": [(), ("N",)], "create": [WriteResult(0)], "by_ids": [ItemBatch((there,))]})
    found, states, _, _ = replayed(tmp_path, server, NOTE)
    assert (found.new, states) == ([("work", "note", "N", "9")], ["sent"])
    assert server.asked == ["find", "create", "find", "by_ids"]


def test_replay_creates_again_what_is_not_found(tmp_path: Path) -> None:
    """Even if the folder has too many items for the search for an edited one."""
    new = {"kind": "mail", "struct": b'{"subject":"s"}'}
    finds = [(), (), ProtocolError("more than 20,000", scope="item"), ()]
    server = Server({"find": finds, "create": [OutcomeUnknown("cut"), WriteResult(0, "N", "9")]})
    found, states, problems, _ = replayed(tmp_path, server, new)
    assert (found.new, states, problems) == ([("work", "mail", "N", "9")], ["sent"], [])
    assert server.asked == ["find", "create", "find", "find", "find", "create"]


def test_replay_counts_executed_call_whatever_follows(tmp_path: Path) -> None:
    server = Server({"find": [(), Unreachable("gone")], "create": [WriteResult(0)]})
    found, states, problems, _ = replayed(tmp_path, server, NOTE, NOTE)
    assert (found.sent, states, problems) == (2, ["sent", "sent"], [])
    assert server.asked.count("create") == 2


def test_replay_retries_busy_item_with_backoff(tmp_path: Path) -> None:
    busy = WriteResult(0, error=Overloaded("reindexing"))
    server = Server({"create": [busy] * 5})
    found, states, _, took = replayed(tmp_path, server, NOTE)
    assert (found.sent, states, server.asked.count("create")) == (1, ["sent"], 6)
    assert took == 0.5 + 1 + 2 + 4 + 8


def test_replay_stops_retrying_after_retry_timeout(tmp_path: Path) -> None:
    server = Server({"create": [WriteResult(0, error=Overloaded("reindexing"))] * 99})
    found, states, problems, took = replayed(tmp_path, server, NOTE, NOTE)
    assert (found.sent, found.pending, found.trouble, states) == (0, 2, "reindexing", ["pending", "pending"])
    assert "reindexing" in problems[-1]
    assert 600 <= took < 700


@pytest.mark.parametrize("error", [Unreachable("x"), Overloaded("x"), SessionExpired("x")])
def test_replay_leaves_change_pending_after_transient_error(tmp_path: Path, error: Exception) -> None:
    found, states, _, _ = replayed(tmp_path, Server({"create": [error]}), NOTE, NOTE)
    assert (found.trouble, found.pending, states) == ("x", 2, ["pending", "pending"])


def test_replay_leaves_unknown_outcome_after_transient_error(tmp_path: Path) -> None:
    server = Server({"create": [OutcomeUnknown("x")], "find": [(), Unreachable("y")]})
    found, states, _, _ = replayed(tmp_path, server, NOTE)
    assert (found.trouble, states) == ("y", ["sending"])


@pytest.mark.parametrize("answer", [ProtocolError("?"), WriteResult(0, error=ProtocolError("?")), OutcomeUnknown("?")])
def test_replay_continues_after_unknown_outcome(tmp_path: Path, answer: Any) -> None:
    server = Server({"create": [answer] * 6})
    found, states, problems, _ = replayed(tmp_path, server, NOTE, NOTE)
    assert (found.sent, found.pending, found.trouble, states) == (1, 1, "", ["sending", "sent"])
    assert "has an unknown outcome" in problems[0]


def test_replay_leaves_malformed_item_and_what_builds_on_it(tmp_path: Path) -> None:
    server = Server({"by_ids": [ItemBatch((), malformed=(MalformedItem("1", "no item"),))]})
    found, states, _, _ = replayed(tmp_path, server, EDIT, EDIT, NOTE)
    assert (found.sent, states) == (1, ["pending", "pending", "sent"])  # what builds on it waits
    assert server.asked == ["by_ids", "find", "create"]


def test_replay_refuses_change_in_denied_folder(tmp_path: Path) -> None:
    server = Server({"find": [FolderDenied("no", code=1003)]})
    found, states, problems, _ = replayed(tmp_path, server, NOTE)
    assert (found.refused, states) == (1, ["refused"])
    assert "no (code 1003)" in problems[0]


@pytest.mark.parametrize("action", ["create", "edit"])
def test_replay_refuses_invalid_struct(tmp_path: Path, action: str) -> None:
    odd = {**EDIT, "action": action, "struct": b"[]"}
    server = Server({"by_ids": [THERE]})
    found, states, problems, _ = replayed(tmp_path, server, odd)
    assert (found.refused, states) == (1, ["refused"])
    assert "cannot be read" in problems[0]
    assert "change" not in server.asked


def test_replay_asks_for_version_of_edit(tmp_path: Path) -> None:
    server = Server(
        {"by_ids": [THERE, ItemBatch((mail("1", "12"),)), ItemBatch((mail("1", "12"),)), ItemBatch((mail("1", "14"),))]}
    )
    found, states, _, _ = replayed(tmp_path, server, EDIT, {**EDIT, "struct": b'{"subject":"z"}'})
    assert [each[3] for each in found.new] == ["12", "14"]  # the second is of the version that the first one made
    assert states == ["sent", "sent"]


@pytest.mark.parametrize("answers", [{"move": [OutcomeUnknown("x")]}, {"find": [OutcomeUnknown("x")]}])
def test_attempt_is_unknown_only_after_its_call(tmp_path: Path, answers: dict[str, list[Any]]) -> None:
    async def work() -> None:
        store = await filled(tmp_path / "cache.db")
        outbox = Outbox(store)
        name = await outbox.add("move", "mail", item_id="1", folder_id="inbox", target_id="work", version="5")
        (each,) = await outbox.list()
        server = Server({"by_ids": [THERE], **answers})
        attempt = Attempt(server, outbox, each, "1", frozenset(["5"]))  # type: ignore[arg-type]
        with pytest.raises(StillUnknown if "move" in answers else OutcomeUnknown):
            await attempt.run()
        assert await store.read(outbox_rows.state, name) == ("sending" if "move" in answers else "pending")
        await store.close()

    virtual_time.run(work())


async def test_attempt_records_similar_items_by_message_id_and_content(tmp_path: Path) -> None:
    store = await filled(tmp_path / "cache.db")
    outbox = Outbox(store)
    struct = b'{"subject":"x","headers":[{"type":"mhMessageID","value":"<own@example.com>"}]}'
    await outbox.add("create", "mail", folder_id="work", struct=struct)
    (each,) = await outbox.list()
    server = Server({"find": [("alike", "both"), ("both", "named")], "by_ids": [THERE]})
    attempt = Attempt(server, outbox, each, "", frozenset())  # type: ignore[arg-type]
    assert await attempt.run() == Sent("N", "work", "9")
    assert attempt.record is not None
    assert attempt.record.known == ("alike", "both", "named")
    await store.close()


def test_replay_refuses_change_of_withdrawn_creation_and_counts_deletions(tmp_path: Path) -> None:
    orphan = {**EDIT, "item_id": "local:unknown"}
    delete = {**EDIT, "action": "delete", "struct": b"{}"}
    result, states, problems, _ = replayed(tmp_path, Server(), orphan, delete)
    assert (result.refused, result.gone, states) == (1, ["1"], ["refused", "sent"])
    assert "what it changes is not on the server (local:unknown)" in problems[0]


def test_replay_records_conflict_with_files(tmp_path: Path) -> None:
    newer = Server({"by_ids": [ItemBatch((mail("1", "9", title="theirs"),))]})
    result, states, problems, _ = replayed(tmp_path, newer, {**EDIT, "files": [LocalFile("f", "t/t", b"content")]})
    assert (result.conflicts, states) == (1, ["conflict"])
    assert "the server has version 9" in problems[0]


async def test_replay_follows_what_earlier_replays_sent(tmp_path: Path) -> None:
    """A refused creation blocks what builds on it; a temporary refusal is sent again."""
    store = await filled(tmp_path / "cache.db")
    outbox = Outbox(store)
    note = {"kind": "note", "folder_id": "work", "struct": b'{"text":"x"}'}
    first = await outbox.add("create", **note)  # type: ignore[arg-type]
    refused = await outbox.add("create", **note)  # type: ignore[arg-type]
    again = await outbox.add("create", **note)  # type: ignore[arg-type]
    edit = await outbox.add("edit", "note", item_id=f"local:{first}", struct=b'{"text":"y"}')
    blocked = await outbox.add("edit", "note", item_id=f"local:{refused}", struct=b'{"text":"z"}')
    await outbox.mark_withdrawn(await outbox.add("edit", "note", item_id="other"))
    await outbox.mark_sent(first, "A", "3")
    await outbox.mark_refused(refused, "No such folder. (code 4104)", 4104)
    await outbox.mark_refused(again, "No room. (code 4102)", 4102)
    server = Server(
        {"find": [("A",)], "by_ids": [ItemBatch((mail("A", "3", kind="note"),))], "change": [WriteResult(0, "", "4")]}
    )
    settings = Settings(profile=tmp_path, server="https://mail.example.com", user="jan")
    run = RebuildContext.begin(settings, ignore_events, cast(Any, server), store, asyncio.get_running_loop().time)
    result = await replay(run)
    assert (result.sent, result.refused, result.pending) == (2, 2, 0)
    states = {each.uuid: each.state for each in await outbox.list(ALL_STATES)}
    assert (states[again], states[edit], states[blocked]) == ("sent", "sent", "refused")
    await store.close()
