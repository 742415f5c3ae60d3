"""Follows the runs in one log, line by line.

Memory does not grow with the log.

Lines of the profile's log and of `--log-file` name their run and time. Those of `--json` have neither: there a run ends
with `run-finished`, and another begins with the next line, or where a login follows a login. Nothing in a line is
trusted: what has the wrong type counts as missing, texts are cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from kerio_resync.errors import Exit
from kerio_resync.fleet.report.values_of_lines import count, mapping, number, text

MAX_OPEN: Final = 64  # runs of one log without an end; each one that was killed stays open
MAX_ACCOUNTS: Final = 64
_EVENTS: Final = frozenset(
    {
        "run-started", "phase", "folder-listed", "progress", "retrying", "paused", "skipped", "notice", "check",
        "waiting", "run-finished",
    }
)  # fmt: skip
_CHANGING: Final = frozenset({"rebuild", "upgrade", "start", ""})  # commands; "" if it is not known
# A member that only the summary of one command has.
_COMMAND_BY_MEMBER: Final = {
    "action": "upgrade", "salvaged": "rebuild", "checked": "verify", "targets": "export", "warnings": "doctor",
    "lines": "estimate", "has_cache": "rebuild --dry-run", "settings": "config", "members": "support-bundle",
}  # fmt: skip
_STARTS: Final = (b'{"time": "', b'{"event": "')


@dataclass(slots=True)
class Outcome:
    """The end of a run, as `run-finished` states it.

    `kind`: of the error, "" if none is stated. `ready`: the mail program may open the cache. `action`, `state`: of an
    upgrade. `seconds`, `bytes`, `items`: of the work that was done; `seconds` None if none was.
    """

    exit_code: int
    ok: bool
    ready: bool
    kind: str = ""
    error: str = ""
    action: str = ""
    state: str = ""
    needed_bytes: int | None = None
    free_bytes: int | None = None
    where: str = ""
    attempts: int = 0
    unsent: int = 0
    refused: int = 0
    conflicts: int = 0
    seconds: float | None = None
    bytes: int = 0
    items: int = 0


@dataclass(slots=True)
class Run:
    """One run, as far as its lines describe it.

    `first`, `last`: times of its first and last line as they are written, "" if lines have none. `order`: the number of
    its last line in the log. `latest`: the greatest time in the log so far; it orders runs of several logs, also where
    the clock was set back between two lines.
    """

    id: str
    command: str = ""
    version: str = ""
    user: str = ""
    server: str = ""
    first: str = ""
    last: str = ""
    latest: str = ""
    order: int = 0
    logins: int = 0
    phase: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)
    progress_at: str = ""
    waits_until: str = ""
    retries: int = 0
    paused: float = 0.0
    skipped: int = 0
    reason: str = ""
    outcome: Outcome | None = None

    @property
    def tells_about_cache(self) -> bool:
        """Return whether the run changes or judges the cache.

        A verification does if it was made.
        """
        if self.command != "verify":
            return self.command in _CHANGING
        return self.outcome is not None and self.outcome.exit_code in (Exit.DONE, Exit.UNVERIFIED)


@dataclass(slots=True)
class Counts:
    """Lines of a log by what they are.

    `damaged`: cut or broken JSON. `foreign`: not of this program. `long`: over the limit; of these only the beginning
    is read.
    """

    lines: int = 0
    damaged: int = 0
    foreign: int = 0
    long: int = 0


class LogFold:
    """What is kept of one log.

    `ended`: for each user, in lower case, the last run whose end tells about the cache; "" for runs that failed before
    their login, or needed none. `worked`: the last run that
    rebuilt or upgraded it. `open`: runs without an end. `status`: the last output of `status --json`.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self.open: dict[str, Run] = {}
        self.ended: dict[str, Run] = {}
        self.worked: dict[str, Run] = {}
        self.status: dict[str, Any] = {}
        self.runs = 0
        self._latest = ""
        self._unnamed = 0

    def take(self, line: bytes, cut: bool = False) -> bool:
        """Take a line in; return whether it is one of ours.

        `cut`: it is the head of a longer line.
        """
        if cut:
            self.counts.lines += 1
            self.counts.long += 1
            head, found, _ = line.partition(b', "summary": ')
            return bool(found) and self._entry(_parse(head + b"}"))
        line = line.strip(b"\0 \t\r")  # zeros are what a power cut leaves
        if not line:
            return False
        self.counts.lines += 1
        entry = _parse(line)
        if entry is None:
            return self._broken(line)
        if self._entry(entry):
            return True
        self.counts.foreign += 1
        return False

    def _broken(self, line: bytes) -> bool:
        """Take in what follows a line that was cut.

        A killed run leaves one, and the next run appends to it.
        """
        if not line.startswith((b"{", b"\xef\xbb\xbf{")) and b'"event"' not in line:
            self.counts.foreign += 1
            return False
        self.counts.damaged += 1
        at = max(line.rfind(start) for start in _STARTS)
        return at > 0 and self._entry(_parse(line[at:]))

    def _entry(self, entry: Any) -> bool:
        if not isinstance(entry, dict):
            return False
        event, run_id = entry.get("event"), entry.get("run")
        if not isinstance(event, str) or not (event in _EVENTS or ("version" in entry and isinstance(run_id, str))):
            return False
        run = self._run(entry, event, run_id if isinstance(run_id, str) else "")
        time = entry.get("time")
        if isinstance(time, str) and time.startswith("20"):
            run.last = time[:40]
            run.first = run.first or run.last
            self._latest = max(self._latest, run.last)
        run.latest, run.order = self._latest, self.counts.lines
        match event:
            case "progress":
                run.progress, run.progress_at = entry, run.last
            case "phase":
                run.phase = text(entry, "phase")
            case "retrying":
                run.retries += 1
                run.reason = text(entry, "reason")
            case "paused":
                run.paused += number(entry, "seconds") or 0.0
                run.reason = text(entry, "reason")
            case "skipped":
                run.skipped += 1
            case "waiting":
                run.waits_until = text(entry, "until")
            case "run-started":
                run.user, run.server = text(entry, "user"), text(entry, "server")
            case "run-finished":
                self._finish(run, entry)
        return True

    def _run(self, entry: Mapping[str, Any], event: str, run_id: str) -> Run:
        """Return the run of a line, a new one if it is its first."""
        if not run_id:
            run_id = f"#{self._unnamed}"
            run = self.open.get(run_id)
            begins = event == "phase" and entry.get("phase") == "session"
            if run is not None and begins and run.logins:
                self._unnamed += 1
                run_id = f"#{self._unnamed}"
        run = self.open.get(run_id)
        if run is None:
            run = self.open[run_id] = Run(run_id[:40], text(entry, "command"), text(entry, "version"))
            self.runs += 1
            run.order = self.counts.lines
            if len(self.open) > MAX_OPEN:
                del self.open[min(self.open, key=lambda each: self.open[each].order)]
        run.logins += event == "phase" and entry.get("phase") == "session"
        return run

    def _finish(self, run: Run, entry: Mapping[str, Any]) -> None:
        for run_id in [each for each, other in self.open.items() if other is run]:
            del self.open[run_id]
        self._unnamed += run.id.startswith("#")
        summary = mapping(entry, "summary")
        if isinstance(summary.get("cache"), dict):
            self.status = _facts_of_status(summary)
            return
        run.command = run.command or next(
            (_COMMAND_BY_MEMBER[name] for name in summary if name in _COMMAND_BY_MEMBER), ""
        )
        run.outcome = outcome = _outcome(run.command, entry, summary)
        run.progress = {}
        if not run.tells_about_cache:
            return
        _keep(self.ended, run)
        if outcome.seconds is not None:
            _keep(self.worked, run)


