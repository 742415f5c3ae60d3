"""The server as a whole, called as a function: no request makes it stumble, and its clock is the loop's."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson
import pytest

from kerio_mockserver.api.type_check import ENUMS, METHODS, STRUCTS
from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.messages import Request
from tests.support.mock_caller import Mailbox, Refused, envelope, logged_in

PATHS = (
    "/",
    "/webmail/api/jsonrpc",
    "/webmail/api/jsonrpc/attachment-upload/",
    "/webmail/api/download/attachment/",
    "/webmail//",
    "",
)


def plausible(kind: str, dice: Random, ids: list[str], depth: int = 0) -> Any:
    """A value of a documented type, with extreme and senseless contents, now and then of a wrong type."""
    if dice.random() < 0.03:
        return dice.choice([None, 0, "", [], {}, True, -1.5, {"a": [[]]}])
    if kind.endswith("[]"):
        return [plausible(kind[:-2], dice, ids, depth + 1) for _ in range(dice.choice((0, 1, 1, 2, 5)))]
    if kind in ENUMS:
        return dice.choice(ENUMS[kind])
    if kind == "boolean":
        return dice.random() < 0.5
    if kind in ("KId", "string", "UtcDateTime", "UtcTime", "jsonstring"):
        return dice.choice([*ids, "", "x", "20260101T000000Z", "id", "receiveDate", "subject", "../..", "\x00é" * 9])
    if kind in STRUCTS:
        members = {name: spec.rsplit(" ", 1)[0] for name, spec in STRUCTS[kind].items()}
        chosen = [name for name in members if dice.random() < (0.7 if depth < 2 else 0.2)]
        return {name: plausible(members[name], dice, ids, depth + 1) for name in chosen}
    if kind not in ("long", "int64", "uint64", "unsigned long", "Watermark"):
        return {}
    return dice.choice([0, 0, 1, 2, 10, -1, 2**31, 2**63 - 1])


def known(box: Mailbox) -> list[str]:
    ids = [box.root, box.inbox, box.archive, box.contacts, box.calendar, box.tasks, box.notes, box.shared, box.public]
    for folder in (box.inbox, box.contacts, box.calendar, box.tasks, box.notes):
        ids += list(box.store.folder(folder).ordered("id"))[:3]
    mail = box.store.item(box.store.folder(box.inbox).ordered("id")[2])
    return [*ids, *(one["id"] for one in mail["attachments"])]


@pytest.mark.parametrize("seed", range(4))
async def test_no_call_causes_an_internal_error(seed: int) -> None:
    dice = Random(f"calls/{seed}")
    caller, box = await logged_in()
    ids = known(box)
    succeeded = set()
    for _ in range(12):
        for name in METHODS:
            if name in ("Session.login", "Session.logout"):
                continue
            params = {key: plausible(kind, dice, ids) for key, kind in METHODS[name]["params"].items()}
            if name == "Changes.get":
                params["timeout"] = 0
            reply = await caller.send(envelope(name, **params))
            assert caller.core.stats.internal_errors == [], (name, params)
            assert isinstance(reply.body, bytes)
            if b'"error":' not in reply.body[:40]:
                succeeded.add(name)
    assert len(succeeded) > 50


async def test_no_request_causes_an_internal_error() -> None:
    dice = Random("requests")
    caller, box = await logged_in()
    good = envelope("Mails.get", folderIds=[box.inbox], query={})
    for _ in range(500):
        body = bytearray(good)
        for _ in range(dice.randrange(4)):
            body[dice.randrange(len(body))] = dice.randrange(256)
        path = dice.choice(PATHS) + dice.choice(("", "a", "a/1/1/x", "\x00/../é", "//"))
        headers = caller.all_headers({"range": dice.choice(("", "bytes=1-", "x")), "cookie": dice.choice(("", "=;"))})
        method = dice.choice(("GET", "POST", "HEAD", "PUT", "OPTIONS"))
        reply = await caller.core.handle(Request(method, path, headers, bytes(body), "name=%", "x"))
        assert reply.status in (200, 401, 404, 405, 500)
    assert caller.core.stats.internal_errors == []


async def test_time_is_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    caller, _ = await logged_in()
    from kerio_mockserver import server

    started = server._now()
    monkeypatch.setattr(server, "_now", lambda: started + 7_300)
    with pytest.raises(Refused) as refused:
        await caller.call("Session.whoAmI")
    assert refused.value.code == -32001


async def test_fault_keeps_its_place_under_compression() -> None:
    conditions = Conditions.parse({"faults": [{"kind": "cut", "method": "Folders.get", "at": 2000}]})
    caller, _ = await logged_in(conditions=conditions)
    plain = await caller.send(envelope("Folders.get"))
    squeezed = await caller.send(envelope("Folders.get"), **{"accept-encoding": "gzip"})
    assert plain.fault is not None
    assert squeezed.fault is not None
    assert plain.fault.at == 2000
    assert 0 < squeezed.fault.at < len(squeezed.body) < len(plain.body)


async def test_load_refuses_and_recovers() -> None:
    caller, _ = await logged_in()
    caller.core.change(Conditions.parse({"load": {"refusal_windows": [{"seconds": 60, "retry_after_s": 7}]}}))
    reply = await caller.send(envelope("Folders.get"))
    assert (reply.status, reply.headers["Retry-After"]) == (503, "7")
    assert caller.core.stats.errors["HTTP 503"] == 1
    caller.core.change(Conditions())
    assert (await caller.send(envelope("Folders.get"))).status == 200


async def test_every_reply_is_json_with_its_id() -> None:
    caller, _ = await logged_in()
    for message_id in (1, "a", None, 1.5, [1]):
        body = orjson.dumps({"jsonrpc": "2.0", "id": message_id, "method": "Folders.get"})
        reply = await caller.send(body)
        assert isinstance(reply.body, bytes)
        assert orjson.loads(reply.body)["id"] == message_id
