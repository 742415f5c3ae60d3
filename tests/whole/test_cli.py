"""The command as a person runs it, against the mock server: what it prints, leaves behind, and exits with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import mailbox
import os
import re
import shlex
import signal
import stat
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.testing import Server
from tests.support.fork_server import forked
from tests.support.programs import ENVIRONMENT, PASSWORD, Done, finish, kerio_resync, mock, start

SLOW = {"load": {"workers": 2, "call_s": 0.2, "spread": "fixed"}}


def complaints(done: Done) -> int:
    return sum(line.startswith("kerio-resync: ") for line in done.err.splitlines())


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def digest_of(server: Server) -> str:
    def get() -> str:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{server.control_url}/digest"
        ) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(get)


async def test_a_mailbox_is_rebuilt_and_proven_equal(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    async with mock(seed=7, mails=60) as (server, named):
        built = await kerio_resync("--profile", profile, "rebuild", *named)
        assert (built.code, built.out.splitlines()[0].startswith("Rebuilt in ")) == (0, True), built
        assert f"Database: {profile / 'cache.db'}" in built.out.splitlines()
        digest = await kerio_resync("--profile", profile, "digest", password=None)
        assert (digest.code, digest.err) == (0, "")
        assert digest.out == await digest_of(server)
        assert digest.out.count("\n") >= 60
        for options in ((), ("--deep",)):
            verified = await kerio_resync("--profile", profile, "verify", *options)
            assert (verified.code, "no difference." in verified.out) == (0, True), verified
        again = await kerio_resync("--profile", profile, "rebuild", "--fresh", "--json")
        assert again.code == 0, again
        assert again.events[-1]["event"] == "run-finished"
        assert again.events[-1]["summary"]["items"]["mail"] == 60
        assert (await kerio_resync("--profile", profile, "digest")).out == digest.out
    status = await kerio_resync("--profile", profile, "status", "--json", password=None)
    assert (status.code, json.loads(status.out)["cache"]["state"]) == (0, "ready")


def remembered(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The password, and each token and cookie that the server gives from now on."""
    secrets = [PASSWORD]
    opened = server.core.sessions.open

    def remember(*arguments: Any) -> Any:
        session = opened(*arguments)
        secrets.extend((session.token, session.cookie))
        return session

    monkeypatch.setattr(server.core.sessions, "open", remember)
    return secrets


