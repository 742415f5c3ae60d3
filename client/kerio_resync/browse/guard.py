"""Lets only the owner's browser in, and sets the headers that limit each page.

- The `Host` has to be the address that was opened. A web page cannot reach the server by a name of its own (DNS
  rebinding).
- Each page but the one for the one-time address needs datasette's signed cookie. Its name has the port, because
  browsers send a cookie to all ports of a host, and each run signs with a key of its own.
- Only GET and HEAD are answered, so no page can change anything.
- Browsers say where a request comes from (`Sec-Fetch-Site`). Other sites, also those at other ports of this computer,
  may only open a page in a window, so they can neither frame one nor load one as an image or a script.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

from itsdangerous import BadSignature

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Unsign = Callable[[str, str], Any]

LOGIN_PATH: Final = "/-/auth-token"
_COOKIE: Final = "ds_actor"
# Datasette's own pages have inline scripts; the pages with text of mails have a policy of their own.
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-dns-prefetch-control", "off"),
    ("content-security-policy", _POLICY),
    ("cache-control", "no-store"),
)


class Guard:
    """The outermost layer of the application.

    `port`: where the server listens. `unsign`: datasette's, raises BadSignature.
    """

    def __init__(self, app: App, port: int, unsign: Unsign) -> None:
        self._app, self._unsign = app, unsign
        self._hosts = frozenset(f"{host}:{port}" for host in ("127.0.0.1", "localhost"))
        self._cookie = f"{_COOKIE}_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal:
            await _refuse(send, *refusal)
        else:
            actor = {"actor": {"id": "owner"}} if scope["path"] != LOGIN_PATH else {}
            await self._app({**scope, **actor}, receive, self._with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}; {text}" if key == "cookie" and key in headers else text
        if headers.get("host", "").lower() not in self._hosts:
            return 421, "This server answers only at the address that `kerio-resync browse` printed."
        opens_window = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opens_window:
            return 403, "Other sites may not use these pages."
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "These pages are read-only."
        if scope["path"] != LOGIN_PATH and not self._is_owner(headers.get("cookie", "")):
            return (
                403,
                "Open the address that `kerio-resync browse` printed. Each run prints a new one, for one browser.",
            )
        return None

    def _is_owner(self, header: str) -> bool:
        try:
            cookie = SimpleCookie(header).get(self._cookie)
            found = self._unsign(cookie.value, "actor") if cookie else None
        except (CookieError, BadSignature):
            return False
        return isinstance(found, dict) and found.get("a") == {"id": "root"}

    def _with_headers(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [(bytes(name).lower(), value) for name, value in message["headers"]]
                names = {name for name, _ in given}
                headers = [(name, self._own_cookie(value) if name == b"set-cookie" else value) for name, value in given]
                headers += [(name.encode(), value.encode()) for name, value in _HEADERS if name.encode() not in names]
                message = {**message, "headers": headers}
            await send(message)

        return send_with_headers

    def _own_cookie(self, cookie: bytes) -> bytes:
        start = f"{_COOKIE}=".encode()
        if not cookie.startswith(start):
            return cookie
        return f"{self._cookie}=".encode() + cookie.removeprefix(start) + b"; HttpOnly"


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [(name.encode(), value.encode()) for name, value in _HEADERS]
    headers.append((b"content-type", b"text/plain; charset=utf-8"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{text}\n".encode()})
