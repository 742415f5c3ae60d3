from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from kerio_resync.cache import outbox_rows, queries
from kerio_resync.cache.mutations import ChangeState, LocalChange, PutItems
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.outbox_rows import ALL_STATES, ancestors_of_pending
from kerio_resync.errors import FolderDenied, OutcomeUnknown, Overloaded, ProtocolError, SessionExpired, Unreachable
from kerio_resync.events import ignore_events
from kerio_resync.model import ChangeSet, Item, ItemBatch, Kind, MalformedItem, WriteResult
from kerio_resync.settings import Settings
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.outbox.attempt import Attempt
from kerio_resync.sync.outbox.attempt_result import AttemptRecord, Sent, StillUnknown
from kerio_resync.sync.outbox.replay import IdMap, ItemAddress, Replayed, enqueue_results, replay, retryable
from simulation import virtual_time
from tests.support.cache import FOLDERS, WORK, filled, mail
from tests.support.fake_mailbox import Scripted


def change(uuid: str, action: str = "edit", item_id: str = "", **more: Any) -> LocalChange:
    values: dict[str, Any] = {
        "number": 1, "uuid": uuid, "action": action, "kind": "mail", "item_id": item_id, "folder_id": "f",
        "target_id": "", "watermark": 5, "made": "", "struct": b"{}", "state": "pending", "attempt": "", "attempts": 0,
        "reason": "", "new_id": "",
    }  # fmt: skip
    return LocalChange(**values | more)


# what builds on what


def test_names_follow_an_item() -> None:
    names = IdMap()
    assert names.find(change("e", item_id="X")) == ItemAddress("X", 5)
    names.settle(change("c", "create"), "A", 7)
    names.settle(change("m", "move", "X"), "Y", 8)
    assert names.find(change("e", item_id="local:c")) == ItemAddress("A", 7)
    assert [names.find(change("e", item_id=each)) for each in "XY"] == [ItemAddress("Y", 8)] * 2
    names.settle(change("m", "move", "Y"), "Z", 0)
    assert [names.find(change("e", item_id=each)) for each in "XYZ"] == [ItemAddress("Z", 8)] * 3
    names.settle(change("e", "edit", "X"), "", 12)
    assert names.find(change("e", item_id="Z", watermark=20)) == ItemAddress("Z", 20)
    assert names.find(change("e", item_id="Z")) == ItemAddress("Z", 12)
    assert names.taken == {"A", "Y", "Z"}


def test_an_item_of_unknown_id_is_not_mixed_up_with_others() -> None:
    names = IdMap()
    names.settle(change("c", "create"), "", 0)
    assert names.find(change("e", item_id="local:c")).id == ""
    assert names.find(change("e", item_id="")) == ItemAddress("", 5)
    assert names.taken == set()


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
def test_which_refusals_are_tried_again(item_id: str, code: int, again: bool) -> None:
    base = change("c", "create", state="refused", code=4102)
    other = change("e", item_id=item_id, state="refused", code=code)
    assert retryable([base, other]) == ([base, other] if again else [base])
    assert retryable([base._replace(state="conflict")]) == []


def test_what_was_sent_is_carried_along_while_others_build_on_it() -> None:
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
def test_a_trace_that_can_not_be_read_is_none(text: str) -> None:
    assert AttemptRecord.read(text) is None


def test_a_trace_survives() -> None:
    trace = AttemptRecord(("a", "b c"), b'{"text":"\xc3\xbc"}', False)
    assert AttemptRecord.read(str(trace)) == trace


# what the server answers


