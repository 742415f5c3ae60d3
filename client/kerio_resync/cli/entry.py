"""The entry point, with a fast path for `upgrade` and `start` with nothing to do.

Users wait for `upgrade` at every start of their mail program, and nearly always the database is up to date. Reading
that from the header takes a millisecond; importing the command line takes a third of a second. So the common spellings
of `upgrade` and `start` are parsed here, and everything else is passed to `cli.app`. Nothing is in progress yet, so a
signal ends the process at once, with the same message as later.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from kerio_resync import signals
from kerio_resync.cli import arguments

_QUIET_OPTIONS = {"--quiet", "-q"}
INTERRUPTED = 130
YOUNG_OBJECTS = 100_000  # before a search for reference cycles; by default it is 700
INTERRUPTION = "Interrupted; run again to resume."


def main() -> None:
    """Run the program and exit, with an `errors.Exit` or a started program's code."""
    signals.catch(_leave)
    # There are hardly any cycles, and most objects are those of imported modules, which stay.
    gc.set_threshold(YOUNG_OBJECTS)
    from kerio_resync import streams

    streams.prepare()
    if not (in_folder := _has_working_folder()):
        sys.path[:] = filter(None, sys.path)  # an import fails if it searches the removed folder
    try:
        answer(sys.argv[1:])
    except Exception as error:
        code, message = 1, f"kerio-resync cannot be imported ({type(error).__name__}). Install it again."
        if not in_folder and isinstance(error, SystemError):  # CPython 3.13.0 cannot import extension modules there
            code, message = 2, "The working folder was removed. Change to another folder and run again."
        print(f"kerio-resync: {message}", file=sys.stderr)
        raise SystemExit(code) from None
    finally:
        signals.catch(lambda number, frame: streams.skip_waiting())  # only output is left to be written
        streams.finish()
        gc.freeze()  # the interpreter searches all objects twice before it ends; the kernel frees them anyway


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def answer(given: Sequence[str]) -> None:
    """Run the program in a process whose streams and signals are prepared."""
    words, command = arguments.split_at_dashes(given)
    if (folder := _profile_if_current(words, "start" if command else "upgrade")) is not None:
        if command:
            _start(folder, command)
        elif not _QUIET_OPTIONS & set(words):
            print("The database is up to date.")
        raise SystemExit(0)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # the search for plugins is slow
    from kerio_resync.cli.app import main as command_line

    command_line()


def _leave(number: int, frame: object) -> None:
    """Report the interruption and exit, without modules that may be partly imported."""
    import time

    from kerio_resync.streams import write_at_once
    from kerio_resync.version import VERSION

    words, _ = arguments.split_at_dashes(sys.argv[1:])
    event = f'"event": "run-finished", "ok": false, "exit_code": {INTERRUPTED}'
    event += f', "summary": {{"error": "{INTERRUPTION}", "kind": "interrupted"}}}}\n'
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
            run = f'"run": "{os.urandom(4).hex()}", "version": "{VERSION}", "command": ""'
            write_at_once(log, f'{{"time": "{stamp}", {run}, {event}')
    write_at_once(2, f"kerio-resync: {INTERRUPTION}\n")
    os._exit(INTERRUPTED)


def _profile_if_current(words: Sequence[str], verb: str) -> str | None:
    """Return the profile of `[--profile DIR] VERB [--quiet]` if it is up to date."""
    rest, profile = [word for word in words if word not in _QUIET_OPTIONS], os.environ.get("KERIO_RESYNC_PROFILE", "")
    for place, word in enumerate(rest[:-1]):
        if word == "--profile":
            profile = rest[place + 1]
            del rest[place : place + 2]
            break
    if rest != [verb] or not profile:
        return None
    from pathlib import Path

    from kerio_resync.upgrade.formats import detect_format

    try:
        folder = Path(profile).expanduser()
    except RuntimeError:
        return None
    has_notes = any((folder / name).exists() for name in ("upgrade.json", "kerio-resync.holder"))
    current = not has_notes and detect_format(folder / "cache.db").state == "current"
    return str(folder) if current else None


def _start(folder: str, command: Sequence[str]) -> None:
    """Start the program; the command line takes over, and reports, on any obstacle."""
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
