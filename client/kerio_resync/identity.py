"""Whether two identities name one mailbox: a cache belongs to one account on one server.

A server's id of an account is not enough. Some servers give every user the id "1", others repeat the name that was
typed. So protocol, server and account have to agree, and the names too: the login name that the server states (the
primary address), else the name that was typed and the preferred address. In doubt the answer is no.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from contextlib import suppress
from urllib.parse import urlsplit

from kerio_resync.model import Identity

_DEFAULT_PORTS = {"http": 80, "https": 443}


def same_mailbox(held: Identity, asked: Identity) -> bool:
    """Whether a cache that is `held`'s may be changed, and sent from, as `asked`."""
    if held.protocol != asked.protocol or not same_server(held.server, asked.server):
        return False
    exactly = held.account != asked.account  # then the names alone have to prove it
    if exactly and not (_repeats_a_name(held) and _repeats_a_name(asked)):
        return False
    if held.login and asked.login:
        return _same_name(_full_name(held), _full_name(asked), exactly=exactly)
    return any(_same_name(one, other, exactly=exactly) for one in _names(held) for other in _names(asked))


def same_server(one: str, other: str) -> bool:
    """Whether two addresses name one server. http and https are the same server where each has its default port."""
    return _server(one) == _server(other)


def describe(identity: Identity) -> str:
    """For people: `jane@example.com at https://mail.example.com`."""
    name = identity.login if "@" in identity.login else identity.address or identity.user
    return f"{name} at {identity.server}"


def _server(address: str) -> tuple[str, int]:
    parts = urlsplit(address if "://" in address else f"https://{address}")
    host = (parts.hostname or "").rstrip(".")
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        with suppress(UnicodeError):
            host = host.encode("idna").decode().lower()
    try:
        port = parts.port
    except ValueError:
        port = -1
    default = port is None or port == _DEFAULT_PORTS.get(parts.scheme.lower())
    return host, 0 if default else port or 0


def _repeats_a_name(identity: Identity) -> bool:
    """Whether the account's id is nothing but the login name once more."""
    return any(_same_name(identity.account, each) for each in (identity.user, identity.login) if each)


def _names(identity: Identity) -> list[str]:
    """What the mailbox is known by."""
    return [each for each in (_full_name(identity), identity.user, identity.address) if each]


def _full_name(identity: Identity) -> str:
    """The login name, with the domain of the typed name or of the address if it has none itself."""
    login = identity.login or identity.user
    if "@" in login:
        return login
    return next((each for each in (identity.user, identity.address) if _completes(each, login)), login)


def _same_name(one: str, other: str, *, exactly: bool = False) -> bool:
    """Case and normalisation aside; a domain may be missing on one side, but not if `exactly`."""
    one, other = (unicodedata.normalize("NFC", each).strip().casefold() for each in (one, other))
    if one == other:
        return True
    return not exactly and ("@" in one) != ("@" in other) and one.partition("@")[0] == other.partition("@")[0]


def _completes(name: str, login: str) -> bool:
    return "@" in name and _same_name(name, login)
