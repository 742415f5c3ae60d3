"""The entry point: answers at once where there is nothing to do, and leaves all else to the command line.

People wait for `upgrade` at every start of their mail program, and nearly always the database is up to date.
Reading that from the file takes a millisecond; bringing in what parses options and what migrates takes a third of a
second. So the plain spellings of `upgrade` and `start` are recognised here. Whatever else there is goes to `cli`.

Meanwhile nothing is under way, so a signal ends the process on the spot, with the same words as later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from kerio_resync import signals
from kerio_resync.cli import arguments

_QUIET_OPTIONS = {"--quiet", "-q"}
INTERRUPTED = 130
INTERRUPTION = "Interrupted; run again to go on."


def main() -> None:
    """Leaves the process with one of `errors.Exit`, or with the exit code of the program that was started."""
    signals.catch(_leave)
    from kerio_resync import streams

    streams.prepare()
    if not (in_folder := _has_working_folder()):
        sys.path[:] = filter(None, sys.path)  # an import that looks into the missing folder fails
    try:
        answer(sys.argv[1:])
    except Exception as error:
        code, message = 1, f"The program cannot be run ({type(error).__name__}). Install it again."
        if not in_folder and isinstance(error, SystemError):  # CPython 3.13.0 cannot import extension modules there
            code, message = 2, "The working folder is gone. Change to another folder and run again."
        print(f"kerio-resync: {message}", file=sys.stderr)
        raise SystemExit(code) from None
    finally:
        signals.catch(lambda number, frame: streams.skip_waiting())  # nothing is left to do but to show what was done
        streams.finish()


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def answer(given: Sequence[str]) -> None:
    """What `main` does, in a process whose streams and signals are prepared."""
    words, command = arguments.split_at_dashes(given)
    if (folder := _profile_if_current(words, "start" if command else "upgrade")) is not None:
        if command:
            _start(folder, command)
        elif not _QUIET_OPTIONS & set(words):
            print("The database is up to date.")
        raise SystemExit(0)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for some takes longer than all its own work
    from kerio_resync.cli.app import main as command_line

    command_line()


def _leave(number: int, frame: object) -> None:
    """Says so wherever the end of a run is said, and leaves. What says it elsewhere may be half imported."""
    import time

    from kerio_resync.streams import write_at_once

    words, _ = arguments.split_at_dashes(sys.argv[1:])
    event = f'"event": "run-finished", "ok": false, "exit_code": {INTERRUPTED}'
    event += f', "summary": {{"error": "{INTERRUPTION}"}}}}\n'
    if arguments.wants_json(words):
        write_at_once(1, "{" + event)
    if path := arguments.log_file(words):
        try:
            log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0), 0o600)
        except OSError:
            pass
        else:
            now = time.time()
            stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1e6):06}Z"
            write_at_once(log, f'{{"time": "{stamp}", {event}')
    write_at_once(2, f"kerio-resync: {INTERRUPTION}\n")
    os._exit(INTERRUPTED)


def _profile_if_current(words: Sequence[str], verb: str) -> str | None:
    """The profile, if the words are `[--profile DIR] VERB [--quiet] [--profile DIR]` and its database is up to date."""
    rest, profile = [each for each in words if each not in _QUIET_OPTIONS], os.environ.get("KERIO_RESYNC_PROFILE", "")
    for place, word in enumerate(rest[:-1]):
        if word == "--profile":
            profile = rest[place + 1]
            del rest[place : place + 2]
            break
    if rest != [verb] or not profile:
        return None
    from pathlib import Path

    from kerio_resync.upgrade.detect_format import detect_format

    try:
        folder = Path(profile).expanduser()
    except RuntimeError:
        return None
    noted = any((folder / each).exists() for each in ("upgrade.json", "kerio-resync.holder"))
    current = not noted and detect_format(folder / "cache.db").state == "current"
    return str(folder) if current else None


def _start(folder: str, command: Sequence[str]) -> None:
    """Lets the program take over, where nothing stands in the way; what does is found, and said, by the long way."""
    from pathlib import Path

    from kerio_resync.errors import ResyncError
    from kerio_resync.upgrade import launcher
    from kerio_resync.upgrade.decide import UpgradeState, decide

    try:
        code = launcher.launch_when_ready(Path(folder), command, lambda: decide(UpgradeState("current")))
    except ResyncError:
        from kerio_resync.cli.app import main as command_line

        command_line()
    else:
        raise SystemExit(code)
