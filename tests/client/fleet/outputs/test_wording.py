"""Dates, times, durations and sizes in the languages of users."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kerio_resync.fleet.outputs import wording

INSTANT = datetime(2026, 11, 28, 21, tzinfo=UTC)


def plain(text: str) -> str:
    """Return a text with plain spaces instead of those that keep a number and its unit together."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("language", "date", "zone"),
    [
        ("en", "Saturday, 28 November 2026", "Central European Time"),
        ("en-us", "Saturday, November 28, 2026", "Central European Time"),
        ("de-at", "Samstag, 28. November 2026", "Mitteleuropäische Zeit"),
        ("cs", "sobota 28. listopadu 2026", "středoevropský čas"),
        ("fr", "samedi 28 novembre 2026", "heure d’Europe centrale"),
        ("es", "sábado, 28 de noviembre de 2026", "hora de Europa central"),
        ("qqq", "Saturday, 28 November 2026", "Central European Time"),
        ("../x", "Saturday, 28 November 2026", "Central European Time"),
    ],
)
def test_dates_and_zones(language: str, date: str, zone: str) -> None:
    assert wording.date_text(INSTANT, "Europe/Prague", language) == date
    assert plain(wording.time_text(INSTANT, "Europe/Prague", language)) in ("22:00", "10:00 PM")
    assert wording.zone_text(INSTANT, "Europe/Prague", language) == zone


def test_zone_in_the_night_of_a_change_says_which_of_two_hours_is_meant() -> None:
    texts = [wording.zone_text(datetime(2026, 10, 25, hour, 30, tzinfo=UTC), "Europe/Berlin", "de") for hour in (0, 1)]
    assert texts == ["Mitteleuropäische Sommerzeit", "Mitteleuropäische Normalzeit"]


def test_zones_without_a_name_are_offsets() -> None:
    assert wording.zone_text(INSTANT, "UTC", "fr") == "UTC"
    assert wording.zone_text(INSTANT, "Asia/Kolkata", "en") == "GMT+05:30"


@pytest.mark.parametrize(
    ("seconds", "language", "text"),
    [
        (1, "en", "1 minute"), (125, "en", "3 minutes"), (22 * 60, "en", "25 minutes"),
        (3600, "de", "1 Stunde"), (3601, "de", "1 Stunde 5 Minuten"), (7260, "de", "2 Stunden 15 Minuten"),
        (60, "cs", "1 minuta"), (180, "cs", "3 minuty"), (300, "cs", "5 minut"), (5 * 3600, "cs", "5 hodin"),
        (2 * 3600, "cs", "2 hodiny"), (4800, "fr", "1 heure 20 minutes"), (4800, "es", "1 hora 20 minutos"),
    ],
)  # fmt: skip
def test_durations_are_rounded_up_and_in_the_right_plural(seconds: float, language: str, text: str) -> None:
    assert plain(wording.duration_text(seconds, language)) == text


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (15, 30, ("15", "30 minut")),
        (60, 180, ("1", "3 hodiny")),
        (3, 3, ("3 minuty", "3 minuty")),
        (50, 80, ("50 minut", "1 hodina 20 minut")),
        (60, 80, ("1 hodina", "1 hodina 20 minut")),
    ],
)
def test_ranges_name_a_common_unit_once(low: int, high: int, texts: tuple[str, str]) -> None:
    assert wording.duration_range(low * 60, high * 60, "cs") == texts


@pytest.mark.parametrize(("count", "room"), [(0, 1), (2**30, 1), (2**30 + 1, 2), (4 * 2**30, 5), (101 * 2**30, 200)])
def test_room_is_rounded_up_to_what_is_easy_to_say(count: int, room: int) -> None:
    assert wording.round_up_room(count) == room


def test_sizes_have_the_units_of_the_language() -> None:
    assert [plain(wording.room_text(5, language)) for language in ("de", "fr")] == ["5 GB", "5 Go"]
