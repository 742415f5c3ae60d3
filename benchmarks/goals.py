"""The goals: bounds, figures from the results, and causes of missed ones.

A goal without a figure, or with one measured on a small mailbox only, is in the table too. Causes are written by hand
in `causes.toml`, by the goal's key; a missed goal without a cause is shown as such.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.measure.fleet import END_ERROR, P95_ERROR
from benchmarks.measure.jmap import LINE, LOOPBACK
from benchmarks.measure.upgrade import LARGE, VENDOR

CAUSES = Path(__file__).resolve().parent / "causes.toml"
Entries = Mapping[str, Mapping[str, Any]]


class Goal(NamedTuple):
    """A goal; `figure` takes the results of measurement `of`, and an error means none."""

    key: str
    of: str
    words: str
    sense: Literal["at most", "at least"]
    bound: float
    figure: Callable[[Mapping[str, Any]], float | None]


class Verdict(NamedTuple):
    """A goal's figure (None: not measured); `quick` if the mailbox was too small."""

    goal: Goal
    figure: float | None
    quick: bool
    cause: str

    @property
    def reached(self) -> bool | None:
        if self.figure is None:
            return None
        return self.figure <= self.goal.bound if self.goal.sense == "at most" else self.figure >= self.goal.bound


def judged(entries: Entries, causes: Mapping[str, str]) -> list[Verdict]:
    """Return a verdict for each goal."""
    found = []
    for goal in GOALS:
        entry, figure = entries.get(goal.of), None
        if entry is not None:
            with suppress(KeyError, IndexError, TypeError, StopIteration, ValueError):
                figure = goal.figure(entry["results"])
        found.append(Verdict(goal, figure, bool(entry and entry["quick"]), causes.get(goal.key, "")))
    return found


def causes(path: Path = CAUSES) -> dict[str, str]:
    """Return the causes by goal; raise ValueError for an unknown goal."""
    found = {key: " ".join(str(text).split()) for key, text in tomllib.loads(path.read_text()).items()}
    if unknown := found.keys() - {goal.key for goal in GOALS}:
        raise ValueError(f"{path.name}: unknown goals: {', '.join(sorted(unknown))}")
    return found


def report(verdicts: Iterable[Verdict]) -> str:
    """Return the table in Markdown, and the causes below it."""
    verdicts = list(verdicts)
    lines = ["## Goals", "", "| goal | bound | figure | reached | from |", "|:---|---:|---:|:---|:---|"]
    for verdict in verdicts:
        figure = "-" if verdict.figure is None else f"{verdict.figure:.3g}"
        reached = {None: "not measured", True: "yes", False: "**NO**"}[verdict.reached]
        if verdict.quick and verdict.figure is not None:
            reached += ", quick"
        goal = verdict.goal
        lines.append(f"| {goal.words} | {goal.sense} {goal.bound:g} | {figure} | {reached} | {goal.of} |")
    lines += ["", "The mailboxes of a quick run are smaller than those of the goals.", ""]
    missed = [verdict for verdict in verdicts if verdict.reached is not True]
    if missed:
        lines += ["Goals not reached or not measured, and why:", ""]
        lines += [f"- {verdict.goal.words}: {verdict.cause or _UNKNOWN[verdict.figure is None]}" for verdict in missed]
    return "\n".join([*lines, ""])


_UNKNOWN = {True: "the results have no figure for it", False: "the cause is not known yet"}


def _mailbox(results: Mapping[str, Any]) -> Mapping[str, Any]:
    made: Mapping[str, Any] = next(mailbox for mailbox in results["mailboxes"] if mailbox["name"] == "made")
    return made


def _link(results: Mapping[str, Any], mbit: float, rtt: float, figure: str) -> float:
    cell = next(cell for cell in results["cells"] if cell["mbit"] == mbit and cell["rtt"] == rtt)
    return float(cell[figure])


def _packets(results: Mapping[str, Any], mbit: float, rtt: float) -> float:
    """Return curl's time for one file, relative to a rebuild of as many bytes."""
    cell = next(cell for cell in results["packets"] if cell["mbit"] == mbit and cell["rtt"] == rtt)
    return float(cell["of_curl"])


def _of_64(results: Mapping[str, Any], figure: str) -> float:
    """Return a figure of 64 clients; raise ValueError if there were fewer."""
    if any(server["cells"][-1]["clients"] < 64 for server in results["servers"]):
        raise ValueError("fewer than 64 clients")
    return float(results[figure])


def _times(results: Mapping[str, Any], cell: str, program: str) -> float:
    """Return how many times as long as the rebuild another program took."""
    found = next(entry for entry in results["cells"] if entry["name"] == cell)
    return float(found["programs"][program]["times"]["median"])


