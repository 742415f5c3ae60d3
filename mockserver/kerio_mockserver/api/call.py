"""One API call, the server as a method sees it, and the registry of methods.

A method takes a `Call` and returns its result: an object for `orjson`, or `Encoded` if the result is JSON already. It
raises `ApiError` to refuse. Methods are plain functions unless they wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kerio_mockserver.api.sessions import Session, Sessions
from kerio_mockserver.api.state import Archives, LongPolls, Preferences
from kerio_mockserver.conditions.model import Quirks
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.messages import Request


class Server(Protocol):
    """The server as API methods use it."""

    user: str
    password: str
    secure: bool
    generation: int
    store: MailboxStore
    sessions: Sessions
    polls: LongPolls
    archives: Archives
    preferences: Preferences

    @property
    def quirks(self) -> Quirks:
        """How the server deviates from the documentation."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A result that is already encoded as JSON."""

    data: bytes


@dataclass(slots=True)
class Call:
    """One call; `params` match the reference, `session` is set if it needs one."""

    server: Server
    request: Request
    method: str
    params: dict[str, Any]
    now: float
    session: Session = field(init=False)
    set_cookies: list[str] = field(default_factory=list)


Result = dict[str, Any] | Encoded
Method = Callable[[Call], "Result | Awaitable[Result]"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered method and whether a call needs a session and its token."""

    run: Method
    session: bool
    token: bool


METHODS: dict[str, Entry] = {}


def method(name: str, *, session: bool = True, token: bool = True) -> Callable[[Method], Method]:
    """Register a function as the API method `name`.

    With `session` the call needs the session cookie, with `token` the `X-Token` header as well.
    """

    def register(run: Method) -> Method:
        METHODS[name] = Entry(run, session, token)
        return run

    return register
