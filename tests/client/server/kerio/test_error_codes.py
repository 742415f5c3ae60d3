from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from kerio_resync.errors import (
    BadCredentials,
    FolderDenied,
    ForeignReply,
    ItemGone,
    KeyExpired,
    OutcomeUnknown,
    Overloaded,
    ResyncError,
    ServerRefused,
    SessionExpired,
    TooLarge,
    Unreachable,
)
from kerio_resync.server.http.statuses import MAX_RETRY_AFTER_SECONDS, error_from_status, retry_after, sentence
from kerio_resync.server.kerio.error_codes import error_from_code, error_from_item


@pytest.mark.parametrize(
    ("method", "code", "kind", "scope"),
    [
        ("Session.login", 1000, BadCredentials, "run"),
        ("Session.login", 1004, BadCredentials, "run"),
        ("Session.login", 4101, Overloaded, "run"),
        ("Mails.get", -32001, SessionExpired, "run"),
        ("Mails.get", 4100, Overloaded, "run"),
        ("Mails.get", 4101, Overloaded, "run"),
        ("Mails.get", 503, Overloaded, "run"),
        ("Mails.get", -32700, Unreachable, "run"),
        ("Mails.get", -32603, OutcomeUnknown, "run"),
        ("Mails.get", 413, TooLarge, "item"),
        ("Mails.getById", 1002, ItemGone, "item"),
        ("Mails.get", 4104, ItemGone, "folder"),
        ("Mails.get", 1003, FolderDenied, "folder"),
        ("Mails.get", 1004, FolderDenied, "folder"),
        ("Mails.create", 4102, ServerRefused, "item"),
        ("Mails.get", 1000, ServerRefused, "run"),
        ("Mails.get", -32601, ServerRefused, "run"),
        ("Mails.get", -32602, ServerRefused, "run"),
        ("Mails.get", -32600, ServerRefused, "run"),
        ("Mails.get", 77777, ServerRefused, "run"),
        ("Changes.get", 1000, KeyExpired, "run"),
        ("Changes.get", 1002, KeyExpired, "run"),
        ("Changes.get", -32602, KeyExpired, "run"),
        ("Changes.get", -32601, ServerRefused, "run"),
        ("Changes.get", -32001, SessionExpired, "run"),
        ("Changes.get", 4100, Overloaded, "run"),
    ],
)
def test_codes(method: str, code: int, kind: type[ResyncError], scope: str) -> None:
    error = error_from_code(method, code, "words")
    assert type(error) is kind
    assert error.scope == scope
    assert "words" in error.detail
    if isinstance(error, ServerRefused):
        assert (error.code, error.method) == (code, method)


def test_a_refusal_of_one_item_concerns_the_item() -> None:
    assert error_from_item("Mails.getById", 1003, "x").scope == "item"
    assert error_from_item("Mails.getById", 4104, "x").scope == "item"


@pytest.mark.parametrize(
    ("status", "idempotent", "kind"),
    [
        (429, False, Overloaded),
        (503, False, Overloaded),
        (502, True, Overloaded),
        (504, True, Overloaded),
        (502, False, OutcomeUnknown),  # a gateway may have lost the reply of what was done
        (504, False, OutcomeUnknown),
        (413, True, TooLarge),
        (401, True, ForeignReply),
        (403, True, ForeignReply),
        (200, True, ForeignReply),
        (404, True, ForeignReply),
        (407, True, ForeignReply),
        (500, True, ForeignReply),
        (511, True, ForeignReply),
    ],
)
def test_statuses(status: int, idempotent: bool, kind: type[ResyncError]) -> None:
    error = error_from_status("Mails.get", status, idempotent=idempotent, after=3.0)
    assert type(error) is kind
    if isinstance(error, Overloaded | ForeignReply):
        assert error.retry_after == 3.0


NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("99999999999999999999", MAX_RETRY_AFTER_SECONDS),
        ("Sun, 01 Mar 2026 09:30:12 GMT", 12.0),
        ("Sun, 01 Mar 2026 09:29:00 GMT", 0.0),
        ("Sun, 01 Mar 2026 09:30:12", 12.0),
        ("soon", None),
        ("Sun, 01 Mar 2026 10:30:12 GMT", 3612.0),
        ("-3", None),
        ("1.5", 1.5),
        ("1.", None),
        ("inf", None),
        ("0, 0", None),
        ("٣", None),
        ("Sun, 99 Mar 2026 09:30:12 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    headers = {"date": format_datetime(NOW, usegmt=True)} | ({} if value is None else {"retry-after": value})
    assert retry_after(headers) == seconds


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_retry_after_is_read_against_the_clock_of_the_reply(hours: int) -> None:
    there = datetime.now(UTC) + timedelta(hours=hours)
    when = format_datetime(there + timedelta(seconds=20), usegmt=True)
    assert retry_after({"retry-after": when, "date": format_datetime(there, usegmt=True)}) == 20.0
    assert retry_after({"retry-after": when}) == pytest.approx(max(0, 20 + 3600 * hours), abs=5)


@pytest.mark.parametrize(
    ("message", "parameters", "text"),
    [
        ("Item %1 of %2.", ["a", "b"], "Item a of b."),
        ("Item %1 of %2.", ["a"], "Item a of %2."),
        ("Item %1.", [], "Item %1."),
        ("100 %", ["a"], "100 %"),
        ("%10", list("abcdefghij"), "j"),
        ("two\nlines\x1b[31m", [], "two lines [31m"),
        (None, [], ""),
        ("x" * 999, [], "x" * 199 + "…"),
        ("%1", ["y" * 999], "y" * 199 + "…"),
    ],
)
def test_sentences(message: object, parameters: list[object], text: str) -> None:
    assert sentence(message, parameters) == text


def test_a_number_nobody_can_read_is_not_written_out() -> None:
    assert sentence("over %1, not %2", [10**5000, 7]) == "over …, not 7"
