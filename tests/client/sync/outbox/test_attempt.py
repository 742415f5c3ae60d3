"""One attempt per action and outcome, against a server with scripted answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from kerio_resync.cache.mutations import LocalFile, PutItems
from kerio_resync.cache.outbox import Outbox
from kerio_resync.errors import (
    BadCredentials,
    ItemGone,
    KeyExpired,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    ServerRefused,
    SessionExpired,
)
from kerio_resync.model import ChangeSet, ContentChunk, Item, ItemBatch, MalformedItem, RemoteChange, WriteResult
from kerio_resync.sync.outbox.attempt import Attempt
from kerio_resync.sync.outbox.attempt_result import (
    AttemptRecord,
    AttemptResult,
    Conflict,
    Refused,
    RetryLater,
    Sent,
    StillUnknown,
)
from tests.support.cache import attachment, filled, mail
from tests.support.fake_mailbox import OutboxServer

FILE = LocalFile("f", "application/pdf", b"12345")
STRUCTS = {
    "create": {"subject": "Subject", "headers": [{"type": "mhMessageID", "value": "<1@example.com>"}]},
    "edit": {"subject": "mine"},
    "flags": {"flagged": True},
}
RECORD = AttemptRecord(("before",), json.dumps(STRUCTS["create"]).encode(), only_ours=True, key="key-1")
REFUSAL = ServerRefused("No.", code=1000)
REFUSED = Refused("No. (code 1000)", 1000)
CHANGED = mail("1", "5", title="mine")


def with_subject(item: Item, subject: str) -> Item:
    return item._replace(payload=json.dumps({**json.loads(item.payload), "subject": subject}).encode())


SAME = with_subject(mail("1", "9", title="mine"), "mine")  # another version, with what the edit sets
WITH_FILE = mail("1", "5", attached=(attachment("f"),))


def batch(*items: Item) -> ItemBatch:
    return ItemBatch(items)


def failed(error: Exception) -> WriteResult:
    return WriteResult(0, error=cast(Any, error))


def feed(*types: str) -> ChangeSet:
    return ChangeSet(tuple(RemoteChange(cast(Any, each), "N", "work", kind="mail") for each in types), "key-2")


HERE, NEWER, MOVED = batch(mail("1", "5")), batch(mail("1", "6")), batch(mail("1", "5", folder="work"))
# id: (action, whether an earlier call has an unknown outcome, answers by verb, result, verbs called)
# a text is part of the reason of a conflict
CASES: dict[str, tuple[str, bool, dict[str, list[Any]], AttemptResult | str | type[Exception], str]] = {
    "create-sent": ("create", False, {}, Sent("N", "work", "9"), "find find create"),
    "create-refused": ("create", False, {"create": [failed(REFUSAL)]}, REFUSED, "find find create"),
    "create-all-refused": ("create", False, {"create": [REFUSAL]}, REFUSED, "find find create"),
    "create-denied-key": ("create", False, {"sync_key": [REFUSAL]}, Sent("N", "work", "9"), "find find create"),
    "create-expired-session": ("create", False, {"sync_key": [SessionExpired("x")]}, SessionExpired, ""),
    "create-wrong-password": ("create", False, {"create": [BadCredentials("x")]}, BadCredentials, "find find create"),
    "create-busy": ("create", False, {"create": [failed(Overloaded("x"))]}, RetryLater, "find find create"),
    "create-item-expired": ("create", False, {"create": [failed(SessionExpired("x"))]}, RetryLater, "find find create"),
    "create-lost": ("create", False, {"create": [OutcomeUnknown("x")]}, StillUnknown, "find find create"),
    "create-odd": ("create", False, {"create": [failed(ProtocolError("x"))]}, StillUnknown, "find find create"),
    "create-found": (
        "create",
        True,
        {"find": [("before", "N")], "by_ids": [batch(mail("N", "7"))]},
        Sent("N", "work", "7"),
        "find by_ids",
    ),
    "create-found-by-content": (
        "create",
        True,
        {"find": [(), (), ("N",)], "by_ids": [batch(mail("N", "7"))]},
        Sent("N", "work", "7"),
        "find find find by_ids",
    ),
    "create-found-moved": (
        "create",
        True,
        {"by_ids": [batch(mail("1", "8"))] * 2},
        Sent("1", "inbox", "8"),
        "find find find by_ids by_ids",
    ),
    "create-found-in-changes": (
        "create",
        True,
        {
            "by_ids": [batch(), batch(with_subject(mail("N", "8", folder="work"), "Subject")), batch(mail("N", "8"))],
            "changes": [feed("created")],
        },
        Sent("N", "work", "8"),
        "find find find by_ids by_ids by_ids",
    ),
    "create-found-edited": (
        "create",
        True,
        {
            "by_ids": [
                batch(),
                batch(mail("N", "8", folder="work", text="x")._replace(message_id="<o>")),
                batch(mail("N", "8")),
            ],
            "changes": [feed("created", "modified")],
        },
        Sent("N", "work", "8"),
        "find find find by_ids by_ids by_ids",
    ),
    "create-not-found": (
        "create",
        True,
        {"changes": [feed("deleted")]},
        Sent("N", "work", "9"),
        "find find find by_ids create",
    ),
    "create-key-expired": (
        "create",
        True,
        {"changes": [KeyExpired("x")]},
        Sent("N", "work", "9"),
        "find find find by_ids create",
    ),
    "edit-sent": (
        "edit",
        False,
        {"by_ids": [HERE], "change": [WriteResult(0, "", "6")]},
        Sent("1", "inbox", "6"),
        "by_ids change",
    ),
    "edit-gone-but-there": (
        "edit",
        False,
        {"by_ids": [HERE, HERE], "change": [ItemGone("No.", code=1002)]},
        Refused("No. (code 1002)", 1002),
        "by_ids change by_ids",
    ),
    "move-gone-but-there": (
        "move",
        False,
        {"by_ids": [HERE, HERE], "move": [ItemGone("No.", code=1002)]},
        Refused("No. (code 1002)", 1002),
        "by_ids find move by_ids",
    ),
    "edit-gone": ("edit", False, {}, "it is gone from the server", "by_ids"),
    "edit-newer": ("edit", False, {"by_ids": [NEWER]}, "the server has version 6", "by_ids"),
    "edit-newer-but-same": (
        "edit",
        False,
        {"by_ids": [batch(SAME)]},
        Sent("1", "inbox", "9", only_ours=False),
        "by_ids",
    ),
    "edit-gone-meanwhile": (
        "edit",
        False,
        {"by_ids": [HERE], "change": [failed(ItemGone("x"))]},
        "it is gone",
        "by_ids change by_ids",
    ),
    "edit-refused": ("edit", False, {"by_ids": [HERE], "change": [failed(REFUSAL)]}, REFUSED, "by_ids change"),
    "edit-malformed": (
        "edit",
        False,
        {"by_ids": [ItemBatch((), malformed=(MalformedItem("1", "x"),))]},
        ProtocolError,
        "by_ids",
    ),
    "flags-sent": (
        "flags",
        False,
        {"by_ids": [HERE], "change": [WriteResult(0, "", "6")]},
        Sent("1", "inbox", "6"),
        "by_ids change",
    ),
    "move-sent": ("move", False, {"by_ids": [HERE]}, Sent("M", "work", "9"), "by_ids find move"),
    "move-newer": ("move", False, {"by_ids": [NEWER]}, Sent("M", "work", "9", only_ours=False), "by_ids find move"),
    "move-unknown-again": ("move", True, {"by_ids": [HERE]}, Sent("M", "work", "9"), "by_ids move"),
    "move-done": ("move", False, {"by_ids": [MOVED]}, Sent("1", "work", "5"), "by_ids"),
    "move-gone": ("move", False, {}, "it is gone from the server", "by_ids"),
    "move-found": (
        "move",
        True,
        {"by_ids": [batch(), batch(mail("M", "6"))], "find": [("M",)]},
        Sent("M", "work", "6"),
        "by_ids find by_ids",
    ),
    "move-not-found": ("move", True, {}, "it is gone from the server", "by_ids find find"),
    "move-gone-meanwhile": (
        "move",
        False,
        {"by_ids": [HERE], "move": [failed(ItemGone("x"))]},
        "it is gone",
        "by_ids find move by_ids",
    ),
    "move-refused": ("move", False, {"by_ids": [HERE], "move": [failed(REFUSAL)]}, REFUSED, "by_ids find move"),
    "delete-sent": ("delete", False, {"by_ids": [HERE]}, Sent("1", gone=True), "by_ids remove"),
    "delete-gone": ("delete", False, {}, Sent("1", gone=True), "by_ids"),
    "delete-newer": ("delete", False, {"by_ids": [NEWER]}, "the server has version 6", "by_ids"),
    "delete-refused": ("delete", False, {"by_ids": [HERE], "remove": [failed(REFUSAL)]}, REFUSED, "by_ids remove"),
}


async def attempted(
    folder: Path, action: str, unknown: bool, server: OutboxServer, *files: LocalFile, struct: Any = None
) -> AttemptResult:
    store = await filled(folder / "cache.db", PutItems((mail("1", "5"),)))
    try:
        outbox = Outbox(store)
        value = json.dumps(STRUCTS.get(action, {}) if struct is None else struct).encode()
        await outbox.add(
            cast(Any, action), "mail", item_id="" if action == "create" else "1", target_id="work", version="5",
            folder_id="work" if action == "create" else "inbox", struct=value, files=files,
        )  # fmt: skip
        (change,) = await outbox.list()
        if unknown:
            await outbox.begin_attempt(change.uuid, RECORD.to_json())
            (change,) = await outbox.list()
        return await Attempt(cast(Any, server), outbox, change, change.item_id, frozenset(["5"]), unknown=unknown).run()
    finally:
        await store.close()


@pytest.mark.parametrize(("action", "unknown", "answers", "expected", "asked"), CASES.values(), ids=CASES)
async def test_attempt(
    tmp_path: Path, action: str, unknown: bool, answers: dict[str, list[Any]], expected: Any, asked: str
) -> None:
    server = OutboxServer({verb: list(values) for verb, values in answers.items()})
    if isinstance(expected, type):
        with pytest.raises(expected):
            await attempted(tmp_path, action, unknown, server)
    else:
        result = await attempted(tmp_path, action, unknown, server)
        if isinstance(expected, str):
            assert isinstance(result, Conflict)
            assert expected in result.reason
        else:
            assert result == expected
    assert server.asked == asked.split()


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        ((ContentChunk(0, b"xx"), ContentChunk(0, b"123"), ContentChunk(3, b"45")), ["by_ids", "download"]),
        ((ContentChunk(0, b"other"),), ["by_ids", "download", "upload", "change"]),
    ],
    ids=["same", "other"],
)
async def test_attempt_compares_files_after_unknown_outcome(
    tmp_path: Path, content: tuple[ContentChunk, ...], asked: list[str]
) -> None:
    server = OutboxServer({"by_ids": [batch(WITH_FILE)], "download": [content], "change": [WriteResult(0, "", "6")]})
    await attempted(tmp_path, "edit", True, server, FILE, struct={})
    assert server.asked == asked


async def test_attempt_finds_nothing_without_message_id_or_record(tmp_path: Path) -> None:
    """A note has no Message-ID, and an attempt of another program leaves no record."""
    store = await filled(tmp_path / "cache.db")
    outbox = Outbox(store)
    uuid = await outbox.add("create", "note", folder_id="work", struct=b'{"text":"x"}')
    await outbox.begin_attempt(uuid)
    (change,) = await outbox.list()
    server = OutboxServer()
    assert await Attempt(cast(Any, server), outbox, change, "", frozenset(), unknown=True).run() == Sent(
        "N", "work", "9"
    )
    assert server.asked == ["find", "find", "create"]
    await store.close()
