"""Finds `--json` and `--log-file` in the raw arguments.

With them an early exit can be reported, before options are parsed.
"""

from __future__ import annotations

from collections.abc import Sequence


def split_at_dashes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our own arguments, and those after `--`."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:place]), list(arguments[place + 1 :])


def wants_json(ours: Sequence[str]) -> bool:
    """Return whether `--json` is among the arguments."""
    return "--json" in ours


def log_file(ours: Sequence[str]) -> str:
    """Return the value of `--log-file`, or an empty string."""
    for place, word in enumerate(ours):
        name, _, value = word.partition("=")
        if name == "--log-file":
            return value or "".join(ours[place + 1 : place + 2])
    return ""
