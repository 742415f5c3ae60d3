"""A Kerio server whose methods are Python functions, reached without sockets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import respx
from pydantic import SecretStr

from kerio_resync.events import Event
from kerio_resync.model import Folder
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.settings import Settings
from simulation.virtual_time import run
from tests.support.respx_transport import RouterTransport

ORIGIN = "https://mail.example.com"
PASSWORD = "correct-horse-battery"
COOKIES = [
    ("Set-Cookie", "SESSION_CONNECT_WEBMAIL=s3ss10n; Path=/webmail/"),
    ("Set-Cookie", "TOKEN_CONNECT_WEBMAIL=t0k"),
]

INBOX = Folder("f1", "f0", "Inbox", "mail")
Method = Callable[[dict[str, Any]], Any]


def error(code: int, message: str = "no") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


@dataclass
class Scripted:
    """A server whose methods map params to a result, an `error(…)` or a response."""

    methods: dict[str, Method] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tokens: int = 0
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.router = respx.Router(assert_all_called=False)
        self.router.post(f"{ORIGIN}/webmail/api/jsonrpc/").mock(side_effect=self.answer)
        self.transport = RouterTransport(self.router)
        self.methods.setdefault("Session.logout", lambda params: {})
        self.methods.setdefault(
            "Session.whoAmI", lambda params: {"userDetails": {"id": "u1", "preferredAddress": "j@x"}}
        )

    def mailbox(self, **settings: Any) -> KerioMailbox:
        made = Settings(profile=Path("nowhere"), server=ORIGIN, user="jane", password=SecretStr(PASSWORD), **settings)
        return KerioMailbox(made, self.events.append, transport=self.transport, chance=lambda: 1.0)

    def answer(self, request: httpx.Request) -> httpx.Response:
        message = json.loads(request.content)
        name, params = message["method"], message["params"]
        self.calls[name] += 1
        self.asked.append((name, params))
        if name == "Session.login" and name not in self.methods:
            self.tokens += 1
            return httpx.Response(200, json={"result": {"token": f"token-{self.tokens}"}}, headers=COOKIES)
        found = self.methods[name](params)
        if isinstance(found, httpx.Response):
            return found
        if isinstance(found, Exception):
            raise found
        return httpx.Response(
            200, json=found if "error" in found else {"jsonrpc": "2.0", "id": message["id"], "result": found}
        )


def answers(*values: Any) -> Method:
    """One answer after the other; the last one for ever."""
    left = list(values)
    return lambda params: left.pop(0) if len(left) > 1 else left[0]


def opened(server: Scripted, work: Callable[[KerioMailbox], Coroutine[Any, Any, Any]], **settings: Any) -> Any:
    """What `work` makes of a mailbox that is open, in virtual time."""

    async def main() -> Any:
        mailbox = server.mailbox(**settings)
        try:
            await mailbox.open()
            return await work(mailbox)
        finally:
            await mailbox.close()

    return run(main())


def mail(n: int | str, **members: Any) -> dict[str, Any]:
    return {"id": f"m{n}", "folderId": "f1", "watermark": 1, "subject": f"subject {n}", **members}
