"""A whole measurement, with scripted clients: what ends it, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from kerio_mockserver.testing import Server, running
from kerio_resync.errors import BadCredentials, BadSettings, Exit, ResyncError, Unreachable
from kerio_resync.events import Event, Notice
from kerio_resync.fleet.capacity import Capacity
from kerio_resync.fleet.measure import run, step
from kerio_resync.fleet.measure.accounts import Account
from kerio_resync.fleet.measure.events import MeasurementStarted, StepMeasured
from kerio_resync.fleet.measure.run import Measured, Options, measure, prepare
from kerio_resync.fleet.measure.states import ClientState, Round
from kerio_resync.settings import Settings
from tests.support.fake_cluster import FakeCluster, Script, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "POLL_SECONDS", 0.005)


class FakeProbe:
    """Waits and errors that the test sets."""

    def __init__(self) -> None:
        self.wait: float | None = 0.05
        self.error: ResyncError | None = None
        self.unanswered = 0

    def reset(self) -> None:
        return None

    def p95(self) -> float | None:
        return self.wait


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running(mails=5) as started:
        yield started


def steady(number: int, polls: int) -> ClientState:
    return ClientState("running", polls * 0.5, polls * 10, polls * 1000, (Round(0.5, 10, 1000),) * polls)


class Harness:
    """Runs measurements, and keeps their events and what they saved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch, self._folder = monkeypatch, folder
        self.events: list[Event] = []
        self.saved: list[Capacity] = []
        self.probe = FakeProbe()

        @asynccontextmanager
        async def probing(settings: Settings) -> AsyncIterator[FakeProbe]:
            yield self.probe

        monkeypatch.setattr(run, "probing", probing)

    def use(self, cluster: FakeCluster) -> None:
        @asynccontextmanager
        async def connected(scheduler: str) -> AsyncIterator[FakeCluster]:
            yield cluster

        self._monkeypatch.setattr(run, "connected", connected)

    def options(self, server: Server, **values: Any) -> Options:
        base = Settings(profile=self._folder, server=server.url, proxy=SecretStr(""))
        bounds: dict[str, Any] = {
            "accounts": (Account(server.user, SecretStr("secret")),), "clients": (1, 2, 4), "step_seconds": 0.1,
            "pause": 0.0,
        }  # fmt: skip
        return Options(base=base, **(bounds | values))

    async def measure(self, options: Options, script: Script = steady, **cluster: Any) -> Measured:
        self.use(FakeCluster("a", "b", script=script, **cluster))
        return await measure(await prepare(options, self.events.append), self.events.append, self.saved.append)

    def all_of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Harness:
    return Harness(monkeypatch, tmp_path)


async def test_all_steps_are_made_and_saved_one_by_one(harness: Harness, server: Server) -> None:
    measured = await harness.measure(harness.options(server))
    assert measured.exit is Exit.DONE
    assert measured.stopped == "All steps were made, up to 4 clients."
    assert [[point.clients for point in capacity.points] for capacity in harness.saved] == [
        [1], [1, 2], [1, 2, 4], [1, 2, 4],
    ]  # fmt: skip
    capacity = measured.capacity
    assert capacity is not None
    assert capacity == harness.saved[-1]
    assert (capacity.server, capacity.round_trip_s) == ("127.0.0.1", 0.02)
    assert (capacity.mailbox.items, capacity.mailbox.bytes) == (10, 1000)
    assert capacity.probe_alone_p95_s == 0.05
    assert [point.probe_p95_s for point in capacity.points] == [0.05] * 3
    assert capacity.users_alone_p95_s is None
    assert [point.bytes_per_s for point in capacity.points] == pytest.approx([2000, 4000, 8000])
    (started,) = harness.all_of(MeasurementStarted)
    assert (started.protocol, started.accounts, started.clients, started.workers) == ("kerio", 1, (1, 2, 4), 0)
    assert [event.point["clients"] for event in harness.all_of(StepMeasured)] == [1, 2, 4]


