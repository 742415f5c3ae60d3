"""The entry point: answers at once where there is nothing to do, and leaves all else to the command line.

People wait for `upgrade` at every start of their mail program, and nearly always the database is up to date.
Reading that from the file takes a millisecond; bringing in what parses options and what migrates takes a third of a
second. So the plain spelling of `upgrade` is recognised here. Whatever is not just that goes to `cli`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main() -> None:
    """Leaves the process with one of `errors.Exit`, or with the exit code of the program that was started."""
    if _nothing_to_do(sys.argv[1:]):
        print("The database is up to date.")
        raise SystemExit(0)
    from kerio_resync.cli import main as command_line

    command_line()


def _nothing_to_do(words: Sequence[str]) -> bool:
    """Whether the words are `[--profile DIR] upgrade [--profile DIR]`, and that database is ready."""
    rest, profile = list(words), os.environ.get("KERIO_RESYNC_PROFILE", "")
    if "upgrade" not in rest:
        return False
    for place, word in enumerate(rest[:-1]):
        if word == "--profile":
            profile = rest[place + 1]
            del rest[place : place + 2]
            break
    if rest != ["upgrade"] or not profile:
        return False
    from kerio_resync.upgrade.look import look

    folder = Path(profile).expanduser()
    return look(folder / "cache.db").state == "current" and not (folder / "upgrade.json").exists()
