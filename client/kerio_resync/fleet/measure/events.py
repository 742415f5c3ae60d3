"""The events of a measurement, beside `Notice` and `RunFinished`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kerio_resync.events import Event


@dataclass(frozen=True, slots=True)
class AccountsChecked(Event):
    """So many accounts were checked by logging in, of `total`."""

    name: ClassVar[str] = "accounts-checked"
    checked: int
    total: int


@dataclass(frozen=True, slots=True)
class MeasurementStarted(Event):
    """The measurement begins.

    `accounts`: their number. `items`, `bytes`: of a mailbox, 0 if unknown. `clients`: of each step. `workers`: Dask
    workers, 0 without a cluster.
    """

    name: ClassVar[str] = "measurement-started"
    server: str
    protocol: str
    accounts: int
    items: int
    bytes: int
    clients: tuple[int, ...]
    workers: int


@dataclass(frozen=True, slots=True)
class StepStarted(Event):
    """A step begins, with `clients` at once.

    0: the waits without clients are measured.
    """

    name: ClassVar[str] = "step-started"
    clients: int


@dataclass(frozen=True, slots=True)
class StepProgress(Event):
    """How a step goes, four times a second.

    `stage`: "loading" before the start signal, then "running". `elapsed`: seconds since then. `bytes_per_s`: of all
    clients so far. `rounds`: complete rebuilds. `probe_p95_s`: None after too few requests.
    """

    name: ClassVar[str] = "step-progress"
    clients: int
    stage: str
    elapsed: float = 0.0
    bytes_per_s: float = 0.0
    rounds: int = 0
    failed: int = 0
    probe_p95_s: float | None = None


@dataclass(frozen=True, slots=True)
class StepMeasured(Event):
    """A step has ended.

    `point`: as in the capacity file. `errors`: sentences of clients that failed, each once, with their number. `cut`:
    why the step was stopped before its end, "" if it was not.
    """

    name: ClassVar[str] = "step-measured"
    point: dict[str, Any]
    errors: dict[str, int]
    cut: str = ""