@dataclass
class Server(Scripted):
    """A server that answers as told: by verb, the answers in their order; an exception is raised."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def sync_key(self) -> str:
        return "now"

    async def changes(self, key: str) -> ChangeSet:
        return ChangeSet((), key)

    async def find(self, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
        return self._answer("find", ())  # type: ignore[no-any-return]

    async def items_by_id(self, kind: Kind, ids: Sequence[str], *, held: object = None) -> ItemBatch:
        return self._answer("by_ids", ItemBatch(()))  # type: ignore[no-any-return]

    async def create(self, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return (self._answer("create", WriteResult(0, "N", 9)),)

    async def update(self, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return (self._answer("change", WriteResult(0, "", 0)),)

    async def move(self, kind: Kind, ids: Sequence[str], folder_id: str) -> tuple[WriteResult, ...]:
        return (self._answer("move", WriteResult(0, "M", 9)),)


def replayed(
    folder: Path, server: Server, *changes: dict[str, Any]
) -> tuple[Replayed, list[ChangeState], list[str], float]:
    """What came of it, the changes' states, what was noticed, and the seconds it took."""

    async def work() -> tuple[Replayed, list[ChangeState], list[str], float]:
        loop = asyncio.get_running_loop()
        store = await filled(folder / "cache.db", PutItems((mail("1", 5),)))
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
EDIT: dict[str, Any] = {"action": "edit", "kind": "mail", "item_id": "1", "watermark": 5, "struct": b'{"subject":"y"}'}
THERE = ItemBatch((mail("1", 5),))


def test_one_that_is_told_no_id_is_looked_for(tmp_path: Path) -> None:
    there = mail("N", 9, kind="note")._replace(folder_id=WORK.id)
    server = Server({"find": [(), ("N",)], "create": [WriteResult(0, "", 0)], "by_ids": [ItemBatch((there,))]})
    found, states, _, _ = replayed(tmp_path, server, NOTE)
    assert (found.new, states) == ([("work", "note", "N", 9)], ["sent"])
    assert server.asked == ["find", "create", "find", "by_ids"]


def test_one_of_unknown_outcome_that_is_nowhere_is_made_again(tmp_path: Path) -> None:
    """Also where the folder holds more than can be looked at for one that somebody gave another subject."""
    new = {"kind": "mail", "struct": b'{"subject":"s"}'}
    finds = [(), (), ProtocolError("more than 20,000", scope="item"), ()]
    server = Server({"find": finds, "create": [OutcomeUnknown("cut"), WriteResult(0, "N", 9)]})
    found, states, problems, _ = replayed(tmp_path, server, new)
    assert (found.new, states, problems) == ([("work", "mail", "N", 9)], ["sent"], [])
    assert server.asked == ["find", "create", "find", "find", "find", "create"]


def test_what_is_done_is_done_whatever_the_server_says_afterwards(tmp_path: Path) -> None:
    server = Server({"find": [(), Unreachable("gone")], "create": [WriteResult(0, "", 0)]})
    found, states, problems, _ = replayed(tmp_path, server, NOTE, NOTE)
    assert (found.sent, states, problems) == (2, ["sent", "sent"], [])
    assert server.asked.count("create") == 2


def test_a_server_that_is_busy_with_the_item_is_asked_again(tmp_path: Path) -> None:
    busy = WriteResult(0, error=Overloaded("reindexing"))
    server = Server({"create": [busy] * 5})
    found, states, _, took = replayed(tmp_path, server, NOTE)
    assert (found.sent, states, server.asked.count("create")) == (1, ["sent"], 6)
    assert took == 0.5 + 1 + 2 + 4 + 8


def test_but_not_for_ever(tmp_path: Path) -> None:
    server = Server({"create": [WriteResult(0, error=Overloaded("reindexing"))] * 99})
    found, states, problems, took = replayed(tmp_path, server, NOTE, NOTE)
    assert (found.sent, found.pending, found.trouble, states) == (0, 2, "reindexing", ["pending", "pending"])
    assert "reindexing" in problems[-1]
    assert 600 <= took < 700


@pytest.mark.parametrize("error", [Unreachable("x"), Overloaded("x"), SessionExpired("x")])
def test_trouble_leaves_it_pending(tmp_path: Path, error: Exception) -> None:
    found, states, _, _ = replayed(tmp_path, Server({"create": [error]}), NOTE, NOTE)
    assert (found.trouble, found.pending, states) == ("x", 2, ["pending", "pending"])


def test_trouble_while_nobody_knows_leaves_it_unknown(tmp_path: Path) -> None:
    server = Server({"create": [OutcomeUnknown("x")], "find": [(), Unreachable("y")]})
    found, states, _, _ = replayed(tmp_path, server, NOTE)
    assert (found.trouble, states) == ("y", ["sending"])


