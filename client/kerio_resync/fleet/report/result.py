"""The result of `fleet report`: the members of report.json.

Instants are aware datetimes in UTC, by the clock of the machine that wrote them. Durations end in `_s` and are in
seconds, sizes are in bytes. Readers ignore members that they do not know.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from kerio_resync.fleet.values import Value

FORMAT: Final = "kerio-resync-report"
VERSION: Final = 1

State = Literal[
    "ready", "unsent", "working", "waiting", "postponed", "failed", "not-started", "not-reported", "not-due"
]  # fmt: skip
STATES: Final[tuple[State, ...]] = (
    "ready", "unsent", "working", "waiting", "postponed", "failed", "not-started", "not-reported", "not-due"
)  # fmt: skip


class Planned(Value):
    """What the plan has for a machine.

    Its wave, its start, its end and the latest likely end.
    """

    wave: int
    site: str
    start: datetime
    end: datetime
    end_high: datetime


class Machine(Value):
    """One user's cache on one machine.

    `machine`: the name of its log. `state`: ready (the last run left a complete cache), unsent (it did, but local
    changes are not sent yet), working (a run has not ended and writes), waiting (a run waits for its turn), postponed,
    failed, not-started (no run that concerns the cache), not-reported (planned, and it should have begun), not-due
    (planned for later). `cause`: of a failure, see `Cause.kind`; "" otherwise. `sentence`: what the program said.
    `command`, `version`: of the last run. `started`, `ended`: of that run; `ended` None without an end. `seen`: its
    last line. `seconds`, `bytes`, `items`: of the last work that was done. `retries`, `paused_s`, `skipped`: of the
    last run. `needed_bytes`, `free_bytes`, `where`: of a postponed or failed run without room. `attempts`: starts in a
    row that were postponed. `share`, `seconds_left`, `phase`: of a working run. `unsent`, `refused`, `conflicts`: local
    changes that the server does not have. `runs`: in the logs. `clock_ahead_s`: how far its clock is ahead, 0 if it is
    not. `late`: it was not ready at the latest likely end of the plan.
    """

    machine: str
    user: str = ""
    server: str = ""
    state: State
    cause: str = ""
    exit_code: int | None = None
    sentence: str = ""
    command: str = ""
    version: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    seen: datetime | None = None
    seconds: float | None = None
    bytes: int = 0
    items: int = 0
    retries: int = 0
    paused_s: float = 0.0
    skipped: int = 0
    needed_bytes: int | None = None
    free_bytes: int | None = None
    where: str = ""
    attempts: int = 0
    share: float | None = None
    seconds_left: float | None = None
    phase: str = ""
    unsent: int = 0
    refused: int = 0
    conflicts: int = 0
    runs: int = 0
    clock_ahead_s: float = 0.0
    planned: Planned | None = None
    late: bool = False


class Cause(Value):
    """Failed machines with one cause.

    `kind`: that of the error in the JSON lines, `no-end` for a run that stopped writing, or `upgrade-failed`.
    `title`: what happened. `advice`: what the program advises. `sentence`: an example of what it said. `again`: running
    the same command again can succeed without anything else. `machines`: their names.
    """

    kind: str
    title: str
    advice: str
    sentence: str
    again: bool
    count: int
    machines: tuple[str, ...]


class FileProblem(Value):
    """A log with lines that were not used, or a file that was not read.

    `damaged`, `foreign`, `long`: lines that are cut or broken, not of this program, or too long. `problem`: why the
    file was not read, or not to its end, as part of a sentence; "" if it was.
    """

    file: str
    damaged: int = 0
    foreign: int = 0
    long: int = 0
    problem: str = ""


class Inputs(Value):
    """What was read.

    `folders`: as they were named. `lines`: of all files; `damaged_lines`, `foreign_lines` and `long_lines` are among
    them. `other_files`: without one line of ours. `unread_files`: that could not be read. `problems`: the first files
    with any of these. `since`: older runs were ignored. `plan`: the file, "" without one.
    """

    folders: tuple[str, ...]
    files: int
    bytes: int
    lines: int
    damaged_lines: int
    foreign_lines: int
    long_lines: int
    other_files: int
    unread_files: int
    problems: tuple[FileProblem, ...]
    since: datetime | None = None
    plan: str = ""


class AgainstPlan(Value):
    """The machines against the plan.

    `planned`: users with a wave. `reported`: of them, with a log. `due`: their start has passed. `not_reported`: due,
    and without a log. `ready`: of the planned. `late`: not ready at their latest likely end. `unplanned`: machines that
    are not in the plan. `without_wave`: users for whom the plan has no place or no room. `time_ratio`: median of true
    to planned duration, None if no planned machine is ready. `end_error_s`: median of true minus planned end.
    `planned_end`: of the last wave.
    """

    planned: int
    reported: int
    due: int
    not_reported: int
    ready: int
    late: int
    unplanned: int
    without_wave: int
    time_ratio: float | None
    end_error_s: float | None
    planned_end: datetime | None


class FleetReport(Value):
    """A report, as report.json has it.

    `ok`: every machine is ready. `counts`: machines by state. `causes`: the most frequent first. `unsent_changes`:
    local changes that the server does not have. `last_end_s`: the longest time left of the working machines, None if
    none has an estimate. `slowest`: names of the slowest tenth of the machines that did work, the slowest first.
    `next_steps`: what to do now, one sentence each.
    """

    format: Literal["kerio-resync-report"] = FORMAT
    version: Literal[1] = VERSION
    made: datetime
    made_by: str
    ok: bool
    inputs: Inputs
    counts: dict[str, int]
    causes: tuple[Cause, ...]
    unsent_changes: int
    last_end_s: float | None
    slowest: tuple[str, ...]
    against_plan: AgainstPlan | None
    next_steps: tuple[str, ...]
    machines: tuple[Machine, ...]
