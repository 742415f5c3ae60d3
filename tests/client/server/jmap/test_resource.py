"""The session resource: what servers in use send."""

from __future__ import annotations

from typing import Any

import pytest

from kerio_resync.errors import ForeignAddress, UnknownServer
from kerio_resync.server.jmap.resource import CORE, MAIL, Limits, Resource, origin_of, parse_resource

URL = "https://mail.example.com/.well-known/jmap"
LIKE_CYRUS = {  # its required members `username`, `state` and `isPersonal` may be missing
    "apiUrl": "/jmap/",
    "downloadUrl": "/jmap/download/{accountId}/{blobId}/{name}?accept={type}",
    "uploadUrl": "/jmap/upload/{accountId}/",
    "capabilities": {CORE: {"maxObjectsInGet": 4096, "maxConcurrentRequests": 5, "maxSizeRequest": 0}, MAIL: {}},
    "accounts": {"anna": {"name": "anna", "accountCapabilities": {MAIL: {}}}},
    "primaryAccounts": {MAIL: "anna"},
}


def parsed(url: str = URL, **members: Any) -> Resource:
    return parse_resource({**LIKE_CYRUS, **members}, url)


def test_parse_resource_reads_relative_addresses() -> None:
    resource = parsed()
    assert resource.api_url == "https://mail.example.com/jmap/"
    assert resource.upload_to("anna") == "https://mail.example.com/jmap/upload/anna/"
    assert resource.origins == {"https://mail.example.com"}
    assert (resource.username, resource.own.id, resource.others) == ("anna", "anna", ())


def test_parse_resource_keeps_default_where_limit_is_missing_or_zero() -> None:
    limits = parsed().limits
    assert (limits.objects_in_get, limits.concurrent_requests) == (4096, 5)
    assert (limits.request_bytes, limits.calls_in_request) == (Limits().request_bytes, Limits().calls_in_request)
    assert parsed(capabilities=None).limits == Limits()


def test_parse_resource_reads_absolute_addresses_of_other_hosts() -> None:
    resource = parsed(
        apiUrl="https://api.example.com/jmap", downloadUrl="https://content.example.net/{accountId}/{blobId}/{name}"
    )
    assert resource.origins == {
        "https://api.example.com", "https://content.example.net", "https://mail.example.com",
    }  # fmt: skip


def test_blob_url_escapes_every_variable() -> None:
    url = parsed().blob_url("a/b", "B 1", "../Příloha?.pdf", "text/plain")
    assert url == ("https://mail.example.com/jmap/download/a%2Fb/B%201/P%C5%99%C3%ADloha%3F.pdf?accept=text%2Fplain")
    assert "/blob?" in parsed().blob_url("a", "B", "..", "")


def test_scoped_ids_are_unique_among_accounts_and_split_again() -> None:
    resource = parsed(accounts={"anna": {}, "b.o/b": {"name": "Bob", "isPersonal": False}})
    assert [account.id for account in resource.others] == ["b.o/b"]
    for account, its_id in (("anna", "M1"), ("b.o/b", "M1"), ("anna", "odd/id")):
        assert resource.split(resource.scoped(account, its_id)) == (account, its_id)
    assert resource.scoped("anna", "M1") == "M1" != resource.scoped("b.o/b", "M1")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Mail.example.com:443/x", "https://mail.example.com"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("http://a:80", "http://a"),
    ],
)
def test_origin_of_names_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "members",
    [
        {"apiUrl": "http://mail.example.com/jmap/"},  # not encrypted
        {"apiUrl": "ftp://mail.example.com/"},
        {"apiUrl": "https://user:secret@mail.example.com/"},
        {"downloadUrl": "https://{accountId}.example.com/{blobId}"},
        {"uploadUrl": "https://mail.example.com:x/"},
        {"apiUrl": "https://mail.example.com\\@evil.example/"},
    ],
)
def test_parse_resource_refuses_address(members: dict[str, Any]) -> None:
    with pytest.raises(ForeignAddress):
        parsed(**members)


@pytest.mark.parametrize("value", [None, [], {}, {"apiUrl": 1}, {**LIKE_CYRUS, "accounts": {}}])
def test_parse_resource_refuses_other_documents(value: Any) -> None:
    with pytest.raises(UnknownServer):
        parse_resource(value, URL)


def test_parse_resource_takes_personal_account_where_none_is_primary() -> None:
    accounts = {"s": {"isPersonal": False}, "p": {"isPersonal": True}, "x": {"accountCapabilities": {}}}
    resource = parsed(accounts=accounts, primaryAccounts=None)
    assert (resource.own.id, [account.id for account in resource.others]) == ("p", ["s"])
