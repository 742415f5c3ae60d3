"""The result of an export, for callers and for the summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kerio_resync.errors import Exit
from kerio_resync.export.options import Format
from kerio_resync.model import Kind

MAX_EXAMPLES: Final = 5  # ids named for one reason


@dataclass(slots=True)
class TargetReport:
    """Counts of one format.

    `written`: new files or entries; `replaced`: those that changed since an earlier export; `unchanged`: already there.
    `bytes`: written in this run. `lost`: what could not be expressed, by reason, with how often; `examples`: the first
    items with it, by folder and date (their texts are not for logs). `skipped`: (scope, id, reason) of what is not in
    the export.
    """

    format: Format
    path: Path
    folders: int = 0
    items: Counter[Kind] = field(default_factory=Counter)
    written: int = 0
    replaced: int = 0
    unchanged: int = 0
    bytes: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[tuple[str, str, str]] = field(default_factory=list)
    present: str = ""  # the path of the folder that is being written

    def lose(self, name: str, reasons: list[str]) -> None:
        """Count what a file does not express; `name`: of its item or folder."""
        for reason in reasons:
            self.lost[reason] += 1
            named = self.examples.setdefault(reason, [])
            if len(named) < MAX_EXAMPLES and name not in named:
                named.append(name)

    def lose_of(self, item_id: str, date: str | None, reasons: list[str]) -> None:
        """Count what an item's file does not express; `date`: ISO 8601, if it has one."""
        if reasons:
            when = f"{date[:10]} {date[11:16]}".strip() if date else f"id {item_id}"
            self.lose(f"{self.present}, {when}", reasons)

    def as_json(self) -> dict[str, Any]:
        """Return plain values only."""
        return {
            **{name: getattr(self, name) for name in self.__slots__ if name != "present"},
            "path": str(self.path),
            "items": dict(self.items),
            "lost": dict(self.lost),
            "skipped": [list(entry) for entry in self.skipped],
        }


@dataclass(frozen=True, slots=True)
class ExportReport:
    """Counts of one run; `unsent`: local changes that the export does not have.

    `without_source`: mails left out because the cache has no source of them.
    """

    targets: tuple[TargetReport, ...]
    seconds: float
    dry_run: bool
    unsent: int
    without_source: int = 0

    @property
    def exit(self) -> Exit:
        """Return the exit code.

        A rebuild is needed if nothing but mails without a source was selected.
        """
        is_empty = not any(target.items.total() for target in self.targets)
        return Exit.REBUILD_NEEDED if self.without_source and is_empty else Exit.DONE

    def as_json(self) -> dict[str, Any]:
        """Return plain values only, for one line of JSON."""
        targets = [target.as_json() for target in self.targets]
        return {
            "targets": targets,
            "seconds": self.seconds,
            "dry_run": self.dry_run,
            "unsent": self.unsent,
            "without_source": self.without_source,
        }