def _keep(runs: dict[str, Run], run: Run) -> None:
    user = run.user.casefold()
    if user in runs or len(runs) < MAX_ACCOUNTS:
        runs[user] = run


def _parse(line: bytes) -> Any:
    """Return the value of a line of JSON; None if it is none."""
    try:
        return orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return None


def _outcome(command: str, entry: Mapping[str, Any], summary: Mapping[str, Any]) -> Outcome:
    code = entry.get("exit_code")
    exit_code = code if type(code) is int and 0 <= code < 256 else Exit.INTERNAL_ERROR
    rebuilt, upgraded = mapping(summary, "rebuild"), mapping(summary, "upgraded")
    work = rebuilt or (summary if command == "rebuild" else {})
    items = sum(count(mapping(work, "items"), kind) for kind in mapping(work, "items"))
    return Outcome(
        exit_code=exit_code,
        ok=entry.get("ok") is True,
        ready=exit_code == Exit.DONE or summary.get("ready") is True or summary.get("unfinished") is True,
        kind=text(summary, "kind"),
        error=text(summary, "error") or _differences(command, summary),
        action=text(summary, "action"),
        state=text(summary, "state"),
        needed_bytes=_bytes(summary, "needed_bytes"),
        free_bytes=_bytes(summary, "free_bytes"),
        where=text(summary, "where"),
        attempts=count(summary, "attempts"),
        unsent=count(work, "outbox_pending") if work else count(upgraded, "pending"),
        refused=count(work, "outbox_refused"),
        conflicts=count(work, "conflicts"),
        seconds=number(work, "seconds") if work else number(upgraded, "seconds"),
        bytes=count(work, "plain_bytes") if work else count(upgraded, "new_bytes"),
        items=items or count(upgraded, "items"),
    )


def _differences(command: str, summary: Mapping[str, Any]) -> str:
    """Return what a verification found, whose summary has no sentence."""
    found = count(summary, "count") if command == "verify" else 0
    return f"The cache and the server differ in {found:,} items." if found else ""


def _bytes(summary: Mapping[str, Any], name: str) -> int | None:
    found = number(summary, name)
    return None if found is None else int(found)


def _facts_of_status(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of `status --json`."""
    cache, building, outbox = mapping(summary, "cache"), mapping(summary, "building"), summary.get("outbox")
    return {
        "state": text(cache, "state"),
        "building": text(building, "state") not in ("", "absent"),
        "holder": text(summary, "holder"),
        "unsent": len(outbox) if isinstance(outbox, list) else 0,
        "user": text(cache, "account"),
        "server": text(cache, "server"),
        "free_bytes": _bytes(summary, "free_bytes"),
    }
