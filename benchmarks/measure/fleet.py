"""A plan compared with real clients: when they end, and what webmail users wait.

Clients start at one instant over an office link of 20 Mbit/s that they share, on a mock under `monday-morning`. The
plan's model gets what an administrator has (sizes, items, link, workers, service times) and foretells the same start.
Client and server are real. In virtual time neither the machine's load nor processor time counts; with `sockets` the
clients are processes, started as by `fleet measure`.

A p95 of a busy queue scatters from run to run: that of a hundred seconds without any client is between half and twice
the theory's. The mock knows what the very same users would have waited without clients, so the foretold p95 is scaled
by how that deviates from theory in the run. Both are shown, and the scaled one is judged.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import SecretStr

from benchmarks.tools import machine
from kerio_mockserver.conditions.link import Link
from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.conditions.presets import PRESETS
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.server import MockServer
from kerio_resync.events import ignore_events
from kerio_resync.fleet.inputs.inventory import Inventory, Person
from kerio_resync.fleet.inputs.settings import PlanSettings, settings_from
from kerio_resync.fleet.make_plan import PlanInput, survey
from kerio_resync.fleet.measure import cluster as clusters
from kerio_resync.fleet.measure.probe import MockUsers
from kerio_resync.fleet.measure.states import Order
from kerio_resync.fleet.measure.step import run_step
from kerio_resync.fleet.naive import run_naive
from kerio_resync.fleet.plan import Window
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.disk_space import expected_bytes
from kerio_resync.sync.rebuild import rebuild
from simulation import virtual_time
from simulation.link_transport import LinkTransport
from simulation.wire import ORIGIN

PASSWORD: Final = "a secret of the simulation"
PRESET: Final = "monday-morning"
LINK: Final = Link(down_bytes_s=2_500_000, up_bytes_s=2_500_000, rtt_s=0.02)
END_ERROR: Final = 0.15  # allowed of the last end
P95_ERROR: Final = 0.20  # allowed of the webmail users' p95
CASES: Final = {4: (600, 45_000_000), 16: (250, 15_000_000), 48: (100, 6_000_000)}  # clients: mails and bytes of each
QUICK: Final = {4: (150, 6_000_000)}
SOCKETS: Final = 16


@dataclass(frozen=True)
class Truth:
    """What real clients did.

    Seconds of each, and the users' p95 waits with and without them.
    """

    seconds: list[float]
    p95: float
    alone: float
    users: int
    mailbox_bytes: int
    items: int


def measure(quick: bool = False) -> dict[str, Any]:
    """Return {"runs": one per number of clients and kind of time, "ok"}."""
    runs = [compare(clients, *mailbox, sockets=False) for clients, mailbox in (QUICK if quick else CASES).items()]
    if not quick:
        runs.append(compare(SOCKETS, *CASES[SOCKETS], sockets=True))
    return {"runs": runs, "ok": all(run["ok"] for run in runs)}


def compare(clients: int, mails: int, size: int, *, sockets: bool, seed: int = 1) -> dict[str, Any]:
    """Return what was foretold and what happened, for one number of clients."""
    truth = over_sockets(clients, mails, size) if sockets else in_virtual_time(clients, mails, size, seed)
    foretold, p95, alone = foretell(clients, truth.mailbox_bytes, truth.items, sockets=sockets)
    scaled = p95 * truth.alone / alone
    end_error = max(foretold) / max(truth.seconds) - 1
    p95_error = p95 / truth.p95 - 1
    return {
        "clients": clients, "time": "real" if sockets else "virtual", "bytes": truth.mailbox_bytes,
        "users": truth.users,
        "end": max(truth.seconds), "foretold_end": max(foretold), "end_error": end_error,
        "median": median(truth.seconds), "foretold_median": median(foretold), "p95": truth.p95, "foretold_p95": p95,
        "p95_error": p95_error, "alone": truth.alone, "foretold_alone": alone, "scaled_error": scaled / truth.p95 - 1,
        "ok": abs(end_error) <= END_ERROR and abs(scaled / truth.p95 - 1) <= P95_ERROR,
    }  # fmt: skip


def settings_of_plan(*, sockets: bool) -> PlanSettings:
    """Return the plan's settings.

    The preset's figures, as an administrator would enter them.
    """
    load = PRESETS[PRESET].load
    assert load is not None
    assert load.users is not None
    users = {"per_second": [load.users.per_second] * 24, "service_s": load.users.service_s}
    server = {"workers": load.workers, "call_s": load.call_s, "kb_s": load.kb_s, "places": load.places}
    site = {"name": "office", "down": LINK.down_bytes_s, "up": LINK.up_bytes_s, "round_trip": LINK.rtt_s}
    client = {} if sockets else {"item_s": 0, "start_s": 0}  # virtual time has no processor time
    return settings_from({"server": {**server, "webmail": users}, "site": [site], "client": client}, "the benchmark")


def foretell(clients: int, size: int, items: int, *, sockets: bool) -> tuple[list[float], float, float]:
    """Return what the plan's model predicts.

    The result has the seconds of each client, and the users' p95 with and without clients.
    """
    people = tuple(Person(f"user{n}", "office", size, items, state="absent") for n in range(clients))
    start = datetime(2026, 12, 7, 8, tzinfo=UTC)
    window = Window(name="", start=start, end=start + timedelta(hours=1))
    fleet = survey(PlanInput(Inventory(people), settings_of_plan(sockets=sockets), (window,), start))
    trace, seconds = run_naive(fleet.rebuilds, fleet.curve, fleet.links, start, ZoneInfo("UTC"))
    spans = np.diff(np.asarray(trace.at))
    p95 = over_all(np.asarray(trace.p95)[:-1], spans)
    return seconds.tolist(), p95, fleet.curve.alone(fleet.curve.level_of[8])


def over_all(p95: Any, spans: Any) -> float:
    """Return the p95 over times of different load, each with its own p95.

    Waits in a queue are exponential.
    """
    low, high = 0.0, float(p95.max())
    for _ in range(50):
        middle = (low + high) / 2
        longer = float((spans * 0.05 ** (middle / np.maximum(p95, 1e-9))).sum() / spans.sum())
        low, high = (middle, high) if longer > 0.05 else (low, middle)
    return high


def in_virtual_time(clients: int, mails: int, size: int, seed: int) -> Truth:
    """Rebuild by `clients` at once in virtual time."""
    store = generate_mailbox(SeedOptions(seed, mails, total_bytes=size, shared=False))
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        return virtual_time.run(_virtual(store, clients, seed, Path(folder)))


async def _virtual(store: MailboxStore, clients: int, seed: int, folder: Path) -> Truth:
    core = MockServer(store, password=PASSWORD, seed=seed, conditions=Conditions(load=PRESETS[PRESET].load))
    transport = LinkTransport(core, LINK, connections=64 * clients)
    loop = asyncio.get_running_loop()
    core.start()

    def mailbox(number: int) -> KerioMailbox:
        chance = random.Random(f"{seed}/client {number}").random
        return KerioMailbox(_settings(folder / str(number), core.user), transport=transport, chance=chance)

    async def run(number: int) -> float:
        began = loop.time()
        settings = _settings(folder / str(number), core.user)
        await rebuild(settings, ignore_events, mailbox=mailbox(number), clock=loop.time)
        return loop.time() - began

    try:
        size, items = await _inventory(mailbox(clients))
        core.load.reset()
        seconds = list(await asyncio.gather(*(run(number) for number in range(clients))))
        tally = core.load.tally
        return Truth(
            seconds, tally.users.percentile(0.95), tally.alone.waits.percentile(0.95), tally.users.count, size, items
        )
    finally:
        core.stop()


def _settings(profile: Path, user: str) -> Settings:
    return Settings.model_validate(
        {"profile": profile, "server": ORIGIN, "protocol": "kerio", "user": user, "password": PASSWORD}
    )


async def _inventory(mailbox: KerioMailbox) -> tuple[int, int]:
    """Return bytes and items as the server states them: what an administrator sees."""
    await mailbox.open()
    folders = list(await mailbox.folders())
    await mailbox.close()
    return expected_bytes(folders, "all"), sum(folder.count for folder in folders)


def over_sockets(clients: int, mails: int, size: int) -> Truth:
    """Rebuild by `clients` processes at once, over sockets and the mock's relay."""
    load = PRESETS[PRESET].load
    assert load is not None
    conditions = {"load": load.model_dump(mode="json"), "link": LINK.model_dump(mode="json")}
    with machine.server(conditions, seed=1, mails=mails, total_bytes=size, shared=False) as served:
        return asyncio.run(_sockets(served, clients))


