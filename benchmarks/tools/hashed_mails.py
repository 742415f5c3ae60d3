"""A JMAP server whose ids are hashes.

It has as many mails as are asked for, and needs no memory per mail.

    python -m benchmarks.tools.hashed_mails MAILS

Mail k is a pure function of k, and its id a bijective hash of k: in no order, and read back without a table. The server
answers what a rebuild asks (RFC 8620, RFC 8621, RFC 9404), with Cyrus's limits. It prints its address, and ends with
its standard input. It accepts every password.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from aiohttp import web

FOLDERS: Final = 20
_MASK: Final = (1 << 64) - 1
_FACTORS: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # of splitmix64
_INVERSES: Final = tuple(pow(factor, -1, 1 << 64) for factor in _FACTORS)
_SHIFTS: Final = (30, 27, 31)
_NEWEST: Final = datetime(2026, 3, 1, tzinfo=UTC)
_WORDS: Final = ("quick", "brown", "fox", "lazy", "dog", "wizard", "strong", "coffee", "noon", "letter", "answer")
_CORE: Final = "urn:ietf:params:jmap:core"
_MAIL: Final = "urn:ietf:params:jmap:mail"
_BLOB: Final = "urn:ietf:params:jmap:blob"
_STATE: Final = "1"


def hashed(number: int) -> int:
    """Return the hash of a number below 2**64 (the mixer of splitmix64)."""
    value = number
    for shift, factor in zip(_SHIFTS, (*_FACTORS, 1), strict=True):
        value = (value ^ value >> shift) * factor & _MASK
    return value


def number_of(value: int) -> int:
    """Return the number whose hash this is."""
    for shift, inverse in zip(reversed(_SHIFTS), (1, *reversed(_INVERSES)), strict=True):
        value = value * inverse & _MASK
        value ^= value >> shift ^ value >> 2 * shift
    return value


def mail_id(number: int) -> str:
    """Return the id of a mail."""
    return f"M{hashed(number):016x}"


def source(number: int) -> str:
    """Return the source of a mail: half a kilobyte."""
    mixed = hashed(number)
    words = " ".join(_WORDS[(mixed >> place % 48) % len(_WORDS)] for place in range(60))
    return (
        f"From: Anna <anna@example.com>\r\nTo: Jane <jane@example.com>\r\nSubject: Mail {number}\r\n"
        f"Message-ID: <{mixed:x}@example.com>\r\n\r\n{words}\r\n"
    )


class Server:
    """The account of `mails` mails."""

    def __init__(self, mails: int) -> None:
        self._mails = mails
        self._methods: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "Mailbox/get": self._mailbox_get, "Email/get": self._email_get, "Email/query": self._email_query,
            "Email/changes": self._changes, "Mailbox/changes": self._changes, "Blob/get": self._blob_get,
        }  # fmt: skip

    def application(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(client_max_size=16 << 20)
        app.router.add_get("/.well-known/jmap", self._session)
        app.router.add_post("/api", self._api)
        return app

    async def _session(self, _: web.Request) -> web.Response:
        core = {
            "maxObjectsInGet": 4096, "maxObjectsInSet": 4096, "maxCallsInRequest": 50, "maxSizeRequest": 10_485_760,
            "maxConcurrentRequests": 5,
        }  # fmt: skip
        capabilities: dict[str, Any] = {_CORE: core, _MAIL: {}, _BLOB: {}}
        account = {"name": "jane@example.com", "isPersonal": True, "accountCapabilities": {_MAIL: {}, _BLOB: {}}}
        return _reply({
            "capabilities": capabilities, "accounts": {"a": account}, "primaryAccounts": {_MAIL: "a"},
            "username": "jane@example.com", "apiUrl": "/api", "state": "1", "uploadUrl": "/upload/{accountId}/",
            "downloadUrl": "/blobs/{accountId}/{blobId}/{name}?accept={type}",
        })  # fmt: skip

    async def _api(self, request: web.Request) -> web.Response:
        responses: list[list[Any]] = []
        for method, arguments, number in orjson.loads(await request.read())["methodCalls"]:
            ids = arguments.get("#ids")
            if ids:  # those of a query, of changes, or of the contents of mails
                of = next(result for _, result, its in responses if its == ids["resultOf"])
                member = ids["path"].split("/")[1]
                arguments["ids"] = [one["blobId"] for one in of["list"]] if member == "list" else of[member]
            responses.append([method, {"accountId": "a", **self._methods[method](arguments)}, number])
        return _reply({"methodResponses": responses, "sessionState": "1"})

    def _mailbox_get(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        numbers = range(FOLDERS) if arguments["ids"] is None else [int(one[1:]) for one in arguments["ids"]]
        boxes = [
            {
                "id": f"F{number}", "name": f"Folder {number}" if number else "Inbox", "parentId": None,
                "role": None if number else "inbox", "totalEmails": len(range(number, self._mails, FOLDERS)),
                "unreadEmails": 0, "myRights": {"mayReadItems": True},
            }
            for number in numbers
        ]  # fmt: skip
        return {"state": _STATE, "list": boxes, "notFound": []}

    def _email_query(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Mail 0 is the newest, so numbers are positions."""
        anchor = arguments.get("anchor")
        start = arguments.get("position", 0)
        if anchor:
            start = max(0, number_of(int(anchor[1:], 16)) + arguments.get("anchorOffset", 0))
        numbers = range(start, min(self._mails, start + arguments["limit"]))
        return {
            "queryState": _STATE, "canCalculateChanges": False, "position": start, "total": self._mails,
            "ids": [mail_id(number) for number in numbers],
        }  # fmt: skip

    def _email_get(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        properties = arguments.get("properties") or ()
        found = [_email(one, properties) for one in arguments["ids"]]
        return {"state": _STATE, "list": found, "notFound": []}

    def _blob_get(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        sources = [(one, source(number_of(int(one[1:], 16)))) for one in arguments["ids"]]
        found = [{"id": one, "data:asText": text, "size": len(text)} for one, text in sources]
        return {"list": found, "notFound": []}

    def _changes(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        nothing: dict[str, Any] = {"created": [], "updated": [], "destroyed": [], "updatedProperties": None}
        return {"oldState": arguments["sinceState"], "newState": _STATE, "hasMoreChanges": False, **nothing}


def _email(its_id: str, properties: Sequence[str]) -> dict[str, Any]:
    number = number_of(int(its_id[1:], 16))
    text = source(number)
    received = _NEWEST - timedelta(seconds=number)
    email: dict[str, Any] = {
        "id": its_id, "blobId": f"B{its_id[1:]}", "size": len(text), "mailboxIds": {f"F{number % FOLDERS}": True},
        "keywords": {"$seen": True}, "receivedAt": received.strftime("%Y-%m-%dT%H:%M:%SZ"), "hasAttachment": False,
    }  # fmt: skip
    if "bodyValues" in properties:
        body = text.partition("\r\n\r\n")[2]
        part = {"partId": "1", "blobId": f"P{its_id[1:]}", "size": len(body), "type": "text/plain", "charset": "utf-8"}
        email |= {
            "threadId": f"T{its_id[1:]}", "messageId": [f"{hashed(number):x}@example.com"],
            "from": [{"name": "Anna", "email": "anna@example.com"}],
            "to": [{"name": "Jane", "email": "jane@example.com"}], "subject": f"Mail {number}",
            "textBody": [part], "htmlBody": [part], "attachments": [],
            "bodyValues": {"1": {"value": body, "isTruncated": False, "isEncodingProblem": False}},
        }  # fmt: skip
    return email


def _reply(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


async def _serve(mails: int) -> None:
    runner = web.AppRunner(Server(mails).application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _runner.run(_serve(int(sys.argv[1])))
