"""Decides whether two identities name one mailbox.

A cache belongs to one account on one server.

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
    """Return whether a cache of `held` may be changed, and sent from, as `asked`."""
    if held.protocol != asked.protocol or not same_server(held.server, asked.server):
        return False
    exactly = held.account != asked.account  # then the names alone have to prove it
    if exactly and not (_repeats_a_name(held) and _repeats_a_name(asked)):
        return False
    if held.login and asked.login:
        return _same_name(_full_name(held), _full_name(asked), exactly=exactly)
    return any(_same_name(name, other, exactly=exactly) for name in _names(held) for other in _names(asked))


def same_server(first: str, second: str) -> bool:
    """Return whether two addresses name one server.

    http and https are the same server where each has its default port.
    """
    return _server(first) == _server(second)


def describe(identity: Identity) -> str:
    """Return a text for users: `jane@example.com at https://mail.example.com`."""
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
    """Return whether the account's id is nothing but the login name once more."""
    return any(_same_name(identity.account, name) for name in (identity.user, identity.login) if name)


def _names(identity: Identity) -> list[str]:
    """Return the names that the mailbox is known by."""
    return [name for name in (_full_name(identity), identity.user, identity.address) if name]


def _full_name(identity: Identity) -> str:
    """Return the login name with a domain.

    If it has none itself, the domain is that of the typed name or of the address.
    """
    login = identity.login or identity.user
    if "@" in login:
        return login
    return next((name for name in (identity.user, identity.address) if _completes(name, login)), login)


def _same_name(first: str, second: str, *, exactly: bool = False) -> bool:
    """Return whether two names are equal, case and normalisation aside.

    A domain may be missing on one side, but not if `exactly`.
    """
    first, second = (unicodedata.normalize("NFC", name).strip().casefold() for name in (first, second))
    if first == second:
        return True
    return not exactly and ("@" in first) != ("@" in second) and first.partition("@")[0] == second.partition("@")[0]


def _completes(name: str, login: str) -> bool:
    return "@" in name and _same_name(name, login)
