"""Both programs in a world that is not theirs: streams, signals, folders. What is done and the exit codes stay."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.format71_files import IDENTITY
from kerio_mockserver.testing import running
from kerio_resync import streams
from kerio_resync.cache.store import Store
from kerio_resync.cli import commands, entry, process
from kerio_resync.errors import Exit, explain
from kerio_resync.events import Listener
from kerio_resync.version import VERSION
from tests.support.fork_server import forked

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("KERIO_RESYNC", "PYTHON"))} | {
    "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    "KERIO_RESYNC_PASSWORD": "secret",
}
INTERRUPTED = explain(KeyboardInterrupt())[0]
REDIRECTIONS = {
    "stdin-closed": "<&-",
    "stdout-closed": ">&-",
    "stderr-closed": "2>&-",
    "all-closed": "<&- >&- 2>&-",
    "stdout-full": ">/dev/full",
    "stderr-full": "2>/dev/full",
    "no-home": "",
    "ascii": "",
    "c-locale": "",
    "reader-gone": "",
    "reader-stalls": "",
}
FULLY_TRIED = ("all-closed", "stdout-full", "reader-gone")  # in other states, few commands are tried
SETTINGS = {
    "no-home": {"HOME": "/nowhere/at/all", "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""},
    "ascii": {"PYTHONIOENCODING": "ascii", "TERM": "dumb", "COLUMNS": "1"},
    "c-locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Asia/Kathmandu"},
}
IMPATIENT = (
    "import kerio_resync.streams as s; assert s.STALLED_READER_SECONDS; s.STALLED_READER_SECONDS = 0.2;"
    " from kerio_resync.cli.entry import main; main()"
)


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


async def program(*arguments: str | Path, state: str = "", code: str = "", **options: Any) -> Ended:
    """Runs kerio-resync with its streams in a state; `code` stands in for the module."""
    environment = ENVIRONMENT | SETTINGS.get(state, {}) | options.pop("env", {})
    start = [sys.executable, "-c", code] if code else [sys.executable, "-m", "kerio_resync"]
    if not state and not code:
        start = forked("kerio_resync")
    if state in ("reader-gone", "reader-stalls"):
        start = [sys.executable, "-c", IMPATIENT]
        options["stdout"] = broken_pipe() if state == "reader-gone" else full_pipe()
    command = ["/bin/sh", "-c", f'exec "$@" {REDIRECTIONS.get(state, "")}', "sh", *start, *map(str, arguments)]
    options = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | options
    child = await asyncio.create_subprocess_exec(*command, env=environment, **options)
    if isinstance(options["stdout"], int) and options["stdout"] >= 0:
        os.close(options["stdout"])
    out, err = await asyncio.wait_for(child.communicate(), 50)
    assert child.returncode is not None
    ended = Ended(child.returncode, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace"))
    assert "Traceback" not in ended.err, ended
    assert "Exception ignored" not in ended.err, ended
    return ended


def broken_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


_stalled: list[int] = []


def full_pipe() -> int:
    reader, writer = os.pipe()
    _stalled.append(reader)  # stays open, without a reader
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    return writer


@pytest.fixture(autouse=True)
def close_stalled() -> Iterator[None]:
    yield
    while _stalled:
        os.close(_stalled.pop())


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile with an empty cache, in a folder whose name no narrow encoding has."""
    place = tmp_path_factory.mktemp("world") / "pröfile-日"
    place.mkdir()

    async def fill() -> None:
        await (await Store.create(place / "cache.db", IDENTITY)).close()

    asyncio.run(fill())
    return place


COMMANDS = {
    "status": (["status"], 0),
    "digest": (["digest"], 0),
    "upgrade": (["upgrade", "--json"], 0),
    "start": (["start", "--", "sh", "-c", "exit 17"], 17),
    "wrong": (["rebuild", "--no-such-option", "--json"], 2),
}


@pytest.mark.parametrize("state", REDIRECTIONS)
async def test_streams_do_not_change_the_exit_code(state: str, profile: Path, tmp_path: Path) -> None:
    commands = ["status", "start", "upgrade", "wrong"] if state in FULLY_TRIED else ["status", "upgrade"]
    await in_state(state, commands, profile, tmp_path)


async def in_state(state: str, commands: list[str], filled: Path, folder: Path) -> None:
    async def check(command: str) -> None:
        words, code = COMMANDS[command]
        profile = folder / command / filled.name  # of its own: `upgrade` and `start` lock it
        shutil.copytree(filled, profile)
        if state == "stdout-full" and command == "status":
            code = 7  # its output is its work
        if state == "reader-stalls" and command in ("status", "digest"):
            return
        ended = await program("--profile", profile, *words, state=state)
        assert ended.code == code, (command, ended)
        if "--json" in words and "stdout" not in state and "reader" not in state and state != "all-closed":
            last = json.loads(ended.out.splitlines()[-1])
            assert (last["event"], last["exit_code"]) == ("run-finished", code)

    await asyncio.gather(*map(check, commands))


