"""Chooses the proxy from the settings and the environment, by curl's rules.

`https_proxy` or `http_proxy` by the server's scheme, then `all_proxy`; lower-case names win. `no_proxy` lists hosts to
reach directly: `*`, names with all names below them, addresses, networks (`10.0.0.0/8`), each with an optional port.
A server on this computer is no exception. HTTP_PROXY counts too, except where REQUEST_METHOD is set: in a CGI program
a request's `Proxy:` header would become that variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from kerio_resync.errors import BadSettings

SCHEMES = {"http": 80, "socks5": 1080, "socks5h": 1080}  # with default ports
DIRECT = ("", "none", "direct")  # values of `proxy` for a direct connection


class Proxy(NamedTuple):
    """A proxy; `scheme` is one of SCHEMES.

    With socks5h the proxy resolves the server's name, with socks5 we do.
    """

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = ""

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_socks(self) -> bool:
        """Return whether it is a SOCKS proxy."""
        return self.scheme != "http"

    def __repr__(self) -> str:
        return f"Proxy({self.scheme}://{self.place})"


def choose_proxy(server: str, setting: str | None, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a server's origin; None to connect directly.

    `setting` (None: not set) wins over the environment. BadSettings for an unusable proxy.
    """
    return choose_with_source(server, setting, environment)[0]


def choose_with_source(server: str, setting: str | None, environment: Mapping[str, str]) -> tuple[Proxy | None, str]:
    """Return the proxy, as `choose_proxy` does, and what decided on it.

    That is "proxy" (the setting), the name of a variable, or "" if nothing names a proxy. BadSettings.
    """
    scheme, name, port = _origin(server)
    if setting is not None and setting.strip().lower() in DIRECT:
        return None, "proxy"
    url, source = setting, "proxy"
    if url is None:
        url, source = _from_environment(scheme, environment)
    if url and is_exempt(name, port, _value("no_proxy", environment)):
        return None, "no_proxy"
    if not url:
        return None, ""
    try:
        return parse_proxy(url), source
    except ValueError as error:
        raise BadSettings(f"{source}: {error}") from None  # the URL may hold a password


def parse_proxy(text: str) -> Proxy:
    """Return the proxy for a URL; http:// is the default scheme.

    ValueError (without the URL) if it is invalid.
    """
    text = text.strip()
    parts = urlsplit(text if "://" in text else f"http://{text}")
    scheme = parts.scheme.lower()
    if scheme == "https":
        raise ValueError("a proxy over TLS (https://) is not supported; most also accept http://")
    if scheme not in SCHEMES:
        raise ValueError("a proxy must be http://, socks5:// or socks5h://, such as http://proxy.example.com:3128")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not parts.hostname or port == 0:
        raise ValueError("not the address of a proxy, such as http://proxy.example.com:3128")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Proxy(scheme, parts.hostname, port or SCHEMES[scheme], user, password)


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Return whether `no_proxy` lists this host.

    `host` is a name, or an address without brackets.
    """
    if no_proxy.strip() == "*":
        return True
    return any(_covers(entry, host.rstrip(".").lower(), port) for entry in no_proxy.replace(",", " ").split())


def _covers(entry: str, host: str, port: int) -> bool:
    address = _address(host)
    entry, at = _without_port(entry.lower())
    if at is not None and at != port:
        return False
    if address is None:
        name = entry.removeprefix("*").removeprefix(".").rstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        return False
    return address.version == network.version and address in network


def _without_port(entry: str) -> tuple[str, int | None]:
    """Split `name:443`, `10.0.0.1:443` and `[::1]:443`.

    An IPv6 address without brackets has no port.
    """
    if entry.startswith("["):
        inner, _, port = entry[1:].partition("]")
        return inner, int(port[1:]) if port[1:].isdecimal() else None
    name, _, port = entry.rpartition(":")
    return (name, int(port)) if name and ":" not in name and port.isdecimal() else (entry, None)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _origin(server: str) -> tuple[str, str, int]:
    parts = urlsplit(server)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _from_environment(scheme: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return a variable's value and name."""
    for name in (f"{scheme}_proxy", "all_proxy"):
        spellings = [name, name.upper()]
        if name == "http_proxy" and "REQUEST_METHOD" in environment:
            spellings = [name]
        for spelling in spellings:
            if value := environment.get(spelling, "").strip():
                return value, spelling
    return "", ""


def _value(name: str, environment: Mapping[str, str]) -> str:
    return environment.get(name) or environment.get(name.upper(), "")
