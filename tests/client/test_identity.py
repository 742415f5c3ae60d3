"""Which identities name one mailbox, in every spelling that servers and people are known to use."""

from __future__ import annotations

import pytest

from kerio_resync.identity import describe, same_mailbox, same_server
from kerio_resync.model import Identity

ANNA = Identity("https://mail.example.com", "u-1", "anna", "anna@example.com", "anna@example.com")


@pytest.mark.parametrize(
    "other",
    [
        "https://mail.example.com:443", "https://MAIL.example.com", "https://mail.example.com.", "mail.example.com",
        "http://mail.example.com", "http://mail.example.com:80", "https://mail.example.com/webmail/",
    ],
)  # fmt: skip
def test_a_server_is_the_same_however_it_is_spelled(other: str) -> None:
    assert same_server(ANNA.server, other)
    assert same_mailbox(ANNA, ANNA._replace(server=other))


@pytest.mark.parametrize(
    "other",
    [
        "https://mail.example.org", "https://mail2.example.com", "https://example.com", "https://mail.example.com:8443",
        "http://mail.example.com:8080", "http://mail.example.com:443", "https://mail.example.com.evil.org", "",
        "https://mail.example.com:99999",
    ],
)  # fmt: skip
def test_another_server_is_another_mailbox(other: str) -> None:
    assert not same_server(ANNA.server, other)
    assert not same_mailbox(ANNA, ANNA._replace(server=other))


def test_addresses_in_numbers_and_scripts_are_compared_by_value() -> None:
    assert same_server("https://[::1]:4000", "https://[0:0:0:0:0:0:0:1]:4000")
    assert same_server("https://bücher.example", "https://xn--bcher-kva.example")
    assert not same_server("http://127.0.0.1:4000", "http://127.0.0.1:4001")


@pytest.mark.parametrize(
    "more",
    [
        {"user": "Anna"},
        {"user": "anna@example.com"},
        {"user": "ANNA@EXAMPLE.COM"},
        {"user": "anna.alias@example.com"},
        {"login": "Anna@Example.com"},
        {"login": "anna"},
        {"login": ""},
        {"address": "info@example.com"},
        {"login": "", "user": "anna@example.com"},
        {"login": "", "address": "", "user": "Anna"},
    ],
)
def test_one_account_under_several_names_is_one_mailbox(more: dict[str, str]) -> None:
    assert same_mailbox(ANNA, ANNA._replace(**more))
    assert same_mailbox(ANNA._replace(**more), ANNA)


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ({}, {"account": "u-2"}),  # the account was made anew
        ({}, {"login": "bert@example.com", "user": "bert", "address": "bert@example.com"}),
        ({}, {"protocol": "jmap"}),
        # a server that gives every user the id "1"
        (
            {"account": "1"},
            {"account": "1", "user": "bert", "login": "bert@example.com", "address": "bert@example.com"},
        ),
        (
            {"account": "1"},
            {"account": "1", "user": "bert", "login": "bert@example.com", "address": "anna@example.com"},
        ),
        ({"account": "1", "login": ""}, {"account": "1", "user": "bert", "login": "", "address": "bert@example.com"}),
        (
            {"account": "1", "login": "", "address": "anna"},
            {"account": "1", "user": "bert", "login": "", "address": ""},
        ),
        # one name in two domains, where the server states bare names
        ({"login": "anna", "user": "anna@a.org"}, {"login": "anna", "user": "anna@b.org"}),
        (
            {"account": "1", "login": "anna", "address": "anna@a.org"},
            {"account": "1", "login": "anna", "address": "anna@b.org"},
        ),
        # ids that repeat what was typed
        ({"account": "anna", "user": "anna"}, {"account": "bert", "user": "bert", "login": "bert@example.com"}),
        (
            {"account": "anna", "login": "", "address": "anna"},
            {"account": "anna@b.org", "user": "anna@b.org", "login": "", "address": ""},
        ),
    ],
)
def test_another_account_is_another_mailbox_whatever_id_it_has(held: dict[str, str], asked: dict[str, str]) -> None:
    assert not same_mailbox(ANNA._replace(**held), ANNA._replace(**asked))
    assert not same_mailbox(ANNA._replace(**asked), ANNA._replace(**held))


def test_an_id_that_repeats_what_was_typed_does_not_make_an_alias_another_mailbox() -> None:
    assert same_mailbox(ANNA._replace(account="anna"), ANNA._replace(account="a.smith", user="a.smith"))


def test_spoken_names_the_person_and_the_server() -> None:
    assert describe(ANNA) == "anna@example.com at https://mail.example.com"
    assert describe(ANNA._replace(login="anna")) == "anna@example.com at https://mail.example.com"
    assert describe(ANNA._replace(login="", address="")) == "anna at https://mail.example.com"