@pytest.mark.parametrize("work", [commands.status, commands.digest], ids=["status", "digest"])
def test_what_is_printed_as_the_work_waits_for_its_reader(
    work: Callable[[Path, Listener], Exit], profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    out = streams.text(writer, "<pipe>")
    monkeypatch.setattr(sys, "stdout", out)
    assert work(profile, lambda event: None) == Exit.DONE
    stream = streams.raw(out)
    assert stream is not None
    assert stream.waits
    os.close(reader)
    os.close(writer)


@pytest.mark.soak
@pytest.mark.parametrize("state", REDIRECTIONS)
async def test_streams_do_not_change_the_exit_code_of_any_command(state: str, profile: Path, tmp_path: Path) -> None:
    await in_state(state, list(COMMANDS), profile, tmp_path)


@pytest.mark.parametrize("state", ["all-closed", "reader-gone", "reader-stalls"])
async def test_a_rebuild_is_done_whatever_its_streams_are(state: str, tmp_path: Path) -> None:
    async with running(seed=3, mails=30, password="secret") as server:
        named = ("--server", server.url, "--user", server.user, "--json", "--log-file", tmp_path / "log")
        ended = await program("--profile", tmp_path / "p", "rebuild", *named, state=state)
    assert ended.code == 0, ended
    assert (tmp_path / "p" / "cache.db").exists()
    last = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert (last["event"], last["summary"]["items"]["mail"]) == ("run-finished", 30)


@pytest.mark.soak
@pytest.mark.parametrize("state", REDIRECTIONS)
@pytest.mark.parametrize(
    ("words", "code"),
    [(["rebuild"], 0), (["rebuild", "--json"], 0), (["verify"], 0), (["verify", "--deep", "-q"], 0), (["estimate"], 0)],
    ids=lambda words: "-".join(words) if isinstance(words, list) else "",
)
async def test_every_command_in_every_state(state: str, words: list[str], code: int, tmp_path: Path) -> None:
    async with running(seed=3, mails=30, password="secret") as server:
        named = ("--server", server.url, "--user", server.user)
        await program("--profile", tmp_path, "rebuild", *named)
        assert (await program("--profile", tmp_path, *words, state=state)).code == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["rebuild", "--json", "--nonsense"], 2),
        (["--nonsense", "--json"], 2),
        (["rebuild", "--json", "--attachments", "some"], 2),
        (["rebuild", "--json", "--max-in-flight", "0", "--server", "x", "--user", "y"], 2),
        (["rebuild", "--json", "--server", "ftp://x"], 2),
        (["verify", "--json"], 2),
        (["estimate", "--json", "--bwlimit", "fast"], 2),
        (["upgrade", "--json"], 10),
        (["status", "--json", "--profile", "~nobodyhere/x"], 2),
        (["status", "--json", "--profile", ""], 2),
        (["start", "--json", "--", "/no/such/program"], 125),
        (["start", "--json", "--", "/etc/passwd"], 125),
        (["start", "--json", "--", "/"], 125),
        (["start", "--json", "--", "true"], 125),
        (["start", "--json"], 125),
        (["start", "--json", "--nonsense", "--", "true"], 125),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
async def test_with_json_the_last_line_is_run_finished(arguments: list[str], code: int, tmp_path: Path) -> None:
    before = [] if "--profile" in arguments else ["--profile", str(tmp_path / "p")]
    log = [] if arguments[0] == "status" else ["--log-file", str(tmp_path / "log")]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    ended = await program(*before, *arguments[:end], *log, *arguments[end:])
    last = json.loads(ended.out.splitlines()[-1])
    own = last["exit_code"] if code == 125 else code
    assert (ended.code, last["event"], last["exit_code"], last["ok"]) == (code, "run-finished", own, False), ended
    assert own not in (0, 125)
    assert last["summary"]["error"]
    assert ended.err.count("kerio-resync: ") >= 1
    if log:
        logged = json.loads((tmp_path / "log").read_text().splitlines()[-1])
        assert all(logged.pop(name) for name in ("time", "run", "version"))
        assert logged.pop("command") in (arguments[0], "")
        assert logged == last


