"""Events of a run: immutable values, each with a name for `--json`.

A listener is a callable of one event. It is called in the event loop, and must neither block nor raise. Events contain
counts, ids and reasons, never mail text, passwords or tokens. Times are seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

Phase = Literal[
    "session", "rescue", "folders", "fetch", "catch-up", "verify", "swap", "replay", "upgrade", "export", "index",
    "logs",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events; `name` is the `event` member in `--json`."""

    name: ClassVar[str] = "event"

    def as_json(self) -> dict[str, Any]:
        """Return a flat object for one line of JSON."""
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """A run waits for its turn, which is in `seconds`.

    `until`: ISO 8601 with an offset. `reason`: the bound and the delay, as part of a sentence.
    """

    name: ClassVar[str] = "waiting"
    until: str
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run begins, after the login.

    `profile`: its path. `resumed`: it continues an interrupted one. `protocol`: of the server.
    """

    name: ClassVar[str] = "run-started"
    profile: str
    server: str
    user: str
    resumed: bool = False
    protocol: str = "kerio"


@dataclass(frozen=True, slots=True)
class PhaseChanged(Event):
    """A phase of the run begins."""

    name: ClassVar[str] = "phase"
    phase: Phase


@dataclass(frozen=True, slots=True)
class FolderListed(Event):
    """The listing of a folder (`folder`: its id) is complete, with `items` items."""

    name: ClassVar[str] = "folder-listed"
    folder: str
    items: int


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """How far the run has got, at most four times a second.

    `bytes_done`, `bytes_total`: uncompressed bytes of items and attachments. `rate`: recent bytes per second.
    `seconds_left`: None while it cannot be estimated. `in_flight`: requests. `elapsed`: seconds since the start.
    `wire_left`: bytes still to arrive, compressed as they travel.
    """

    name: ClassVar[str] = "progress"
    folders_done: int = 0
    folders_total: int = 0
    items_done: int = 0
    items_total: int = 0
    attachments_done: int = 0
    attachments_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    rate: float = 0.0
    seconds_left: float | None = None
    in_flight: int = 0
    elapsed: float = 0.0
    wire_left: int = 0


@dataclass(frozen=True, slots=True)
class Retrying(Event):
    """A call failed for the `attempt`-th time, and is retried after `wait` seconds.

    `reason`: one line.
    """

    name: ClassVar[str] = "retrying"
    method: str
    attempt: int
    wait: float
    reason: str


@dataclass(frozen=True, slots=True)
class Paused(Event):
    """The server asked for a pause; all requests wait `seconds`."""

    name: ClassVar[str] = "paused"
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Skipped(Event):
    """Something was left out; the report names it too.

    `scope`: item, attachment or folder; `id`: the server's.
    """

    name: ClassVar[str] = "skipped"
    scope: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """A sentence for the user."""

    name: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True, slots=True)
class Checked(Event):
    """A check of `doctor` has ended.

    `check`: its name. `found`, `advice`: parts of sentences, without the last full stop. `exit_code`: see
    `errors.Exit`; 0 unless `level` is "failure". `data`: figures, as plain values.
    """

    name: ClassVar[str] = "check"
    check: str
    level: Literal["ok", "warning", "failure", "skipped"]
    found: str
    advice: str = ""
    exit_code: int = 0
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """The last event.

    `exit_code`: see `errors.Exit`; `summary`: the report as plain values.
    """

    name: ClassVar[str] = "run-finished"
    ok: bool
    exit_code: int
    summary: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """Ignore the event: the listener by default."""
