"""Servers that mean harm, or have lost their mind: each ends in a documented error or a named skip, soon and in bounds.

The replies are those of the mock server, changed by one attack each; the run is the real one, in virtual time. What
acts below JSON (bodies, heads and streams without end) comes from a bare socket, in real time.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from kerio_resync import Report, rebuild, verify
from kerio_resync.errors import Exit, Misconfigured, ProtocolError, ResyncError, TransientServerError, explain
from kerio_resync.events import Event, Skipped
from kerio_resync.model import Folder
from kerio_resync.server.http.transport import Request, Response
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.sync.fetch.folders import looping as looping_folders
from simulation import virtual_time
from simulation.direct_transport import DirectResponse, DirectTransport
from simulation.wire import ORIGIN
from simulation.world import PASSWORD, World
from tests.support.cache import nothing_outside
from tests.support.hostile_replies import REPLIES, send
from tests.support.socket_server import serving

MEMORY = 300 * 2**20  # bytes by which a run may grow
Params = dict[str, Any]
Attack = Callable[[Any, Params], Any]


@dataclass
class Evil(DirectTransport):
    """Gives the `result` of a method to its attack, with the call's params; what that returns is sent instead."""

    attacks: dict[str, Attack] = field(default_factory=dict)
    most: int = 20_000  # requests before a run counts as endless

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        assert request.url.startswith(ORIGIN + "/"), "a request to a stranger"
        assert len(self.requests) < self.most, "a run that does not end"
        async with super().send(request) as response:
            assert isinstance(response, DirectResponse)
            attack = self.attacks.get(self.requests[-1])
            if attack is not None and self.requests[-1].startswith("GET"):
                attack(response, dict(request.headers))
            elif attack is not None:
                reply = orjson.loads(response.body)
                if "result" in reply:
                    reply["result"] = attack(reply["result"], orjson.loads(request.body or b"{}").get("params", {}))
                    response.body = (
                        reply["result"] if isinstance(reply["result"], bytes) else json.dumps(reply).encode()
                    )
            yield response


@dataclass
class Ended:
    error: ResyncError | None
    report: Report | None
    events: list[Event]
    requests: list[str]

    @property
    def name(self) -> str:
        if self.error is None:
            return "done"
        return "ProtocolError" if isinstance(self.error, ProtocolError) else type(self.error).__name__


def attacked(world: World, attacks: dict[str, Attack], *commands: Callable[..., Any]) -> Ended:
    events: list[Event] = []
    transport = Evil(world.server, attacks=attacks)

    async def go() -> Ended:
        report = None
        try:
            for command in commands or (rebuild,):
                settings = world.settings(retry_timeout=60.0)
                mailbox = KerioMailbox(settings, events.append, transport=transport, chance=lambda: 0.5)
                clocks = {"clock": asyncio.get_running_loop().time} if command is rebuild else {}
                async with asyncio.timeout(24 * 3600):
                    found = await command(settings, events.append, mailbox=mailbox, **clocks)
                    report = report or found
        except ResyncError as error:
            sentence, code = explain(error)
            assert code is not Exit.INTERNAL_ERROR
            assert len(sentence) < 1000
            return Ended(error, report, events, transport.requests)
        finally:
            world.now = asyncio.get_running_loop().time() + 1
        return Ended(None, report, events, transport.requests)

    before, began = memory(), time.process_time()
    ended = virtual_time.run(go(), start=world.now)
    assert memory() - before < MEMORY
    assert time.process_time() - began < 30
    return ended


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def each_line(change: Callable[[dict[str, Any], int], None], name: str = "list") -> Attack:
    def attack(result: Any, params: Params) -> Any:
        for number, line in enumerate(result[name]):
            change(line, number)
        return result

    return attack


def members(**values: Any) -> Attack:
    return lambda result, params: {**result, **values}


def of_mails(**values: Any) -> Attack:
    return each_line(lambda line, _: line.update(values), "result")


def attachments(**values: Any) -> Attack:
    def change(line: dict[str, Any], _: int) -> None:
        for each in line["attachments"]:
            each.update(values)

    return each_line(change, "result")


