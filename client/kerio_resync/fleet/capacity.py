"""The capacity file: `fleet measure` writes it, and `fleet plan` reads it.

Durations end in `_s` and are in seconds, rates are per second, sizes in bytes.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from kerio_resync.fleet.values import Value, read_value

FORMAT: Final = "kerio-resync-capacity"
VERSION: Final = 1


class MeasuredMailbox(Value):
    """The mailbox that each client rebuilt.

    Its mails and entries, and the bytes that a client fetches.
    """

    items: int = Field(ge=0)
    bytes: int = Field(ge=0)


class ClientSeconds(Value):
    """Seconds that a client's rebuild took.

    They are taken over the clients of one point that succeeded.
    """

    fastest: float = Field(gt=0)
    median: float = Field(gt=0)
    slowest: float = Field(gt=0)


class Point(Value):
    """A measurement with a number of clients at once.

    `clients`: how many started at one instant. `seconds`: None if all failed. `items_per_s`, `bytes_per_s`: all clients
    together, while all of them ran. `failed`: clients that ended without a cache, or whose worker died. `refused`:
    requests that the server refused as overloaded. `users_p95_s`: the webmail users' p95 wait meanwhile, where the
    server tells it (the mock does). `probe_p95_s`: the p95 of small requests sent meanwhile beside the clients, as a
    webmail user would send them. `users_alone_p95_s`: the p95 wait of the same webmail users without clients, which
    the mock computes. `clients_busy`: the share of their machines' processors that the clients used; near 1, the
    clients were measured, not the server. Each is None if it was not measured.
    """

    clients: int = Field(ge=1)
    seconds: ClientSeconds | None = None
    items_per_s: float = Field(ge=0)
    bytes_per_s: float = Field(ge=0)
    failed: int = Field(default=0, ge=0)
    refused: int = Field(default=0, ge=0)
    users_p95_s: float | None = Field(default=None, ge=0)
    users_alone_p95_s: float | None = Field(default=None, ge=0)
    probe_p95_s: float | None = Field(default=None, ge=0)
    clients_busy: float | None = Field(default=None, ge=0)


class Capacity(Value):
    """A server's capacity curve, as the capacity file has it.

    `measured`: when. `server`: its host name. `round_trip_s`: from the measuring machines to the server, None if
    unknown. `users_alone_p95_s`, `probe_alone_p95_s`: the waits before the first client, None if not measured.
    `points`: with a growing number of clients, at least one. `stopped`: why the measurement ended, a sentence.
    """

    format: Literal["kerio-resync-capacity"] = FORMAT
    version: Literal[1] = VERSION
    measured: datetime
    server: str
    mailbox: MeasuredMailbox
    round_trip_s: float | None = Field(default=None, ge=0)
    users_alone_p95_s: float | None = Field(default=None, ge=0)
    probe_alone_p95_s: float | None = Field(default=None, ge=0)
    points: tuple[Point, ...] = Field(min_length=1)
    stopped: str = ""


def read_capacity(path: Path) -> Capacity:
    """Read a capacity file; BadSettings if it is unreadable or not one."""
    return read_value(path, Capacity, "a capacity file of `kerio-resync fleet measure`")
