from __future__ import annotations

import pytest

from kerio_mockserver.mailbox.ids import FolderAddress, Parsed, owner, parse, whole

HOME = FolderAddress("example.com", "anna", "guid-1", "mail")


def test_ids_are_read_back() -> None:
    assert parse(HOME.folder_id) == Parsed("folder", "example.com/anna", "guid-1", 0, "")
    assert parse(f"{HOME.item}17") == Parsed("mail", "example.com/anna", "guid-1", 17, "")
    assert parse(HOME.attachment_id(17, "2")) == Parsed("attachment", "example.com/anna", "guid-1", 17, "2")
    assert owner(f"{HOME.item}17") == owner(HOME.folder_id) == "example.com/anna"


NUMBERS = ("", "0", "01", "-1", "٣", "1/2", "9" * 5000)
STRANGE = ("", "x", "keriostorage://", "keriostorage://cat/d/u/g/1", "http://mail/d/u/g/1", "keriostorage://mail/d/u/g")


@pytest.mark.parametrize("text", [*STRANGE, *(f"keriostorage://mail/d/u/g/{number}" for number in NUMBERS)])
def test_parse_returns_none_for_invalid_ids(text: str) -> None:
    assert parse(text) is None


def test_one_number_has_one_spelling() -> None:
    assert [whole(text) for text in ("1", "10", "", "0", "01", "1 ", "+1", "²")] == [1, 10, *[None] * 6]


def test_names_in_addresses_are_encoded() -> None:
    assert HOME.url(3, "2", "a/b ü?.pdf").endswith("/guid-1/3/2/a%2Fb%20%C3%BC%3F.pdf")
    assert HOME.url(3, "2", "").endswith("/attachment")