async def test_the_mocks_users_are_measured_too(harness: Harness, server: Server) -> None:
    load = {"load": {"workers": 4, "users": {"per_second": 200, "service_s": 0.01}}}
    async with running(mails=5, conditions=load) as busy:
        measured = await harness.measure(
            harness.options(busy, control=busy.control_url, clients=(1,), step_seconds=0.5)
        )
    assert measured.capacity is not None
    assert measured.capacity.users_alone_p95_s is not None
    (point,) = measured.capacity.points
    assert point.users_p95_s is not None
    assert point.users_alone_p95_s is not None


async def test_an_account_that_is_refused_is_left_out(harness: Harness, server: Server) -> None:
    accounts = (Account("ben", SecretStr("hunter22")), Account(server.user, SecretStr("secret")))
    cluster = FakeCluster("a", script=steady)
    harness.use(cluster)
    prepared = await prepare(harness.options(server, accounts=accounts, clients=(2,)), harness.events.append)
    measured = await measure(prepared, harness.events.append, harness.saved.append)
    assert measured.exit is Exit.DONE
    assert [notice.text for notice in harness.all_of(Notice)] == [
        "The server refused ben or its password; this account is left out."
    ]
    assert [order.settings["user"] for order in cluster.orders] == [server.user] * 2
    assert all("hunter22" not in str(event) for event in harness.events)


async def test_only_as_many_accounts_as_clients_are_logged_in(harness: Harness, server: Server) -> None:
    accounts = tuple(Account(f"user{number}", SecretStr("secret")) for number in range(9))
    with pytest.raises(BadCredentials):
        await prepare(harness.options(server, accounts=accounts, clients=(1, 3)), harness.events.append)
    assert server.core.stats.as_json()["requests"]["Session.login"] == 3


@pytest.mark.parametrize("kind", ["control", "server"])
async def test_a_wrong_control_address_is_refused_before_the_measurement(
    harness: Harness, server: Server, kind: str
) -> None:
    control = "127.0.0.1:80" if kind == "control" else server.url
    with pytest.raises(BadSettings, match="--control: "):
        await prepare(harness.options(server, control=control), harness.events.append)


async def test_a_server_that_fails_its_clients_stops_the_measurement(harness: Harness, server: Server) -> None:
    def failing(number: int, polls: int) -> ClientState:
        ok = steady(number, polls)
        return replace(ok, stage="ended", exit_code=4, error="The server is too busy: 503.") if number == 1 else ok

    measured = await harness.measure(harness.options(server), failing)
    assert (measured.exit, measured.kind) == (Exit.DONE, "")
    assert measured.stopped == "2 of 4 clients failed: The server is too busy: 503."
    assert measured.capacity is not None
    assert [point.failed for point in measured.capacity.points] == [0, 0, 2]


async def test_all_clients_failing_is_an_error_that_keeps_earlier_points(harness: Harness, server: Server) -> None:
    harness_cluster = FakeCluster("a", script=steady)

    def failing(number: int, polls: int) -> ClientState:
        if len(harness_cluster.orders) == 1:
            return steady(number, polls)
        return ClientState("ended", 0.1, exit_code=5, error="The server refused it.", kind="bad-credentials")

    harness_cluster.script = failing
    harness.use(harness_cluster)
    prepared = await prepare(harness.options(server), harness.events.append)
    measured = await measure(prepared, harness.events.append, harness.saved.append)
    assert (measured.exit, measured.kind, measured.stopped) == (
        Exit.CREDENTIALS, "bad-credentials", "The server refused it.",
    )  # fmt: skip
    assert measured.capacity is not None
    assert [point.clients for point in measured.capacity.points] == [1, 2]


async def test_a_full_disk_of_one_client_is_an_error(harness: Harness, server: Server) -> None:
    def full(number: int, polls: int) -> ClientState:
        ok = steady(number, polls)
        error = {"exit_code": 7, "error": "There is not enough room.", "kind": "not-enough-space"}
        return replace(ok, stage="ended", **error) if number == 1 else ok  # type: ignore[arg-type]

    measured = await harness.measure(harness.options(server), full)
    assert (measured.exit, measured.stopped) == (Exit.NOT_ENOUGH_SPACE, "There is not enough room.")


