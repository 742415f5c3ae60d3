"""A server sends each secret back, in each position of each kind of reply; no four characters of it come out.

Looked through is everything that may be shown, logged or reported: events, the report, the sentence, and the error with
all errors behind it, their arguments and the local variables of their tracebacks.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from kerio_resync import Settings, rebuild, verify
from kerio_resync.errors import ResyncError, explain
from kerio_resync.events import Event
from kerio_resync.redaction import chain
from tests.support.cases import covering
from tests.support.fork_server import forked

PASSWORD = 'zQ7#kW"v9<xJ&p4/TüB%2Gm'
TOKEN = "Qz7Vx9Kw3Jy5Wq8Zk2Xv6Jq4Yh"
COOKIE = "Hk3Lq8Xv5Rw1Zt6Y"
SECRETS = (PASSWORD, TOKEN, COOKIE)
Reply = Callable[[str, Any], bytes]  # of the call's method and number

FOLDER = {
    "id": "f1", "name": "Inbox", "type": "FMail", "subType": "FInbox", "messageCount": 2, "placeType": "FPlaceMailbox",
    "access": "FAccessAdmin", "parentId": "", "ownerName": "",
}  # fmt: skip
MAIL = {"id": "m1", "folderId": "f1", "watermark": 5, "size": 10, "receiveDate": "20260101T000000+0000", "subject": "a"}
FILE = {
    "id": "a1",
    "url": "/webmail/api/download/attachment/m1/a1",
    "name": "n",
    "contentType": "text/plain",
    "size": 4,
}


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    kept = [each for each in headers if not each.startswith("Content-Type")]
    kind = next((each for each in headers if each.startswith("Content-Type")), "Content-Type: application/json")
    lines = [f"HTTP/1.1 {status}", kind, f"Content-Length: {len(body)}", *kept, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


def answer(number: Any, **members: Any) -> bytes:
    return http(orjson.dumps({"jsonrpc": "2.0", "id": number, **members}))


def good(method: str, number: Any, **more: Any) -> bytes:
    """What a server with one mail answers."""
    results: dict[str, Any] = {
        "Session.whoAmI": {"userDetails": {"id": "u", "loginName": "jane", "emails": ["jane@example.com"]}},
        "Session.getQuotaInformation": {"quotaInfo": {"messagesUsed": 1, "spaceUsed": 10}},
        "Changes.getSyncKey": {"syncKey": {"id": "1", "watermark": 5}},
        "Changes.get": {"list": [], "syncKey": {"id": "1", "watermark": 5}},
        "Folders.get": {"list": [FOLDER]},
        "Mails.get": {"list": [MAIL], "totalItems": 1},
        "Mails.getById": {"result": [MAIL | {"attachments": [FILE], "displayableParts": []}], "errors": []},
    }
    if method == "Session.login":
        body = orjson.dumps({"jsonrpc": "2.0", "id": number, "result": {"token": TOKEN}})
        return http(body, "200 OK", f"Set-Cookie: SESSION={COOKIE}; Path=/; HttpOnly")
    return answer(number, result=results.get(method, {}))


def quoted(secret: str) -> str:
    return json.dumps(secret)


def said(secret: str) -> str:
    return f"you sent {secret} and {secret[:-3]} and {' '.join(secret)} and {quoted(secret)}"


POSITIONS: dict[str, Callable[[str, Any, str], bytes]] = {
    "message": lambda m, n, s: answer(n, error={"code": 1000, "message": said(s)}),
    "message at the cut": lambda m, n, s: answer(n, error={"code": 1000, "message": "p" * (201 - len(s)) + s}),
    "long message": lambda m, n, s: answer(n, error={"code": 4100, "message": "p" * 795 + s}),
    "parameters": lambda m, n, s: answer(
        n, error={"code": 1000, "message": "no %1", "data": {"messageParameters": {"positionalParameters": [said(s)]}}}
    ),
    "halves": lambda m, n, s: answer(
        n,
        error={
            "code": 1000,
            "message": "no %1%2",
            "data": {"messageParameters": {"positionalParameters": [s[: len(s) // 2], s[len(s) // 2 :]]}},
        },
    ),
    "internal": lambda m, n, s: answer(n, error={"code": -32603, "message": said(s)}),
    "garbled": lambda m, n, s: answer(n, error={"code": -32700, "message": said(s)}),
    "busy": lambda m, n, s: answer(n, error={"code": 4101, "message": said(s)}),
    "members": lambda m, n, s: answer(n, error={s: said(s), "code": s, "message": [s]}),
    "result": lambda m, n, s: answer(n, result={s: [s], "list": [{s: s}], "result": s, "userDetails": s, "token": [s]}),
    "errors": lambda m, n, s: answer(
        n, result={"list": [], "result": [], "errors": [{"inputIndex": 0, "code": 1000, "message": said(s)}]}
    ),
    "reason": lambda m, n, s: http(b"", f"500 {s}"),
    "location": lambda m, n, s: http(b"", "302 Found", f"Location: https://{s}.example/{s}?{s}"),
    "path": lambda m, n, s: http(b"", "307 Found", f"Location: /{s}"),
    "challenge": lambda m, n, s: http(said(s).encode(), "401 No", f'WWW-Authenticate: Basic realm="{s}"'),
    "retry-after": lambda m, n, s: http(said(s).encode(), "503 Busy", f"Retry-After: {s}"),
    "type": lambda m, n, s: http(said(s).encode(), "200 OK", f"Content-Type: text/{s}"),
    "encoding": lambda m, n, s: http(said(s).encode(), "200 OK", f"Content-Encoding: {s}"),
    "header": lambda m, n, s: http(b"{}", "200 OK", f"{s}: {s}"),
    "cookie": lambda m, n, s: http(b"{}", "403 No", f"Set-Cookie: {s}={s}; Domain={s}"),
    "page": lambda m, n, s: http(f"<html>{said(s)}".encode(), "200 OK", "Content-Type: text/html"),
    "status": lambda m, n, s: http(said(s).encode(), "418 Teapot", "Content-Type: text/plain"),
    "broken": lambda m, n, s: http(f'{{"error": {{"code": 1, "message": {quoted(s)} {s}'.encode()),
    "not http": lambda m, n, s: f"{s} {s}\r\n\r\n".encode(),
    "bad status": lambda m, n, s: f"HTTP/1.1 {s}\r\n\r\n".encode(),
    "bad length": lambda m, n, s: f"HTTP/1.1 200 OK\r\nContent-Length: {s}\r\n\r\n".encode(),
    "bad chunk": lambda m, n, s: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{s}\r\n{s}".encode(),
    "range": lambda m, n, s: http(s.encode(), "206 Part", f"Content-Range: bytes {s}", f'ETag: "{s}"'),
    "disposition": lambda m, n, s: http(s.encode(), "416 No", f"Content-Range: {s}"),
}
NAMES: dict[str, Callable[[str, Any, str], bytes]] = {
    "folder name": lambda m, n, s: answer(n, result={"list": [FOLDER | {"name": s, "id": f"x{s}", "parentId": f"x{s}"},
                                                               FOLDER | {"name": s, "access": "FAccessNone"}]}),
    "item id": lambda m, n, s: answer(n, result={"list": [MAIL | {"id": s}], "totalItems": 1}),
    "long id": lambda m, n, s: answer(n, result={"list": [{"id": "i" * (501 - len(s)) + s}], "totalItems": 1}),
    "attachment id": lambda m, n, s: answer(n, result={"result": [
        MAIL | {"attachments": [FILE | {"id": s, "name": s, "url": f"//{s}/"}]}]}),
}  # fmt: skip


@asynccontextmanager
async def serving(reply: Reply) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = next((line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b"0")
                body = await reader.readexactly(int(length))
                call: dict[str, Any] = orjson.loads(body) if body else {"method": "GET", "id": 0}
                writer.write(reply(call["method"], call["id"]))
                await writer.drain()
                if call["method"] == "GET":
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def texts(error: BaseException, here: str) -> list[str]:
    """All that can be logged of an error."""
    found = [explain(error)[0]]
    for each in chain(error):
        trace = traceback.TracebackException.from_exception(each, capture_locals=True)
        frames = [frame for frame in trace.stack if frame.filename != here]
        found += [repr(each), str(each), repr(each.args), repr(vars(each)), *(str(frame.locals) for frame in frames)]
    return found


def shown(secret: str, text: str) -> set[str]:
    squeezed = "".join(text.split()).casefold()
    plain = secret.casefold()
    return {plain[at : at + 4] for at in range(len(plain) - 3) if plain[at : at + 4] in squeezed}


async def outputs(profile: Path, reply: Reply, work: Callable[..., Any] = rebuild) -> list[str]:
    found: list[str] = []

    def listen(event: Event) -> None:
        fields = event.as_json()
        found.extend((repr(event), json.dumps(fields), json.dumps(fields, ensure_ascii=False)))

    async with serving(reply) as url:
        settings = Settings(profile=profile, server=url, user="jane", password=PASSWORD, retry_timeout=0.1)  # type: ignore[arg-type]
        try:
            report = await asyncio.wait_for(work(settings, listen), 20)
            found += [repr(report), json.dumps(report.as_json(), ensure_ascii=False)]
        except ResyncError as error:
            found += texts(error, __file__)
        found.append(repr(settings))
    return found


METHODS = ("Session.login", "Session.whoAmI", "Folders.get", "Mails.getById", "GET")


@pytest.mark.parametrize(("position", "method"), covering(list(POSITIONS), METHODS, 2))
async def test_a_reply_shows_no_secret_wherever_it_puts_it(tmp_path: Path, method: str, position: str) -> None:
    for secret in (PASSWORD, TOKEN + COOKIE)[: 1 if method == "Session.login" else 2]:

        def reply(called: str, number: Any, secret: str = secret) -> bytes:
            return POSITIONS[position](called, number, secret) if called == method else good(called, number)

        for text in await outputs(tmp_path / f"{len(secret)}", reply):
            assert not shown(secret, text), text


@pytest.mark.parametrize(
    ("method", "position"),
    [
        ("Folders.get", "folder name"),
        ("Mails.get", "item id"),
        ("Mails.get", "long id"),
        ("Mails.getById", "attachment id"),
    ],
)
async def test_a_name_that_is_a_secret_is_kept_but_not_told(tmp_path: Path, method: str, position: str) -> None:
    for secret in SECRETS:

        def reply(called: str, number: Any, secret: str = secret) -> bytes:
            return NAMES[position](called, number, secret) if called == method else good(called, number)

        for work in (rebuild, verify):
            for text in await outputs(tmp_path / secret[:3], reply, work):
                assert not shown(secret, text), text


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("method", ["Session.login", "Folders.get"])
async def test_the_program_writes_no_secret_anywhere(tmp_path: Path, method: str, as_json: bool) -> None:
    secret = PASSWORD if method == "Session.login" else TOKEN

    def reply(called: str, number: Any) -> bytes:
        return POSITIONS["message at the cut"](called, number, secret) if called == method else good(called, number)

    async with serving(reply) as url:
        process = await asyncio.create_subprocess_exec(
            *forked("kerio_resync"), "--profile", str(tmp_path / "p"), "rebuild", "--server", url, "--user", "jane",
            "--log-file", str(tmp_path / "log"), *(["--json"] if as_json else []),
            env={**os.environ, "KERIO_RESYNC_PASSWORD": PASSWORD}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
    assert b"pppppp" in err
    written = [
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("cache")
    ]
    for text in (out, err, *written):
        assert not shown(secret, text.decode("utf-8", "replace"))