def deep(levels: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"result":{"list":' + b"[" * levels + b"]" * levels + b"}}"


def repeated(result: Any, params: Params) -> Any:
    """Five hundred rows, over and over, and a total without bounds."""
    line, start = result["list"][0] if result["list"] else None, params["query"]["start"]
    if line is None:
        return result
    rows = [{**line, "id": f"{line['id']}{(start + n) % 500}"} for n in range(params["query"]["limit"])]
    return {"list": rows, "totalItems": 2**62}


def chained(result: Any, params: Params) -> Any:
    """Three thousand folders, each inside the one before."""
    folders, last = result["list"], result["list"][0]["id"]
    for n in range(3_000):
        folders.append({"id": f"deep-{n}", "parentId": last, "name": "x", "type": "FRoot"})
        last = f"deep-{n}"
    return result


def looping(result: Any, params: Params) -> Any:
    mails = [each for each in result["list"][1:] if each["type"] == "FMail"]
    mails[0]["parentId"], mails[1]["parentId"] = mails[1]["id"], mails[0]["id"]
    return result


def bomb(result: Any, params: Params) -> Any:
    """An error whose message asks for a long parameter a million times."""
    line = {"inputIndex": 0, "code": 1002, "message": "%1" * 500_000}
    line["messageParameters"] = {"positionalParameters": ["x" * 1_000_000]}
    return {**result, "errors": [line]}


def for_ever(result: Any, params: Params) -> Any:
    change = {"isFolder": False, "type": "chtModified", "itemType": "itMail", "itemId": "no-such", "watermark": 1}
    return {**result, "list": [{**change, "parentId": "no-such-folder"}]}


def endless_head(response: DirectResponse, _: Params) -> None:
    response.body = bytes(80 * 2**20)
    response.headers = {name: response.headers[name] for name in response.headers.keys() - {"content-length", "etag"}}


def elsewhere(response: DirectResponse, _: Params) -> None:
    response.status, response.body = 404, b""


FOLDERS: dict[str, Attack] = {
    "inside themselves": looping,
    "three thousand deep": chained,
    "named by a path": each_line(lambda line, _: line.update(name="../../../etc/cron.d/x")),
    "named with NUL and newlines": each_line(lambda line, _: line.update(name="a\0b\n\x1b[2J")),
    "with negative counts": each_line(lambda line, _: line.update(messageCount=-1, messageSize=-(2**62))),
    "with counts in words": each_line(lambda line, _: line.update(messageCount="many", messageSize={})),
    "with counts beyond all numbers": each_line(lambda line, _: line.update(messageCount=2**63 - 1)),
    "all with one id": each_line(lambda line, _: line.update(id="same")),
    "with an id of 10 MB": each_line(lambda line, n: line.update(id="x" * 10_000_000) if n == 2 else None),
    "none at all": members(list=[]),
    "an object as list": members(list={"a": 1}),
}
LISTS: dict[str, Attack] = {
    "repeating for ever": repeated,
    "total 0": members(totalItems=0),
    "total negative": members(totalItems=-5),
    "total huge": members(totalItems=2**62),
    "total in words": members(totalItems="many"),
    "total that ends after each page": lambda result, params: {
        **result, "totalItems": params["query"]["start"] + len(result["list"])
    },
    "a page of which nothing can be read": lambda result, params: (
        {**result, "list": [{"id": n} for n in range(len(result["list"]))]} if params["query"]["start"] == 0 else result
    ),
    "an id of 10 MB": each_line(lambda line, n: line.update(id="x" * 10_000_000) if n == 1 else None),
    "invalid dates": each_line(lambda line, _: line.update(receiveDate="yesterday")),
    "sizes whose sum is no number": each_line(lambda line, _: line.update(size=2**63 - 1)),
    "more rows than asked for": lambda result, params: {**result, "list": result["list"] * 200},
    "dense with values": lambda result, params: deep(2)[:-1] + b"," + b"[]," * 5_000_000 + b"1]}}",
    "100,000 levels": lambda result, params: deep(100_000),
    "900 levels": lambda result, params: deep(900),
}  # fmt: skip
MAILS: dict[str, Attack] = {
    "all with one id": of_mails(id="same"),
    "in an unknown folder": of_mails(folderId="keriostorage://folder/x/y/none"),
    "invalid dates": of_mails(receiveDate="20269999T999999Z", sendDate="\0", modifiedDate=[]),
    "watermark beyond numbers": of_mails(watermark=2**64),
    "watermark in words": of_mails(watermark="high"),
    "attachments on another server": attachments(url="http://evil.test/webmail/api/download/x"),
    "attachments at an address of another kind": attachments(url="file:///etc/passwd"),
    "attachments without a scheme": attachments(url="//evil.test/x"),
    "attachments at our name on another port": attachments(url="http://mail.test:81/x"),
    "attachments with a user in the address": attachments(url="http://mail.test@evil.test/x"),
    "attachments named by a path": attachments(name="../../../../home/u/.profile", id="../../x"),
    "attachments named with NUL": attachments(name="a\0b\n", contentType="a/b\r\nX: y"),
    "attachments of negative size": attachments(size=-1),
    "attachments of 2^62 bytes": attachments(size=2**62),
    "an error that is a bomb": bomb,
    "nothing": members(result=[]),
    "not a list": members(result="x"),
    "three hundred for one": lambda result, params: {**result, "result": result["result"] * 300},
}


@pytest.mark.parametrize("attack", FOLDERS)
def test_folders(attack: str, tmp_path: Path) -> None:
    ended = attacked(World(tmp_path / "p", mails=30), {"Folders.get": FOLDERS[attack]})
    told = [each for each in ended.events if isinstance(each, Skipped)]
    if attack in ("all with one id", "with an id of 10 MB"):
        assert told or ended.error
    if attack == "inside themselves":
        assert ended.report is not None
        assert sum("lists folder" in each and "its own ancestor" in each for each in ended.report.problems) == 2
        assert ended.report.items["mail"] == 30
    if attack in ("none at all", "an object as list"):
        assert ended.name == "ProtocolError"
    assert ended.name in ("done", "ProtocolError", "NotEnoughSpace")
    nothing_outside(tmp_path)


@pytest.mark.parametrize("attack", LISTS)
def test_lists(attack: str, tmp_path: Path) -> None:
    world = World(tmp_path / "p", mails=50)
    ended = attacked(world, {"Mails.get": LISTS[attack]})
    assert ended.name in ("done", "ProtocolError", "ForeignReply", "VerificationFailed"), ended.error
    if attack.startswith(("total", "dates", "sizes", "more", "a page")):
        # a lie about numbers loses nothing: what could be read is there, the rest is named
        assert ended.name == "done", ended.error
        left_out = {each for _, each, _ in ended.report.skipped} if ended.report else set()
        assert left_out or not world.differences()
    if attack.startswith("a page"):
        assert ended.report is not None
        assert ended.report.items["mail"] >= 10  # what stands behind that page
    nothing_outside(tmp_path)


@pytest.mark.parametrize("attack", MAILS)
def test_mails(attack: str, tmp_path: Path) -> None:
    world = World(tmp_path / "p", mails=30)
    ended = attacked(world, {"Mails.getById": MAILS[attack]})
    assert ended.name in ("done", "ProtocolError", "ServerRefused", "VerificationFailed"), ended.error
    with_attachments = sum(b'"attachments":[{' in world.store.encoded(each) for each in mails_of(world))
    if attack.startswith("attachments") and attack.split()[1] in ("on", "at", "without", "with"):
        assert ended.report is not None
        skipped = [each for each in ended.report.skipped if each[0] == "attachment"]
        assert len(skipped) >= with_attachments > 0
    nothing_outside(tmp_path)


def mails_of(world: World) -> Iterator[str]:
    for folder in world.store.folders():
        if folder["type"] == "FMail":
            yield from world.store.folder(folder["id"]).ordered("id")


def test_a_list_in_circles_of_a_folder_said_to_be_endless(tmp_path: Path) -> None:
    huge = each_line(lambda line, _: line.update(messageCount=10**11))
    ended = attacked(World(tmp_path / "p", mails=30), {"Mails.get": repeated, "Folders.get": huge})
    assert ended.name in ("done", "ProtocolError")
    assert len(ended.requests) < 5000


def test_secrets_that_the_server_quotes_go_no_further(tmp_path: Path) -> None:
    world = World(tmp_path / "p", mails=20)
    secrets = [PASSWORD]

    def login(result: Any, params: Params) -> Any:
        secrets.append(result["token"])
        return result

    def quoting(result: Any, params: Params) -> Any:
        told = {"code": 1234, "message": f"refused: {' '.join(secrets)}"}
        return {"result": [], "errors": [{"inputIndex": n, **told} for n in range(len(params["ids"]))]}

    def redirecting(response: DirectResponse, _: Params) -> None:
        response.status, response.headers = 400, {**response.headers, "content-type": "application/json"}
        response.body = json.dumps({"error": {"code": 1234, "message": " ".join(secrets)}}).encode()

    ended = attacked(world, {"Session.login": login, "Mails.getById": quoting, "GET attachment": redirecting})
    assert len(secrets) == 2
    assert any("refused: …" in str(each) for each in ended.events)
    said = [str([*map(str, ended.events), ended.error, ended.report]).encode()]
    for text in [*said, *(path.read_bytes() for path in (tmp_path / "p").iterdir())]:
        assert not any(secret.encode() in text for secret in secrets)


def test_a_hundred_thousand_folders_in_a_chain_are_looked_through_at_once() -> None:
    chain = [Folder(str(n), str(n + 1), "x", None) for n in range(100_000)]
    began = time.monotonic()
    assert looping_folders(chain) == []
    ring = [*chain, Folder("100000", "50000", "x", None)]
    assert looping_folders(ring) == ring
    assert time.monotonic() - began < 60  # a search from each folder would take hours


def test_a_change_feed_without_end(tmp_path: Path) -> None:
    world = World(tmp_path / "p", mails=20)
    ended = attacked(world, {"Changes.get": for_ever}, rebuild, verify)
    assert ended.name in ("done", "ProtocolError")
    assert ended.report is not None
    assert any("changes faster" in each for each in ended.report.problems)


def test_a_key_that_never_holds(tmp_path: Path) -> None:
    ended = attacked(
        World(tmp_path / "p"), {"Changes.getSyncKey": lambda r, p: {"syncKey": {"id": "\ud7ff" * 2_000_000}}}
    )
    assert ended.name == "ProtocolError"


def test_a_server_put_back_from_a_backup_is_followed(tmp_path: Path) -> None:
    """Watermarks that go down: a half-built file must not be stuck on versions that are newer than the server's."""
    world = World(tmp_path / "p", mails=30)
    up = each_line(lambda line, _: line.update(watermark=line["watermark"] + 10**6), "result")
    rows = each_line(lambda line, _: line.update(watermark=line["watermark"] + 10**6))
    ended = attacked(world, {"Mails.getById": up, "Mails.get": rows, "Changes.get": members(list=[{"odd": 1}])})
    assert ended.name == "ProtocolError"
    assert world.run() == "done"
    assert world.differences() == []


def test_an_attachment_without_end(tmp_path: Path) -> None:
    ended = attacked(World(tmp_path / "p", mails=3), {"GET attachment": endless_head})
    assert ended.report is not None
    assert any(scope == "attachment" for scope, _, _ in ended.report.skipped)


@pytest.mark.parametrize("token", ["a\r\nX: y", "", None, 5, ["t"], "t\0", "é"])
def test_tokens_that_are_none(token: Any, tmp_path: Path) -> None:
    ended = attacked(World(tmp_path / "p"), {"Session.login": members(token=token)})
    assert ended.name == "ProtocolError"


# below JSON: a bare socket

# What ends like a broken or busy connection: it may pass, so the call is repeated until its timeout.
PASSING = {"a gzip that is cut", "a chunk's size without end", "silence", "nothing", "a wait of ten years"}


@pytest.mark.parametrize("name", REPLIES)
async def test_rebuild_ends_in_bounds_after_hostile_reply(name: str, tmp_path: Path) -> None:
    before, began = memory(), time.monotonic()
    timeout = 1.0 if name in PASSING else 60.0  # a busy machine may be silent for a while
    async with serving(partial(send_and_close, name)) as url:
        settings = World(tmp_path / "p").settings(server=url, retry_timeout=0.5)
        with pytest.raises(ResyncError) as caught:
            async with asyncio.timeout(120):
                await rebuild(settings, mailbox=KerioMailbox(settings, timeout=timeout))
    assert time.monotonic() - began < 120
    assert memory() - before < MEMORY
    assert explain(caught.value)[1] is not Exit.INTERNAL_ERROR
    if name == "no HTTP":
        assert isinstance(caught.value, Misconfigured)
        assert "is not a web server; check the port" in str(caught.value)
    else:
        assert isinstance(caught.value, TransientServerError) is (name in PASSING), caught.value


async def send_and_close(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await send(name, reader, writer)
    writer.close()
