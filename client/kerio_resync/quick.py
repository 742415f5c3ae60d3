"""The entry point: answers at once where there is nothing to do, and leaves all else to the command line.

People wait for `upgrade` at every start of their mail program, and nearly always the database is up to date.
Reading that from the file takes a millisecond; bringing in what parses options and what migrates takes a third of a
second. So the plain spellings of `upgrade` and `start` are recognised here. Whatever else there is goes to `cli`.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main() -> None:
    """Leaves the process with one of `errors.Exit`, or with the exit code of the program that was started."""
    words, command = _divided(sys.argv[1:])
    if (folder := _ready(words, "start" if command else "upgrade")) is not None:
        if command:
            _start(folder, command)
        elif not _QUIET & set(words):
            print("The database is up to date.")
        raise SystemExit(0)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for some takes longer than all its own work
    gc.disable()  # importing makes nothing but what stays; a run enables it again
    from kerio_resync.cli import main as command_line

    try:
        command_line()
    finally:
        gc.freeze()  # the interpreter would look through it all once more before it ends


_QUIET = {"--quiet", "-q"}


def _divided(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own words, and the program's behind `--`."""
    place = words.index("--") if "--" in words else len(words)
    return list(words[:place]), list(words[place + 1 :])


def _ready(words: Sequence[str], verb: str) -> Path | None:
    """The profile, if the words are `[--profile DIR] VERB [--quiet] [--profile DIR]` and its database is up to date."""
    rest, profile = [each for each in words if each not in _QUIET], os.environ.get("KERIO_RESYNC_PROFILE", "")
    for place, word in enumerate(rest[:-1]):
        if word == "--profile":
            profile = rest[place + 1]
            del rest[place : place + 2]
            break
    if rest != [verb] or not profile:
        return None
    from kerio_resync.upgrade.look import look

    folder = Path(profile).expanduser()
    current = look(folder / "cache.db").state == "current" and not (folder / "upgrade.json").exists()
    return folder if current else None


def _start(folder: Path, command: Sequence[str]) -> None:
    """Lets the program take over, where nothing stands in the way; what does is found, and said, by the long way."""
    from kerio_resync.errors import ResyncError
    from kerio_resync.upgrade import gate
    from kerio_resync.upgrade.decide import Facts, decide

    try:
        code = gate.start(folder, command, lambda: decide(Facts("current")))
    except ResyncError:
        from kerio_resync.cli import main as command_line

        command_line()
    else:
        raise SystemExit(code)
