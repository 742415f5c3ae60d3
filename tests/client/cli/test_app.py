from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import kerio_resync
from kerio_resync import errors, events
from kerio_resync.cli import app
from kerio_resync.events import Listener
from kerio_resync.settings import Settings
from kerio_resync.variables import PASSWORD_VARIABLE
from kerio_resync.version import VERSION
from tests.support.fork_server import forked

PASSWORD = "correct horse battery staple"
SERVER = ("--server", "https://mail.example.com", "--user", "jane")


@dataclass(frozen=True)
class Result:
    """What a library call gives back, as far as the command line looks at it."""

    ok: bool = True
    unfinished: bool = False

    def as_json(self) -> dict[str, Any]:
        return REPORT | VERDICT | {"ok": self.ok, "unfinished": self.unfinished}


REPORT: dict[str, Any] = {
    "cache": "/p/cache.db", "folders": 1, "items": {"mail": 2}, "attachments": 0, "plain_bytes": 10, "wire_bytes": 5,
    "seconds": 1.0, "resumed": False, "salvaged": 0, "retries": 0, "skipped": [], "outbox_sent": 0, "outbox_pending": 0,
    "conflicts": 0, "problems": [],
}  # fmt: skip
VERDICT: dict[str, Any] = {"checked": 2, "differences": [], "count": 0, "repaired": 0}


class Library:
    """Stands in for the library: takes down what it is asked, tells events, gives a result or an error."""

    def __init__(self) -> None:
        self.settings: list[Settings] = []
        self.options: dict[str, Any] = {}
        self.error: BaseException | None = None
        self.ok = True
        self.unfinished = False

    async def rebuild(self, settings: Settings, listen: Listener) -> Result:
        self.settings.append(settings)
        listen(events.PhaseChanged("session"))
        listen(events.RunFinished(ok=True, exit_code=0))  # the command line says that itself
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return Result(unfinished=self.unfinished)

    async def verify(self, settings: Settings, listen: Listener, **options: bool) -> Result:
        self.options = options
        await self.rebuild(settings, listen)
        return Result(self.ok)

    async def digest(self, settings: Settings) -> AsyncIterator[str]:
        self.settings.append(settings)
        if self.error:
            raise self.error
        for number in range(3):
            yield f"mail id{number} 1 abc"

    async def status(self, settings: Settings) -> Any:
        self.settings.append(settings)
        if self.error:
            raise self.error
        absent = {"state": "absent"}
        state = {
            "profile": str(settings.profile), "cache": absent, "building": absent, "outbox": [], "holder": "",
            "free_bytes": 0,
        }  # fmt: skip
        return type("Status", (), {"as_json": lambda self: state})()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Library:
    fake = Library()
    for name in ("rebuild", "verify", "digest", "status"):
        monkeypatch.setitem(vars(kerio_resync), name, getattr(fake, name))
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv("KERIO_RESYNC_PROFILE", str(tmp_path / "from-environment"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    return fake


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], library: Library) -> Call:
    def called(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            app.main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        code = left.value.code
        return int(code or 0), out, err

    return called


def test_a_rebuild_is_told_and_summed_up(call: Call, library: Library, tmp_path: Path) -> None:
    code, out, err = call("--profile", tmp_path, "rebuild", *SERVER)
    assert code == 0
    assert err == "Logging in\n"
    assert out.splitlines()[0] == "Rebuilt in 1.0 s: 2 mails in 1 folder, 0 attachments."
    settings = library.settings[0]
    assert (settings.server, settings.user, settings.profile) == ("https://mail.example.com", "jane", tmp_path)
    assert settings.password.get_secret_value() == PASSWORD


LATE = ("--not-after", "2026-01-01T06:00")


@pytest.mark.parametrize(
    ("words", "code"),
    [(("rebuild", *SERVER, *LATE), 3), (("rebuild", *SERVER), 0), (("rebuild", *SERVER, "--not-after", "none"), 0)],
)
def test_rebuild_is_postponed_after_its_window(
    words: tuple[str, ...], code: int, call: Call, library: Library, tmp_path: Path
) -> None:
    ended, out, err = call("--profile", tmp_path, *words)
    assert ended == code
    assert len(library.settings) == (code == 0)
    if code:
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith("kerio-resync: It is too late to begin: the window closed at 2026-01-01 06:00:00 ")
    else:
        assert '\nnot_after = "' not in (tmp_path / "profile.toml").read_text()


def test_window_of_the_profile_and_the_environment_is_obeyed(
    call: Call, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profile.toml").write_text("not_after = 2026-01-01T06:00:00Z\n")
    assert call("--profile", tmp_path, "rebuild", *SERVER)[0] == 3
    monkeypatch.setenv("KERIO_RESYNC_NOT_AFTER", "2099-01-01T06:00")
    assert call("--profile", tmp_path, "rebuild", *SERVER)[0] == 0
    assert call("--profile", tmp_path, "rebuild", *SERVER, *LATE)[0] == 3
    assert len(library.settings) == 1


@pytest.mark.parametrize("on_failure", ["offer", "rebuild"])
def test_upgrade_waits_only_for_work_and_start_never_waits(
    on_failure: str, call: Call, library: Library, tmp_path: Path
) -> None:
    (tmp_path / "profile.toml").write_text(
        f'server = "https://x"\nuser = "jane"\non_failure = "{on_failure}"\nnot_after = 2026-01-01T06:00:00\n'
    )
    assert call("--profile", tmp_path, "upgrade")[0] == (3 if on_failure == "rebuild" else 10)
    assert library.settings == []
    call("--profile", tmp_path, "start", "--", "true")
    assert len(library.settings) == (on_failure == "rebuild")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--not-before", ""), "Invalid value for '--not-before': the value is empty (is a variable not set?)"),
        (("--not-after", "noon"), "--not-after: must be a time such as 22:00 or 2026-12-01T22:00"),
        (("--splay", "long"), "--splay: must be a duration such as 90s, 30m, 2h or 1h30m"),
        (("--splay", "9h", "--not-before", "22:00", "--not-after", "06:00"), "A splay of 9:00:00 does not fit"),
    ],
)
def test_unusable_window_is_a_usage_error(
    words: tuple[str, ...], says: str, call: Call, library: Library, tmp_path: Path
) -> None:
    code, _, err = call("--profile", tmp_path, "rebuild", *SERVER, *words)
    assert (code, library.settings) == (2, [])
    assert err.startswith(f"kerio-resync: {says}")


