"""The causes of failures: their names, and what the program advises.

A cause is the `kind` that `run-finished` states. Where it states none (upgrades that were not made, verifications,
older versions), it follows from the decision or from the exit code.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kerio_resync.errors import Exit, advice_of
from kerio_resync.fleet.report.runs import Outcome
from kerio_resync.upgrade.decide import REBUILD_ADVICE

NO_END: Final = "no-end"
UPGRADE_FAILED: Final = "upgrade-failed"
_STATE_KINDS: Final = {  # `state` of an upgrade that was not made
    "absent": "no-cache", "newer": "newer-format", "unknown": "other-format", "damaged": "cache-damaged",
    "unreadable": "disk-trouble", "old": UPGRADE_FAILED,
}  # fmt: skip
_CODE_KINDS: Final = {
    Exit.INTERNAL_ERROR: "internal-error", Exit.USAGE: "bad-settings", Exit.UNFINISHED: "transient-server-error",
    Exit.CREDENTIALS: "bad-credentials", Exit.IN_USE: "cache-in-use", Exit.NOT_ENOUGH_SPACE: "not-enough-space",
    Exit.UNEXPECTED_RESPONSE: "protocol-error", Exit.UNVERIFIED: "verification-failed",
    Exit.REBUILD_NEEDED: "rebuild-needed", Exit.OTHER_ACCOUNT: "other-account", Exit.INTERRUPTED: "interrupted",
}  # fmt: skip


class _About(NamedTuple):
    title: str
    again: bool = False  # the same command can succeed without anything else


_ABOUT: Final[dict[str, _About]] = {
    "bad-credentials": _About("Wrong user name or password"),
    "bad-settings": _About("Wrong settings or arguments"),
    "cache-damaged": _About("Damaged cache"),
    "cache-in-use": _About("Cache in use", again=True),
    "certificate-error": _About("Certificate not trusted"),
    "disk-trouble": _About("The disk or the file system refused"),
    "foreign-reply": _About("Another program answered in the server's place", again=True),
    "internal-error": _About("Internal error in kerio-resync"),
    "interrupted": _About("Interrupted", again=True),
    "misconfigured": _About("Address, proxy or TLS not set up correctly"),
    "newer-format": _About("Cache of a newer version"),
    "no-cache": _About("No cache yet"),
    NO_END: _About("No end recorded (killed, switched off, or its log does not arrive)", again=True),
    "not-enough-space": _About("Not enough room on the disk"),
    "older-format": _About("Cache of an older format"),
    "other-account": _About("Cache of another account"),
    "other-format": _About("Cache of an unknown format"),
    "outcome-unknown": _About("The connection broke", again=True),
    "overloaded": _About("Server overloaded", again=True),
    "protocol-error": _About("Unexpected response from the server"),
    "rebuild-needed": _About("A rebuild is needed"),
    "server-refused": _About("The server refused a request", again=True),
    "transient-server-error": _About("Server unreachable or overloaded", again=True),
    "unknown-server": _About("Not a known mail server"),
    "unreachable": _About("Server unreachable", again=True),
    UPGRADE_FAILED: _About("The upgrade failed on a damaged cache"),
    "verification-failed": _About("Verification failed", again=True),
}
_ADVICE: Final = {
    NO_END: "Run again to resume. If the machine still works, its log has stopped arriving.",
    **dict.fromkeys((UPGRADE_FAILED, "cache-damaged", "no-cache", "newer-format", "rebuild-needed"), REBUILD_ADVICE),
}


def kind_of_outcome(outcome: Outcome) -> str:
    """Return the cause of a failed run."""
    if outcome.kind:
        return outcome.kind
    if outcome.action in ("offer", "rebuild"):
        return _STATE_KINDS.get(outcome.state, "rebuild-needed")
    return (
        _CODE_KINDS.get(Exit(outcome.exit_code), "") if outcome.exit_code in set(Exit) else f"exit-{outcome.exit_code}"
    )


def title_of(kind: str) -> str:
    """Return what happened, as a heading."""
    if kind in _ABOUT:
        return _ABOUT[kind].title
    words = kind.replace("-", " ")
    return words[:1].upper() + words[1:]


def advice_for(kind: str, sentence: str) -> str:
    """Return what the program advises about a cause.

    `sentence`: what it said on one of the machines. It is the advice where each case has its own.
    """
    return _ADVICE.get(kind) or advice_of(kind) or sentence


def can_run_again(kind: str) -> bool:
    """Return whether the same command can succeed without anything else."""
    return kind in _ABOUT and _ABOUT[kind].again
