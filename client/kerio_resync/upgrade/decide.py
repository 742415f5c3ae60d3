"""Decides what a start does to the database: a pure function of its state.

    up to date                            → nothing
    old format, enough disk space         → migrate
    old format, not enough disk space     → postpone (nothing is changed)
    anything else, or a failed migration  → rebuild from the server: offered, or at once if the profile says so

A migration that failed is not repeated on the same file, and an unfinished rebuild is resumed. A file of a newer
version is kept beside the rebuilt one, because it may hold what this version does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from kerio_resync.errors import Exit
from kerio_resync.upgrade.formats import FormatState

Action = Literal["nothing", "migrate", "postpone", "offer", "rebuild"]
NO_SPACE_WARNING: Final = "There was not enough disk space to proceed with the upgrade of the database"
REBUILD_ADVICE: Final = (
    "Run `kerio-resync rebuild` to download the mailbox from the server; unsent changes are kept where they can"
    ' be read. With `on_failure = "rebuild"` in profile.toml this happens without asking.'
)
UNSENT_CHANGES: Final = "Some local changes were not sent. Run `kerio-resync rebuild` again."


@dataclass(frozen=True, slots=True)
class UpgradeState:
    """What is known before a decision.

    `version`, `wanted`: formats of the file and of this program. `needed`, `free`: bytes on the disk of `where`.
    `attempts`: earlier starts in a row without enough space. `failure`: why the migration of this very file failed.
    `begun`: a rebuild is unfinished. `at_once`: the profile wants a rebuild without being asked.
    """

    state: FormatState
    version: str = ""
    wanted: str = ""
    needed: int = 0
    free: int = 0
    where: str = ""
    attempts: int = 0
    failure: str = ""
    begun: bool = False
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class UpgradeDecision:
    """What to do, and why. `done`: it was done, with the result in `summary`.

    `unfinished`: the database is ready, but some local changes were not sent.
    """

    action: Action
    facts: UpgradeState
    reason: str = ""
    done: bool = False
    summary: dict[str, Any] = field(default_factory=dict)
    unfinished: bool = False

    @property
    def ready(self) -> bool:
        """Return whether the mail program may open the database now."""
        return self.action == "nothing" or (self.action in ("migrate", "rebuild") and self.done)

    @property
    def exit(self) -> Exit:
        """Return the exit code of `kerio-resync upgrade`."""
        if self.ready:
            return Exit.UNFINISHED if self.unfinished else Exit.DONE
        return Exit.POSTPONED if self.action == "postpone" else Exit.REBUILD_NEEDED

    def sentences(self, size: Callable[[float], str]) -> list[str]:
        """Return sentences for the user; `size` formats a number of bytes."""
        facts = self.facts
        match self.action:
            case "nothing":
                return ["The database is up to date."]
            case "migrate" if self.done:
                return [f"The database was upgraded from format {facts.version} to {facts.wanted}."]
            case "migrate":
                return [f"The database has format {facts.version} and will be upgraded to {facts.wanted}."]
            case "postpone":
                return _postponed(facts, size)
            case "rebuild" if self.done:
                return ["The database was rebuilt from the server.", *[UNSENT_CHANGES] * self.unfinished]
            case "rebuild":
                return [f"The database cannot be upgraded: {self.reason}. It is rebuilt from the server."]
        return [
            f"The database cannot be upgraded: {self.reason}.",
            REBUILD_ADVICE,
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the fields of the JSON summary."""
        facts = self.facts
        return {
            "action": self.action, "done": self.done, "ready": self.ready, "reason": self.reason, "state": facts.state,
            "version": facts.version, "wanted": facts.wanted, "needed_bytes": facts.needed, "free_bytes": facts.free,
            "where": facts.where, "attempts": facts.attempts + (self.action == "postpone"),
            "unfinished": self.unfinished, **self.summary,
        }  # fmt: skip


def decide(facts: UpgradeState) -> UpgradeDecision:
    """Return what to do."""
    if facts.state == "current":
        return UpgradeDecision("nothing", facts)
    if facts.state == "old" and not facts.failure and not facts.begun:
        return UpgradeDecision("migrate" if facts.needed <= facts.free else "postpone", facts)
    return UpgradeDecision("rebuild" if facts.at_once else "offer", facts, _reason(facts))


def _reason(facts: UpgradeState) -> str:
    match facts.state:
        case "absent":
            return "there is none yet"
        case "newer":
            return (
                f"a newer version of the program wrote it (format {facts.version}, this version has {facts.wanted});"
                " use that version again, or let this one download the mailbox"
            )
        case "unknown" if not facts.version:
            return "it is a database of another program"
        case "unknown":
            found, wanted = (tuple(map(int, version.split("."))) for version in (facts.version, facts.wanted))
            age = "older than the formats that can be upgraded" if found < wanted else "unknown"
            return f"its format ({facts.version}) is {age}"
        case "damaged":
            return "the file is damaged"
        case "unreadable":
            return "the file cannot be read"
    return facts.failure or "a rebuild was begun and is not finished"


def _postponed(facts: UpgradeState, size: Callable[[float], str]) -> list[str]:
    attempt = facts.attempts + 1
    again = f" This was attempt {attempt}." if attempt > 1 else ""
    lines = [
        f"{NO_SPACE_WARNING}: it needs {size(facts.needed)} ({facts.needed:,} bytes), {size(facts.free)}"
        f" ({facts.free:,} bytes) are free in {facts.where}.",
        f"Nothing was changed. The next start tries again.{again}",
    ]
    if attempt > 1:
        lines.append(
            "If you cannot free the space: `kerio-resync rebuild --drop-first` deletes the old database and downloads"
            " the mailbox; with `--attachments inbox` or `--attachments none` it needs less space."
        )
    return lines
