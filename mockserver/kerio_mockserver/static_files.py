"""The files of the pages `/control/` and `/webmail/`, with their headers.

The pages are plain HTML, CSS and JavaScript modules in the folder `static`, read once. Everything that a page loads
comes from its own origin; the Content-Security-Policy enforces that, forbids inline scripts, and keeps other sites from
embedding the page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

Page = Literal["control", "webmail"]

_TYPES = {
    "html": "text/html; charset=UTF-8",
    "css": "text/css; charset=UTF-8",
    "js": "text/javascript; charset=UTF-8",
    "svg": "image/svg+xml",
}
_STRICT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
_POLICIES: dict[Page, dict[str, str]] = {
    "control": _STRICT | {"require-trusted-types-for": "'script'", "trusted-types": "'none'"},
    # A mail is shown in a sandboxed frame, which inherits this policy: its styles and inline images must be allowed.
    "webmail": _STRICT | {"style-src": "'self' 'unsafe-inline'", "img-src": "'self' data: blob:"},
}
_COMMON = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of a page, and the headers of a reply with it."""

    body: bytes
    headers: Mapping[str, str]

    @property
    def etag(self) -> str:
        """The entity tag, with its quotes."""
        return self.headers["ETag"]


def find(page: Page, name: str) -> StaticFile | None:
    """Return a file of a page by its name ("" is the page itself); None if unknown."""
    return _files(page).get(name or "index.html")


@cache
def _files(page: Page) -> dict[str, StaticFile]:
    """Return the files of a page and those that both pages share."""
    policy = "; ".join(f"{name} {value}" for name, value in _POLICIES[page].items())
    found: dict[str, StaticFile] = {}
    for folder in ("shared", page):
        for entry in files("kerio_mockserver").joinpath("static", folder).iterdir():
            kind = _TYPES.get(entry.name.rpartition(".")[2])
            if kind is not None:
                body = entry.read_bytes()
                headers = {
                    **_COMMON,
                    "Content-Type": kind,
                    "Content-Security-Policy": policy,
                    "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
                }
                found[entry.name] = StaticFile(body, headers)
    return found
