"""What a run tells its listeners while it goes: values, each with a name for `--json`.

A listener is any callable of one event; it is called in the event loop, must not block, and must not raise. Events hold
counts, ids and reasons, never mail text, passwords or tokens. Progress comes a few times a second, not once an item.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

Phase = Literal["session", "rescue", "folders", "fetch", "catch-up", "verify", "swap", "replay", "upgrade"]


@dataclass(frozen=True, slots=True)
class Event:
    name: ClassVar[str] = "event"

    def as_json(self) -> dict[str, Any]:
        """A flat object for one line of JSON."""
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    name: ClassVar[str] = "run-started"
    profile: str
    server: str
    user: str
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class PhaseChanged(Event):
    name: ClassVar[str] = "phase"
    phase: Phase


@dataclass(frozen=True, slots=True)
class FolderListed(Event):
    """A folder's listing is complete: `items` are known to be in it."""

    name: ClassVar[str] = "folder-listed"
    folder: str
    items: int


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """Where the run stands. Bytes are plain bytes of items and attachments; `rate` in bytes a second over the last
    seconds; `seconds_left` None while nothing honest can be said. `wire_left`: bytes still to come as they travel."""

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
    """A call failed and is made again after `wait` seconds. `reason` is one line without mail text."""

    name: ClassVar[str] = "retrying"
    method: str
    attempt: int
    wait: float
    reason: str


@dataclass(frozen=True, slots=True)
class Paused(Event):
    """The server asked everyone to wait."""

    name: ClassVar[str] = "paused"
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Skipped(Event):
    """Something was left out, and why; the report counts and names it too."""

    name: ClassVar[str] = "skipped"
    scope: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """A sentence for the person in front of it: what was set aside, taken over, or must be known."""

    name: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    name: ClassVar[str] = "run-finished"
    ok: bool
    exit_code: int
    summary: dict[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """The listener that does not listen."""
