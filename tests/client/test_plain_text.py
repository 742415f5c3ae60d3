"""Quantities and names as plain text."""

from __future__ import annotations

import pytest

from kerio_resync import plain_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (99.9 * 1024, "99.9 KiB"),
        (100 * 1024, "100 KiB"),
        (1023 * 1024, "1.0 MiB"),
        (52.1 * 2**20, "52.1 MiB"),
        (3 * 2**30, "3.0 GiB"),
        (5000 * 2**30, "5,000 GiB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert plain_text.format_size(count) == text
    assert plain_text.format_rate(count) == f"{text}/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
     (185, "3 min 05 s"), (3599.7, "1 h 00 min"), (7625, "2 h 07 min")],
)  # fmt: skip
def test_times(seconds: float, text: str) -> None:
    assert plain_text.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "about 1 s"), (7.4, "about 7 s"), (12.0, "about 12 s"), (185.0, "about 3 min 05 s")]
)
def test_guesses(seconds: float, text: str) -> None:
    assert plain_text.format_estimate(seconds) == text


def test_counts() -> None:
    assert plain_text.pluralize(1, "mail") == "1 mail"
    assert plain_text.pluralize(6046, "mail") == "6,046 mails"
    assert plain_text.pluralize(0, "retry", "retries") == "0 retries"


@pytest.mark.parametrize("odd", ["\x1b[2J", "a\nb", "\r", "\x00", "\u202e", "\u2028", "\x9b1m", "\ud800"])
def test_nothing_commands_the_terminal(odd: str) -> None:
    shown = plain_text.printable(odd)
    assert shown.isprintable()
    shown.encode()


def test_real_names_stay_as_they_are() -> None:
    assert plain_text.printable("Überweisungen · 請求書 · входящие") == "Überweisungen · 請求書 · входящие"
