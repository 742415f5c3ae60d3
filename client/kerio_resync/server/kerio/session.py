"""The session: its token and its cookies.

They are sent to the server that issued them, and to no other.

There is one login at a time, however many calls find the session expired. A refused login is refused for all of them:
accounts are locked after a few wrong passwords. Addresses from the server are resolved against its origin, or refused.
No secret is shown: `repr` has none, and the `redactor` removes them from what the server says.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from urllib.parse import SplitResult, quote, urlsplit

from kerio_resync.errors import BadCredentials, ForeignAddress
from kerio_resync.redaction import Redactor
from kerio_resync.server.pacing.requests import retrieve_exception

# What a client has to keep at least (RFC 6265, 6.1); a flood of cookies would go out with each call.
MAX_COOKIES, MAX_COOKIE_CHARACTERS = 50, 4096
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
# A path that needs no change; most are such, and parsing thousands of them takes time.
_PLAIN = re.compile(r"(?:/(?!\.{0,2}(?:/|$))[A-Za-z0-9%:@!$&'()*+,;=~._-]+)+")
_UNSAFE = re.compile(r"[\x00-\x1f\\\x7f]")
_COOKIE = re.compile(r"\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)=([^;,\s\"\\]*|\"[^;,\s\"\\]*\")\s*(?:;|$)")  # RFC 6265, 4.1.1


class Session:
    """The session at `origin`, such as https://mail.example.com.

    `generation` counts the logins; 0 before the first. `redactor` learns each token and cookie.
    """

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
        """Begin with a login's token. `set_cookie`: the header's values, one per line."""
        self._token = token
        self._cookies = {}
        for line in set_cookie.split("\n"):
            found = _COOKIE.match(line)
            if found and len(found[0]) <= MAX_COOKIE_CHARACTERS and len(self._cookies) < MAX_COOKIES:
                self._cookies[found[1]] = found[2]
        self.generation += 1
        self.redactor.keep(token, *(value.strip('"') for value in self._cookies.values()))

    def end(self) -> None:
        """Forget the token and the cookies."""
        self._token, self._cookies = "", {}

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers that carry the session.

        ForeignAddress if `url` is on another server.
        """
        if not (url.startswith(self.origin) and url[len(self.origin) : len(self.origin) + 1] in ("", "/", "?")):
            raise ForeignAddress("a URL on another server")
        headers: dict[str, str] = {}
        if self._token:
            headers["X-Token"] = self._token
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return headers

    async def renew(self, seen: int, login: Callable[[], Awaitable[None]]) -> None:
        """Log in, unless that has happened since generation `seen`.

        Concurrent callers share one login.
        """
        if self.generation != seen:
            return
        if self._refused is not None:
            raise self._refused
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.ensure_future(self._run(login))
            self._renewal.add_done_callback(retrieve_exception)
        # Shielded: the task that started the login may be cancelled while others wait for it.
        await asyncio.shield(self._renewal)

    async def _run(self, login: Callable[[], Awaitable[None]]) -> None:
        try:
            await login()
        except BadCredentials as error:
            self._refused = error
            raise

    async def close(self) -> None:
        """Cancel a login in progress, and forget the session."""
        if self._renewal and not self._renewal.done():
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        self.end()


def resolve_url(origin: str, url: str) -> str:
    """Resolve an address from the server at `origin`.

    ForeignAddress if it is on another server.

    The result consists of `origin` and the address's path and query, so no two parsers can disagree on the host.
    """
    if _PLAIN.fullmatch(url):
        return origin + url
    try:
        # Not urljoin, which resolves `..`: here it can be the name of an attachment.
        base, parts = urlsplit(origin), urlsplit(url if _ABSOLUTE.match(url) else f"{origin}/{url.removeprefix('/')}")
        same = (parts.scheme, parts.hostname, _port(parts)) == (base.scheme, base.hostname, _port(base))
        has_login = parts.username is not None or parts.password is not None
    except ValueError:
        same = has_login = False
    if not same or has_login or not url or _UNSAFE.search(url):
        raise ForeignAddress("an attachment's URL is invalid, or on another server")
    path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
    path = "/".join(part.replace(".", "%2E") if part in (".", "..") else part for part in path.split("/"))
    return origin + path + (f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?')}" if parts.query else "")


def _port(parts: SplitResult) -> int | None:
    return parts.port or {"https": 443, "http": 80}.get(parts.scheme)
