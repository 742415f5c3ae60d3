"""A measurement: a growing number of clients at once, until the server has enough.

    check the accounts → [consent] → waits without clients → a step with 1, 2, 4, … clients, with a pause between → file

After each step the points so far are saved, so that no end loses them: neither an interruption nor an error.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from kerio_resync.errors import Exit, ResyncError, explain, kind_of
from kerio_resync.events import Listener, Notice
from kerio_resync.fleet.capacity import Capacity, MeasuredMailbox, Point
from kerio_resync.fleet.measure import figures
from kerio_resync.fleet.measure.accounts import Account, Checked, check_accounts
from kerio_resync.fleet.measure.cluster import Cluster, connected
from kerio_resync.fleet.measure.events import (
    AccountsChecked,
    MeasurementStarted,
    StepMeasured,
    StepProgress,
    StepStarted,
)
from kerio_resync.fleet.measure.probe import TIMEOUT_SECONDS, MockUsers, Probe, probing
from kerio_resync.fleet.measure.states import ClientState, Order
from kerio_resync.fleet.measure.step import StepResult, run_step
from kerio_resync.fleet.measure.stopping import MAX_WAIT, OVERLOADED, beside, must_cut, reason_to_stop
from kerio_resync.plain_text import format_duration, format_size
from kerio_resync.settings import Settings

BUSY = 0.85  # share of the clients' processors above which they may be what is measured
_CLIENT_RETRY_SECONDS = 60.0  # a client of a broken server must not try for long


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure, and its bounds.

    `base`: settings for the server, without an account. `clients`: numbers of clients at once, growing. `ca`: the text
    of `base.ca_file`. `control`: the mock's control address, "" for another server. Times are seconds: `step_seconds`
    of a step at least, `max_seconds` of all, `pause` between steps. `max_bytes`: fetched in all, uncompressed.
    `max_wait`: of other requests, times their wait without clients.
    """

    base: Settings
    accounts: tuple[Account, ...]
    clients: tuple[int, ...]
    scheduler: str = ""
    control: str = ""
    ca: str = ""
    step_seconds: float = 20.0
    max_seconds: float = 1800.0
    max_bytes: float = 10e9
    pause: float = 5.0
    max_wait: float = MAX_WAIT


class Prepared(NamedTuple):
    """What was found out before the measurement.

    `workers`: of the Dask cluster, 0 without one.
    """

    options: Options
    checked: Checked
    workers: int


class Measured(NamedTuple):
    """The end of a measurement.

    `capacity`: None if no step was completed. `stopped`: why it ended, a sentence. `exit`: DONE unless an error or an
    interruption ended it, and then `kind` is that of `errors.kind_of`.
    """

    capacity: Capacity | None
    stopped: str
    exit: Exit = Exit.DONE
    kind: str = ""


class _Failed(Exception):
    """A client's error ended the measurement: its sentence, exit code and kind."""


async def prepare(options: Options, listen: Listener) -> Prepared:
    """Check the cluster, the mock's control address and the accounts.

    Nothing is measured yet.

    BadSettings, Unreachable, BadCredentials if all accounts are refused.
    """
    workers = 0
    if options.scheduler:
        async with connected(options.scheduler) as cluster:
            workers = len(await cluster.workers())
    if options.control:
        await MockUsers(options.control).waits()
    wanted = options.accounts[: max(options.clients)]
    checked = await check_accounts(options.base, wanted, lambda count: listen(AccountsChecked(count, len(wanted))))
    for user in checked.rejected:
        listen(Notice(f"The server refused {user} or its password; this account is left out."))
    return Prepared(options, checked, workers)


async def measure(prepared: Prepared, listen: Listener, save: Callable[[Capacity], None]) -> Measured:
    """Measure; `save` gets the capacity after each step, and at the end.

    An error or a cancellation ends the measurement and is returned with what was measured before.
    """
    run = _Run(prepared, listen, save)
    code, kind = Exit.DONE, ""
    try:
        stopped = await run.measure()
    except asyncio.CancelledError:
        stopped, code, kind = "It was interrupted.", Exit.INTERRUPTED, "interrupted"
    except _Failed as failure:
        stopped, code, kind = failure.args
    except (ResyncError, ExceptionGroup) as error:
        stopped, code = explain(error)
        if code is Exit.INTERNAL_ERROR:
            raise
        kind = kind_of(error)
    return Measured(run.save(stopped), stopped, code, kind)


