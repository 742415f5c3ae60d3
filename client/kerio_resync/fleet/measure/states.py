"""What is passed between the measurement, its crews and their client processes.

Durations are seconds on the clock of the machine where the client runs. Clocks of several machines are never compared.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, Self

from pydantic import SecretStr

Stage = Literal["loading", "loaded", "running", "ended"]


class Round(NamedTuple):
    """One complete rebuild: seconds, and the items and plain bytes fetched."""

    seconds: float
    items: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ClientState:
    """A client process, as it last described itself.

    `elapsed`: seconds between the signals to start and to stop. `items`, `bytes`: fetched since the start in all
    rounds, uncompressed. `retries`: of its requests, `refused`: those of them after a refusal for load. `cpu`: seconds
    of processor time. `exit_code`: see `errors.Exit`; 0 also for a client that was stopped. `error`: a sentence.
    `kind`: of the error, see `errors.kind_of`.
    """

    stage: Stage = "loading"
    elapsed: float = 0.0
    items: int = 0
    bytes: int = 0
    rounds: tuple[Round, ...] = ()
    retries: int = 0
    refused: int = 0
    cpu: float = 0.0
    exit_code: int = 0
    error: str = ""
    kind: str = ""

    @property
    def failed(self) -> bool:
        """Return whether the client ended with an error."""
        return self.exit_code != 0

    def as_json(self) -> dict[str, Any]:
        """Return plain values for one line of JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the state that `as_json` described."""
        return cls(**{**values, "rounds": tuple(Round(*entry) for entry in values["rounds"])})


@dataclass(frozen=True, slots=True)
class Order:
    """What one client is to rebuild.

    `settings`: members of `Settings`, without secrets. `ca`: the text of the only certificate authority to trust, ""
    for the system's. `rounds`: how often to rebuild, one after the other; 0: until it is stopped.
    """

    settings: dict[str, Any]
    password: SecretStr = field(default=SecretStr(""), repr=False)
    token: SecretStr | None = field(default=None, repr=False)
    ca: str = ""
    rounds: int = 0


class Machine(NamedTuple):
    """The machine of a crew.

    `host`: its name. `cores`: its processors. `free_bytes`: the room for caches at `folder`.
    """

    host: str
    cores: int
    free_bytes: int
    folder: str
