"""The commands `upgrade` and `start`, from their profile to their exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerio_resync import plain_text
from kerio_resync.cli import commands
from kerio_resync.cli.process import print_error
from kerio_resync.errors import Exit
from kerio_resync.events import Listener, RunFinished
from kerio_resync.variables import SETTING_VARIABLES

if TYPE_CHECKING:
    from kerio_resync.settings import Settings
    from kerio_resync.upgrade.decide import UpgradeDecision


def upgrade(profile: Path, shown: Listener, given: Mapping[str, Any]) -> Exit:
    """Upgrade the database in the run's turn."""
    return _upgrade(profile, shown, given, waits=True).exit


def start(profile: Path, shown: Listener, command: Sequence[str], given: Mapping[str, Any]) -> int:
    """Upgrade the database and run the program, at once: a user waits for it.

    Where the system allows it, the program replaces this process. Otherwise its exit code is returned.
    """
    from kerio_resync.upgrade import launcher

    decisions: list[UpgradeDecision] = []

    def upgrade_once() -> UpgradeDecision:
        decisions.append(_upgrade(profile, shown, given, waits=False))
        return decisions[0]

    code = launcher.launch_when_ready(profile, command, upgrade_once)
    return code if decisions[0].ready else launcher.FAILED


def start_exit_code(error: BaseException, code: Exit) -> int:
    """Return the exit code of a failed `start`: one that few programs use."""
    from kerio_resync.upgrade import launcher

    return code if code is Exit.INTERRUPTED else launcher.FAILED


def _upgrade(profile: Path, shown: Listener, given: Mapping[str, Any], *, waits: bool) -> UpgradeDecision:
    """Return the decision; print on standard error why the database is not ready.

    `waits`: for the turn of an unattended run.
    """
    decision = _decision_if_current(profile)
    if decision is not None:
        shown(RunFinished(ok=True, exit_code=decision.exit, summary=_decision_as_json(decision)))
        return decision
    from kerio_resync.profile_file import load
    from kerio_resync.turn import own_turn
    from kerio_resync.upgrade import procedure

    decisions: list[UpgradeDecision] = []

    async def rebuild(settings: Settings, listen: Listener) -> Any:
        import kerio_resync

        online = commands.load_online_settings(profile, given)
        try:
            return await kerio_resync.rebuild(online, listen)
        except Exception as error:
            online.redactor.error(error)
            raise

    def to_exit(decision: UpgradeDecision) -> tuple[Exit, commands.JsonObject]:
        decisions.append(decision)
        return decision.exit, _decision_as_json(decision)

    settings = load(profile, {name: given.get(name) for name in SETTING_VARIABLES})
    in_turn = partial(own_turn, settings) if waits else None
    commands.run_with_display(
        shown, settings, lambda listen: procedure.upgrade(settings, listen, rebuild=rebuild, in_turn=in_turn), to_exit
    )
    if not decisions[0].ready:
        for sentence in decisions[0].sentences(plain_text.format_size):
            print_error(sentence)
    return decisions[0]


def _decision_if_current(profile: Path) -> UpgradeDecision | None:
    """Return the decision for a current database: the fast path of every start.

    Only the first bytes of the file are read.
    """
    from kerio_resync.upgrade.decide import UpgradeState, decide
    from kerio_resync.upgrade.formats import detect_format, format_version

    found = detect_format(profile / "cache.db")
    notes = (profile / name for name in ("upgrade.json", "kerio-resync.holder"))
    if found.state != "current" or any(note.exists() for note in notes):
        return None
    return decide(UpgradeState("current", format_version(found.version), format_version(found.version)))


def _decision_as_json(decision: UpgradeDecision) -> commands.JsonObject:
    sentences = decision.sentences(plain_text.format_size)
    return decision.as_json() | ({"sentences": sentences} if decision.ready else {"error": " ".join(sentences)})


def sentences(summary: Mapping[str, Any]) -> Sequence[str]:
    """Return the sentences of an upgrade's summary."""
    return [str(sentence) for sentence in summary["sentences"]]
