"""What is foretold from what was measured: a table of probes, and a watcher that counts what is still on its way."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kerio_resync.events import Progress
from kerio_resync.server.http.transport import Request, Response
from kerio_resync.sync.report import Report
from kerio_resync.upgrade.estimation.rebuild_probe import Counter, Heard, Look, Probe

STEADY = [Look(second / 4, second * 250_000) for second in range(37)]  # 1 MB/s for 9 s
RISING = [Look(second / 4, second**3 * 30) for second in range(37)]
PROMPT = [Heard(0.1, second / 2, 100_000, call=False, ended=second / 2 + 0.1) for second in range(16)]  # 1 MB/s each
QUEUED = [Heard(0.1 + second / 10, second / 2, 100_000, call=False, ended=second / 2 + 2) for second in range(16)]
LISTED = [Heard(0.1, second, 1000, call=True, ended=float(second)) for second in range(8)]


def progress(left: int, folders: int = 0) -> Progress:
    return Progress(bytes_done=1000, wire_left=left, folders_total=folders)


def test_a_steady_pace_is_kept() -> None:
    probe = Probe(9.2, STEADY, QUEUED, progress(20_000_000))
    likely, low, high = probe.foretold() or (0.0, 0.0, 0.0)
    assert likely == pytest.approx(29.0, rel=0.01)
    assert low < likely < high
    assert probe.rate == pytest.approx(1e6)


def test_each_folder_is_listed_again_at_the_end() -> None:
    few, many = (Probe(9.2, STEADY, QUEUED + LISTED, progress(20_000_000, count)).foretold() for count in (8, 808))
    assert few is not None
    assert many is not None
    assert many[0] - few[0] == pytest.approx(100 * 0.1)


def test_what_still_gets_faster_lies_between_its_pace_and_the_width_of_the_line() -> None:
    probe = Probe(9.2, RISING, PROMPT, progress(20_000_000))
    likely, low, high = probe.foretold() or (0.0, 0.0, 0.0)
    assert probe.at_full_width() == pytest.approx(20.0)
    assert low < 29.0 < likely < high == pytest.approx(9 + 20_000_000 / probe.rate)


@pytest.mark.parametrize(
    "probe",
    [
        Probe(),
        Probe(9.0, STEADY, PROMPT, None),
        Probe(9.0, [], PROMPT, progress(1000)),
        Probe(9.0, STEADY[:1], PROMPT, progress(1000)),
        Probe(9.0, STEADY, PROMPT, Progress(wire_left=1000)),
    ],
)
def test_what_can_not_be_said_is_not_said(probe: Probe) -> None:
    assert probe.foretold() is None


def test_one_that_came_to_its_end_took_what_it_took() -> None:
    probe = Probe(3.0, report=Report(Path("cache.db")))
    assert (probe.foretold() or (0,))[0] == 3.0


@pytest.mark.parametrize("heard", [[], PROMPT[:3], QUEUED, [*QUEUED, *PROMPT[:8]]])
def test_a_full_line_or_a_busy_server_says_nothing_about_the_width(heard: list[Heard]) -> None:
    probe = Probe(9.0, STEADY, heard, progress(1_000_000))
    assert probe.at_full_width() is None
    assert math.isfinite((probe.foretold() or (math.inf,))[0])


class _Reply:
    status = 200

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers, self.wire_bytes = headers, 0


async def test_bytes_count_as_they_come() -> None:
    class Wire:
        closed = False

        @asynccontextmanager
        async def send(self, request: Request) -> AsyncIterator[Response]:
            yield _Reply({"content-length": "900"} if request.method == "GET" else {})  # type: ignore[misc]

        async def aclose(self) -> None:
            self.closed = True

    wire, counter = Wire(), Counter()
    watched = counter.around(wire)
    async with watched.send(Request("GET", "u")) as content, watched.send(Request("POST", "u")) as call:
        content.wire_bytes, call.wire_bytes = 300, 50
        assert counter.bytes == 350
        content.wire_bytes = 900
    assert counter.bytes == 950
    assert [(each.size, each.call, each.ended is None) for each in counter.heard] == [
        (900, False, False), (50, True, False),
    ]  # fmt: skip

    async def cut() -> None:
        async with watched.send(Request("GET", "u")) as content:
            content.wire_bytes = 7
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await cut()
    assert (counter.bytes, counter.heard[-1].ended) == (957, None)
    await watched.aclose()
    assert wire.closed
