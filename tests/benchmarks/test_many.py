"""The measurement `many`: its cells and its report."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.measure import many
from kerio_resync.fleet.measure.probe import UserWaits
from kerio_resync.fleet.measure.states import ClientState, Machine, Order, Round
from kerio_resync.fleet.measure.step import Client, StepResult

CELLS: list[dict[str, Any]] = [
    {"clients": n, "seconds": 1.0, "total": 2e6, "fastest": 1.0, "slowest": 1.0, "unfair": 1.0, "retries": 0,
     "cpu": 1.0, "busy": 0.25, "hosts": 1, "users": {"p95": 0.2, "alone": 0.1, "count": 9}} for n in (1, 64)
]  # fmt: skip
SERVERS = [{"manner": "refuses", "cells": CELLS, "best": 2e6, "kept": 1.0, "unfair": 1.0}]
RESULTS: dict[str, Any] = {
    "servers": SERVERS, "target": "", "scheduler": False, "kept": 1.0, "unfair": 1.0, "ok": True,
}  # fmt: skip
HERE = Machine("here", 2, 0, "")


class Users:
    """Stands for the mock's users."""

    def __init__(self) -> None:
        self.resets = 0

    async def reset(self) -> None:
        self.resets += 1

    async def all_waits(self) -> UserWaits:
        return UserWaits(0.2, 0.1, 9)


def ended(seconds: float, exit_code: int = 0) -> Client:
    rounds = () if exit_code else (Round(seconds, 5, 1000),)
    state = ClientState("ended", seconds, 5, 1000, rounds, 3, 0, 0.5, exit_code, "It broke." if exit_code else "")
    return Client(HERE, state=state)


def clients_of(monkeypatch: pytest.MonkeyPatch, *clients: Client) -> None:
    async def run_step(cluster: object, orders: list[Order], on_start: Any) -> StepResult:
        assert len(orders) == len(clients)
        await on_start()
        return StepResult(clients, "", ())

    monkeypatch.setattr(many, "run_step", run_step)


async def test_a_cell_has_the_total_and_the_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    clients_of(monkeypatch, ended(2.0), ended(4.0))
    users: Any = Users()
    cluster: Any = None
    cell = await many._cell(cluster, Order({}), users, 2)
    assert users.resets == 1
    assert cell == {
        "clients": 2, "seconds": 4.0, "total": 500.0, "fastest": 2.0, "slowest": 4.0, "unfair": 2.0, "retries": 6,
        "cpu": 1.0, "busy": 0.125, "hosts": 1, "users": {"p95": 0.2, "alone": 0.1, "count": 9},
    }  # fmt: skip


async def test_a_failed_client_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    clients_of(monkeypatch, ended(2.0), ended(1.0, exit_code=5))
    cluster: Any = None
    with pytest.raises(OSError, match="a client ended with 5: It broke"):
        await many._cell(cluster, Order({}), None, 2)


def test_the_report_tells_totals_fairness_and_waits() -> None:
    text = many.report(RESULTS)
    assert "| 64 | 1 | 1.0 | 2.00 | 1.00 | 1.00 | 1.00 | 0 | 200 | 100 | 25% |" in text
    assert "### A server that refuses" in text
    assert "https://else" in many.report({**RESULTS, "target": "https://else", "scheduler": True})