class _Run:
    def __init__(self, prepared: Prepared, listen: Listener, save: Callable[[Capacity], None]) -> None:
        self._options, self._checked, self._workers = prepared
        self._listen, self._save = listen, save
        self._points: list[Point] = []
        self._bytes = 0  # fetched in all steps that have ended
        self._alone: tuple[float | None, float | None] = (None, None)  # p95 of users and of the probe
        self._round_trip: float | None = None
        self._mailbox: MeasuredMailbox | None = None
        self._trouble: ResyncError | None = None  # of the probe
        self._users = MockUsers(self._options.control) if self._options.control else None
        self._until = asyncio.get_running_loop().time() + self._options.max_seconds
        self._base = self._options.base.model_copy(update={"protocol": self._checked.protocol})
        self._measured = datetime.now(UTC)

    async def measure(self) -> str:
        """Make all steps; return why they ended, as a sentence."""
        options, checked = self._options, self._checked
        self._listen(
            MeasurementStarted(
                self._base.server, checked.protocol, len(checked.accounts), checked.items, checked.bytes,
                options.clients, self._workers,
            )
        )  # fmt: skip
        async with connected(options.scheduler) as cluster, probing(checked.accounts[0].settings(self._base)) as probe:
            self._round_trip = await self._find_round_trip(cluster)
            await self._wait_alone(probe)
            for number, count in enumerate(options.clients):
                if number:
                    await asyncio.sleep(min(options.pause, max(0.0, self._left())))
                if self._left() < options.step_seconds:
                    return f"The time of {format_duration(options.max_seconds)} was over."
                if reason := await self._step(cluster, probe, count):
                    return reason
                self.save("")
        return f"All steps were made, up to {max(options.clients):,} clients."

    def save(self, stopped: str) -> Capacity | None:
        """Save and return the points so far; None if there are none."""
        if not self._points:
            return None
        users, probe = self._alone
        mailbox = self._mailbox or MeasuredMailbox(items=self._checked.items, bytes=self._checked.bytes)
        capacity = Capacity(
            measured=self._measured,
            server=urlsplit(self._base.server).hostname or "",
            mailbox=mailbox,
            round_trip_s=self._round_trip,
            users_alone_p95_s=users,
            probe_alone_p95_s=probe,
            points=tuple(self._points),
            stopped=stopped,
        )
        self._save(capacity)
        return capacity

    def _left(self) -> float:
        return self._until - asyncio.get_running_loop().time()

    async def _find_round_trip(self, cluster: Cluster) -> float | None:
        if self._base.proxy is not None and self._base.proxy.get_secret_value():
            return None
        address = urlsplit(self._base.server)
        port = address.port or (443 if address.scheme == "https" else 80)
        return await cluster.connect_seconds(address.hostname or "", port)

    async def _wait_alone(self, probe: Probe | None) -> None:
        """Measure the waits without clients, for as long as a step takes."""
        if probe is None and self._users is None:
            return
        self._listen(StepStarted(0))
        await self._reset(probe)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (elapsed := loop.time() - began) < self._options.step_seconds:
            self._listen(StepProgress(0, "running", elapsed, probe_p95_s=probe.p95() if probe else None))
            await asyncio.sleep(0.25)
        users = await self._users.waits() if self._users else None
        self._alone = (users.p95 if users else None, probe.p95() if probe else None)

    async def _reset(self, probe: Probe | None) -> None:
        if probe is not None:
            probe.reset()
        if self._users is not None:
            await self._users.reset()

    async def _step(self, cluster: Cluster, probe: Probe | None, count: int) -> str:
        """Make one step; return why it was the last, "" if it was not."""
        self._listen(StepStarted(count))
        self._listen(StepProgress(count, "loading"))
        result = await run_step(
            cluster,
            self._orders(count),
            seconds=self._options.step_seconds,
            max_seconds=self._left(),
            bytes_each=self._mailbox.bytes if self._mailbox else self._checked.bytes,
            on_start=lambda: self._reset(probe),
            watch=lambda elapsed, states: self._watch(probe, elapsed, states),
        )
        if self._trouble is not None:  # what was measured of this step is worth nothing
            raise self._trouble
        users = await self._users.waits() if self._users else None
        point = figures.point_of(
            result.clients,
            users_p95_s=users.p95 if users else None,
            users_alone_p95_s=users.alone if users else None,
            probe_p95_s=probe.p95() if probe else None,
        )
        self._take(point, result)
        return self._reason_after(result)

    def _orders(self, count: int) -> list[Order]:
        """Return an order per client; accounts are shared if there are more clients."""
        base, accounts = self._base, self._checked.accounts
        settings: dict[str, Any] = {
            "server": base.address, "protocol": base.protocol, "fingerprint": base.fingerprint, "fresh": True,
            "retry_timeout": _CLIENT_RETRY_SECONDS, "max_in_flight": base.max_in_flight,
            "proxy": base.proxy.get_secret_value() if base.proxy is not None else None,
        }  # fmt: skip
        return [
            Order({**settings, "user": account.user}, account.password, account.token, self._options.ca)
            for account in (accounts[number % len(accounts)] for number in range(count))
        ]

    def _watch(self, probe: Probe | None, elapsed: float, states: Sequence[ClientState]) -> str:
        """Show a step; return why it is to be cut."""
        fetched = sum(state.bytes for state in states)
        p95 = probe.p95() if probe else None
        self._listen(
            StepProgress(
                len(states), "running", elapsed, fetched / elapsed if elapsed else 0.0,
                sum(len(state.rounds) for state in states), sum(state.failed for state in states), p95,
            )
        )  # fmt: skip
        if self._bytes + fetched > self._options.max_bytes:
            return f"The clients fetched {format_size(self._options.max_bytes)}, the most that was allowed."
        if probe and probe.error is not None:
            self._trouble = probe.error
            return explain(probe.error)[0]
        if probe and probe.unanswered:
            told = f"a small request was refused, or got no answer within {TIMEOUT_SECONDS:.0f} s"
            return f"{beside(len(states)).capitalize()}, {told}."
        if must_cut(p95, self._alone[1], self._options.max_wait):
            return f"The probe's p95 wait became much too long {beside(len(states))}: {(p95 or 0) * 1000:,.0f} ms."
        return ""

    def _take(self, point: Point, result: StepResult) -> None:
        self._points.append(point)
        self._bytes += sum(client.state.bytes for client in result.clients)
        self._mailbox = self._mailbox or figures.mailbox_of(result.clients)
        errors = Counter(client.state.error for client in result.clients if client.state.failed)
        self._listen(StepMeasured(point.model_dump(mode="json"), dict(errors), result.cut))
        if point.clients_busy is not None and point.clients_busy > BUSY:
            self._listen(
                Notice(
                    f"{beside(point.clients).capitalize()}, their own processors were {point.clients_busy:.0%} busy:"
                    " the server may be able to do more than was measured. Use more machines with --scheduler."
                )
            )
        for worker in result.lost:
            self._listen(Notice(f"The Dask worker {worker} was lost; its clients count as failed."))

    def _reason_after(self, result: StepResult) -> str:
        failed = [client for client in result.clients if client.state.failed]
        full = [client for client in failed if client.state.exit_code == Exit.NOT_ENOUGH_SPACE]
        if full or (len(failed) == len(result.clients) and not result.cut):
            state = (full or failed)[0].state
            raise _Failed(state.error, Exit(state.exit_code), state.kind)
        errors = [c.state.error for c in failed if not c.lost and c.state.exit_code in OVERLOADED]
        users, probe = self._alone
        return result.cut or reason_to_stop(self._points, users, probe, errors, self._options.max_wait)
