"""The command `python -m benchmarks`.

Runs measurements and writes their results and a report.

Each measurement is a module with `measure(quick, …)`, `report(results)` and perhaps `picture(results, path)`. If one
fails, its error goes to standard error, the others still run, and the exit code is 1. Whether goals are reached does
not change the exit code; the report says it.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import inspect
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import goals, report
from benchmarks.tools import machine

NAMES = (
    "limits", "rivals", "jmap", "efficiency", "links", "queues", "load", "many", "scale", "large", "salvage", "upgrade",
    "forecast", "startup", "export", "fleet",
)  # fmt: skip
SLOW = (
    "jmap",
    "efficiency",
    "load",
    "links",
    "queues",
    "fleet",
)  # come last in a quick run, which may lack the time for them
QUICK_SECONDS = 110  # after them a quick run starts no further measurement; the longest takes a minute
RESULTS = Path(__file__).resolve().parent / "results"
_OPTIONAL = ("full", "corpus", "scheduler", "listen", "target", "user")  # for measurements with such a parameter
NOTES = Path(__file__).resolve().parent / "NOTES.md"


def main(arguments: list[str]) -> int:
    """Measure, write the results and the report; return 1 if a measurement failed."""
    command = parser()
    options = command.parse_args(arguments)
    refuse_meaningless(command, options)
    here = machine.about(Path.cwd())
    measured_here = (machine.same(entry["machine"], here) for entry in report.load(RESULTS).values())
    same_machine = options.report or any(measured_here)
    kept = {  # figures of another machine cannot be compared with new ones
        name: entry
        for name, entry in report.load(options.out).items()
        if options.report or machine.same(entry["machine"], here)
    }
    entries = {name: kept[name] for name in NAMES if name in kept}
    if options.report:
        failed = 0
        for name, entry in entries.items():
            draw(module_of(name), entry["results"], options.out / f"{name}.png")
    else:
        failed = measure_all(options, entries)
    ordered = {name: entries[name] for name in NAMES if name in entries}
    describe = {name: module_of(name).report for name in ordered}
    # notes, causes and the committed figures belong to the machine that measured them
    notes = NOTES.read_text() if same_machine and NOTES.exists() else ""
    summary = goals.report(goals.judged(ordered, goals.causes() if same_machine else {}))
    before = report.committed(RESULTS / report.LINES) if same_machine else {}
    print(report.write(options.out, ordered, before, describe, notes, summary))
    return failed


def measure_all(options: argparse.Namespace, entries: dict[str, dict[str, Any]]) -> int:
    """Run the chosen measurements and put them into `entries`; return 1 if one failed."""
    names = list(options.only or NAMES)
    if options.quick:
        names.sort(key=lambda name: name in SLOW)
    failed = 0
    machine.compile_packages()  # else each program that is measured compiles them, if it must not write bytecode
    began = time.perf_counter()
    for name in names:
        if options.quick and not options.only and time.perf_counter() - began > QUICK_SECONDS:
            print(f"{name}: left out, three minutes are nearly over; --only {name} measures it", file=sys.stderr)
            continue
        module = module_of(name)
        try:
            entries[name] = measured(module, name, options)
        except (OSError, ImportError, ValueError, ExceptionGroup) as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            failed = 1
            continue
        report.save(options.out, entries)
        draw(module, entries[name]["results"], options.out / f"{name}.png")
    return failed


def module_of(name: str) -> ModuleType:
    """Import the module of a measurement."""
    return importlib.import_module(f"benchmarks.measure.{name}")


def refuse_meaningless(command: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with a usage error if no chosen measurement uses an option."""
    if (options.target or options.user or options.scheduler) and "many" not in (options.only or ()):
        command.error("--target, --user and --scheduler belong to `many`: add --only many")
    if bool(options.target) != bool(options.user):
        command.error("--target and --user go together")


def parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m benchmarks`."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures client and mock server.")
    size = made.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="three minutes: small mailboxes, few turns")
    size.add_argument("--full", action="store_true", help="up to a million mails")
    size.add_argument("--report", action="store_true", help="measure nothing; write report and pictures again")
    made.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"run only these: {', '.join(NAMES)}")
    made.add_argument("--corpus", default="", metavar="PATH", help="real mail (default: $KERIO_CORPUS)")
    many = made.add_argument_group("options of `many`")
    many.add_argument("--scheduler", default="", metavar="ADDRESS", help="Dask scheduler whose workers run the clients")
    many.add_argument("--listen", default="127.0.0.1", metavar="HOST", help="address of the mock (%(default)s)")
    many.add_argument(
        "--target",
        default="",
        metavar="URL",
        help="another server (password: $KERIO_RESYNC_PASSWORD)",
    )
    many.add_argument("--user", default="", metavar="NAME", help="login name at the target")
    made.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="default: benchmarks/results")
    return made


def measured(module: ModuleType, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one measurement; return its results with the machine, times and settings."""
    print(f"{name} …", file=sys.stderr, flush=True)
    about = machine.about(Path.cwd())
    offered = {option: getattr(options, option) for option in _OPTIONAL}
    known = inspect.signature(module.measure).parameters
    began, before = time.perf_counter(), machine.spent()
    results = module.measure(options.quick, **{key: value for key, value in offered.items() if key in known})
    if inspect.iscoroutine(results):
        results = asyncio.run(results)
    seconds = time.perf_counter() - began
    settings = ["quick"] if options.quick else ["full"] if options.full else ["usual"]
    settings += [f"with {what}" for what in ("corpus", "scheduler", "target") if what in known and offered[what]]
    return {
        "name": name, "machine": about, "seconds": seconds, "cpu": machine.spent() - before, "quick": options.quick,
        "settings": settings, "results": results,
    }  # fmt: skip


def draw(module: ModuleType, results: dict[str, Any], path: Path) -> None:
    """Draw the measurement's picture, if it has one and matplotlib is installed."""
    if hasattr(module, "picture") and importlib.util.find_spec("matplotlib"):
        import matplotlib

        matplotlib.use("Agg")
        module.picture(results, path)


def old_database_parser() -> argparse.ArgumentParser:
    """Return the parser for `python -m benchmarks old-database`."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks old-database", description="Writes a database of format 7.1."
    )
    made.add_argument("--out", type=Path, required=True, metavar="FILE")
    invented = made.add_argument_group("of a mailbox that is made up")
    invented.add_argument("--messages", type=int, default=10_000, metavar="N", help="mails (%(default)s)")
    invented.add_argument(
        "--size", type=int, default=250_000_000, metavar="BYTES", help="of all of them, attachments included (250 MB)"
    )
    invented.add_argument("--pending", type=int, default=3, metavar="N", help="changes made offline (%(default)s)")
    invented.add_argument("--seed", type=int, default=1)
    copied = made.add_argument_group("of a server's mailbox")
    copied.add_argument("--server", default="", metavar="URL", help="copies this server's instead")
    copied.add_argument("--user", default="", metavar="NAME", help="whose ($KERIO_RESYNC_PASSWORD has the password)")
    return made


def write_legacy(arguments: list[str]) -> int:
    """`python -m benchmarks old-database --out FILE`.

    A database of the old format, to try an upgrade on.
    """
    made = old_database_parser()
    options = made.parse_args(arguments)
    if min(options.messages, options.pending) < 0 or options.size < 1:
        made.error("numbers cannot be negative")
    if options.out.exists():
        made.error(f"{options.out} exists already")
    from kerio_resync.errors import ResyncError

    try:
        if options.server:
            count = asyncio.run(_copied(options.out, options.server, options.user))
            print(f"{options.out}: {count} items of {options.server}")
        else:
            from benchmarks import format71_files

            mean = max(1, options.size // max(1, options.messages))
            format71_files.write(options.out, options.messages, mean, pending=options.pending, seed=options.seed)
    except (OSError, ResyncError) as error:
        options.out.unlink(missing_ok=True)
        made.error(f"{options.out}: {getattr(error, 'strerror', None) or error}")
    return 0


async def _copied(out: Path, server: str, user: str) -> int:
    from benchmarks import format71_files
    from kerio_resync.events import ignore_events
    from kerio_resync.server.kerio.mailbox import KerioMailbox
    from kerio_resync.settings import Settings
    from kerio_resync.variables import PASSWORD_VARIABLE

    values = {
        "profile": out.parent,
        "server": server,
        "user": user,
        "password": os.environ.get(PASSWORD_VARIABLE, ""),
    }
    mailbox = KerioMailbox(Settings.model_validate(values), ignore_events)
    try:
        return await format71_files.copy(mailbox, out)
    finally:
        await mailbox.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["old-database"]:
        sys.exit(write_legacy(sys.argv[2:]))
    sys.exit(main(sys.argv[1:]))