async def test_nothing_secret_is_printed_logged_or_written_and_files_are_the_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, log = tmp_path / "profile", tmp_path / "log"
    async with mock(seed=7, mails=20) as (server, named):
        secrets = remembered(server, monkeypatch)
        plain = await kerio_resync("--profile", profile, "rebuild", *named, "--log-file", log)
        machine = await kerio_resync("--profile", profile, "rebuild", "--json")
        wrong = await kerio_resync("--profile", profile, "rebuild", "--log-file", log, password="an0ther s3cret")
        assert (plain.code, machine.code, wrong.code) == (0, 0, 5)
        secrets.append("an0ther s3cret")
    assert len(secrets) >= 6
    files = files_below(tmp_path)
    said = [text.encode() for done in (plain, machine, wrong) for text in (done.out, done.err)]
    for text in [*said, *(path.read_bytes() for path in files)]:
        assert not any(secret.encode() in text for secret in secrets)
    assert {profile / "cache.db", profile / "profile.toml", log} <= set(files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(profile.stat().st_mode) == 0o700


CRASH = """
import sys
import tempfile
from kerio_resync.cli.app import main
from kerio_resync.sync import rebuild

async def fetch(run, todo):
    proof = run.mailbox._client.session.headers(run.settings.server)
    secrets = [run.settings.password.get_secret_value(), *proof.values()]
    try:
        raise KeyError(*secrets)
    except KeyError as error:
        raise ValueError(*secrets) from error

rebuild._fetch = fetch
sys.argv = ["kerio-resync", *sys.argv[1:]]
main()
"""


async def test_a_crash_tells_where_and_nothing_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a session, with errors that quote the password and the token."""
    profile, log = tmp_path / "profile", tmp_path / "log"
    async with mock(seed=7, mails=20) as (server, named):
        secrets = remembered(server, monkeypatch)
        process = await asyncio.create_subprocess_exec(
            *forked("-c"), CRASH, "--profile", str(profile), "rebuild", *named, "--json", "--log-file", str(log),
            env=ENVIRONMENT | {"KERIO_RESYNC_PASSWORD": PASSWORD},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        done = await finish(process)
    assert (done.code, complaints(done), done.events[-1]["exit_code"]) == (1, 1, 1), done
    crash = (profile / "crash.log").read_text()
    assert "ValueError" in crash
    assert str(profile / "crash.log") in done.err
    for text in (done.out.encode(), done.err.encode(), *(path.read_bytes() for path in files_below(tmp_path))):
        assert not any(secret.encode() in text for secret in secrets)
    assert len(secrets) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_it_leaves_in_time_and_the_next_run_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    async with mock(seed=7, mails=300, conditions=SLOW) as (server, named):
        process = await start("--profile", tmp_path, "rebuild", *named, "--json", "--max-in-flight", "1")
        assert process.stdout is not None
        while json.loads(await asyncio.wait_for(process.stdout.readline(), 30)).get("items_done", 0) < 5:
            pass
        started = time.monotonic()
        process.send_signal(number)
        done = await finish(process)
        assert (done.code, time.monotonic() - started < 20) == (130, True)  # 2 s and what a busy machine adds
        assert done.err == "kerio-resync: Interrupted; run again to resume.\n"
        assert done.events[-1]["exit_code"] == 130
        assert not (tmp_path / "cache.db").exists()
        status = json.loads((await kerio_resync("--profile", tmp_path, "status", "--json")).out)
        assert sum(status["building"]["items"].values()) >= 1
        server.core.change(Conditions())
        again = await kerio_resync("--profile", tmp_path, "rebuild", "--json")
        assert again.code == 0, again.err
        assert again.events[-1]["summary"]["resumed"] is True
        assert (await kerio_resync("--profile", tmp_path, "digest")).out == await digest_of(server)


async def html(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = b"<html>Welcome to nginx!</html>"
    await reader.readuntil(b"\r\n\r\n")
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()


async def test_no_server_no_json_no_password_no_folder(tmp_path: Path) -> None:
    async with await asyncio.start_server(html, "127.0.0.1", 0) as pages:
        port = pages.sockets[0].getsockname()[1]
        named = ("--server", f"http://127.0.0.1:{port}", "--user", "jane")
        done = await kerio_resync("--profile", tmp_path / "html", "rebuild", *named)
        assert (done.code, complaints(done)) == (8, 1), done
        done = await kerio_resync("--profile", tmp_path / "none", "rebuild", *named, password=None)
        assert (done.code, done.err.count("\n")) == (2, 1), done
        (tmp_path / "file").touch()
        done = await kerio_resync("--profile", tmp_path / "file" / "profile", "rebuild", *named)
        assert (done.code, done.err.count("\n")) == (2, 1), done
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "profile.toml").write_text("retry_timeout = 0.5\n")
    done = await kerio_resync("--profile", tmp_path / "gone", "rebuild", *named)
    assert (done.code, done.err.splitlines()[-1].startswith("kerio-resync: The server cannot be reached")) == (
        4,
        True,
    ), done


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become nobody")
async def test_a_folder_that_may_not_be_written_is_exit_2() -> None:
    """As another user, for whom the permissions count.

    In a folder of its own, since other users may not look into the one of the tests.
    """
    command = (
        "import os, sys, tomlkit, kerio_resync.profile_file; from kerio_resync.cli.app import main; os.setuid(65534);"
        " rebuild = ['rebuild', '--server', 'http://127.0.0.1:9', '--user', 'x'];"
        " sys.argv = ['kerio-resync', '--profile', sys.argv[1], *rebuild]; main()"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        profile = Path(folder, "profile")
        profile.mkdir(mode=0o755)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", command, str(profile), env=ENVIRONMENT | {"KERIO_RESYNC_PASSWORD": "x", "HOME": "/"},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        done = await finish(process)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert "not writable" in done.err


async def test_the_digest_may_be_read_by_halves(tmp_path: Path) -> None:
    async with mock(seed=7, mails=1000, mailbox={"mean_bytes": 4000}) as (server, named):
        assert len(await digest_of(server)) > 200_000  # more than a pipe and its two ends hold
        assert (await kerio_resync("--profile", tmp_path, "rebuild", *named)).code == 0
    process = await asyncio.create_subprocess_shell(
        f"{shlex.quote(sys.executable)} -m kerio_resync --profile {tmp_path} digest | head -n 1;"
        " exit ${PIPESTATUS[0]}",
        executable="/bin/bash", env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    done = await finish(process)
    assert (done.code, done.out.count("\n"), done.err) == (0, 1, "")


async def test_the_demo_shows_and_proves_it(tmp_path: Path) -> None:
    done = await kerio_resync("demo", "--keep", tmp_path / "kept", password=None)
    assert done.code == 0, done
    assert "The digests of cache and server agree" in done.out
    assert done.out.count("sqlite3 ") == 3
    assert (tmp_path / "kept" / "cache.db").is_file()
    (export,) = [line.strip() for line in done.out.splitlines() if " export --maildir " in line]
    assert await (await asyncio.create_subprocess_shell(export)).wait() == 0  # as pasted by a user
    assert len(mailbox.Maildir(tmp_path / "kept" / "exported" / "mail" / "easy-ham-1", create=False)) > 0


async def test_the_demo_takes_ones_own_mail_and_says_what_it_can_not_read(tmp_path: Path) -> None:
    (tmp_path / "one.eml").write_bytes(
        b"From: a@example.com\r\nSubject: My own\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\n\r\nHello\r\n"
    )
    done = await kerio_resync("demo", "--import", tmp_path / "one.eml", "--keep", tmp_path / "kept", password=None)
    assert done.code == 0, done
    assert "1 mail " in done.out
    [pages] = [line for line in done.out.splitlines() if "kerio_mockserver serve" in line]
    server = await asyncio.create_subprocess_shell(
        f"exec {pages}", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    told = json.loads(await server.stdout.readline())
    for address in (f"{told['url']}/webmail/", f"{told['control_url']}/control/"):
        with await asyncio.to_thread(urllib.request.urlopen, address) as reply:
            assert reply.status == 200
    server.terminate()
    await server.wait()
    missing = await kerio_resync("demo", "--import", tmp_path / "none", "--keep", tmp_path / "other", password=None)
    assert (missing.code, missing.err.count("\n")) == (2, 1), missing


async def test_the_demo_names_what_it_does_not_import_and_refuses_what_holds_no_mail(tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    mail.mkdir()
    (mail / "diary.txt").write_text("Dear diary\n")
    done = await kerio_resync("demo", "--import", mail, "--keep", tmp_path / "none", password=None)
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert "No mail, calendar or contact was found in" in done.err
    assert "diary.txt: no mail, calendar or card" in done.err
    assert not (tmp_path / "none" / "cache.db").exists()
    (mail / "one.eml").write_bytes(b"From: a@example.com\nSubject: x\n\nHello\n")
    (mail / "plan.ics").write_bytes(
        b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260101T000000Z\nRRULE:FREQ=HOURLY\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    full = await kerio_resync("demo", "--import", mail, "--keep", tmp_path / "full", password=None)
    assert (full.code, "is not empty and not of an earlier demo" in full.err) == (2, True)
    # The folder of the attempt above is used again.
    done = await kerio_resync("demo", "--import", mail, "--keep", tmp_path / "none", password=None)
    assert done.code == 0, done
    done = await kerio_resync("demo", "--import", mail, "--keep", tmp_path / "none", password=None)
    assert done.code == 0, done
    assert "1 entry could not be imported: diary.txt: no mail, calendar or card" in done.out
    assert "plan.ics, entry 1: recurrence simplified" in done.out


async def test_doctor_prints_a_line_per_check_and_ends_with_the_code_of_the_cause(tmp_path: Path) -> None:
    async with mock(mails=5) as (_, options):
        good = await kerio_resync("--profile", tmp_path, "doctor", "--login", *options)
        assert (good.code, good.err) == (0, "")
        assert good.out.splitlines()[-1] == "Everything is in order."
        assert re.search("^✓ login +anna@example.com at ", good.out, re.MULTILINE)
        bad = await kerio_resync("--profile", tmp_path, "doctor", "--login", *options, password="wrong battery")
    assert bad.code == 5
    [at] = [number for number, line in enumerate(bad.out.splitlines()) if line.startswith("✗")]
    assert bad.out.splitlines()[at].startswith("✗ login       the server refused the user name or password")
    assert bad.out.splitlines()[at + 1] == "              → Check both."
    assert bad.out.splitlines()[-1] == "Begin with: login. 1 failure, 0 warnings."
    gone = await kerio_resync("--profile", tmp_path, "doctor", "--json", *options)
    assert gone.code == 4
    assert [event["event"] for event in gone.events] == ["check"] * (len(gone.events) - 1) + ["run-finished"]
    assert gone.events[-1]["summary"]["cause"] == "tcp"


async def test_status_names_the_last_runs_and_checks_them_for_monitoring(tmp_path: Path) -> None:
    profile, file = tmp_path / "p", tmp_path / "kerio.prom"
    unknown = await kerio_resync("--profile", profile, "status", "--check", "--prometheus", file)
    assert (unknown.code, unknown.err) == (3, "")
    assert unknown.out.startswith("UNKNOWN - There is no profile folder")
    assert f'kerio_resync_health{{profile="{profile}"}} 3\n' in file.read_text()
    printed = await kerio_resync("--profile", profile, "status", "--check", "--prometheus", "-")
    assert printed.out.splitlines()[0].startswith("UNKNOWN - ")
    assert f'kerio_resync_health{{profile="{profile}"}} 3' in printed.out.splitlines()
    assert not Path("-").exists()
    async with mock(mails=5) as (_, options):
        assert (await kerio_resync("--profile", profile, "rebuild", *options)).code == 0
        good = await kerio_resync("--profile", profile, "status", "--check")
        assert (good.code, good.err, good.out.count("\n")) == (0, "", 1)
        assert good.out.startswith("OK - cache ready")
        assert (await kerio_resync("--profile", profile, "verify", password="wrong battery")).code == 5
    bad = await kerio_resync("--profile", profile, "status", "--check", "--prometheus", file)
    assert (bad.code, bad.out.partition(" |")[0][:44]) == (2, "CRITICAL - the last verify ended with 5: The")
    assert f'last_run_exit_code{{profile="{profile}",command="verify"}} 5\n' in file.read_text()
    shown = await kerio_resync("--profile", profile, "status")
    [at] = [number for number, line in enumerate(shown.out.splitlines()) if line == "Last runs (2):"]
    assert re.search(r"UTC  verify: exit code 5 after [\d.]+ s: The server refused", shown.out.splitlines()[at + 1])
    assert re.search(r"UTC  rebuild: done after [\d.]+ s$", shown.out.splitlines()[at + 2])
    for _ in range(6):
        export = await kerio_resync("--profile", profile, "export", "--maildir", tmp_path / "out", "--folder", "nope")
        assert export.code == 2
    assert len((await kerio_resync("--profile", profile, "status", "--json")).events[-1]["runs"]) == 5
    again = await kerio_resync("--profile", profile, "status", "--check")
    assert (again.code, again.out.partition(" |")[0][:44]) == (2, "CRITICAL - the last verify ended with 5: The")
    wrong = await kerio_resync("status", "--check", "--nonsense")
    assert wrong.code == 3


async def test_dry_run_tells_what_a_rebuild_would_fetch_and_makes_no_cache(tmp_path: Path) -> None:
    async with mock(mails=40) as (_, options):
        shown = await kerio_resync("--profile", tmp_path, "rebuild", "--dry-run", *options)
        assert (shown.code, shown.err.splitlines()[0]) == (0, "Reading the folders")
        lines = shown.out.splitlines()
        assert re.match(r"A rebuild of anna@example.com at http://\S+ would fetch \d+ items in \d+ folders, ", lines[0])
        assert any(re.match("It would take about .* without a cache to copy from", line) for line in lines)
        assert re.search(r"^It needs [\d.]+ MiB on the disk; .* are free: enough\.$", shown.out, re.MULTILINE)
        assert lines[-1] == "Nothing was changed."
        assert list(tmp_path.iterdir()) == []
        part = await kerio_resync(
            "--profile", tmp_path, "rebuild", "--dry-run", "--json", "--folder", "Inbox", *options
        )
        summary = part.events[-1]["summary"]
        assert {folder["path"].partition("/")[0] for folder in summary["folders"]} == {"Inbox"}
        assert (summary["rebuild_problem"], summary["partial"]) == ("", True)
        assert summary["rebuild"]["seconds"] > 0
        new = tmp_path / "a" / "new"
        left = await kerio_resync(
            "--profile", new, "rebuild", "--dry-run", "--exclude-folder", "Inbox", "--exclude-folder", "no", *options
        )
        assert re.search(r"^Left out as asked \(\d+\):\n  Inbox: \d+ items?$", left.out, re.MULTILINE)
        assert "--exclude-folder: there is no folder 'no'" in left.out
        assert not new.parent.exists()
        unknown = await kerio_resync("--profile", tmp_path, "rebuild", "--dry-run", "--folder", "nope", *options)
        assert (unknown.code, "there is no folder 'nope'" in unknown.err.lower()) == (2, True)


async def test_notify_gets_the_report_and_does_not_change_the_exit_code(tmp_path: Path) -> None:
    async with mock(mails=5) as (_, options):
        command = f"sh -c 'cat > {tmp_path / 'report'}; exit 9'"
        done = await kerio_resync("--profile", tmp_path / "p", "rebuild", "-q", "--notify", command, *options)
    assert done.code == 0
    assert done.err == "kerio-resync: The command of --notify ended with exit code 9.\n"
    report = json.loads((tmp_path / "report").read_text())
    assert (report["event"], report["command"], report["exit_code"]) == ("run-finished", "rebuild", 0)
    assert report["summary"]["items"]["mail"] == 5


async def test_config_show_names_the_source_of_each_value(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text('server = "https://mail.example.com"\nmax_in_flight = 7\n')
    done = await kerio_resync("--profile", tmp_path, "config", "show")
    assert (done.code, done.err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in done.out.splitlines()}
    assert rows["server"] == ["https://mail.example.com", "profile.toml"]
    assert rows["max_in_flight"] == ["7", "profile.toml"]
    assert rows["password"] == ["set", "KERIO_RESYNC_PASSWORD"]


async def test_completion_offers_commands_and_options() -> None:
    async def completed(words: str) -> str:
        environment = ENVIRONMENT | {
            "_KERIO_RESYNC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")),
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *forked("kerio_resync"), env=environment, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        return (await finish(process)).out

    assert (await completed("kerio-resync supp")).split() == ["support-bundle"]
    assert "--dry-run" in (await completed("kerio-resync rebuild --d")).split()


async def test_first_run_asks_on_a_terminal(tmp_path: Path) -> None:
    profile = tmp_path / "p"
    async with mock(mails=5) as (server, _):
        master, slave = os.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kerio_resync", "--profile", str(profile), "rebuild", "-q",
            env=ENVIRONMENT | {"TERM": "dumb"}, stdin=slave, stdout=asyncio.subprocess.PIPE, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        seen = ""
        for question, answer in (
            ("Server, such as", "ftp://x"), ("must be an address such as", ""), ("Server, such as", server.url),
            ("Name to log in with:", server.user), ("Password of", PASSWORD),
        ):  # fmt: skip
            while question not in seen:
                seen += await asyncio.to_thread(lambda: os.read(master, 1000).decode())
            seen = seen.split(question, 1)[1]
            if answer:
                os.write(master, f"{answer}\n".encode())
        reading = asyncio.create_task(asyncio.to_thread(_read_to_end, master))
        await asyncio.wait_for(process.communicate(), 50)
        await reading
        os.close(master)
    assert process.returncode == 0
    assert f'server = "{server.url}"' in (profile / "profile.toml").read_text()


def _read_to_end(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # the other end is closed
        while os.read(descriptor, 1000):
            pass


async def test_support_bundle_prints_what_is_inside_and_writes_it(tmp_path: Path) -> None:
    async with mock(mails=5) as (_, options):
        assert (await kerio_resync("--profile", tmp_path / "p", "rebuild", "-q", *options)).code == 0
        words = ("--profile", tmp_path / "p", "support-bundle", "--output", tmp_path / "b.zip")
        done = await kerio_resync(*words)
        again = await kerio_resync(*words)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        names = archive.namelist()
    assert [line.split()[0] for line in lines[1:-2]] == names
    assert lines[-2].startswith("Names of folders are replaced by numbers (--with-names keeps them). No password ")
    assert lines[-1].startswith(f"Written: {tmp_path / 'b.zip'} (")
    assert (again.code, again.out) == (2, "")
    assert "exists already; name another file with --output" in again.err
