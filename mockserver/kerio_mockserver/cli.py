"""The command `kerio-mockserver serve`: runs a mock server until a signal ends it.

Once the server answers, it prints one line on standard output: a JSON object with `url`, `control_url`, `user`,
`password`, with `--tls` also `ca_file`, and with `--import` also `imported`: the number of items of each kind, and what
was skipped or simplified and why. Everything else goes to standard error. The exit code is 0 after SIGTERM, SIGINT or
SIGHUP (a second signal ends it at once), and, with `--exit-with-parent`, at the end of standard input. It is 2, with
one sentence, for invalid arguments, files or ports, and if the line cannot be written and no `--port` was given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import select
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

from kerio_mockserver.app import serve
from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.conditions.presets import PRESETS
from kerio_mockserver.conditions.values import ConditionsError
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.imports.importer import CannotImport, load
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.server import MockServer
from kerio_mockserver.signals import TERMINATION
from kerio_mockserver.testing import new_loop

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command; end the process."""
    options = parser().parse_args(arguments)
    try:
        conditions = conditions_of(options)
        store, imported = mailbox_of(options)
    except (CannotImport, ConditionsError, OSError, ValueError) as error:
        fail(str(error))
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(run(options, store, conditions, imported))
    except CannotPrintAddress as error:
        fail(
            f"cannot write the server's address to standard output ({error}); name --port, or keep standard output open"
        )
    except OSError as error:
        fail(explain(error, options))
    sys.exit(0)


class CannotPrintAddress(Exception):
    """Standard output does not accept the line with the server's address."""


