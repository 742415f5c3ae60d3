"""Reading the settings of a plan."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.inputs.example import write_example
from kerio_resync.fleet.inputs.inventory import read_inventory
from kerio_resync.fleet.inputs.settings import PlanSettings, read_settings, settings_from
from kerio_resync.fleet.inputs.units import format_link_rate, parse_link_rate, parse_rate, parse_seconds, parse_size


def test_example_is_read_with_the_defaults_that_it_names(tmp_path: Path) -> None:
    settings, inventory = write_example(tmp_path / "new", date(2026, 12, 2))
    found = read_settings(settings)
    usual = PlanSettings()
    assert (found.limits, found.mailbox, found.wave_minutes) == (usual.limits, usual.mailbox, usual.wave_minutes)
    assert found.server.workers == usual.server.workers
    assert [window.date for window in found.window] == ["2026-12-04", "2026-12-05"]
    assert {person.site for person in read_inventory(inventory).people} == {site.name for site in found.site}


def test_example_replaces_no_file(tmp_path: Path) -> None:
    write_example(tmp_path, date(2026, 12, 2))
    with pytest.raises(BadSettings, match="there already"):
        write_example(tmp_path, date(2026, 12, 2))


def test_read_settings_takes_json_and_units(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(
        '{"site": [{"name": "Prague", "down": "20 Mbit/s", "round_trip": "15 ms"}], "server": {"kb_s": "1 ms"}}'
    )
    found = read_settings(path)
    assert (found.site[0].down, found.site[0].round_trip, found.server.kb_s) == (2_500_000, 0.015, 0.001)


@pytest.mark.parametrize(
    ("found", "reasons"),
    [
        ({"limit": {}}, ["limit: there is no such setting"]),
        ({"server": {"workers": 0}, "limits": {"users_p95": 1}}, ["server.workers: ", "limits.users_p95: "]),
        ({"site": [{"down": "fast"}]}, ["site[1].name: is missing", "site[1].down: write a rate as"]),
        ({"site": [{"name": "x", "down": 1}, {"name": "x", "down": 2}]}, ['"x" is there twice']),
        ({"server": {"time_zone": "Prague"}}, ["server.time_zone: ", "no time zone of the IANA database"]),
        ({"server": {"webmail": {"per_second": [1, 2]}}}, ["give one value, or 24 from midnight"]),
        ({"server": {"call_s": float("nan")}}, ["server.call_s: "]),
    ],
)
def test_settings_from_names_each_wrong_member(found: object, reasons: list[str]) -> None:
    with pytest.raises(BadSettings) as caught:
        settings_from(found, "file")
    for reason in reasons:
        assert reason in str(caught.value)


@pytest.mark.parametrize("content", [b"a = ", b'{"a": ', b"\xff\xfe", b"\x00"])
def test_read_settings_refuses_what_is_no_settings_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    with pytest.raises(BadSettings):
        read_settings(path)


def test_units_are_decimal_as_they_are_sold() -> None:
    assert (parse_rate("20 Mbit/s"), parse_rate("2.5 MB/s"), parse_link_rate("20")) == (2_500_000, 2_500_000, 2_500_000)
    assert (parse_size("1,5 GB"), parse_size("300 MiB"), parse_size("12")) == (1.5e9, 300 * 2**20, 12)
    assert (parse_seconds("20 ms"), parse_seconds("5 min"), parse_seconds("2 h")) == (0.02, 300, 7200)
    assert (format_link_rate(2_500_000), format_link_rate(125e6), format_link_rate(32_000)) == (
        "20 Mbit/s",
        "1 Gbit/s",
        "256 kbit/s",
    )


def test_by_hour_is_the_office_day_or_the_values_given() -> None:
    settings = settings_from({"server": {"webmail": {"per_second": 40}}}, "x").server.webmail
    assert max(settings.by_hour()) == 40
    assert settings.by_hour()[3] == 2
    assert settings_from({"server": {"webmail": {"per_second": [7] * 24}}}, "x").server.webmail.by_hour() == (7.0,) * 24