AT_IMPORT = """
import os, sys
class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Hook())
from {package} import main
main()
"""


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("kerio_resync.streams", signal.SIGINT), ("typer", signal.SIGTERM),
        ("kerio_resync.settings", signal.SIGINT), ("pydantic", signal.SIGTERM), ("aiohttp", signal.SIGHUP),
        ("kerio_resync.server.http.transport", signal.SIGINT), ("uvloop", signal.SIGTERM),
        ("kerio_resync.sync.rebuild", signal.SIGINT),
    ],
)  # fmt: skip
async def test_a_signal_during_the_imports_ends_the_run_in_order(
    module: str, number: signal.Signals, tmp_path: Path
) -> None:
    handler = "default_int_handler" if number is signal.SIGINT else "SIG_DFL"  # nohup may have it ignored
    code = f"import signal; signal.signal({int(number)}, signal.{handler})\n" + AT_IMPORT.format(
        module=module, number=int(number), package="kerio_resync.cli.entry"
    )
    log = tmp_path / "log"
    words = ("rebuild", "--server", "http://127.0.0.1:9", "--user", "x", "--json", "--log-file", log)
    ended = await program("--profile", tmp_path / "p", *words, code=code)
    assert (ended.code, ended.err) == (130, f"kerio-resync: {INTERRUPTED}\n")
    last = json.loads(ended.out.splitlines()[-1])
    summary = {"error": INTERRUPTED, "kind": "interrupted"}
    expected = {"event": "run-finished", "ok": False, "exit_code": 130, "summary": summary}
    assert last == expected
    logged = json.loads(log.read_text().splitlines()[-1])
    assert logged.pop("time").endswith("Z")
    assert (len(logged.pop("run")), logged.pop("version")) == (8, VERSION)
    assert logged.pop("command") in ("rebuild", "")
    assert logged == expected


@pytest.mark.parametrize(("module", "number"), [("argparse", signal.SIGTERM), ("aiohttp", signal.SIGINT)])
async def test_a_signal_during_the_mocks_imports_ends_it_in_order(module: str, number: signal.Signals) -> None:
    code = AT_IMPORT.format(module=module, number=int(number), package="kerio_mockserver.entry")
    assert await program("serve", "--mails", "0", code=code) == Ended(0, "", "")


def test_the_entry_says_the_same_of_an_interruption_as_the_rest() -> None:
    assert entry.INTERRUPTION == INTERRUPTED
    assert process.INTERRUPT_GRACE_SECONDS + process.EXIT_GRACE_SECONDS < 2


async def test_nohup_keeps_a_run_going_when_the_terminal_closes(profile: Path) -> None:
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + AT_IMPORT.format(
        module="typer", number=int(signal.SIGHUP), package="kerio_resync.cli.entry"
    )
    assert (await program("--profile", profile, "status", code=code)).code == 0


async def test_the_program_that_start_runs_gets_no_password_and_the_usual_signals(profile: Path) -> None:
    show = "import os, signal; print('KERIO_RESYNC_PASSWORD' in os.environ, os.environ['PATH'] != '')"
    ignored = "grep SigIgn /proc/self/status"
    for extra in ([], ["--json"]):
        ended = await program("--profile", profile, "start", *extra, "--", sys.executable, "-c", show)
        assert (ended.code, ended.out.splitlines()[-1]) == (0, "False True")
        ended = await program("--profile", profile, "start", *extra, "--", "sh", "-c", ignored)
        assert int(ended.out.splitlines()[-1].split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0
        ended = await program("--profile", profile, "start", *extra, "--", "sh", "-c", "kill -TERM $$")
        assert ended.code == -signal.SIGTERM


async def test_a_working_folder_that_is_gone_is_said_where_it_matters(tmp_path: Path, profile: Path) -> None:
    code = "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); " + IMPATIENT
    ended = await program("--profile", "x", "status", code=code, cwd=tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert "the working folder was removed" in ended.err.lower()
    ended = await program("--profile", profile, "status", code=code, cwd=tmp_path)
    # Without a working folder, CPython 3.13.0 cannot import extension modules.
    assert ended.code == 0 or (sys.version_info[:2] == (3, 13) and "working folder was removed" in ended.err), ended
    ended = await program("demo", "--keep", "kept", code=code, cwd=tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
async def test_a_user_without_a_home_is_told_to_name_the_profile() -> None:
    code = (
        "import os, kerio_resync.profile_file, platformdirs, kerio_resync.sync.status;"
        " from kerio_resync.cli.app import main; del os.environ['HOME']; os.setgroups([]); os.setuid(54321); main()"
    )
    ended = await program("status", code=code, env={"XDG_DATA_HOME": ""})
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert "--profile DIR" in ended.err


async def test_a_path_with_undecodable_bytes_is_used_and_printed_safely(profile: Path) -> None:
    async def check(state: str, words: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder, profile.name)  # `upgrade` locks it
            shutil.copytree(profile, own)
            odd = Path(folder, os.fsdecode(b"odd-\xff"))
            odd.symlink_to(own)
            ended = await program("--profile", odd, *words, state=state)
            assert ended.code == 0, ended

    cases = [(state, words) for state in ("ascii", "c-locale") for words in (["status"], ["upgrade", "--json"])]
    await asyncio.gather(*(check(state, words) for state, words in cases))


async def test_the_mock_without_standard_output_says_that_no_address_can_be_told() -> None:
    for redirection in (">&-", ">/dev/full"):
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "kerio_mockserver", "serve",
            "--mails", "0", stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, err = await asyncio.wait_for(child.communicate(), 50)
        assert (child.returncode, err.count(b"\n"), b"name --port" in err) == (2, 1, True), err