def test_unusable_variable_is_named(
    call: Call, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERIO_RESYNC_SPLAY", "long")
    code, _, err = call("--profile", tmp_path, "rebuild", *SERVER)
    assert code == 2
    assert err.startswith("kerio-resync: KERIO_RESYNC_SPLAY: must be a duration")


def test_a_rebuild_that_leaves_local_changes_pending_is_unfinished(
    call: Call, library: Library, tmp_path: Path
) -> None:
    library.unfinished = True
    code, out, err = call("--profile", tmp_path, "rebuild", *SERVER)
    assert (code, err) == (4, "Logging in\n")
    assert "Some local changes are not settled yet. Run again." in out.splitlines()


def test_options_become_settings_and_the_next_run_remembers_what_lasts(
    call: Call, library: Library, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").touch()
    options = [
        "--fresh", "--drop-first", "--attachments", "inbox", "--bwlimit", "10M",
        "--max-in-flight", "5", "--shared", "--public", "--ca-file", tmp_path / "ca.pem",
    ]  # fmt: skip
    assert call("rebuild", *SERVER, *options, "--profile", tmp_path / "p")[0] == 0
    assert call("--profile", tmp_path / "p", "rebuild")[0] == 0
    assert call("--profile", tmp_path / "p", "rebuild", "--no-shared", "--bwlimit", "1k")[0] == 0
    first, second, third = library.settings
    lasting = {"attachments": "inbox", "bwlimit": 10 * 2**20, "max_in_flight": 5, "shared": True, "public": True}
    assert first.model_dump(include=set(lasting)) == second.model_dump(include=set(lasting)) == lasting
    assert first.ca_file == second.ca_file == tmp_path / "ca.pem"
    assert (first.fresh, first.drop_first) == (True, True)
    assert (second.fresh, second.drop_first) == (False, False)
    assert (third.shared, third.bwlimit, third.max_in_flight) == (False, 1024, 5)


@pytest.mark.parametrize(
    ("code", "expected", "words"),
    [
        (errno.EIO, 2, "input/output error"),
        (errno.EDQUOT, 7, "quota"),
        (errno.ENOSPC, 7, "not enough room"),
        (errno.EACCES, 0, "permission denied"),  # the settings are not kept; the cache has a file of its own
        (errno.EROFS, 0, "read-only"),
    ],
    ids=errno.errorcode.get,
)
def test_a_disk_that_fails_at_the_settings_ends_the_run_before_its_work(
    call: Call, library: Library, monkeypatch: pytest.MonkeyPatch, code: int, expected: int, words: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    async def begin(settings: Settings, listen: Listener) -> Result:
        listen(events.RunStarted("p", "s", "u", resumed=False))
        return Result()

    monkeypatch.setattr("kerio_resync.filesystem.write_private", refuse)
    monkeypatch.setitem(vars(kerio_resync), "rebuild", begin)
    found, _, err = call("rebuild", *SERVER)
    assert found == expected
    assert words in err.casefold()


def test_the_profile_is_named_after_or_before_the_command_or_by_the_environment(
    call: Call, library: Library, tmp_path: Path
) -> None:
    for name in ("a", "b", "from-environment"):
        (tmp_path / name).mkdir()
    call("--profile", tmp_path / "a", "status", "--profile", tmp_path / "b")
    call("--profile", tmp_path / "a", "status")
    call("status")
    assert [settings.profile.name for settings in library.settings] == ["b", "a", "from-environment"]


def test_json_is_all_that_is_on_standard_output(call: Call, library: Library, tmp_path: Path) -> None:
    for error, code in ((None, 0), (errors.Unreachable("x"), 4), (ValueError("x"), 1)):
        library.error = error
        for command in (["rebuild", *SERVER], ["verify"]):
            found, out, err = call("--profile", tmp_path, *command, "--json")
            rows = [json.loads(line) for line in out.splitlines()]
            assert [row["event"] for row in rows] == ["phase", "run-finished"]
            assert (found, rows[-1]["exit_code"], rows[-1]["ok"]) == (code, code, code == 0)
            assert err.count("\n") == (code != 0)
            assert ("error" in rows[-1]["summary"]) == (code != 0)


def test_quiet_shows_errors_only(call: Call, library: Library, tmp_path: Path) -> None:
    assert call("rebuild", *SERVER, "--quiet") == (0, "", "")
    library.error = errors.CacheInUse("by pid 7")
    code, out, err = call("rebuild", *SERVER, "-q")
    assert (code, out, err.count("\n")) == (6, "", 1)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadSettings("x"), 2),
        (errors.Unreachable("x"), 4),
        (errors.Overloaded("x"), 4),
        (errors.BadCredentials("x"), 5),
        (errors.CacheInUse("x"), 6),
        (errors.NotEnoughSpace(needed=1), 7),
        (errors.ProtocolError("x"), 8),
        (errors.VerificationFailed("x"), 9),
        (asyncio.CancelledError(), 130),
        (KeyboardInterrupt(), 130),
        (ValueError(PASSWORD), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_one_line_and_its_code(
    call: Call, library: Library, tmp_path: Path, error: BaseException, code: int
) -> None:
    library.error = error
    log = tmp_path / "log"
    found, out, err = call("--profile", tmp_path / "p", "rebuild", *SERVER, "--log-file", log)
    assert (found, out) == (code, "")
    assert err.startswith("Logging in\nkerio-resync: ")
    assert err.count("\n") == 2
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("run-finished", code)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD not in path.read_text()


def test_what_verification_found_is_the_exit_code(call: Call, library: Library) -> None:
    call("rebuild", *SERVER)
    code, out, _ = call("verify", "--deep", "--repair")
    assert (code, library.options) == (0, {"deep": True, "repair": True})
    assert out == "Compared 2 items with the server: no difference.\n"
    library.ok = False
    assert call("verify")[0] == 9
    assert library.options == {"deep": False, "repair": False}


def test_status_asks_for_no_password(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE)
    code, out, err = call("status")
    assert (code, err) == (0, "")
    assert "Cache: none" in out.splitlines()
    code, out, err = call("status", "--json")
    row = json.loads(out)
    assert row["cache"] == row["summary"]["cache"] == {"state": "absent"}
    assert (row["event"], row["exit_code"]) == ("run-finished", 0)


def test_digest_prints_its_lines(call: Call, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert call("digest") == (0, "mail id0 1 abc\nmail id1 1 abc\nmail id2 1 abc\n", "")
    library.error = errors.BadSettings("there is no cache")
    assert call("digest") == (2, "", "kerio-resync: There is no cache.\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rebuild", "--user", "jane"], "No server is set: use `rebuild --server URL`"),
        (["rebuild", "--server", "x"], "No user is set: use `rebuild --user NAME`"),
        (["verify"], "No server is set"),
        (["rebuild", *SERVER, "--bwlimit", "fast"], "--bwlimit: must be a rate in bytes per second"),
        (["rebuild", *SERVER, "--max-in-flight", "0"], "--max-in-flight: Input should be greater than or equal to 1."),
        (["rebuild", *SERVER, "--server", "ftp://x"], "--server: must be an address such as https://"),
        (["rebuild", *SERVER, "--ca-file", "/nowhere/x"], "--ca-file: there is no file /nowhere/x."),
    ],
)
def test_settings_that_make_no_sense_are_one_line(
    call: Call, library: Library, arguments: list[str], says: str
) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert library.settings == []


@pytest.mark.parametrize(
    "arguments", [["rebuild", "--password", "x"], ["rebuild", "--attachments", "some"], ["unheard-of"], ["--nonsense"]]
)
def test_usage_errors_are_exit_2(call: Call, arguments: list[str]) -> None:
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("kerio-resync: ")
    assert err.count("\n") == 1
    assert "--help`" in err
    found, out, err = call(*arguments, "--json")
    assert (found, json.loads(out)["exit_code"], err.count("\n")) == (2, 2, 1)


def test_without_a_password_it_says_where_to_put_it(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    code, _, err = call("rebuild", *SERVER)
    assert code == 2
    assert PASSWORD_VARIABLE in err


@pytest.mark.parametrize(("typed", "code"), [("typed", 0), ("", 2), (EOFError(), 2), (KeyboardInterrupt(), 130)])
def test_on_a_terminal_the_password_is_asked_for(
    call: Call, library: Library, monkeypatch: pytest.MonkeyPatch, typed: str | BaseException, code: int
) -> None:
    def getpass(prompt: str) -> str:
        if isinstance(typed, BaseException):
            raise typed
        return typed

    monkeypatch.delenv(PASSWORD_VARIABLE)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", getpass)
    assert call("rebuild", *SERVER)[0] == code
    assert [settings.password.get_secret_value() for settings in library.settings] == ["typed"] * (code == 0)


def test_an_unencrypted_server_is_pointed_out(call: Call) -> None:
    assert (
        "http://mail.example.com is not encrypted"
        in call("rebuild", "--server", "http://mail.example.com", "--user", "x")[2]
    )
    assert "not encrypted" not in call("rebuild", "--server", "http://127.0.0.1:1", "--user", "x")[2]


def test_the_version_is_that_of_the_package() -> None:
    assert version("kerio-resync") == VERSION


def test_version_and_no_arguments(call: Call) -> None:
    code, out, _ = call("--version")
    assert (code, out.split()[0]) == (0, "kerio-resync")
    code, out, err = call()
    assert "Usage:" in out + err
    assert code == 2


def test_help_answers_quickly_because_nothing_heavy_is_imported() -> None:
    heavy = ["aiohttp", "aiosqlite", "rich.live", "asyncio", "tenacity", "keyring", "tomlkit", "kerio_resync.settings"]
    script = f"import sys, kerio_resync.cli.app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("then", ["raise", "import time; time.sleep(60)"], ids=["at-once", "stuck"])
def test_ctrl_c_in_a_run_is_130_and_the_log_says_so(tmp_path: Path, then: str) -> None:
    script = (
        "import asyncio, kerio_resync\n"
        "async def rebuild(settings, listen):\n"
        "    print('ready', flush=True)\n"
        "    try: await asyncio.sleep(60)\n"
        f"    except BaseException: {then}\n"
        "kerio_resync.rebuild = rebuild\n"
        "from kerio_resync.cli.app import main; main()\n"
    )
    log = tmp_path / "log"
    command = [
        *forked("-c"), script, "--profile", str(tmp_path / "p"), "rebuild", *SERVER, "--log-file", str(log),
    ]  # fmt: skip
    environment = {PASSWORD_VARIABLE: "x", "PATH": ""}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert time.monotonic() - started < 30  # 2 s and what a busy machine adds; the run would take 60
        assert process.stderr.read() == "kerio-resync: Interrupted; run again to resume.\n"
    assert json.loads(log.read_text())["exit_code"] == 130
