"""What arguments ask for before they are parsed, or where they can't be: how the end of the run is to be said."""

from __future__ import annotations

from collections.abc import Sequence


def split_at_dashes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own arguments, and the program's behind `--`."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:place]), list(arguments[place + 1 :])


def wants_json(ours: Sequence[str]) -> bool:
    return "--json" in ours


def log_file(ours: Sequence[str]) -> str:
    """The value of `--log-file`, "" if there is none."""
    for place, word in enumerate(ours):
        name, _, value = word.partition("=")
        if name == "--log-file":
            return value or "".join(ours[place + 1 : place + 2])
    return ""
