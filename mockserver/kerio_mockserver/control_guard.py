"""Keeps other machines, and web pages of other sites, from the control port.

Unless the control port was opened to other machines, the other end of a connection must have a loopback address.

A page may send requests to any port of this machine, and by DNS rebinding it may even read the replies. So `Host` must
be a loopback name, or the address that the connection was made to, with the port. `Origin` and `Sec-Fetch-Site`, where
a browser sends them, must name the control port itself. A body must be JSON, which a page of another site cannot send
without a preflight request. Only the control page itself may be opened by a link from elsewhere, in a window of its
own: it is the same for everybody, does nothing by itself, and its headers forbid other sites to embed it.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from multidict import CIMultiDictProxy

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_OWN_SITES = frozenset({"same-origin", "none"})
_NOT_SIMPLE = frozenset({"application/json", "application/octet-stream"})
"""What no page can send elsewhere unasked. Clients say octet-stream of bodies that are empty."""
_DEFAULT_PORT = 80
_LINK = ["navigate", "document"]  # Sec-Fetch-Mode and Sec-Fetch-Dest of a link that a user follows


class Foreign(Exception):
    """A refused request: `status` and the reason as a sentence."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def is_loopback(host: str) -> bool:
    """Return whether an address is one that only this machine can reach."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def require_local(peer: Any) -> None:
    """Raise Foreign unless the other end of the connection is this machine.

    The other end is a socket's address.
    """
    if not peer or not is_loopback(str(peer[0])):
        raise Foreign(403, "The control port answers this machine only; see --control-host.")


def check(
    target: str, headers: CIMultiDictProxy[str], listening: Any, *, has_body: bool, opens_page: bool = False
) -> None:
    """Raise Foreign unless the request is one of this machine's own.

    `listening` is the socket's own address. `opens_page`: the request is a GET of the control page.
    """
    host, port = str(listening[0]), int(listening[1])
    hosts = headers.getall("Host", [])
    if len(hosts) != 1 or not _is_own(hosts[0], host, port) or not target.startswith("/"):
        raise Foreign(403, f"The Host header must name this machine, such as 127.0.0.1:{port}.")
    origins = headers.getall("Origin", [])
    if any(not origin.lower().startswith("http://") or not _is_own(origin[7:], host, port) for origin in origins):
        raise Foreign(403, "Requests of web pages from elsewhere are refused (Origin).")
    follows_link = opens_page and [headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest")] == _LINK
    if not follows_link and not _OWN_SITES.issuperset(
        site.strip().lower() for site in headers.getall("Sec-Fetch-Site", [])
    ):
        raise Foreign(403, "Requests of web pages from elsewhere are refused (Sec-Fetch-Site).")
    kinds = [_media_type(kind) for kind in headers.getall("Content-Type", [])]
    if kinds != ["application/json"] and (has_body or not _NOT_SIMPLE.issuperset(kinds)):
        raise Foreign(415, "The body must be JSON, with Content-Type: application/json.")


def _is_own(authority: str, host: str, port: int) -> bool:
    """Return whether `host:port` of a request names this port of this machine."""
    name, colon, digits = authority.rpartition(":")
    if not colon or digits.endswith("]"):
        name, digits = authority, str(_DEFAULT_PORT)
    if digits != str(port):
        return False
    name = name.lower()
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    return name in LOCAL_NAMES or _address(name) == _address(host)


def _address(name: str) -> object:
    """Return an address as a value that equals it in any spelling.

    A name equals only itself.
    """
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return name
    return getattr(address, "ipv4_mapped", None) or address


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().lower()
