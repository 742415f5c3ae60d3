"""Makes the logs of many machines from true logs of the client (`fleet_samples`).

Each machine gets a sample with its own name, user, run and time. The times keep their distances.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from kerio_resync.fleet.plan import Plan
from tests.support.fleet_samples import DATA

READY: Final = ("rebuilt", "upgraded")
FAILED: Final = (
    "wrong-password", "unreachable", "overloaded", "in-use", "other-account", "unverified", "unexpected", "damaged",
    "no-room", "internal", "interrupted", "killed",
)  # fmt: skip
NIGHT: Final = datetime(2026, 11, 28, 2, 0, tzinfo=UTC)
_TIME: Final = re.compile(rb'"time": "([^"]+)"')
_SECONDS: Final = re.compile(rb'"seconds": ([0-9.]+)')
_RUN: Final = re.compile(rb'"run": "([0-9a-f]{8})"')


def sample(kind: str) -> bytes:
    """The true log of a kind."""
    return (DATA / f"{kind}.log").read_bytes()


def log_of(kind: str, number: int, user: str, begin: datetime, stretch: float = 1.0) -> bytes:
    """The log of one machine: its times begin at `begin`, and their distances are multiplied by `stretch`."""
    data = sample(kind)
    times = [datetime.fromisoformat(found.decode()) for found in _TIME.findall(data)]

    def moved(found: re.Match[bytes]) -> bytes:
        passed = (datetime.fromisoformat(found[1].decode()) - times[0]) * stretch
        return f'"time": "{begin + passed:%Y-%m-%dT%H:%M:%S.%f}Z"'.encode()

    def renamed(found: re.Match[bytes]) -> bytes:
        return b'"run": "%08x"' % (int(found[1], 16) ^ number)

    data = _RUN.sub(renamed, _TIME.sub(moved, data))
    data = _SECONDS.sub(lambda found: b'"seconds": %.3f' % (float(found[1]) * stretch), data)
    return data.replace(b"anna@example.com", user.encode()).replace(
        b"/home/anna", f"/home/{user.partition('@')[0]}".encode()
    )


def kinds_of_fleet(machines: int, failed: int, ways: Sequence[str] = FAILED[:9], **others: int) -> list[str]:
    """The kind of each machine: `failed` ones spread evenly over `ways`, `others` by name, the rest ready."""
    kinds = [ways[number % len(ways)] for number in range(failed)]
    kinds += [kind.replace("_", "-") for kind, count in others.items() for _ in range(count)]
    return kinds + [READY[number % len(READY)] for number in range(machines - len(kinds))]


def write_fleet(folder: Path, kinds: Sequence[str], begin: datetime = NIGHT) -> Mapping[str, str]:
    """Write `pc-NNN.log` for each kind; return the kind of each machine."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for number, kind in enumerate(kinds, 1):
        name, start = f"pc-{number:03}", begin + timedelta(seconds=20 * number)
        stretch = 40 + number * 7 % 60
        (folder / f"{name}.log").write_bytes(log_of(kind, number, f"user{number:03}@example.com", start, stretch))
        written[name] = kind
    return written


def many_lines(count: int) -> Iterator[bytes]:
    """Lines of a long rebuild, as `--log-file` has them at the level debug."""
    lines = sample("killed").splitlines(keepends=True)
    head, progress = lines[:8], [line for line in lines if b'"progress"' in line]
    yield from head
    for number in range(count - len(head)):
        yield progress[number % len(progress)]


def write_planned(folder: Path, plan: Plan, kinds: Sequence[str], *, silent: int = 0) -> Mapping[str, str]:
    """Write a log for each planned user, who begins as planned and takes 0.7 to 1.4 of the planned time.

    The last `silent` users write none. Kinds are used in turn; all seconds of a sample are stretched to the time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    users = [user for wave in plan.waves for user in wave.users]
    written = {}
    for number, user in enumerate(users[: len(users) - silent]):
        assert user.start is not None
        assert user.end is not None
        kind = kinds[number * 7 % len(kinds)]
        seconds = (user.end - user.start).total_seconds() * (0.7 + 0.7 * (number * 37 % 100) / 100)
        data = log_of(kind, number, user.user, user.start, seconds / length_of(kind))
        (folder / f"{user.machine}.log").write_bytes(data)
        written[user.machine] = kind
    return written


def length_of(kind: str) -> float:
    """The seconds between the first and the last line of a sample."""
    times = [datetime.fromisoformat(found.decode()) for found in _TIME.findall(sample(kind))]
    return max(0.1, (times[-1] - times[0]).total_seconds())
