"""Clients are distributed, start together and return their results, on a Dask cluster too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import many
from benchmarks.tools import cluster
from benchmarks.tools.cluster import Crew, Target, run, shares
from kerio_mockserver.testing import running

CELLS: list[dict[str, Any]] = [
    {"clients": n, "seconds": 1.0, "total": 2e6, "fastest": 1.0, "slowest": 1.0, "unfair": 1.0, "retries": 0,
     "cpu": 1.0, "busy": 0.25, "hosts": 1, "users": {"p95": 0.2, "alone": 0.1, "count": 9}} for n in (1, 64)
]  # fmt: skip
SERVERS = [{"manner": "refuses", "cells": CELLS, "best": 2e6, "kept": 1.0, "unfair": 1.0}]
RESULTS: dict[str, Any] = {
    "servers": SERVERS, "target": "", "scheduler": False, "kept": 1.0, "unfair": 1.0, "ok": True,
}  # fmt: skip


@pytest.mark.parametrize(("count", "among", "expected"), [(5, 2, [3, 2]), (1, 3, [1, 0, 0]), (4, 2, [2, 2])])
def test_clients_are_shared_out_evenly(count: int, among: int, expected: list[int]) -> None:
    assert shares(count, among) == expected


@pytest.mark.timeout(180)  # real clients, which take seconds to start on a busy machine
async def test_a_crew_rebuilds_when_it_is_told_to_and_a_failure_is_no_figure() -> None:
    async with running(mails=5) as server:
        crew, lost = (Crew(Target(server.url, server.user, word), 1) for word in (server.password, "wrong"))
        assert [await asyncio.to_thread(one.ready) for one in (crew, lost)] == [1, 1]
        assert server.core.stats.as_json()["requests"] == {}
        ended = await asyncio.to_thread(crew.go)
        with pytest.raises(OSError, match="a client ended with 5"):
            await asyncio.to_thread(lost.go)
    assert [one.summary["items"]["mail"] for one in ended] == [5]
    assert all(one.seconds > 0 and one.cpu > 0 for one in ended)


class Actor:
    """Answers at once, as Dask's actor does after a while."""

    def __init__(self, worker: str, count: int, told: list[str]) -> None:
        self.worker, self.count, self.told = worker, count, told

    def ready(self) -> Future:
        self.told.append(f"ready {self.worker}")
        return Future(self.count)

    def go(self) -> Future:
        self.told.append(f"go {self.worker}")
        return Future([self.worker] * self.count)


class Future:
    def __init__(self, value: Any) -> None:
        self.value = value

    def result(self, timeout: float) -> Any:
        return self.value


class Cluster:
    """Stands for Dask's client."""

    def __init__(self, *workers: str) -> None:
        self.workers, self.told = workers, list[str]()

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": dict.fromkeys(self.workers)}

    def submit(self, make: Callable[..., Any], crew: int, *, workers: list[str], actor: bool, pure: bool) -> Future:
        assert (actor, pure) == (True, False)
        return Future(Actor(workers[0], crew, self.told))


def test_nobody_starts_before_all_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_by_value", lambda target, count: count)
    made = Cluster("a", "b", "c")
    started: list[object] = [*run(made, Target("", "", ""), 5)]
    assert started == ["a", "a", "b", "b", "c"]
    assert made.told == ["ready a", "ready b", "ready c", "go a", "go b", "go c"]
    started = [*run(made, Target("", "", ""), 1)]
    assert started == ["a"]


def test_a_crew_travels_to_where_the_benchmarks_are_not(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).ready())"
    crew = cluster._by_value(Target("", "", ""), 0)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], input=crew, capture_output=True, cwd=tmp_path, check=True
    )
    assert done.stdout == b"0\n"


def test_a_cluster_without_workers_is_said() -> None:
    with pytest.raises(OSError, match="no workers"):
        run(Cluster(), Target("", "", ""), 1)


def test_the_report_tells_totals_fairness_and_waits() -> None:
    text = many.report(RESULTS)
    assert "| 64 | 1 | 1.0 | 2.00 | 1.00 | 1.00 | 1.00 | 0 | 200 | 100 | 25% |" in text
    assert "### A server that refuses" in text
    assert "https://else" in many.report({**RESULTS, "target": "https://else", "scheduler": True})
