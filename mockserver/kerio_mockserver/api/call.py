"""One call as a method sees it, and the list of methods.

A method takes a `Call` and returns its result: an object for `orjson`, or `Encoded` for what is JSON already. It
raises `Refusal` for everything it will not do. Methods are plain functions unless they wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kerio_mockserver.messages import Request

if TYPE_CHECKING:
    from kerio_mockserver.api.account import Preferences
    from kerio_mockserver.api.changes import Polls
    from kerio_mockserver.api.downloads import Archives
    from kerio_mockserver.api.session import Session, Sessions
    from kerio_mockserver.conditions.model import Quirks
    from kerio_mockserver.mailbox.store import MailboxStore


class Server(Protocol):
    """What a method may use of the server it belongs to."""

    user: str
    password: str
    secure: bool
    generation: int
    store: MailboxStore
    sessions: Sessions
    polls: Polls
    archives: Archives
    preferences: Preferences

    @property
    def quirks(self) -> Quirks: ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """A result that is JSON already."""

    data: bytes


@dataclass(slots=True)
class Call:
    """`params` are checked against the reference; `session` is there unless the method needs none."""

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
    run: Method
    session: bool
    token: bool


METHODS: dict[str, Entry] = {}


def method(name: str, *, session: bool = True, token: bool = True) -> Callable[[Method], Method]:
    """Registers a function as the API method `name`; `session`: only for those who are logged in, `token`: and prove it
    by the header too."""

    def register(run: Method) -> Method:
        METHODS[name] = Entry(run, session, token)
        return run

    return register
