"""Judges a profile for monitoring: one line with a level, and metrics.

The levels are those of Nagios plugins (0 OK, 1 warning, 2 critical, 3 unknown), which differ from `errors.Exit`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from kerio_resync.errors import Exit
from kerio_resync.filesystem import translate_os_error
from kerio_resync.sync.disk_space import RESERVE_BYTES
from kerio_resync.version import VERSION

FILE_STATES: Final = ("absent", "ready", "building", "old", "unknown", "damaged")
CHANGE_STATES: Final = ("pending", "sending", "conflict", "refused")
_PASSING: Final = (Exit.POSTPONED, Exit.UNFINISHED, Exit.IN_USE, Exit.INTERRUPTED)  # the next run may succeed
_JUDGING: Final = ("rebuild", "verify", "upgrade", "start")  # commands whose result tells about the cache
State = Mapping[str, Any]  # of `Status.as_json`, with "runs"


class Level(IntEnum):
    """The exit codes of Nagios plugins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Health(NamedTuple):
    """The level of a profile, and the reasons, the most severe first."""

    level: Level
    reasons: tuple[str, ...]


def judge(state: State) -> Health:
    """Return how the profile is."""
    found = sorted(_problems(state), key=lambda problem: -problem[0])
    if found:
        return Health(found[0][0], tuple(text for _, text in found))
    cache = state["cache"]
    finished = f", finished {cache['finished_at']}" if cache["finished_at"] else ""
    return Health(Level.OK, (f"cache ready{finished}, {sum(cache['items'].values()):,} items",))


def _problems(state: State) -> Iterator[tuple[Level, str]]:
    cache, building, holder = state["cache"], state["building"], state["holder"]
    yield from _problems_of_cache(cache, holder)
    if building["state"] != "absent" and not holder:
        yield Level.WARNING, "a rebuild was interrupted"
    if state["free_bytes"] < RESERVE_BYTES:
        yield Level.CRITICAL, f"only {state['free_bytes'] // 2**20} MiB free on the disk"
    if count := len(state["outbox"]):
        yield Level.WARNING, f"{count:,} local changes not sent"
    if count := len(state.get("set_aside", ())):
        yield Level.WARNING, f"{count:,} files set aside hold local changes"
    ended = next((run for run in state.get("runs", ()) if run["ended"] and run["command"] in _JUDGING), None)
    if ended and ended["exit_code"]:
        level = Level.WARNING if ended["exit_code"] in _PASSING else Level.CRITICAL
        yield level, f"the last {ended['command']} ended with {ended['exit_code']}: {ended['error']}".rstrip(": ")


def _problems_of_cache(cache: State, holder: str) -> Iterator[tuple[Level, str]]:
    match cache["state"]:
        case "ready" if cache["wanted"] or cache["attachments_wanted"]:
            yield Level.WARNING, "the cache is incomplete"
        case "ready":
            return
        case "old":
            yield Level.WARNING, "the cache has an older format"
        case "absent":
            yield (Level.WARNING if holder else Level.CRITICAL), "there is no cache"
        case other:
            yield Level.CRITICAL, f"the cache is {other}"


def line(health: Health, state: State | None = None) -> str:
    """Return the one line of a plugin: level, reasons and, after a bar, the figures."""
    text = "; ".join(health.reasons).replace("|", "/")
    figures = ""
    if state is not None and state["cache"]["state"] == "ready":
        cache = state["cache"]
        figures = (
            f" | items={sum(cache['items'].values())};;;0 size={cache['bytes']}B;;;0"
            f" free={state['free_bytes']}B;;{RESERVE_BYTES}:;0 unsent={len(state['outbox'])};;;0"
        )
    return f"{health.level.name} - {text}{figures}"


def metrics(health: Health, state: State | None, profile: str) -> str:
    """Return the metrics in the text format of Prometheus."""
    page = MetricsPage("kerio_resync", {"profile": profile})
    page.add("info", "The version.", [({"version": VERSION}, 1)])
    page.add("health", "The level of `status --check`: 0 OK, 1 warning, 2 critical, 3 unknown.", [({}, health.level)])
    if state is None:
        return page.text()
    cache, building = state["cache"], state["building"]
    page.add("cache_state", "The state of the cache.", [({"state": s}, s == cache["state"]) for s in FILE_STATES])
    page.add("cache_bytes", "The size of the cache.", [({}, cache["bytes"])])
    page.add("cache_items", "Items in the cache.", [({"kind": k}, n) for k, n in cache["items"].items()])
    page.add("cache_attachments", "Attachments in the cache.", [({}, cache["attachments"])])
    page.add("cache_skipped", "What the last rebuild left out.", [({}, cache["skipped"])])
    if (finished := _seconds(cache["finished_at"])) is not None:
        page.add("cache_finished_timestamp_seconds", "When the cache was complete.", [({}, finished)])
    page.add("unfinished_bytes", "The size of an unfinished cache; 0 if there is none.", [({}, building["bytes"])])
    counts = dict.fromkeys(CHANGE_STATES, 0)
    for change in state["outbox"]:
        counts[change["state"]] = counts.get(change["state"], 0) + 1
    page.add("unsent_changes", "Local changes that the server lacks.", [({"state": s}, n) for s, n in counts.items()])
    page.add("free_bytes", "Free room on the disk of the cache.", [({}, state["free_bytes"])])
    page.add("in_use", "Whether a run has the profile locked.", [({}, bool(state["holder"]))])
    _add_runs(page, state.get("runs", ()))
    return page.text()


def _add_runs(page: MetricsPage, runs: Sequence[State]) -> None:
    last: dict[str, State] = {}
    for run in runs:
        if run["ended"]:
            last.setdefault(run["command"], run)

    def samples(member: str) -> list[tuple[dict[str, str], float]]:
        values = [(name, _seconds(run[member]) if member == "ended" else run[member]) for name, run in last.items()]
        return [({"command": name}, value) for name, value in values if value is not None]

    page.add("last_run_timestamp_seconds", "When the last run ended.", samples("ended"))
    page.add("last_run_exit_code", "The exit code of the last run.", samples("exit_code"))
    page.add("last_run_seconds", "How long the last run took.", samples("seconds"))


class MetricsPage:
    """Collects gauges whose names begin with `prefix`, each with the same `labels`."""

    def __init__(self, prefix: str, labels: Mapping[str, str] | None = None) -> None:
        self._prefix, self._labels, self._lines = prefix, labels or {}, list[str]()

    def add(self, name: str, about: str, samples: Sequence[tuple[Mapping[str, str], float]]) -> None:
        """Add a gauge with a sample for each set of labels; none without a sample."""
        if samples:
            self._lines += [f"# HELP {self._prefix}_{name} {about}", f"# TYPE {self._prefix}_{name} gauge"]
        for labels, value in samples:
            named = ",".join(f'{key}="{_escape(text)}"' for key, text in {**self._labels, **labels}.items())
            shown = f"{{{named}}}" if named else ""
            self._lines.append(f"{self._prefix}_{name}{shown} {float(value):.17g}")

    def text(self) -> str:
        """Return the page in the text format of Prometheus."""
        return "\n".join([*self._lines, ""])


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _seconds(time: str) -> float | None:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return None


def write_metrics(path: Path, text: str) -> None:
    """Write a file for the textfile collector, at once and readable by it. LocalError.

    The name of the part does not end with `.prom`, so that the collector ignores it.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise translate_os_error(error, path) from error
