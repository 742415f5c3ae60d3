"""Sessions: who is logged in, and for how long.

A session is the cookie `SESSION_CONNECT_WEBMAIL` and, on each call, the header `X-Token` with the token that login
gave; `token` in the envelope or in the params is tolerated and proves nothing. It ends after two hours of idleness,
after 312 hours in any case, on logout, if so set when the client's address changes, and when there are `MAX_SESSIONS`
newer ones. What has ended answers -32001
for ever. Ages are measured by the clock that the caller hands in, so that they can pass in no time.

Clients in the field log out with the cookie alone, and some send only the first of the two cookies, which is enough.

Open (the vendor does not say; chosen here): the session must be proven by cookie and header both; a download and a
logout need the cookie only, but a wrong header is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from random import Random
from typing import Any

from kerio_mockserver.api.call import Call, method
from kerio_mockserver.api.errors import FAILED, ApiError, expired
from kerio_mockserver.conditions.model import Quirks

SESSION_COOKIE = "SESSION_CONNECT_WEBMAIL"
TOKEN_COOKIE = "TOKEN_CONNECT_WEBMAIL"
COOKIE_PATH = "/webmail/"
MAX_SESSIONS = 10_000


@dataclass(slots=True)
class Session:
    """One login. Times in seconds of the server's clock."""

    cookie: str
    token: str
    peer: str
    opened: float
    used: float


class Sessions:
    """The open sessions, which live as long as `quirks` say."""

    def __init__(self, quirks: Quirks, *, seed: int = 0) -> None:
        self.quirks = quirks
        self._seed = seed
        self._opened = 0
        self._open: OrderedDict[str, Session] = OrderedDict()  # the longest unused first

    def __len__(self) -> int:
        return len(self._open)

    @property
    def opened(self) -> int:
        """How many logins there have been."""
        return self._opened

    def open(self, peer: str, now: float) -> Session:
        random = Random(f"{self._seed}/session/{self._opened}")
        self._opened += 1
        cookie, token = (hashlib.sha256(random.randbytes(32)).hexdigest() for _ in range(2))
        session = Session(cookie, token, peer, now, now)
        while self._open and (len(self._open) >= MAX_SESSIONS or self._idle(next(iter(self._open.values())), now)):
            self._open.popitem(last=False)
        self._open[cookie] = session
        return session

    def find(self, headers: Mapping[str, str], peer: str, now: float, *, header_needed: bool = True) -> Session:
        """The session that the request proves, its idle time starting again. Refusal -32001 if there is none."""
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
        self._open.pop(session.cookie, None)

    def close_all(self) -> None:
        """Every session dies at once, as when the server restarts."""
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
    """The request's cookies; none if the header can't be understood."""
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


def set_cookies(session: Session, *, secure: bool) -> list[str]:
    """The `Set-Cookie` values of a login: the session's is out of reach of scripts, the token's is not."""
    tail = f"; Path={COOKIE_PATH}" + ("; Secure" if secure else "")
    return [f"{SESSION_COOKIE}={session.cookie}{tail}; HttpOnly", f"{TOKEN_COOKIE}={session.token}{tail}"]


def drop_cookies() -> list[str]:
    """The `Set-Cookie` values of a logout."""
    return [f"{name}=; Path={COOKIE_PATH}; Max-Age=0" for name in (SESSION_COOKIE, TOKEN_COOKIE)]


@method("Session.login", session=False)
def login(call: Call) -> dict[str, Any]:
    server = call.server
    known = call.params["userName"].casefold() in {server.user.casefold(), server.user.partition("@")[0].casefold()}
    right = hmac.compare_digest(call.params["password"].encode(), server.password.encode())
    if not (known and right):
        raise ApiError(FAILED, "Invalid user name or password.")
    session = server.sessions.open(call.request.peer, call.now)
    call.set_cookies += set_cookies(session, secure=server.secure)
    return {"token": session.token}


@method("Session.logout", token=False)
def logout(call: Call) -> dict[str, Any]:
    call.server.sessions.close(call.session)
    call.set_cookies += drop_cookies()
    return {}


@method("Session.whoAmI")
def who_am_i(call: Call) -> dict[str, Any]:
    store = call.server.store
    address = f"{store.user}@{store.domain}"
    return {
        "userDetails": {
            "id": f"keriostorage://user/{store.domain}/{store.user}",
            "loginName": address,
            "fullName": store.user.replace(".", " ").title(),
            "emails": [address],
            "preferredAddress": address,
            "replyToAddress": "",
        }
    }


@method("Session.getQuotaInformation")
def quota(call: Call) -> dict[str, Any]:
    return {"quotaInfo": call.server.store.quota()}


@method("Session.canUserChangePassword")
def can_change_password(call: Call) -> dict[str, Any]:
    return {"isEligible": False}


@method("Session.getAvailableLanguages")
def languages(call: Call) -> dict[str, Any]:
    return {"languages": [{"name": "English", "code": "en-US", "shortCode": "en"}]}


@method("Session.getAvailableTimeZones")
def time_zones(call: Call) -> dict[str, Any]:
    return {"zones": ["(GMT) Greenwich Mean Time", "(GMT +01:00) Central European Time"]}