async def test_a_server_that_goes_down_ends_the_measurement_without_the_broken_step(
    harness: Harness, server: Server
) -> None:
    def going_down(number: int, polls: int) -> ClientState:
        if harness.saved:
            harness.probe.error = Unreachable("no way")
        return steady(number, polls)

    measured = await harness.measure(harness.options(server), going_down)
    assert (measured.exit, measured.kind) == (Exit.UNFINISHED, "unreachable")
    assert measured.stopped.startswith("The server cannot be reached: no way.")
    assert measured.capacity is not None
    assert [point.clients for point in measured.capacity.points] == [1]
    assert measured.capacity.stopped == measured.stopped


@pytest.mark.parametrize(
    ("wait", "unanswered", "reason"),
    [
        (1.01, 0, "The probe's p95 wait became much too long with 2 clients: 1,010 ms."),
        (0.05, 1, "With 2 clients, a small request was refused, or got no answer within 10 s."),
    ],
)
async def test_much_longer_waits_cut_the_step_and_end_the_measurement(
    harness: Harness, server: Server, wait: float, unanswered: int, reason: str
) -> None:
    def slowing(number: int, polls: int) -> ClientState:
        if polls == 3:
            harness.probe.wait, harness.probe.unanswered = wait, unanswered
        return ClientState("running", polls * 0.5, polls, polls)  # never completes a rebuild

    measured = await harness.measure(harness.options(server, clients=(2,), max_seconds=3600.0), slowing)
    assert measured.exit is Exit.DONE
    assert measured.stopped == reason
    assert measured.capacity is not None
    assert [point.probe_p95_s for point in measured.capacity.points] == [wait]


async def test_doubled_waits_end_the_measurement_after_the_step(harness: Harness, server: Server) -> None:
    def slowing(number: int, polls: int) -> ClientState:
        harness.probe.wait = 0.11 if harness.saved else 0.05
        return steady(number, polls)

    measured = await harness.measure(harness.options(server), slowing)
    assert measured.stopped == "The probe's p95 wait more than doubled with 2 clients: 110 ms instead of 50 ms."
    assert measured.capacity is not None
    assert [point.clients for point in measured.capacity.points] == [1, 2]


async def test_the_bound_on_bytes_ends_the_measurement(harness: Harness, server: Server) -> None:
    measured = await harness.measure(harness.options(server, max_bytes=5000.0))
    assert measured.exit is Exit.DONE
    assert measured.stopped == "The clients fetched 4.9 KiB, the most that was allowed."


async def test_the_bound_on_time_ends_the_measurement(harness: Harness, server: Server) -> None:
    measured = await harness.measure(harness.options(server, max_seconds=0.35, clients=tuple(range(1, 20))))
    assert measured.exit is Exit.DONE
    assert measured.stopped == "The time of 0.3 s was over."


async def test_an_interruption_keeps_the_points_so_far(harness: Harness, server: Server) -> None:
    cluster = FakeCluster("a", script=steady)
    harness.use(cluster)
    prepared = await prepare(harness.options(server, pause=60.0), harness.events.append)
    task = asyncio.ensure_future(measure(prepared, harness.events.append, harness.saved.append))
    await until(lambda: bool(harness.saved))
    task.cancel()
    measured = await task
    assert (measured.exit, measured.stopped) == (Exit.INTERRUPTED, "It was interrupted.")
    assert measured.capacity is not None
    assert [point.clients for point in measured.capacity.points] == [1]
    assert harness.saved[-1].stopped == "It was interrupted."


async def test_an_interrupted_step_ends_its_clients(harness: Harness, server: Server) -> None:
    cluster = FakeCluster("a", script=steady)
    harness.use(cluster)
    prepared = await prepare(harness.options(server, step_seconds=60.0, max_seconds=1e6), harness.events.append)
    run_object = run._Run(prepared, harness.events.append, harness.saved.append)
    task = asyncio.ensure_future(run_object._step(cluster, None, 1))
    await until(lambda: "go a" in cluster.said)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cluster.said[-1] == "close a"


async def test_a_lost_worker_is_named_and_the_next_step_uses_the_others(harness: Harness, server: Server) -> None:
    measured = await harness.measure(harness.options(server, clients=(2, 3)), dies_at={"b": 2})
    assert measured.exit is Exit.DONE
    assert "The Dask worker b was lost; its clients count as failed." in [n.text for n in harness.all_of(Notice)]
    assert measured.capacity is not None
    assert [(point.clients, point.failed) for point in measured.capacity.points] == [(2, 1), (3, 0)]
