"""The session: its token and cookies, for the server that issued them and nobody else.

Promises: one login at a time, however many calls find the session dead; a refused login is refused for all of them, so
that a wrong password is not tried forty times; addresses from the server are resolved against its origin, or refused.
Nothing here shows a secret: `repr` has none, and the `redactor` takes them out of what the server says.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from kerio_resync.errors import BadCredentials, ForeignAddress
from kerio_resync.redaction import Redactor

# How many cookies a client has to keep, and how long (RFC 6265, 6.1); a flood would go out with each call.
COOKIES, COOKIE = 50, 4096
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
# A path of ours that needs no change: most are such, and looking twice at each of thousands takes its time.
_PLAIN = re.compile(r"(?:/(?!\.{0,2}(?:/|$))[A-Za-z0-9%:@!$&'()*+,;=~._-]+)+")
_UNSAFE = re.compile(r"[\x00-\x1f\\\x7f]")
_COOKIE = re.compile(r"\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=([^;,\s\"\\]*|\"[^;,\s\"\\]*\")\s*(?:;|$)")  # RFC 6265, 4.1.1


class Session:
    """`origin` such as https://mail.example.com; `generation` counts the logins, 0 before the first. `redactor` learns
    each token and cookie."""

    def __init__(self, origin: str, redactor: Redactor | None = None) -> None:
        self.origin = origin
        self.redactor = redactor or Redactor()
        self.generation = 0
        self._token = ""
        self._cookies: dict[str, str] = {}
        self._renewal: asyncio.Task[None] | None = None
        self._refused: BadCredentials | None = None

    def __repr__(self) -> str:
        return f"Session({self.origin!r}, generation={self.generation}, {'open' if self._token else 'closed'})"

    def begin(self, token: str, set_cookie: str) -> None:
        """A login has succeeded. `set_cookie`: the header's values, one a line."""
        self._token = token
        self._cookies = {}
        for line in set_cookie.split("\n"):
            if (found := _COOKIE.match(line)) and len(found[0]) <= COOKIE and len(self._cookies) < COOKIES:
                self._cookies[found[1]] = found[2]
        self.generation += 1
        self.redactor.keep(token, *(value.strip('"') for value in self._cookies.values()))

    def end(self) -> None:
        self._token, self._cookies = "", {}

    def headers(self, url: str) -> dict[str, str]:
        """What proves us to the server. ForeignAddress if `url` is not that server's."""
        if not (url.startswith(self.origin) and url[len(self.origin) : len(self.origin) + 1] in ("", "/", "?")):
            raise ForeignAddress("an address of another server")
        headers: dict[str, str] = {}
        if self._token:
            headers["X-Token"] = self._token
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return headers

    async def renew(self, seen: int, login: Callable[[], Awaitable[None]]) -> None:
        """Logs in, unless that has happened since generation `seen` or is happening now; all get the same outcome."""
        if self.generation != seen:
            return
        if self._refused is not None:
            raise self._refused
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.ensure_future(self._run(login))
            self._renewal.add_done_callback(retrieve)
        # shielded: who started the login may be cancelled, the others still wait for it
        await asyncio.shield(self._renewal)

    async def _run(self, login: Callable[[], Awaitable[None]]) -> None:
        try:
            await login()
        except BadCredentials as error:
            self._refused = error  # it would be refused again, and accounts are locked for that
            raise

    async def close(self) -> None:
        if self._renewal and not self._renewal.done():
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        self.end()


def retrieve(task: asyncio.Task[None]) -> None:
    """Takes the exception's notice: those who waited may all have been cancelled."""
    if not task.cancelled():
        task.exception()


def resolve_url(origin: str, url: str) -> str:
    """An address from the server, absolute and at `origin`; ForeignAddress if it leads anywhere else.

    The result is put together from `origin` and the address's path and query, so that no two parsers can disagree on
    the host.
    """
    if _PLAIN.fullmatch(url):
        return origin + url
    try:
        # Not urljoin, which takes `..` for a step upwards: here it is what an attachment is called.
        here, there = urlsplit(origin), urlsplit(url if _ABSOLUTE.match(url) else f"{origin}/{url.removeprefix('/')}")
        same = (there.scheme, there.hostname, _port(there)) == (here.scheme, here.hostname, _port(here))
        stranger = there.username is not None or there.password is not None
    except ValueError:
        same = stranger = False
    if not same or stranger or not url or _UNSAFE.search(url):
        raise ForeignAddress("the address of an attachment leads to another place, or nowhere")
    path = quote(there.path, safe="/%:@!$&'()*+,;=~-._")
    path = "/".join(part.replace(".", "%2E") if part in (".", "..") else part for part in path.split("/"))
    return origin + path + (f"?{quote(there.query, safe='/%:@!$&()*+,;=~-._?')}" if there.query else "")


def _port(parts: object) -> int | None:
    port: int | None = getattr(parts, "port", None)
    scheme: str = getattr(parts, "scheme", "")
    return port or {"https": 443, "http": 80}.get(scheme)
