"""The command: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.browsing import make_cache, some_mails
from tests.support.cache import change
from tests.support.fork_server import forked

ARGUMENTS = ("browse", "--no-open", "--profile")


def run(profile: Path, *more: str, code: str = "") -> subprocess.CompletedProcess[str]:
    command = [*forked("kerio_resync", "browse"), *ARGUMENTS, str(profile), *more]
    if code:
        arguments = [*ARGUMENTS, str(profile)]
        program = f"import sys; {code}; sys.argv[1:] = {arguments!r}; from kerio_resync.cli.entry import main; main()"
        command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_browse_serves_until_it_is_ended(tmp_path: Path, number: signal.Signals) -> None:
    profile = tmp_path / "pro file%20?#"  # a path that a URI must quote
    asyncio.run(make_cache(profile, *some_mails()))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [*forked("kerio_resync", "browse"), *ARGUMENTS, str(profile)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == (
            f"{profile}/cache.db is shown, read-only, at this address, which works once:\n"
        )
        url = process.stdout.readline().strip()
        assert process.stdout.readline() == "Press Ctrl-C to end.\n"
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/-/auth-token\?token=[0-9a-f]{64}", url)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor())
        assert b"Inbox" in opener.open(url, timeout=60).read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60)
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), 5)
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr.read().splitlines()[:1] == ["Building the search index"]
    assert {path.name for path in profile.iterdir()} == {"cache.db", "cache.db.search"}


def test_browse_without_the_extra_names_it(tmp_path: Path) -> None:
    code = (
        "import importlib.util as u; find = u.find_spec; u.find_spec = lambda n: None if n == 'datasette' else find(n)"
    )
    done = run(tmp_path, code=code)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("kerio-resync: Datasette is not installed: run `pip install 'kerio-resync[browse]'`.\n")


def test_browse_without_a_cache_ends_with_10(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 10
    assert "there is no cache" in done.stderr.lower()


async def test_browse_refuses_a_port_in_use(tmp_path: Path) -> None:
    await make_cache(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run(tmp_path, "--port", str(port))
    assert done.returncode == 2
    assert f"Port {port} cannot be used" in done.stderr
    assert "choose another with --port" in done.stderr


async def test_browse_refuses_foreign_views(tmp_path: Path) -> None:
    cache = await make_cache(tmp_path)
    change(cache, "DROP VIEW mail; CREATE VIEW mail AS SELECT 1 AS number")
    done = run(tmp_path)
    assert done.returncode == 10
    assert "its views are not those of this program" in done.stderr
