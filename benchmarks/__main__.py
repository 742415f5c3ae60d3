"""`python -m benchmarks [--quick|--full] [--only NAME…] [--corpus PATH] [--out DIR]`: measures, and writes it down.

Each measurement is a module with `measure(quick, …)`, `report(results)` and perhaps `picture(results, path)`. One that
fails is told on standard error and leaves the others alone; the exit code is 1 then, and 0 whether bounds were kept or
not: that is in the report.
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

from benchmarks import goals, machine, report

NAMES = (
    "limits", "rivals", "efficiency", "links", "queues", "load", "many", "scale", "large", "salvage", "upgrade",
    "forecast", "startup",
)  # fmt: skip
SLOW = ("efficiency", "load", "links", "queues")  # come last in a quick run, which may have no time left for them
BUDGET = 110  # seconds after which a quick run begins nothing more: the longest takes a minute
RESULTS = Path(__file__).resolve().parent / "results"
_OFFERED = ("full", "corpus", "scheduler", "listen", "target", "user")  # to those measurements that know them
NOTES = Path(__file__).resolve().parent / "NOTES.md"


def main(arguments: list[str]) -> int:
    made = parser()
    options = made.parse_args(arguments)
    refuse_meaningless(made, options)
    names = [name for name in options.only or NAMES if importlib.util.find_spec(f"benchmarks.{name}")]
    if options.quick:
        names.sort(key=lambda name: name in SLOW)
    here = machine.about(Path.cwd())
    ours = any(machine.same(each["machine"], here) for each in report.load(RESULTS).values())
    there = {
        name: each for name, each in report.load(options.out).items() if machine.same(each["machine"], here)
    }  # figures of another machine say nothing of this one
    entries = {name: there[name] for name in NAMES if name in there}
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in {*names, *entries}}
    failed = 0
    began = time.perf_counter()
    for name in names:
        if options.quick and not options.only and time.perf_counter() - began > BUDGET:
            print(f"{name}: left out, three minutes are nearly over; --only {name} measures it", file=sys.stderr)
            continue
        try:
            entries[name] = measured(modules[name], name, options)
        except (OSError, ImportError, ValueError, ExceptionGroup) as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            failed = 1
            continue
        report.save(options.out, entries)
        draw(modules[name], entries[name]["results"], options.out / f"{name}.png")
    ordered = {name: entries[name] for name in NAMES if name in entries}
    words = {name: module.report for name, module in modules.items()}
    # notes, causes and the committed figures are about the machine that measured those
    notes = NOTES.read_text() if ours and NOTES.exists() else ""
    summary = goals.report(goals.judged(ordered, goals.causes() if ours else {}))
    before = report.committed(RESULTS / report.LINES) if ours else {}
    print(report.write(options.out, ordered, before, words, notes, summary))
    return failed


def refuse_meaningless(made: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends with a usage error where options say what none of the measurements could heed."""
    if (options.target or options.user or options.scheduler) and "many" not in (options.only or ()):
        made.error("--target, --user and --scheduler are of `many`: add --only many")
    if bool(options.target) != bool(options.user):
        made.error("--target and --user go together")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures client and mock server.")
    size = made.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="three minutes: small mailboxes, few rounds")
    size.add_argument("--full", action="store_true", help="up to a million mails")
    made.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"of: {', '.join(NAMES)}")
    made.add_argument("--corpus", default="", metavar="PATH", help="real mail (default: $KERIO_CORPUS)")
    many = made.add_argument_group("of `many`")
    many.add_argument(
        "--scheduler", default="", metavar="ADDRESS", help="a Dask scheduler whose workers run the clients"
    )
    many.add_argument("--listen", default="127.0.0.1", metavar="HOST", help="where the mock is for them (%(default)s)")
    many.add_argument(
        "--target", default="", metavar="URL", help="another server than the mock ($KERIO_RESYNC_PASSWORD)"
    )
    many.add_argument("--user", default="", metavar="NAME", help="who logs in at the target")
    made.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="default: benchmarks/results")
    return made


def measured(module: ModuleType, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement, with what a reader has to know about it."""
    print(f"{name} …", file=sys.stderr, flush=True)
    about = machine.about(Path.cwd())
    offered = {name: getattr(options, name) for name in _OFFERED}
    known = inspect.signature(module.measure).parameters
    began, before = time.perf_counter(), machine.spent()
    found = module.measure(options.quick, **{key: value for key, value in offered.items() if key in known})
    if inspect.iscoroutine(found):
        found = asyncio.run(found)
    seconds = time.perf_counter() - began
    settings = ["quick"] if options.quick else ["full"] if options.full else ["usual"]
    settings += [f"with {what}" for what in ("corpus", "scheduler", "target") if what in known and offered[what]]
    return {
        "name": name, "machine": about, "seconds": seconds, "cpu": machine.spent() - before, "quick": options.quick,
        "settings": settings, "results": found,
    }  # fmt: skip


def draw(module: ModuleType, results: dict[str, Any], path: Path) -> None:
    """The picture, where there is one and something to draw it with."""
    if hasattr(module, "picture") and importlib.util.find_spec("matplotlib"):
        import matplotlib

        matplotlib.use("Agg")
        module.picture(results, path)


def legacy_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks legacy", description="Writes a database of format 7.1.")
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
    """`python -m benchmarks legacy --out FILE`: a database of the old format, to try an upgrade on."""
    made = legacy_parser()
    options = made.parse_args(arguments)
    if min(options.messages, options.pending) < 0 or options.size < 1:
        made.error("numbers can't be negative")
    if options.out.exists():
        made.error(f"{options.out} exists already")
    from kerio_resync.errors import ResyncError

    try:
        if options.server:
            count = asyncio.run(_copied(options.out, options.server, options.user))
            print(f"{options.out}: {count} items of {options.server}")
        else:
            from benchmarks import legacy

            mean = max(1, options.size // max(1, options.messages))
            legacy.write(options.out, options.messages, mean, pending=options.pending, seed=options.seed)
    except (OSError, ResyncError) as error:
        options.out.unlink(missing_ok=True)
        made.error(f"{options.out}: {getattr(error, 'strerror', None) or error}")
    return 0


async def _copied(out: Path, server: str, user: str) -> int:
    from benchmarks import legacy
    from kerio_resync.events import ignore_events
    from kerio_resync.server.kerio.mailbox import KerioMailbox
    from kerio_resync.settings import PASSWORD_VARIABLE, Settings

    told = {"profile": out.parent, "server": server, "user": user, "password": os.environ.get(PASSWORD_VARIABLE, "")}
    mailbox = KerioMailbox(Settings.model_validate(told), ignore_events)
    try:
        return await legacy.copy(mailbox, out)
    finally:
        await mailbox.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["legacy"]:
        sys.exit(write_legacy(sys.argv[2:]))
    sys.exit(main(sys.argv[1:]))
