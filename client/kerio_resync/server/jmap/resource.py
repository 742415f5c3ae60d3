"""The JMAP session resource (RFC 8620, 2): a server's offers and addresses.

`parse_resource` is pure. It reads what servers in use send: relative addresses, missing members, limits of 0.
UnknownServer if the document cannot be a session resource, ForeignAddress if it names an unusable address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urljoin, urlsplit

from kerio_resync.errors import ForeignAddress, UnknownServer

CORE: Final = "urn:ietf:params:jmap:core"
MAIL: Final = "urn:ietf:params:jmap:mail"
BLOB: Final = ("urn:ietf:params:jmap:blob", "https://cyrusimap.org/ns/jmap/blob")  # RFC 9404, and Cyrus before it
QUOTA: Final = ("urn:ietf:params:jmap:quota", "https://cyrusimap.org/ns/jmap/quota")  # RFC 9425, and Cyrus before it


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server accepts. The defaults hold where it states nothing or 0."""

    objects_in_get: int = 500
    objects_in_set: int = 500
    calls_in_request: int = 16
    request_bytes: int = 10_000_000
    upload_bytes: int = 50_000_000
    concurrent_requests: int = 4
    concurrent_uploads: int = 4

    @classmethod
    def parse(cls, capability: Mapping[str, Any]) -> Limits:
        """Return the limits of a `core` capability object."""
        stated = {name: capability.get(member) for name, member in _LIMITS.items()}
        return cls(**{name: value for name, value in stated.items() if type(value) is int and value > 0})


_LIMITS: Final[Mapping[str, str]] = {
    "objects_in_get": "maxObjectsInGet",
    "objects_in_set": "maxObjectsInSet",
    "calls_in_request": "maxCallsInRequest",
    "request_bytes": "maxSizeRequest",
    "upload_bytes": "maxSizeUpload",
    "concurrent_requests": "maxConcurrentRequests",
    "concurrent_uploads": "maxConcurrentUpload",
}


@dataclass(frozen=True, slots=True)
class Account:
    """An account that the user may use. `personal` False: its owner shared it."""

    id: str
    name: str
    personal: bool = True


@dataclass(frozen=True, slots=True)
class Resource:
    """A parsed session resource. `own` is the user's account; addresses are absolute.

    `blob` and `quota`: the capabilities under which the server offers Blob/get and Quota/get, "" if it does not.
    `digest`: the Blob/get property with a digest that the server can compute, "" for none. `has_more`: it offers
    contacts or calendars.
    """

    username: str
    own: Account
    others: tuple[Account, ...]
    api_url: str
    download_url: str
    upload_url: str
    limits: Limits = field(default_factory=Limits)
    blob: str = ""
    quota: str = ""
    digest: str = ""
    has_more: bool = False

    @property
    def origins(self) -> frozenset[str]:
        """The origins that requests with credentials may go to."""
        return frozenset(origin_of(url) for url in (self.api_url, self.download_url, self.upload_url) if url)

    def blob_url(self, account: str, blob_id: str, name: str = "", content_type: str = "") -> str:
        """Return the address of a blob's content."""
        values = {
            "accountId": account,
            "blobId": blob_id,
            "name": name.strip("./\\") or "blob",
            "type": content_type or "application/octet-stream",
        }
        return _expand(self.download_url, values)

    def upload_to(self, account: str) -> str:
        """Return the address to upload a blob to."""
        return _expand(self.upload_url, {"accountId": account})

    # Ids are unique only within an account. Those of other accounts carry their account's id.

    def scoped(self, account: str, its_id: str) -> str:
        """Return an id that is unique among all accounts."""
        return its_id if account == self.own.id else f"{account}/{its_id}"

    def split(self, scoped_id: str) -> tuple[str, str]:
        """Return the account and the server's id of an id made by `scoped`."""
        account, slash, its_id = scoped_id.rpartition("/")
        if slash and any(other.id == account for other in self.others):
            return account, its_id
        return self.own.id, scoped_id


def parse_resource(value: Any, url: str) -> Resource:
    """Return the session resource that the server sent from `url`."""
    if not isinstance(value, dict) or not isinstance(value.get("apiUrl"), str):
        raise UnknownServer("the address is not that of a JMAP server (it answers without a session resource)")
    capabilities = _object(value.get("capabilities"))
    accounts = {
        str(account_id): Account(
            str(account_id), str(account.get("name") or account_id), account.get("isPersonal") is not False
        )
        for account_id, account in _object(value.get("accounts")).items()
        if isinstance(account, dict) and _may_have_mail(account)
    }
    primary = _object(value.get("primaryAccounts")).get(MAIL)
    own = accounts.get(primary) if isinstance(primary, str) else None
    own = own or next((account for account in accounts.values() if account.personal), None)
    if own is None:
        raise UnknownServer("the JMAP server offers this user no account with mail")
    blob = next((name for name in BLOB if name in capabilities), "")
    of_account = _object(_object(_object(value.get("accounts")).get(own.id)).get("accountCapabilities"))
    digests = _object(of_account.get(blob)).get("supportedDigestAlgorithms")
    return Resource(
        username=str(value.get("username") or own.name),
        own=own,
        others=tuple(account for account in accounts.values() if account.id != own.id),
        api_url=_absolute(url, value["apiUrl"]),
        download_url=_absolute(url, value.get("downloadUrl")),
        upload_url=_absolute(url, value.get("uploadUrl")),
        limits=Limits.parse(_object(capabilities.get(CORE))),
        blob=blob,
        quota=next((name for name in QUOTA if name in capabilities), ""),
        digest="digest:sha-256" if isinstance(digests, list) and "sha-256" in digests else "",
        has_more=any(
            name.endswith(("jmap/contacts", "jmap/calendars", "jmap:contacts", "jmap:calendars"))
            for name in capabilities
        ),
    )


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL. ForeignAddress if it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ForeignAddress("the JMAP server names an invalid address", scope="run") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ForeignAddress("the JMAP server names an invalid address", scope="run")
    default = {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, default) else "")


def _absolute(base: str, template: Any) -> str:
    """Return the absolute form of an address or URI template. "" if there is none."""
    if not isinstance(template, str) or not template:
        return ""
    url = urljoin(base, template)  # leaves `{` and `}` as they are
    origin = origin_of(url)
    if any(letter in origin for letter in "{}") or any(ord(letter) <= 32 or letter in "\\\x7f" for letter in url):
        raise ForeignAddress("the JMAP server names an invalid address", scope="run")
    if base.startswith("https:") and not origin.startswith("https:"):
        raise ForeignAddress("the JMAP server names an address that is not encrypted", scope="run")
    return url


def _expand(template: str, values: Mapping[str, str]) -> str:
    """Expand the simple variables of a URI template (RFC 6570, level 1)."""
    for name, value in values.items():
        template = template.replace("{" + name + "}", quote(value, safe=""))
    return template


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _may_have_mail(account: Mapping[str, Any]) -> bool:
    capabilities = account.get("accountCapabilities")
    return not isinstance(capabilities, dict) or MAIL in capabilities
