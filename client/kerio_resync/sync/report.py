"""What a rebuild came to, as a value for callers and for the summary."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerio_resync.model import Kind


@dataclass(frozen=True, slots=True)
class Report:
    """`folders`: those that can hold items and may be read. `plain_bytes`: of items and attachments fetched in this
    run; `wire_bytes`: body bytes as they travelled; `seconds` of wall time. `skipped`: (scope, id, reason) of
    everything left out. `repaired`: rows that the second listing brought in. `outbox_pending`, `outbox_refused`: local
    changes that the server does not have; `conflicts`: those that lost in this run. `unfinished`: another run is needed
    for what is pending."""

    cache: Path
    folders: int = 0
    items: dict[Kind, int] = field(default_factory=dict)
    attachments: int = 0
    plain_bytes: int = 0
    wire_bytes: int = 0
    seconds: float = 0.0
    resumed: bool = False
    salvaged: int = 0
    repaired: int = 0
    retries: int = 0
    skipped: tuple[tuple[str, str, str], ...] = ()
    outbox_sent: int = 0
    outbox_pending: int = 0
    outbox_refused: int = 0
    conflicts: int = 0
    unfinished: bool = False
    problems: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values only, for one line of JSON."""
        return {
            **{name: getattr(self, name) for name in self.__slots__},
            "cache": str(self.cache),
            "skipped": [list(each) for each in self.skipped],
            "problems": list(self.problems),
        }
