"""Makes the findings of `doctor`, and their order of severity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kerio_resync.errors import BadCredentials, Exit, ResyncError, explain, words_of
from kerio_resync.events import Checked

Emit = Callable[[Checked], None]


def ok(check: str, found: str, **data: Any) -> Checked:
    """Return a finding without trouble."""
    return Checked(check, "ok", found, data=data)


def warning(check: str, found: str, advice: str, **data: Any) -> Checked:
    """Return a finding that does not prevent a rebuild."""
    return Checked(check, "warning", found, advice, data=data)


def failure(check: str, found: str, advice: str, code: Exit, **data: Any) -> Checked:
    """Return a finding that prevents a rebuild.

    `code`: what the rebuild would end with.
    """
    return Checked(check, "failure", found, advice, int(code), data)


def skipped(check: str, reason: str) -> Checked:
    """Return the finding of a check that was not made."""
    return Checked(check, "skipped", reason)


def of_error(check: str, error: ResyncError, advice: str = "", **data: Any) -> Checked:
    """Return a failure for one of our errors.

    Details have the form "what happened; what to do", or two sentences; `advice` replaces a missing second part.
    """
    if isinstance(error, BadCredentials):
        found, advice = f"the server refused the user name or password ({error.detail})", "Check both"
        return failure(check, found, advice, error.exit, **data)
    text = words_of(error).rstrip(".")
    found, _, told = text.partition("; " if "; " in text else ". ")
    advice = f"{told[:1].upper()}{told[1:]}" if told else advice or "Correct that, then run again"
    return failure(check, found, advice, explain(error)[1], **data)


def exit_of(findings: Sequence[Checked]) -> Exit:
    """Return the exit code: that of the first failure, as a rebuild would end."""
    return Exit(next((finding.exit_code for finding in findings if finding.level == "failure"), Exit.DONE))
