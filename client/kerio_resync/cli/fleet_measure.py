"""The command `fleet measure`: its options, the consent, and its exit code."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import urlsplit

import typer

from kerio_resync.cli import display, measure_view
from kerio_resync.cli.commands import password_prompt
from kerio_resync.cli.display import View
from kerio_resync.cli.first_run import can_ask
from kerio_resync.cli.options import (
    CaFile,
    Fingerprint,
    InFlight,
    Json,
    LogFile,
    LogLevel,
    PasswordFile,
    Protocol,
    Proxy,
    Quiet,
    located,
    parse_path,
)
from kerio_resync.cli.process import run, run_command
from kerio_resync.errors import BadSettings, Exit
from kerio_resync.events import Event, Listener, Notice, RunFinished

if TYPE_CHECKING:
    from kerio_resync.fleet.capacity import Capacity
    from kerio_resync.fleet.measure.run import Measured, Options, Prepared

MIN_STEP_SECONDS = 1.0


def measure(
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", help="The server, such as https://mail.example.com.")
    ] = None,
    protocol: Protocol = None,
    accounts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=parse_path, help="Test accounts: a CSV file with a user and a password per line."
        ),
    ] = None,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="One test account, instead of --accounts.")] = None,
    password_file: PasswordFile = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", parser=parse_path, help="The capacity file; capacity.json if not given.")
    ] = Path("capacity.json"),
    max_clients: Annotated[
        int, typer.Option(metavar="N", min=1, max=4096, help="At most so many clients at once.")
    ] = 16,
    clients: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Numbers of clients at once, instead of 1, 2, 4, ….")
    ] = None,
    max_minutes: Annotated[float, typer.Option(metavar="M", min=0.1, help="At most so many minutes in all.")] = 30.0,
    max_bytes: Annotated[
        str, typer.Option(metavar="SIZE", help="Fetch at most so many bytes in all, uncompressed: 500M, 10G.")
    ] = "10G",
    step_seconds: Annotated[
        float,
        typer.Option(metavar="S", min=MIN_STEP_SECONDS, help="Measure at least so long with each number of clients."),
    ] = 20.0,
    max_wait: Annotated[
        float,
        typer.Option(metavar="FACTOR", min=1.1, help="Stop when other requests wait so many times as long."),
    ] = 2.0,
    pause: Annotated[float, typer.Option(metavar="S", min=0, help="Wait so many seconds between two steps.")] = 5.0,
    scheduler: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Run the clients on this Dask cluster, such as tcp://10.0.0.5:8786.")
    ] = "",
    control: Annotated[
        str, typer.Option(metavar="URL", help="The control address of a mock server, which tells its users' waits.")
    ] = "",
    max_in_flight: InFlight = None,
    ca_file: CaFile = None,
    fingerprint: Fingerprint = None,
    proxy: Proxy = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Begin without asking.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    log_file: LogFile = None,
    log_level: LogLevel = None,
) -> NoReturn:
    """Measure how many clients a server can take.

    Real clients rebuild test mailboxes, more and more at once, until other requests wait twice as long. `fleet plan`
    reads the result. It loads the server; begin with a test server.
    """
    given: dict[str, Any] = {
        "server": server, "protocol": protocol.value if protocol else None, "password_file": password_file,
        "ca_file": ca_file, "fingerprint": fingerprint, "proxy": proxy, "max_in_flight": max_in_flight, "user": user,
    }  # fmt: skip
    bounds: dict[str, Any] = {
        "max_seconds": max_minutes * 60, "step_seconds": step_seconds, "pause": pause, "max_wait": max_wait,
        "scheduler": scheduler, "control": control,
    }  # fmt: skip
    view = View(json, quiet=True, log_file=log_file, log_level=log_level.value if log_level else None)
    with display.open_display(view, lambda _: ()) as shown:
        lines = measure_view.MeasureView(sys.stderr) if not json and not quiet else None

        def listen(event: Event) -> None:
            shown(event)
            if lines is not None:
                lines(event)

        def command() -> int:
            target = located(out, "--out")
            _require_usable(target, given, accounts)
            limit = _bytes_of(max_bytes)
            options = _options(
                given, accounts, {**bounds, "clients": _counts(clients, max_clients), "max_bytes": limit}
            )
            return _measure(options, target, listen, asks=not yes, table=not json)

        try:
            code = run_command(command, Path, listen)
        finally:
            if lines is not None:
                lines.close()
    raise typer.Exit(code)


def _require_usable(target: Path, given: dict[str, Any], accounts: Path | None) -> None:
    if not given["server"]:
        raise BadSettings("no server is set: use `fleet measure --server URL`")
    if bool(accounts) == bool(given["user"]):
        raise BadSettings("name the test accounts with --accounts FILE, or one with --user NAME")
    if target.exists():
        raise BadSettings(f"{target} exists already; name another file with --out")
    if not target.parent.is_dir():
        raise BadSettings(f"--out: there is no folder {target.parent}")


def _counts(clients: str | None, most: int) -> tuple[int, ...]:
    """Return the clients of each step: those given, or 1, 2, 4, … up to `most`."""
    if clients is None:
        return (*(2**power for power in range(most.bit_length()) if 2**power < most), most)
    try:
        counts = tuple(int(part) for part in clients.split(","))
    except ValueError:
        counts = ()
    if not counts or counts[0] < 1 or any(one >= other for one, other in pairwise(counts)):
        raise BadSettings(f"--clients: {clients!r} are not growing numbers such as 1,4,16")
    return counts


def _bytes_of(text: str) -> float:
    from kerio_resync.settings import byte_rate

    try:
        return byte_rate(text)
    except ValueError:
        raise BadSettings(f"--max-bytes: {text!r} is not a size such as 500M or 10G") from None


def _options(given: dict[str, Any], accounts: Path | None, bounds: dict[str, Any]) -> Options:
    from kerio_resync.fleet.measure.accounts import Account, read_accounts
    from kerio_resync.fleet.measure.run import Options
    from kerio_resync.profile_file import load
    from kerio_resync.settings import with_password

    if bounds["max_seconds"] < 3 * bounds["step_seconds"]:
        raise BadSettings(
            f"--max-minutes: {bounds['max_seconds'] / 60:g} min are too short for steps of {bounds['step_seconds']:g} s"
        )
    nowhere = Path(sys.prefix) / "no-such-profile"  # no profile.toml is read: the command line names everything
    base = load(nowhere, given)
    if accounts is not None:
        listed = read_accounts(located(accounts, "--accounts"))
    else:
        base = with_password(base, password_prompt())
        listed = (Account(base.user, base.password, base.token),)
    ca = ""
    if base.ca_file is not None:
        ca = base.ca_file.read_text(encoding="utf-8", errors="replace")
    return Options(base=base, accounts=listed, ca=ca, **bounds)


def _measure(options: Options, target: Path, listen: Listener, *, asks: bool, table: bool) -> Exit:
    from kerio_resync.fleet.measure.run import measure as measure_capacity
    from kerio_resync.fleet.measure.run import prepare

    if asks and not can_ask():
        raise BadSettings(
            f"a measurement loads {options.base.address}, and its users may have to wait: add --yes to begin without"
            " being asked"
        )
    listen = options.base.redactor.listening(listen)
    for warning in _warnings(options):
        listen(Notice(warning))
    prepared: Prepared = run(lambda: prepare(options, listen))
    if asks:
        _ask(prepared, target)
    measured: Measured = run(lambda: measure_capacity(prepared, listen, lambda capacity: _save(capacity, target)))
    return _end(measured, target, listen, table=table)


def _warnings(options: Options) -> list[str]:
    clear = []
    if options.base.sends_in_clear:
        clear.append(f"{options.base.server} is not encrypted: the network can read the passwords and the mail.")
    address = urlsplit(options.scheduler)
    if options.scheduler and address.scheme != "tls" and address.hostname not in ("127.0.0.1", "::1", "localhost"):
        clear.append("The Dask cluster is not encrypted: the network between its machines can read the passwords.")
    return clear


def _ask(prepared: Prepared, target: Path) -> None:
    measure_view.show(measure_view.lines_of_plan(prepared, str(target)), sys.stderr)
    print("Begin? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = input()
    except EOFError:
        answer = ""
    if answer.strip().casefold() not in ("y", "yes"):
        raise BadSettings("nothing was measured, because it was not confirmed")


def _save(capacity: Capacity, target: Path) -> None:
    """Replace the file at once, so that a kill leaves the former one or this one."""
    from kerio_resync.filesystem import translate_os_error

    part = target.with_name(f"{target.name}.part")
    try:
        part.write_text(capacity.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise translate_os_error(error, target) from error


def _end(measured: Measured, target: Path, listen: Listener, *, table: bool) -> Exit:
    from kerio_resync.cli.process import print_error

    capacity, stopped, code, kind = measured
    summary: dict[str, Any] = {"stopped": stopped, "path": str(target) if capacity else ""}
    if capacity is not None:
        summary["capacity"] = capacity.model_dump(mode="json")
    if code is not Exit.DONE:
        summary |= {"error": stopped, "kind": kind}
    listen(RunFinished(ok=code is Exit.DONE, exit_code=code, summary=summary))
    if table and capacity is not None:
        measure_view.show(measure_view.summary_lines(capacity, stopped if code is Exit.DONE else "", str(target)))
    if code is not Exit.DONE:
        print_error(stopped if capacity is not None else f"Nothing was measured. {stopped}")
    return code
