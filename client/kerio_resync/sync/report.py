"""The result of a rebuild, for callers and for the summary."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerio_resync.model import Kind


@dataclass(frozen=True, slots=True)
class Report:
    """Counts of one run.

    `folders`: those that can hold items and may be read. `plain_bytes`: items and attachments fetched in this run,
    uncompressed; `wire_bytes`: bodies as they travelled; `seconds`: wall time. `salvaged`: items taken from the old
    cache. `repaired`: items that a comparison of the lists found missing or different. `skipped`: (scope, id, reason)
    of everything left out. `excluded`: (path, items on the server) of the folders that were left
    out as asked. `outbox_pending`, `outbox_refused`: local changes that the server does not have; `conflicts`: local
    changes that lost in this run. `attachments_omitted`: left out as asked. `unfinished`: run again for the
    pending changes.
    """

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
    excluded: tuple[tuple[str, int], ...] = ()
    outbox_sent: int = 0
    outbox_pending: int = 0
    outbox_refused: int = 0
    conflicts: int = 0
    unfinished: bool = False
    problems: tuple[str, ...] = ()
    attachments_omitted: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return plain values only, for one line of JSON."""
        return {
            **{name: getattr(self, name) for name in self.__slots__},
            "cache": str(self.cache),
            "skipped": [list(entry) for entry in self.skipped],
            "excluded": [list(entry) for entry in self.excluded],
            "problems": list(self.problems),
        }
