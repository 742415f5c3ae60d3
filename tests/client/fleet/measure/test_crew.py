"""Real client processes: they rebuild when told to, and leave nothing behind."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from kerio_mockserver.testing import Server, running
from kerio_resync.errors import Exit, NotEnoughSpace
from kerio_resync.fleet.measure import crew as crews
from kerio_resync.fleet.measure.crew import Crew, connect_seconds
from kerio_resync.fleet.measure.states import ClientState, Order

pytestmark = pytest.mark.timeout(180)  # programs take seconds to start on a busy machine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def order(server: Server, rounds: int = 1, password: str = "secret") -> Order:
    settings = {"server": server.url, "user": server.user, "protocol": "kerio", "proxy": ""}
    return Order(settings, SecretStr(password), rounds=rounds)


async def until(crew: Crew, fits: Callable[[Sequence[ClientState]], bool]) -> list[ClientState]:
    ends = time.monotonic() + 120
    while not fits(states := crew.poll()):
        assert time.monotonic() < ends, states
        await asyncio.sleep(0.02)
    return states


def stages(stage: str) -> Callable[[Sequence[ClientState]], bool]:
    return lambda states: all(state.stage == stage for state in states)


async def test_a_crew_rebuilds_when_it_is_told_to(folder: Path) -> None:
    async with running(mails=5) as server:
        crew = Crew()
        crew.load([order(server), order(server, password="wrong-secret"), order(server, rounds=0)])
        await until(crew, stages("loaded"))
        assert server.core.stats.as_json()["requests"] == {}  # the start of programs is not measured
        crew.go()
        await until(crew, lambda states: len(states[2].rounds) >= 2 and states[0].stage == "ended")
        crew.stop()
        good, wrong, endless = await until(crew, stages("ended"))
        crew.close()
    assert (good.exit_code, len(good.rounds), good.items) == (0, 1, good.rounds[0].items)
    assert good.rounds[0].seconds > 0
    assert good.cpu > 0
    assert wrong.exit_code == Exit.CREDENTIALS
    assert wrong.kind == "bad-credentials"
    assert "wrong-secret" not in wrong.error
    assert (endless.exit_code, endless.error) == (0, "")
    assert list(folder.iterdir()) == []


async def test_a_killed_client_fails_and_a_closed_crew_leaves_nothing(folder: Path) -> None:
    crew = Crew()
    crew.load([Order({"server": "http://127.0.0.1:9", "user": "anna"})] * 2)
    crew._clients[0].process.kill()
    states = await until(crew, lambda states: states[0].stage == "ended")
    assert states[0].error == "The client process ended with SIGKILL."
    assert states[0].exit_code == Exit.INTERNAL_ERROR
    processes = [client.process for client in crew._clients]
    crew.close()
    crew.close()
    assert all(process.poll() is not None for process in processes)
    assert list(folder.iterdir()) == []


def test_a_client_whose_starter_dies_removes_its_caches(tmp_path: Path) -> None:
    folder = tmp_path / "crew" / "0"
    folder.mkdir(parents=True)
    (folder / "cache.db").write_bytes(b"x")
    line = {"settings": {"server": "http://127.0.0.1:9", "user": "anna", "password": "secret"}, "ca": "", "rounds": 0}
    command = [sys.executable, "-m", "kerio_resync.fleet.measure.client_process", str(folder)]
    done = subprocess.run(command, input=json.dumps(line).encode() + b"\ngo\n", capture_output=True, check=False)
    assert done.returncode == Exit.INTERRUPTED
    assert json.loads(done.stdout.splitlines()[0])["stage"] == "loaded"
    assert not folder.parent.exists()


def test_a_full_disk_is_one_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(prefix: str) -> str:
        raise OSError(28, "No space left on device", str(folder / "x"))

    monkeypatch.setattr(crews, "mkdtemp", full)
    with pytest.raises(NotEnoughSpace):
        Crew().load([])


def test_the_machine_names_the_folder_of_the_caches(folder: Path) -> None:
    machine = Crew().machine()
    assert machine.folder == str(folder)
    assert machine.cores >= 1
    assert machine.free_bytes > 0


def test_connect_seconds_is_none_where_nothing_listens() -> None:
    assert connect_seconds("127.0.0.1", 9) is None
    with socket.create_server(("127.0.0.1", 0)) as server:
        seconds = connect_seconds("127.0.0.1", server.getsockname()[1])
    assert seconds is not None
    assert 0 < seconds < 5


def test_orders_do_not_show_secrets() -> None:
    assert "hunter2" not in repr(Order({}, SecretStr("hunter2"), SecretStr("hunter2")))