def _two_gigabytes(results: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(size for size in results["sizes"] if size["old_bytes"] >= LARGE)
    return found


_TEXT = "real text, 100 Mbit/s × 50 ms"
GOALS = (
    Goal("slower-loop", "limits", "10,000 mails over loopback: time relative to the slower bare loop", "at most", 1.5,
         lambda found: float(_mailbox(found)["slower"]["median"])),
    Goal("mbsync", "rivals", "speed relative to mbsync with its defaults", "at least", 4,
         lambda found: _times(found, "loopback", "mbsync")),
    Goal("mbsync-no-fsync", "rivals", "speed relative to mbsync without fsync", "at least", 1,
         lambda found: _times(found, "loopback", "mbsync, no fsync")),
    Goal("offlineimap", "rivals", "speed relative to offlineimap3", "at least", 30,
         lambda found: _times(found, "loopback", "offlineimap3")),
    Goal("text", "rivals", "real text over 100 Mbit/s × 50 ms: time relative to mbsync without fsync", "at most", 0.5,
         lambda found: 1 / _times(found, _TEXT, "mbsync, no fsync")),
    Goal("jmap", "jmap", "JMAP, loopback: speed relative to mbsync from the same Cyrus", "at least", 3,
         lambda found: _times(found, LOOPBACK, "mbsync")),
    Goal("jmap-line", "jmap", "JMAP, 100 Mbit/s × 50 ms: speed relative to mbsync from the same Cyrus", "at least", 3,
         lambda found: _times(found, LINE, "mbsync")),
    Goal("line-100", "efficiency", "efficiency on the mock's link, 100 Mbit/s × 50 ms", "at least", 0.97,
         lambda found: _link(found, 100, 0.05, "efficiency")),
    Goal("line-10", "efficiency", "efficiency on the mock's link, 10 Mbit/s × 200 ms", "at least", 0.98,
         lambda found: _link(found, 10, 0.2, "efficiency")),
    Goal("in-flight", "efficiency", "most requests in flight, 100 Mbit/s × 50 ms", "at most", 16,
         lambda found: _link(found, 100, 0.05, "most_in_flight")),
    Goal("packets-100", "efficiency", "speed relative to one curl over packets, 100 Mbit/s × 50 ms", "at least", 0.98,
         lambda found: _packets(found, 100, 0.05)),
    Goal("packets-10", "efficiency", "speed relative to one curl over packets, 10 Mbit/s × 200 ms", "at least", 0.98,
         lambda found: _packets(found, 10, 0.2)),
    Goal("help", "startup", "`kerio-resync --help`, s", "at most", 0.3,
         lambda found: float(found["help"]["seconds"]["median"])),
    Goal("upgrade-current", "startup", "`upgrade` on an up-to-date cache, s", "at most", 0.25,
         lambda found: float(found["upgrade"]["seconds"]["median"])),
    Goal("upgrade-check", "startup", "`await upgrade(settings)` on an up-to-date cache, s", "at most", 0.05,
         lambda found: float(found["check"]["seconds"]["median"])),
    Goal("upgrade-copy", "upgrade", "upgrade of 2 GB: rate relative to cp + sync", "at least", 0.4,
         lambda found: float(_two_gigabytes(found)["ratio"])),
    Goal("upgrade-vendor", "upgrade", "upgrade of 2 GB: rate relative to the vendor's", "at least", 60,
         lambda found: float(_two_gigabytes(found)["rate"]) / VENDOR),
    Goal("upgrade-memory", "upgrade", "upgrade of 2 GB: peak memory, MB", "at most", 150,
         lambda found: float(_two_gigabytes(found)["memory"]) / 1e6),
    Goal("upgrade-growth", "upgrade", "upgrade: exponent of growth from 100 MB to 4 GB", "at most", 1.03,
         lambda found: float(found["exponent"])),
    Goal("upgrade-foretold", "upgrade", "upgrade of 2 GB: error of the estimate", "at most", 0.25,
         lambda found: abs(float(_two_gigabytes(found)["foretold_error"]))),
    Goal("export", "export", "export of 200 MB of mails with sources: rate relative to cp", "at least", 0.5,
         lambda found: float(found["usual mails"]["ratio"])),
    Goal("export-small", "export", "export of 200 MB of small mails: rate relative to cp", "at least", 0.5,
         lambda found: float(found["small mails"]["ratio"])),
    Goal("export-memory", "export", "export of 200 MB: peak memory beyond that of a tenth, MB", "at most", 20,
         lambda found: float(found["usual mails"]["peak"] - found["usual mails"]["peak_of_tenth"])),
    Goal("peak", "limits", "peak memory, 10,000 mails, MB", "at most", 120,
         lambda found: float(_mailbox(found)["peak"]["median"])),
    Goal("peak-growth", "scale", "peak memory: range from 10,000 mails to the most, MB", "at most", 20,
         lambda found: float(found["spread"])),
    Goal("large-attachment", "large", "peak memory added by a 200 MB attachment, MB", "at most", 20,
         lambda found: float(found["more"]["median"])),
    Goal("growth", "scale", "exponent of growth from 10,000 mails on", "at most", 1.03,
         lambda found: float(found["exponent"])),
    Goal("steady", "scale", "rate of the last tenth of the items relative to the first", "at least", 0.9,
         lambda found: float(found["steady"])),
    Goal("salvage", "salvage", "rebuild with a sound old cache: time relative to one from nothing", "at most", 0.05,
         lambda found: float(found["time"])),
    Goal("many-total", "many", "64 clients at once: total rate relative to the best", "at least", 0.9,
         lambda found: _of_64(found, "kept")),
    Goal("many-fair", "many", "64 clients at once: slowest client's time relative to the fastest's", "at most", 2,
         lambda found: _of_64(found, "unfair")),
    Goal("fleet-end", "fleet", "plan of a fleet: error of the last client's end", "at most", END_ERROR,
         lambda found: max(abs(float(run["end_error"])) for run in found["runs"])),
    Goal("fleet-p95", "fleet", "plan of a fleet: error of the webmail users' p95", "at most", P95_ERROR,
         lambda found: max(abs(float(run["scaled_error"])) for run in found["runs"])),
)  # fmt: skip
