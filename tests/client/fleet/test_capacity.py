"""Reading a capacity file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.capacity import Capacity, ClientSeconds, MeasuredMailbox, Point, read_capacity

CAPACITY = Capacity(
    measured=datetime(2026, 11, 20, 22, tzinfo=UTC),
    server="mail.example.com",
    mailbox=MeasuredMailbox(items=1000, bytes=50_000_000),
    users_alone_p95_s=0.1,
    points=(
        Point(
            clients=1,
            seconds=ClientSeconds(fastest=20, median=20, slowest=20),
            items_per_s=50,
            bytes_per_s=2_500_000,
            users_p95_s=0.12,
        ),
    ),
    stopped="All 1 clients were measured.",
)


def test_read_capacity_returns_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "capacity.json"
    path.write_text(CAPACITY.model_dump_json(indent=1))
    assert read_capacity(path) == CAPACITY


def test_read_capacity_ignores_members_of_later_versions(tmp_path: Path) -> None:
    path = tmp_path / "capacity.json"
    path.write_text(CAPACITY.model_dump_json().replace('"stopped"', '"temperature":21,"stopped"'))
    assert read_capacity(path) == CAPACITY


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Invalid JSON"),
        ("[]", "is not a capacity file"),
        ('{"format": "kerio-resync-plan", "version": 1}', "format: "),
        (CAPACITY.model_dump_json().replace('"version":1', '"version":2'), "version: "),
        (CAPACITY.model_dump_json().replace('"clients":1', '"clients":0'), r"points\.0\.clients: "),
    ],
)
def test_read_capacity_names_the_member_that_is_wrong(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "capacity.json"
    path.write_text(text)
    with pytest.raises(BadSettings, match=reason):
        read_capacity(path)


def test_read_capacity_says_that_a_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="does not exist"):
        read_capacity(tmp_path / "none.json")