async def _sockets(served: machine.Server, clients: int) -> Truth:
    users = MockUsers(served.control_url)
    values = {"server": served.url, "user": served.user, "protocol": "kerio", "proxy": ""}
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        settings = Settings.model_validate({**values, "profile": Path(folder), "password": served.password})
        size, items = await _inventory(KerioMailbox(settings))
    async with clusters.connected("") as cluster:
        order = Order({key: values[key] for key in ("server", "user", "proxy")}, SecretStr(served.password), rounds=1)
        ended = (await run_step(cluster, [order] * clients, on_start=users.reset)).clients
        waits = await users.all_waits()
    failed = [client.state.error for client in ended if client.state.failed or not client.state.rounds]
    if failed:
        raise OSError(f"a client failed: {failed[0]}")
    seconds = [client.state.rounds[0].seconds for client in ended]
    return Truth(seconds, waits.p95, waits.alone, waits.users, size, items)


def report(found: dict[str, Any]) -> str:
    """Return a table in Markdown."""
    lines = [
        "## A plan and the truth",
        "",
        "Clients that start at one instant over a link of 20 Mbit/s, on a mock under `monday-morning`: foretold by the"
        f" model of `fleet plan`, and real. The last end within {END_ERROR:.0%}, the webmail users' p95 within"
        f" {P95_ERROR:.0%} (scaled): {'yes' if found['ok'] else 'NO'}.",
        "",
        "| clients | time | MB each | last end, s | foretold | error | median, s | foretold | users' p95, ms | foretold"
        " | error | scaled | without clients, ms | theory |",
        "|---:|:---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {run['clients']} | {run['time']} | {run['bytes'] / 1e6:.0f} | {run['end']:.0f} | {run['foretold_end']:.0f}"
        f" | {run['end_error']:+.0%} | {run['median']:.0f} | {run['foretold_median']:.0f} | {run['p95'] * 1000:.0f}"
        f" | {run['foretold_p95'] * 1000:.0f} | {run['p95_error']:+.0%} | {run['scaled_error']:+.0%}"
        f" | {run['alone'] * 1000:.0f} | {run['foretold_alone'] * 1000:.0f} |"
        for run in found["runs"]
    ]
    scaled = "Scaled: by the deviation of the same users' waits without clients from theory in that run."
    return "\n".join([*lines, "", scaled, ""])
