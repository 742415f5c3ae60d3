from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from kerio_mockserver.conditions.histogram import LatencyHistogram
from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.history import KEPT_SAMPLES, WINDOW_SECONDS, History
from kerio_mockserver.messages import Request
from kerio_mockserver.server import MockServer
from kerio_mockserver.testing import running
from simulation.virtual_time import run as run_virtual
from tests.support.mock_caller import envelope, small


def history_of(conditions: dict[str, Any] | None = None) -> tuple[MockServer, History]:
    core = MockServer(small(20).store, conditions=Conditions.parse(conditions or {}))
    return core, History(core, lambda: (core.stats.bytes_out_wire, core.stats.bytes_in))


async def call(core: MockServer, method: str = "Version.getApiVersion") -> int:
    return (await core.handle(Request("POST", "/webmail/api/jsonrpc/", {}, envelope(method)))).status


async def test_sample_has_what_happened_since_the_one_before() -> None:
    core, history = history_of({"faults": [{"kind": "html", "method": "Session.*"}]})
    await call(core)
    await call(core)
    await call(core, "Session.login")
    history.take_sample()
    await call(core)
    history.take_sample()
    first, second = history.after(0)
    assert (first["number"], second["number"]) == (1, 2)
    assert first["requests"] == {"Version.getApiVersion": 2, "Session.login": 1}
    assert first["faults"] == {"html": 1}
    assert first["errors"] == {"-32602": 1}
    assert second["requests"] == {"Version.getApiVersion": 1}
    assert (second["faults"], second["errors"], second["statuses"]) == ({}, {}, {"200": 1})
    assert second["down_bytes"] + first["down_bytes"] == core.stats.bytes_out_wire
    assert second["up_bytes"] > 0


async def test_reset_between_samples_gives_no_negative_figure() -> None:
    core, history = history_of()
    for _ in range(3):
        await call(core)
    history.take_sample()
    core.reset()
    await call(core)
    history.take_sample()
    sample = history.after(1)[0]
    assert sample["requests"] == {"Version.getApiVersion": 1}
    assert sample["down_bytes"] == core.stats.bytes_out_wire


async def test_old_samples_are_dropped_and_numbers_continue() -> None:
    _, history = history_of()
    for _ in range(KEPT_SAMPLES + 5):
        history.take_sample()
    kept = history.after(0)
    assert (len(kept), kept[0]["number"], kept[-1]["number"]) == (KEPT_SAMPLES, 6, KEPT_SAMPLES + 5)
    assert [sample["number"] for sample in history.after(KEPT_SAMPLES + 3)] == [KEPT_SAMPLES + 4, KEPT_SAMPLES + 5]
    assert history.after(KEPT_SAMPLES + 99) == []


def test_users_percentiles_of_a_sample_are_those_of_the_last_seconds() -> None:
    async def run() -> None:
        users = {"per_second": 50, "service_s": 0.1, "spread": "fixed"}
        core, history = history_of({"load": {"workers": 8, "users": users}})
        core.start()
        sampling = asyncio.ensure_future(history.run())
        await asyncio.sleep(20)
        idle = history.after(0)[-1]
        core.load._busy += 7  # one worker is left: the queue grows
        await asyncio.sleep(WINDOW_SECONDS + 1)
        history.take_sample()
        busy = history.after(0)[-1]
        queued = core.load.queued
        sampling.cancel()
        core.stop()
        assert idle["users"]["count"] == pytest.approx(50 * WINDOW_SECONDS, rel=0.2)
        assert busy["users"]["p95"] > 1 > idle["users"]["p95"]
        assert busy["users"]["p95"] != busy["users_p95"] == core.load.tally.users.percentile(0.95)
        assert busy["queue"] == queued > 50
        assert (busy["busy"], busy["workers"]) == (8, 8)
        assert [sample["number"] for sample in history.after(0)] == list(range(1, history.number + 1))
        assert 31 <= history.number <= 32

    run_virtual(run())


def test_histogram_since_a_copy_has_the_times_added_after_it() -> None:
    waits, later = LatencyHistogram(), LatencyHistogram()
    for seconds in (0.1, 0.2, 0.0):
        waits.add(seconds)
    before = waits.copy()
    for seconds in (0.5, 0.5, 1.0):
        waits.add(seconds)
        later.add(seconds)
    assert waits.since(before).as_json() == later.as_json() | {"mean": pytest.approx(later.mean)}
    assert before.count == 3


async def test_history_and_stats_tell_the_same_totals() -> None:
    conditions = {"load": {"workers": 2, "users": {"per_second": 200, "service_s": 0.01}}}
    async with running(small(20).store, conditions=conditions) as server, aiohttp.ClientSession() as client:
        await asyncio.sleep(0.5)
        server.core.load.stop()
        async with client.get(f"{server.control_url}/history?after=0") as reply:
            told = await reply.json()
        async with client.get(f"{server.control_url}/stats") as reply:
            users = (await reply.json())["load"]["users"]
        assert told["url"] == server.url
        assert told["totals"]["users"]["p95"] == users["wait"]["p95"] > 0
        assert told["totals"]["users"]["p50"] == users["wait"]["p50"]
        assert told["totals"]["users"]["p95_without_client"] == users["without_client"]["wait"]["p95"]
        async with client.get(f"{server.control_url}/history?after=x") as reply:
            assert (reply.status, await reply.json()) == (400, {"error": "`after` must be a whole number"})
