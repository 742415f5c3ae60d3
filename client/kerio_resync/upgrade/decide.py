"""What a start has to do about the database: a pure function from what is known to the next step.

    up to date                          → nothing
    old, and room                       → migrate
    old, no room                        → postpone (to the next start; nothing is touched)
    anything else, or a failed upgrade  → rebuild from the server: offered, or at once if the profile says so

A local upgrade that failed is not tried again on the same file; a rebuild that was begun is gone on with. What a newer
version wrote may hold what this one does not know, so its file is kept beside the rebuilt one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from kerio_resync.errors import Exit
from kerio_resync.upgrade.detect_format import FormatState

Action = Literal["nothing", "migrate", "postpone", "offer", "rebuild"]
NO_SPACE_WARNING: Final = "There was not enough disk space to proceed with the upgrade of the database"

UNSENT_CHANGES: Final = "Not all local changes are settled: run `kerio-resync rebuild` to go on."


@dataclass(frozen=True, slots=True)
class UpgradeState:
    """`needed` and `free` in bytes at `where`; `attempts`: starts that ended for want of room before this one;
    `failure`: why the local upgrade of this very file can't be done; `begun`: a rebuild was and is not finished;
    `at_once`: the profile wants a rebuild without being asked."""

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
    """What to do, and why. `done`: it was done; `summary` then says what came of it; `unfinished`: the database is
    ready, but another rebuild is needed for local changes that the server has not got."""

    action: Action
    facts: UpgradeState
    reason: str = ""
    done: bool = False
    summary: dict[str, Any] = field(default_factory=dict)
    unfinished: bool = False

    @property
    def ready(self) -> bool:
        """Whether the mail program may open the database now."""
        return self.action == "nothing" or (self.action in ("migrate", "rebuild") and self.done)

    @property
    def exit(self) -> Exit:
        if self.ready:
            return Exit.UNFINISHED if self.unfinished else Exit.DONE
        return Exit.POSTPONED if self.action == "postpone" else Exit.REBUILD_NEEDED

    def sentences(self, size: Callable[[float], str]) -> list[str]:
        """For people; `size` turns bytes into words."""
        facts = self.facts
        match self.action:
            case "nothing":
                return ["The database is up to date."]
            case "migrate" if self.done:
                return [f"The database was upgraded from format {facts.version} to {facts.wanted}."]
            case "migrate":
                return [f"The database is of format {facts.version} and is upgraded to {facts.wanted}."]
            case "postpone":
                return _postponed(facts, size)
            case "rebuild" if self.done:
                return ["The database was rebuilt from the server.", *[UNSENT_CHANGES] * self.unfinished]
            case "rebuild":
                return [f"The database can't be upgraded: {self.reason}. It is rebuilt from the server."]
        return [
            f"The database can't be upgraded: {self.reason}.",
            "The server still has the mailbox: run `kerio-resync rebuild` to fetch it again; changes not yet sent are"
            ' taken over as far as can be. (`on_failure = "rebuild"` in profile.toml does so without asking.)',
        ]

    def as_json(self) -> dict[str, Any]:
        facts = self.facts
        return {
            "action": self.action, "done": self.done, "ready": self.ready, "reason": self.reason, "state": facts.state,
            "version": facts.version, "wanted": facts.wanted, "needed_bytes": facts.needed, "free_bytes": facts.free,
            "where": facts.where, "attempts": facts.attempts + (self.action == "postpone"),
            "unfinished": self.unfinished, **self.summary,
        }  # fmt: skip


def decide(facts: UpgradeState) -> UpgradeDecision:
    """The next step."""
    match facts.state:
        case "current":
            return UpgradeDecision("nothing", facts)
        case "old" if not facts.failure and not facts.begun:
            return UpgradeDecision("migrate" if facts.needed <= facts.free else "postpone", facts)
    return UpgradeDecision("rebuild" if facts.at_once else "offer", facts, _reason(facts))


def _reason(facts: UpgradeState) -> str:
    match facts.state:
        case "absent":
            return "there is none yet"
        case "newer":
            return (
                f"a newer version of the program wrote it (format {facts.version}, this one's is {facts.wanted});"
                " use that version, or let this one fetch the mailbox again"
            )
        case "unknown":
            if not facts.version:
                return "it is a database of another program"
            return f"its format ({facts.version}) is {_age(facts)}"
        case "damaged":
            return "the file is damaged"
        case "unreadable":
            return "the file can't be read"
    return facts.failure or "a rebuild was begun and is not finished"


def _age(facts: UpgradeState) -> str:
    found, wanted = (tuple(map(int, each.split("."))) for each in (facts.version, facts.wanted))
    return "older than those that can be upgraded" if found < wanted else "unknown"


def _postponed(facts: UpgradeState, size: Callable[[float], str]) -> list[str]:
    attempt = facts.attempts + 1
    again = f" This was attempt {attempt}." if attempt > 1 else ""
    lines = [
        f"{NO_SPACE_WARNING}: {size(facts.needed)} ({facts.needed:,} bytes) are needed, {size(facts.free)}"
        f" ({facts.free:,} bytes) are free at {facts.where}.",
        f"Nothing was touched; the upgrade is tried again at the next start.{again}",
    ]
    if attempt > 1:
        lines.append(
            "Other ways than making room: `kerio-resync rebuild --drop-first` drops the old database and fetches the"
            " mailbox from the server; with `--attachments inbox` or `--attachments none` it takes less room."
        )
    return lines
