"""Which proxy leads to a server: decided from the settings and the environment, as curl decides.

`https_proxy` or `http_proxy` by the server's scheme, then `all_proxy`; the lower-case name comes before the upper-case
one. `no_proxy` names hosts that are reached directly, whatever else is set: `*`, names with all names below them,
addresses, networks (`10.0.0.0/8`). Beyond curl an entry may have a port. As with curl, a server on this computer is no
exception. Unlike curl, HTTP_PROXY counts too, but not where REQUEST_METHOD is set: in a CGI program a request's
`Proxy:` header would become that variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from kerio_resync.errors import BadSettings

SCHEMES = {"http": 80, "socks5": 1080, "socks5h": 1080}  # and the default ports
DIRECT = ("", "none", "direct")  # what `proxy` may say to use none


class Proxy(NamedTuple):
    """`scheme` of SCHEMES; with socks5h the proxy looks up the server's name, with socks5 this computer does."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = ""

    @property
    def place(self) -> str:
        """Host and port, as they may be shown."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_socks(self) -> bool:
        return self.scheme != "http"

    def __repr__(self) -> str:
        return f"Proxy({self.scheme}://{self.place})"


def choose_proxy(server: str, setting: str | None, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for a server's origin; None to connect directly. `setting` (None: not set) comes before the
    environment. BadSettings for a proxy that cannot be used."""
    scheme, name, port = _origin(server)
    if setting is not None and setting.strip().lower() in DIRECT:
        return None
    found, where = setting, "proxy"
    if found is None:
        found, where = _from_environment(scheme, environment)
    if not found or is_exempt(name, port, _value("no_proxy", environment)):
        return None
    try:
        return parse_proxy(found)
    except ValueError as error:
        raise BadSettings(f"{where}: {error}") from None  # what it was read from may hold a password


def parse_proxy(text: str) -> Proxy:
    """A proxy from its URL; without a scheme it is an HTTP proxy. ValueError, without the URL, if it is unusable."""
    text = text.strip()
    parts = urlsplit(text if "://" in text else f"http://{text}")
    scheme = parts.scheme.lower()
    if scheme == "https":
        raise ValueError("a proxy that is spoken to in TLS (https://) is not supported; most also speak http://")
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
    """Whether the list says that this host (a name or an address, without brackets) is reached directly."""
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
    """`name:443`, `10.0.0.1:443` and `[::1]:443`; an IPv6 address without brackets has no port."""
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
    """The value, and the name of the variable that has it."""
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
