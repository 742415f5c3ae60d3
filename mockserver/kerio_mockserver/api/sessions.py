"""Sessions: login state, its cookies and its lifetime.

A session is the cookie `SESSION_CONNECT_WEBMAIL` and, on each call, the header `X-Token` with the token that login
returned; a `token` in the envelope or the parameters is accepted and ignored. A session ends after two hours of
idleness, after 312 hours in any case, on logout, optionally when the client's address changes, and when there are
`MAX_SESSIONS` newer ones. An ended session answers -32001. The caller passes the clock, so that tests can let hours
pass at once.

Clients in the field log out with the cookie alone, and some send only the first of the two cookies, which is enough.

Open (the vendor does not document it; chosen here): a call needs cookie and header; a download and a logout need the
cookie only, but a wrong header is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from random import Random

from kerio_mockserver.api.errors import expired
from kerio_mockserver.conditions.model import Quirks

SESSION_COOKIE = "SESSION_CONNECT_WEBMAIL"
TOKEN_COOKIE = "TOKEN_CONNECT_WEBMAIL"
COOKIE_PATH = "/webmail/"
MAX_SESSIONS = 10_000


@dataclass(slots=True)
class Session:
    """One login; times are in seconds of the server's clock."""

    cookie: str
    token: str
    peer: str
    opened: float
    used: float


class Sessions:
    """The open sessions; `quirks` sets how long they live."""

    def __init__(self, quirks: Quirks, *, seed: int = 0) -> None:
        self.quirks = quirks
        self._seed = seed
        self._opened = 0
        self._open: OrderedDict[str, Session] = OrderedDict()  # least recently used first

    def __len__(self) -> int:
        return len(self._open)

    @property
    def opened(self) -> int:
        """The number of logins so far."""
        return self._opened

    def open(self, peer: str, now: float) -> Session:
        """Open a session; drop the least recently used one if there are too many."""
        random = Random(f"{self._seed}/session/{self._opened}")
        self._opened += 1
        cookie, token = (hashlib.sha256(random.randbytes(32)).hexdigest() for _ in range(2))
        session = Session(cookie, token, peer, now, now)
        while self._open and (len(self._open) >= MAX_SESSIONS or self._idle(next(iter(self._open.values())), now)):
            self._open.popitem(last=False)
        self._open[cookie] = session
        return session

    def find(self, headers: Mapping[str, str], peer: str, now: float, *, header_needed: bool = True) -> Session:
        """Return the request's session and restart its idle time; raise ApiError -32001."""
        session = self._open.get(cookies(headers).get(SESSION_COOKIE, ""))
        if session is None:
            raise expired()
        if self._over(session, peer, now):
            self.close(session)
            raise expired()
        token = headers.get("x-token")
        if token is None:
            if header_needed:
                raise expired()
        elif not hmac.compare_digest(token.encode(), session.token.encode()):
            raise expired()
        session.used = now
        self._open.move_to_end(session.cookie)
        return session

    def close(self, session: Session) -> None:
        """End a session."""
        self._open.pop(session.cookie, None)

    def close_all(self) -> None:
        """End all sessions, as a restart of the server does."""
        self._open.clear()

    def _idle(self, session: Session, now: float) -> bool:
        return now - session.used > self.quirks.session_idle_s

    def _over(self, session: Session, peer: str, now: float) -> bool:
        return (
            self._idle(session, now)
            or now - session.opened > self.quirks.session_s
            or (self.quirks.session_bound_to_address and peer != session.peer)
        )


def cookies(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the request's cookies; {} if the header is malformed."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def set_cookies(session: Session, *, secure: bool) -> list[str]:
    """Return the `Set-Cookie` values of a login; scripts cannot read the session's."""
    tail = f"; Path={COOKIE_PATH}" + ("; Secure" if secure else "")
    return [f"{SESSION_COOKIE}={session.cookie}{tail}; HttpOnly", f"{TOKEN_COOKIE}={session.token}{tail}"]


def clear_cookies() -> list[str]:
    """Return the `Set-Cookie` values of a logout."""
    return [f"{name}=; Path={COOKIE_PATH}; Max-Age=0" for name in (SESSION_COOKIE, TOKEN_COOKIE)]
