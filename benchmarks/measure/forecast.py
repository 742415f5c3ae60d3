"""The estimate of a rebuild compared with the rebuild, under presets.

Client and server are real; links and load are modelled, in virtual time, so that neither depends on this machine.
Processor time is in neither. Each mailbox is so large that its rebuild takes several times as long as the probe.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from kerio_mockserver.conditions.link import Link
from kerio_mockserver.conditions.presets import PRESETS
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.server import MockServer
from kerio_resync.events import ignore_events
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.rebuild import rebuild
from kerio_resync.upgrade.estimation import Estimate, estimate
from simulation import virtual_time
from simulation.link_transport import LinkTransport
from simulation.wire import ORIGIN

PASSWORD: Final = "a secret of the simulation"
ALLOWED: Final = 0.25  # allowed error of an estimate, relative to the real time
BEYOND: Final = "satellite"  # ten seconds are sixteen round trips there, so only the range is checked
MAILBOXES: Final[dict[str, tuple[int, int]]] = {  # mails, and bytes in all
    "office-dsl": (3000, 180_000_000),
    "home-cable": (3000, 200_000_000),
    "mobile-4g": (2000, 60_000_000),
    "mobile-3g": (500, 10_000_000),
    "monday-morning": (2000, 60_000_000),
    "server-queues": (2000, 60_000_000),
    BEYOND: (3000, 90_000_000),
}
QUICK: Final = ("mobile-3g", "monday-morning")


def measure(quick: bool = False) -> dict[str, Any]:
    """Return {"presets": one entry per preset, "ok"}."""
    found = [compare(name, *MAILBOXES[name]) for name in (QUICK if quick else MAILBOXES)]
    kept = [preset["within"] if preset["preset"] == BEYOND else abs(preset["error"]) <= ALLOWED for preset in found]
    return {"presets": found, "ok": all(kept)}


def compare(name: str, mails: int, size: int, seed: int = 1) -> dict[str, Any]:
    """Return a preset's estimate with its range, and the time of the rebuild."""
    with tempfile.TemporaryDirectory(prefix="forecast-") as folder:
        foretold, probed = virtual_time.run(_with(name, mails, size, seed, Path(folder) / "probe", _foretell))
        took, requests = virtual_time.run(_with(name, mails, size, seed, Path(folder) / "real", _rebuild))
    if foretold.rebuild is None:
        raise ValueError(f"{name}: {foretold.rebuild_problem}")
    guess = foretold.rebuild
    return {
        "preset": name, "mails": mails, "bytes": size, "foretold": guess.seconds, "low": guess.low, "high": guess.high,
        "probed": probed, "took": took, "requests": requests, "error": guess.seconds / took - 1,
        "within": guess.low <= took <= guess.high,
    }  # fmt: skip


async def _with(name: str, mails: int, size: int, seed: int, profile: Path, work: Any) -> tuple[Any, float]:
    """Run `work` for a new mailbox under a preset; return its result and its cost.

    The cost is in seconds or requests.
    """
    conditions = PRESETS[name]
    store = generate_mailbox(SeedOptions(seed, mails, total_bytes=size, shared=False))
    core = MockServer(store, password=PASSWORD, seed=seed,
                conditions=conditions.model_copy(update={"link": None}))  # fmt: skip
    settings = Settings.model_validate(
        {"profile": profile, "server": ORIGIN, "protocol": "kerio", "user": core.user, "password": PASSWORD}
    )
    transport = LinkTransport(core, conditions.link or Link())
    core.start()
    try:
        found: tuple[Any, float] = await work(settings, transport, random.Random(f"{seed}/client").random, core)
        return found
    finally:
        core.stop()


async def _foretell(
    settings: Settings, transport: LinkTransport, chance: Callable[[], float], core: MockServer
) -> tuple[Estimate, float]:
    loop = asyncio.get_running_loop()
    settings.profile.mkdir()
    began = loop.time()
    return await estimate(settings, transport=transport, chance=chance), loop.time() - began


async def _rebuild(
    settings: Settings, transport: LinkTransport, chance: Callable[[], float], core: MockServer
) -> tuple[float, int]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await rebuild(
        settings, ignore_events, mailbox=KerioMailbox(settings, transport=transport, chance=chance), clock=loop.time
    )
    return loop.time() - began, sum(core.stats.requests.values())


def report(found: dict[str, Any]) -> str:
    """Return a table in Markdown."""
    lines = [
        "## Forecast",
        "",
        "The time that `estimate` predicts for a rebuild, and the time that it took, in virtual time.",
        "",
        "| preset | mails | MB | predicted, s | range, s | real, s | error | probe, s |",
        "|:---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {preset['preset']} | {preset['mails']:,} | {preset['bytes'] / 1e6:.0f} | {preset['foretold']:.0f}"
        f" | {preset['low']:.0f}–{preset['high']:.0f} | {preset['took']:.0f} | {preset['error']:+.0%}"
        f" | {preset['probed']:.1f} |"
        for preset in found["presets"]
    ]
    verdict = f"Within {ALLOWED:.0%} ({BEYOND}: within the range): {'yes' if found['ok'] else 'NO'}."
    return "\n".join([*lines, "", verdict, ""])