class Parser(argparse.ArgumentParser):
    """A parser that reports invalid arguments in one line."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message}; see --help")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = Parser(
        prog="kerio-mockserver",
        description="A mock of a Kerio Connect server's client API, for tests and demonstrations.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("serve", help="serve a mailbox until a signal ends it")
    _add_listening(command)
    _add_mailbox(command)
    _add_conditions(command)
    return top


def _add_listening(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("addresses")
    group.add_argument("--host", default="127.0.0.1", help="address of the mock server (default: %(default)s)")
    group.add_argument("--port", type=_port, default=0, help="default: any free port")
    group.add_argument(
        "--control-host",
        default="127.0.0.1",
        metavar="HOST",
        help="address of the control port (default: %(default)s); any other opens it to other machines",
    )
    group.add_argument("--control-port", type=_port, default=0, help="default: any free port")
    group.add_argument("--tls", action="store_true", help="serve https, with a certificate made for this run")
    group.add_argument(
        "--tls-dir", type=Path, metavar="DIR", help="folder for the certificate (default: a temporary one)"
    )
    group.add_argument("--exit-with-parent", action="store_true", help="end at the end of standard input")


def _add_mailbox(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("mailbox", "from files, from a seed, or both")
    group.add_argument(
        "--import", dest="paths", type=Path, action="append", default=[], metavar="PATH",
        help="mbox, Maildir, Thunderbird profiles, .eml, .ics, .vcf; folders and archives of them; repeatable",
    )  # fmt: skip
    group.add_argument(
        "--seed", type=int, default=7, help="equal seeds give equal mailboxes, faults and load (default: %(default)s)"
    )
    group.add_argument("--mails", type=_count, default=None, metavar="N", help="number of generated mails")
    for name in ("folders", "contacts", "events", "tasks", "notes"):
        group.add_argument(f"--{name}", type=_count, default=None, metavar="N", help=f"generated {name}")
    group.add_argument(
        "--attachments",
        type=_share,
        default=None,
        metavar="SHARE",
        help="share of mails with attachments, 0 to 1",
    )
    group.add_argument(
        "--total-bytes", type=_size, default=None, metavar="N", help="size of all mails together, such as 250M"
    )
    group.add_argument("--user", type=_user, help="login name (default: anna@example.com)")
    group.add_argument("--password", default="secret", help="password of the login (default: %(default)s)")


def _add_conditions(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("conditions")
    group.add_argument(
        "--preset", choices=sorted(PRESETS), metavar="NAME", help=f"start from a preset: {', '.join(sorted(PRESETS))}"
    )
    group.add_argument("--conditions", type=Path, metavar="FILE", help="JSON merge patch (RFC 7396) over the preset")
    group.add_argument("--http-errors", choices=("documented", "always_200"), help="HTTP status of error replies")
    group.add_argument(
        "--compression",
        type=int,
        choices=range(1, 10),
        default=6,
        metavar="LEVEL",
        help="gzip level, 1 to 9 (default: %(default)s)",
    )


def conditions_of(options: argparse.Namespace) -> Conditions:
    """Return the conditions that the options ask for.

    Raise ConditionsError or OSError.
    """
    conditions = PRESETS[options.preset] if options.preset else Conditions()
    if options.conditions is not None:
        try:
            patch = json.loads(options.conditions.read_bytes())
        except ValueError as error:
            raise ConditionsError(f"{options.conditions}: not valid JSON ({error})") from None
        conditions = conditions.patched(patch)
    if options.http_errors:
        conditions = conditions.patched({"quirks": {"http_errors": options.http_errors}})
    return conditions


def store_of(options: argparse.Namespace) -> MailboxStore:
    """Return the mailbox that the options ask for; raise CannotImport or ValueError."""
    return mailbox_of(options)[0]


def mailbox_of(options: argparse.Namespace) -> tuple[MailboxStore, dict[str, Any]]:
    """Return the mailbox and what was imported into it.

    Raise CannotImport or ValueError.
    """
    user, _, domain = (options.user or "anna@example.com").partition("@")
    account = {"user": user, "domain": domain or "example.com"}
    names = ("mails", "folders", "contacts", "events", "tasks", "notes", "attachments", "total_bytes", "seed")
    given: dict[str, Any] = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.paths and not given.keys() - {"seed"}:
        store = MailboxStore(account["domain"], account["user"], seed=options.seed)
    else:
        store = generate_mailbox(SeedOptions(**(given | account)))
    if not options.paths:
        return store, {}
    imported = load(store, options.paths).as_json()
    counts = {name: value for name, value in imported.items() if value and name not in ("names", "simplified")}
    with suppress(OSError):
        print("imported:", json.dumps(counts, ensure_ascii=False), file=sys.stderr, flush=True)
    return store, imported


async def run(
    options: argparse.Namespace, store: MailboxStore, conditions: Conditions, imported: dict[str, Any] | None = None
) -> None:
    """Serve until a signal or the end of the parent.

    Raise OSError if a port or a file is not available.
    """
    core = MockServer(
        store,
        user=options.user or "",
        password=options.password,
        conditions=conditions,
        seed=options.seed,
        compression=options.compression,
        fresh=lambda: store_of(options),
    )
    end = _end_event(exit_with_parent=options.exit_with_parent)
    async with AsyncExitStack() as stack:
        context = None
        extra: dict[str, Any] = {"imported": imported} if imported else {}
        if options.tls:
            from kerio_mockserver.tls import certificate  # slow to import, and needed only with --tls

            folder = options.tls_dir or Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="kerio-mockserver-"))
            )
            pair = certificate(folder)
            context = pair.context()
            extra["ca_file"] = str(pair.certificate.absolute())
        server = await serve(
            core,
            options.host,
            options.port,
            control_host=options.control_host,
            control_port=options.control_port,
            ssl=context,
        )
        stack.push_async_callback(server.aclose)
        line = {"url": server.url, "control_url": server.control_url, "user": core.user, "password": core.password}
        try:
            await _print_line(json.dumps(line | extra), end)
        except OSError as error:
            if not options.port:
                raise CannotPrintAddress(error.strerror or str(error)) from error
        _name_pages(server.url, server.control_url)
        await end.wait()


def _name_pages(url: str, control_url: str) -> None:
    """Tell a person at a terminal what to open in a browser."""
    with suppress(OSError, ValueError):
        if sys.stderr is not None and sys.stderr.isatty():
            print(f"webmail: {url}/webmail/  control page: {control_url}/control/", file=sys.stderr, flush=True)


async def _print_line(line: str, end: asyncio.Event) -> None:
    """Print the line once standard output accepts it, unless the server ends first.

    Raise OSError if it is closed.
    """
    if sys.stdout is None:
        raise OSError("it is closed")
    ready, descriptor = asyncio.Event(), sys.stdout.fileno()
    if not select.select([], [descriptor], [], 0)[1]:
        loop = asyncio.get_running_loop()
        loop.add_writer(descriptor, ready.set)
        waits = [asyncio.ensure_future(event.wait()) for event in (ready, end)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        loop.remove_writer(descriptor)
        for wait in waits:
            wait.cancel()
    if not end.is_set():
        print(line, flush=True)


def _end_event(*, exit_with_parent: bool) -> asyncio.Event:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()

    def request_end() -> None:
        if end.is_set():
            os._exit(0)  # the second signal: do not wait for what still closes
        end.set()

    for number in TERMINATION:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, request_end)
    if exit_with_parent:

        def watch() -> None:
            while os.read(0, 4096):
                pass
            loop.call_soon_threadsafe(end.set)

        threading.Thread(target=watch, daemon=True, name="parent").start()
    return end


def fail(text: str) -> NoReturn:
    """Print one line on standard error and exit with 2."""
    with suppress(OSError):
        print(f"kerio-mockserver: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(2)


def explain(error: OSError, options: argparse.Namespace) -> str:
    """Return a sentence about a port or file that is not available."""
    reason = error.strerror or str(error)
    if error.filename:
        return f"{error.filename}: {reason}"
    ends = ((options.host, options.port), (options.control_host, options.control_port))
    addresses = dict.fromkeys(f"{host} port {port}" if port else host for host, port in ends)
    return f"cannot listen on {' and '.join(addresses)}: {reason}"


def _user(text: str) -> str:
    if not re.fullmatch(r"[^@/\s\x00-\x1f]+(@[^@/\s\x00-\x1f]+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a user name, such as anna@example.com")
    return text


def _port(text: str) -> int:
    return _whole(text, 0, 65535, "a port, 0 to 65535")


def _count(text: str) -> int:
    return _whole(text, 0, 100_000_000, "a number, 0 or more")


def _whole(text: str, low: int, high: int, what: str) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share, 0 to 1")
    return share


def _size(text: str) -> int:
    digits = text.rstrip("kKMGB").strip()
    unit = text[len(digits) :].strip().upper().removesuffix("B")
    if not digits.isdigit() or unit not in _UNITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes, such as 250M")
    return int(digits) * _UNITS[unit]
