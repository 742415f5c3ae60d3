"""`fleet measure`: its options, the consent, what it prints and its exit code."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from kerio_resync.cli import app, fleet_measure, measure_view
from kerio_resync.errors import BadCredentials, Exit
from kerio_resync.events import Event, Listener, Notice
from kerio_resync.fleet.capacity import Capacity, ClientSeconds, MeasuredMailbox, Point, read_capacity
from kerio_resync.fleet.measure import run
from kerio_resync.fleet.measure.accounts import Account, Checked
from kerio_resync.fleet.measure.events import AccountsChecked, StepMeasured, StepProgress, StepStarted
from kerio_resync.fleet.measure.run import Measured, Options, Prepared
from kerio_resync.settings import Settings
from kerio_resync.variables import PASSWORD_VARIABLE

PASSWORD = "correct horse battery staple"
POINTS = (
    Point(clients=1, seconds=ClientSeconds(fastest=9, median=10, slowest=11), items_per_s=70, bytes_per_s=2.5e6,
          probe_p95_s=0.05, users_p95_s=0.04),
    Point(clients=1000, items_per_s=0, bytes_per_s=0, failed=1000, refused=3),
)  # fmt: skip
CAPACITY = Capacity(
    measured=datetime(2026, 11, 28, tzinfo=UTC), server="mail.example.com", probe_alone_p95_s=0.03,
    mailbox=MeasuredMailbox(items=760, bytes=27_000_000), points=POINTS, stopped="It is enough.",
)  # fmt: skip


class Library:
    """Stands in for the measurement: keeps its options, and returns what the test sets."""

    def __init__(self) -> None:
        self.options: Options | None = None
        self.measured = Measured(CAPACITY, "It is enough.")
        self.error: Exception | None = None
        self.began = False

    async def prepare(self, options: Options, listen: Listener) -> Prepared:
        self.options = options
        if self.error is not None:
            raise self.error
        listen(AccountsChecked(1, len(options.accounts)))
        return Prepared(options, Checked(options.accounts, 760, 27_000_000, "kerio", ()), 0)

    async def measure(self, prepared: Prepared, listen: Listener, save: Callable[[Capacity], None]) -> Measured:
        self.began = True
        listen(StepStarted(1))
        listen(StepMeasured(POINTS[0].model_dump(mode="json"), {}))
        if self.measured.capacity is not None:
            save(self.measured.capacity)
        return self.measured


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    stand_in = Library()
    monkeypatch.setattr(run, "prepare", stand_in.prepare)
    monkeypatch.setattr(run, "measure", stand_in.measure)
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    return stand_in


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "capacity.json"


def invoke(*arguments: str, server: str = "https://mail.example.com") -> int:
    with pytest.raises(SystemExit) as exited:
        app.main(["fleet", "measure", "--server", server, *arguments])
    return int(exited.value.code or 0)


def accounts_file(folder: Path, mode: int = 0o600) -> str:
    path = folder / "accounts.csv"
    path.write_text(f"anna,{PASSWORD}\nben,{PASSWORD}\n")
    path.chmod(mode)
    return str(path)


def test_a_measurement_writes_the_file_and_prints_the_table(
    library: Library, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert invoke("--user", "anna", "--yes") == Exit.DONE
    assert read_capacity(out) == CAPACITY
    printed, told = capfd.readouterr()
    assert printed.splitlines() == [
        "clients  MB/s  items/s  a rebuild  slowest  failed  refused  probe p95  users' p95",
        "      1  2.50       70       10 s     11 s       0        0      50 ms       40 ms",
        "  1,000  0.00        0          -        -   1,000        3          -           -",
        "Without clients, the probe's p95 wait was 30 ms.",
        "It is enough.",
        f"Capacity file: {out}",
    ]
    assert told == "1 client · 2.4 MiB/s · 10 s a rebuild · probe p95 50 ms · users' p95 40 ms\n"
    options = library.options
    assert options is not None
    assert [(account.user, account.password.get_secret_value()) for account in options.accounts] == [("anna", PASSWORD)]
    assert options.clients == (1, 2, 4, 8, 16)
    assert (options.step_seconds, options.max_seconds, options.pause) == (20, 1800, 5)
    assert options.max_bytes == 10 * 2**30


def test_accounts_are_read_from_a_file_and_secrets_shown_nowhere(
    library: Library, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = out.with_name("log")
    code = invoke("--accounts", accounts_file(out.parent), "-y", "--json", "--log-file", str(log))
    assert code == Exit.DONE
    assert library.options is not None
    assert [account.user for account in library.options.accounts] == ["anna", "ben"]
    printed, told = capfd.readouterr()
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [line["event"] for line in lines] == ["accounts-checked", "step-started", "step-measured", "run-finished"]
    assert lines[-1]["exit_code"] == 0
    assert lines[-1]["summary"]["path"] == str(out)
    assert lines[-1]["summary"]["capacity"]["points"][0]["clients"] == 1
    assert told == ""
    assert all("battery" not in text for text in (printed, log.read_text(), out.read_text(), repr(library.options)))


def test_quiet_prints_only_the_table(library: Library, out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke("--user", "anna", "--yes", "--quiet") == Exit.DONE
    printed, told = capfd.readouterr()
    assert printed.startswith("clients")
    assert told == ""


@pytest.mark.parametrize(
    ("most", "counts"), [("1", (1,)), ("2", (1, 2)), ("6", (1, 2, 4, 6)), ("16", (1, 2, 4, 8, 16))]
)
def test_the_number_of_clients_doubles(library: Library, out: Path, most: str, counts: tuple[int, ...]) -> None:
    assert invoke("--user", "anna", "--yes", "--max-clients", most) == Exit.DONE
    assert library.options is not None
    assert library.options.clients == counts


def test_numbers_of_clients_may_be_given(library: Library, out: Path) -> None:
    assert invoke("--user", "anna", "--yes", "--clients", "1,4,16,64") == Exit.DONE
    assert library.options is not None
    assert library.options.clients == (1, 4, 16, 64)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "Name the test accounts with --accounts FILE, or one with --user NAME."),
        (
            ("--user", "anna", "--accounts", "x"),
            "Name the test accounts with --accounts FILE, or one with --user NAME.",
        ),
        (("--user", "anna"), "add --yes to begin without being asked."),
        (("--user", "anna", "-y", "--clients", "4,2"), "--clients: '4,2' are not growing numbers such as 1,4,16."),
        (("--user", "anna", "-y", "--clients", "0"), "--clients: '0' are not growing numbers such as 1,4,16."),
        (("--user", "anna", "-y", "--clients", "many"), "--clients: 'many' are not growing numbers such as 1,4,16."),
        (("--user", "anna", "-y", "--max-bytes", "lots"), "--max-bytes: 'lots' is not a size such as 500M or 10G."),
        (("--user", "anna", "-y", "--max-minutes", "0.5"), "0.5 min are too short for steps of 20 s."),
        (("--user", "anna", "-y", "--out", "no/such.json"), "--out: there is no folder"),
        (("--user", "anna", "-y", "--ca-file", "nowhere.pem"), "--ca-file: there is no file"),
        (("-y", "--accounts", "nowhere.csv"), "cannot be read: no such file or directory."),
    ],
)
def test_bad_arguments_are_one_sentence(
    library: Library, out: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], problem: str
) -> None:
    assert invoke(*arguments) == Exit.USAGE
    told = capfd.readouterr().err
    assert problem in told
    assert told.count("\n") == 1
    assert not library.began
    assert not out.exists()


def test_a_server_is_needed(library: Library, out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        app.main(["fleet", "measure", "--user", "anna", "--yes"])
    assert exited.value.code == Exit.USAGE
    assert "No server is set: use `fleet measure --server URL`." in capfd.readouterr().err


def test_an_existing_file_is_not_replaced(library: Library, out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out.write_text("mine")
    assert invoke("--user", "anna", "--yes") == Exit.USAGE
    assert "exists already; name another file with --out" in capfd.readouterr().err
    assert out.read_text() == "mine"


def test_a_list_that_others_can_read_is_refused(library: Library, out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke("--yes", "--accounts", accounts_file(out.parent, 0o644)) == Exit.USAGE
    assert "run `chmod 600 " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("answer", "begins"), [("y\n", True), ("yes\n", True), ("\n", False), ("n\n", False), ("", False)]
)
def test_a_person_is_asked_with_the_figures(
    library: Library,
    out: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    begins: bool,
) -> None:
    monkeypatch.setattr(fleet_measure, "can_ask", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    code = invoke("--user", "anna", "--max-clients", "4")
    assert library.began is begins
    assert code == (Exit.DONE if begins else Exit.USAGE)
    told = capfd.readouterr().err
    assert "This measures https://mail.example.com with real clients:" in told
    assert "  clients   1, 2, 4 at once, on this machine\n" in told
    assert "  accounts  1, with 760 items of 25.7 MiB; clients share them" in told
    assert "  bounds    10.0 GiB and 30 min 00 s in all\n" in told
    assert "Begin? [y/N] " in told
    if not begins:
        assert "Nothing was measured, because it was not confirmed." in told


def test_refused_accounts_end_with_their_code(library: Library, out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    library.error = BadCredentials("Invalid user name or password.")
    assert invoke("--user", "anna", "--yes") == Exit.CREDENTIALS
    assert "The server refused the user name or password" in capfd.readouterr().err


def test_an_interrupted_measurement_shows_what_was_measured(
    library: Library, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    library.measured = Measured(CAPACITY, "It was interrupted.", Exit.INTERRUPTED, "interrupted")
    assert invoke("--user", "anna", "--yes") == Exit.INTERRUPTED
    printed, told = capfd.readouterr()
    assert printed.splitlines()[-1] == f"Capacity file: {out}"
    assert told.splitlines()[-1] == "kerio-resync: It was interrupted."


def test_an_end_without_points_says_so(library: Library, out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    library.measured = Measured(None, "The server cannot be reached.", Exit.UNFINISHED, "unreachable")
    assert invoke("--user", "anna", "--yes", "--json") == Exit.UNFINISHED
    printed, told = capfd.readouterr()
    assert json.loads(printed.splitlines()[-1]) == {
        "event": "run-finished", "ok": False, "exit_code": 4,
        "summary": {"stopped": "The server cannot be reached.", "path": "", "error": "The server cannot be reached.",
                    "kind": "unreachable"},
    }  # fmt: skip
    assert told == "kerio-resync: Nothing was measured. The server cannot be reached.\n"
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "server", "warned"),
    [
        ((), "http://mail.example.com", "http://mail.example.com is not encrypted"),
        (("--scheduler", "tcp://10.0.0.5:8786"), "https://mail.example.com", "The Dask cluster is not encrypted"),
        (("--scheduler", "tls://10.0.0.5:8786"), "https://mail.example.com", ""),
        (("--scheduler", "tcp://127.0.0.1:8786"), "https://mail.example.com", ""),
    ],
)
def test_passwords_in_clear_are_warned_of(
    library: Library, out: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], server: str, warned: str
) -> None:
    assert invoke("--user", "anna", "--yes", *arguments, server=server) == Exit.DONE
    told = capfd.readouterr().err
    assert warned in told
    assert ("not encrypted" in told) is bool(warned)


def test_the_authority_travels_as_text(library: Library, out: Path) -> None:
    path = out.with_name("ca.pem")
    path.write_text("the authority")
    assert invoke("--user", "anna", "--yes", "--ca-file", str(path)) == Exit.DONE
    assert library.options is not None
    assert library.options.ca == "the authority"


def test_a_disk_that_is_full_at_the_end_is_an_error(
    library: Library, out: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, *arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    assert invoke("--user", "anna", "--yes") == Exit.NOT_ENOUGH_SPACE
    assert "not enough room" in capfd.readouterr().err
    assert not list(out.parent.glob("*.part"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, *events: Event) -> str:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(measure_view, "width_of", lambda out: 80)
    terminal = Terminal()
    view = measure_view.MeasureView(terminal)
    for event in events:
        view(event)
    view.close()
    return terminal.getvalue()


def test_a_terminal_has_a_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    erase = "\r\x1b[K"
    text = shown(
        monkeypatch,
        AccountsChecked(1, 2),
        AccountsChecked(2, 2),
        StepStarted(0),
        StepProgress(2, "loading"),
        StepProgress(2, "running", 12.0, 1e6, 3, 1, 0.05),
        StepMeasured(POINTS[1].model_dump(mode="json"), {"It broke.": 1000}),
        Notice("Mind the gap."),
    )
    assert [part for part in text.split(erase) if part] == [
        "Checking the accounts: 1 of 2",
        "Checking the accounts: 2 of 2",
        "no clients: measuring the waits",
        "2 clients: loading",
        "2 clients · 12 s · 977 KiB/s · 3 rebuilds · 1 failed · probe p95 50 ms",
        "1,000 clients · 0 B/s · 1,000 failed · 3 refused\n  1,000 clients failed: It broke.\nMind the gap.\n",
    ]


def test_a_live_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, StepProgress(2, "running", 12.0, 1e6, 10**60, 1, 0.05))
    assert len(text.split("\x1b[K")[1].rstrip("\r")) == 79


def test_shared_accounts_and_workers_are_told() -> None:
    options = Options(
        base=Settings(profile=Path("."), server="https://x"), clients=(1, 2),
        accounts=(Account("a", SecretStr("x")), Account("b", SecretStr("y"))),
    )  # fmt: skip
    lines = measure_view.lines_of_plan(Prepared(options, Checked(options.accounts, 5, 0, "jmap", ()), 3), "out")
    assert "  clients   1, 2 at once, on 3 Dask workers" in lines
    assert "  accounts  2, with 5 items each on average" in lines