@pytest.mark.parametrize("answer", [ProtocolError("?"), WriteResult(0, error=ProtocolError("?")), OutcomeUnknown("?")])
def test_what_can_not_be_known_is_left_and_the_others_go_on(tmp_path: Path, answer: Any) -> None:
    server = Server({"create": [answer] * 6})
    found, states, problems, _ = replayed(tmp_path, server, NOTE, NOTE)
    assert (found.sent, found.pending, found.trouble, states) == (1, 1, "", ["sending", "sent"])
    assert "could not be settled" in problems[0]


def test_what_can_not_be_looked_at_is_left(tmp_path: Path) -> None:
    server = Server({"by_ids": [ItemBatch((), malformed=(MalformedItem("1", "no item"),))]})
    found, states, _, _ = replayed(tmp_path, server, EDIT, EDIT, NOTE)
    assert (found.sent, states) == (1, ["pending", "pending", "sent"])  # what builds on it waits
    assert server.asked == ["by_ids", "find", "create"]


def test_a_folder_that_may_not_be_looked_into_is_a_refusal(tmp_path: Path) -> None:
    server = Server({"find": [FolderDenied("no", code=1003)]})
    found, states, problems, _ = replayed(tmp_path, server, NOTE)
    assert (found.refused, states) == (1, ["refused"])
    assert "no (code 1003)" in problems[0]


@pytest.mark.parametrize("action", ["create", "edit"])
def test_a_change_that_can_not_be_read_is_refused(tmp_path: Path, action: str) -> None:
    odd = {**EDIT, "action": action, "struct": b"[]"}
    server = Server({"by_ids": [THERE]})
    found, states, problems, _ = replayed(tmp_path, server, odd)
    assert (found.refused, states) == (1, ["refused"])
    assert "can't be read" in problems[0]
    assert "change" not in server.asked


def test_an_edit_whose_version_is_not_told_is_asked_for(tmp_path: Path) -> None:
    server = Server(
        {"by_ids": [THERE, ItemBatch((mail("1", 12),)), ItemBatch((mail("1", 12),)), ItemBatch((mail("1", 14),))]}
    )
    found, states, _, _ = replayed(tmp_path, server, EDIT, {**EDIT, "struct": b'{"subject":"z"}'})
    assert [each[3] for each in found.new] == [12, 14]  # the second is of the version that the first one made
    assert states == ["sent", "sent"]


@pytest.mark.parametrize("answers", [{"move": [OutcomeUnknown("x")]}, {"find": [OutcomeUnknown("x")]}])
def test_an_attempt_tells_whether_it_asked(tmp_path: Path, answers: dict[str, list[Any]]) -> None:
    """Unknown only if it was asked for; trouble before that is just trouble."""

    async def work() -> None:
        store = await filled(tmp_path / "cache.db")
        outbox = Outbox(store)
        name = await outbox.add("move", "mail", item_id="1", folder_id="inbox", target_id="work", watermark=5)
        (each,) = await outbox.list()
        server = Server({"by_ids": [THERE], **answers})
        attempt = Attempt(server, outbox, each, "1", 5)  # type: ignore[arg-type]
        with pytest.raises(StillUnknown if "move" in answers else OutcomeUnknown):
            await attempt.run()
        assert await store.read(outbox_rows.state, name) == ("sending" if "move" in answers else "pending")
        await store.close()

    virtual_time.run(work())


async def test_one_that_bears_a_name_of_its_own_is_looked_for_by_it_and_by_its_content(tmp_path: Path) -> None:
    """What is there already under that name, or alike, is not taken for it later."""
    store = await filled(tmp_path / "cache.db")
    outbox = Outbox(store)
    struct = b'{"subject":"x","headers":[{"type":"mhMessageID","value":"<own@example.com>"}]}'
    await outbox.add("create", "mail", folder_id="work", struct=struct)
    (each,) = await outbox.list()
    server = Server({"find": [("alike", "both"), ("both", "named")], "by_ids": [THERE]})
    attempt = Attempt(server, outbox, each, "", 0)  # type: ignore[arg-type]
    assert await attempt.run() == Sent("N", "work", 9)
    assert attempt.trace is not None
    assert attempt.trace.known == ("alike", "both", "named")
    await store.close()
