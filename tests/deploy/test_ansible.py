"""The playbook of deploy/ansible against profiles on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.format71_files import write
from kerio_mockserver.testing import Server, running
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.upgrade.formats import detect_format

pytestmark = [
    pytest.mark.ansible,
    pytest.mark.skipif(find_spec("ansible") is None, reason="ansible-core is not installed"),
]

FOLDER = Path(__file__).parents[2] / "deploy" / "ansible"
PASSWORD = "correct-horse-battery-staple"
WRONG = "a-password-that-is-wrong"


class Fleet:
    """Profiles that stand for machines, and the playbook's runs on them."""

    def __init__(self, root: Path, server: Server) -> None:
        self.root, self.server = root, server
        self.machines: dict[str, dict[str, Any]] = {}
        self.output = ""

    def add(self, name: str, *, old: bool = False, **variables: Any) -> Path:
        """Add a machine, with a cache of an old format or without one."""
        self.machines[name] = variables
        profile = self.root / name
        if old:
            profile.mkdir(parents=True)
            write(profile / "cache.db", 20, 5_000)
        return profile

    async def run(self, *arguments: str, see: Callable[[str], None] = lambda line: None) -> int:
        """Run the playbook; `see` gets each line of its output."""
        everyone = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
            "kerio_server": self.server.url, "kerio_user": self.server.user, "kerio_password": PASSWORD,
            "kerio_poll_seconds": 1, "kerio_retry_seconds": 1,
            "kerio_profile": f"{self.root}/{{{{ inventory_hostname }}}}",
            "kerio_command": str(Path(sys.executable).with_name("kerio-resync")), "kerio_logs": f"{self.root}/logs",
        }  # fmt: skip
        inventory = self.root / "inventory.json"
        inventory.write_text(json.dumps({"kerio_clients": {"vars": everyone, "hosts": self.machines}}))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KERIO_RESYNC")}
        environment |= {
            "ANSIBLE_HOME": str(self.root / "ansible"), "ANSIBLE_FORKS": "8", "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_ASYNC_DIR": str(self.root / "jobs"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, FOLDER / "rollout.yml", *arguments,
            env=environment, limit=2**22, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        lines = []
        async for line in process.stdout:
            lines.append(line.decode())
            see(lines[-1])
        self.output = "".join(lines)
        return await process.wait()

    def failed(self, name: str) -> int:
        found = re.search(rf"^{name} .*failed=(\d+)", self.output, re.MULTILINE)
        assert found, self.output
        return int(found[1])

    def ran(self, name: str) -> bool:
        """Return whether the play came to this machine."""
        return re.search(rf"^{name} .*ok=[1-9]", self.output, re.MULTILINE) is not None

    def codes(self, name: str) -> list[int]:
        """Return the exit codes in a collected log."""
        events = map(json.loads, (self.root / "logs" / f"{name}.log").read_text().splitlines())
        return [event["exit_code"] for event in events if event["event"] == "run-finished"]


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running(seed=3, mails=10, password=PASSWORD) as server:
        yield Fleet(tmp_path, server)


async def test_playbook_upgrades_rebuilds_retries_and_collects_logs(fleet: Fleet) -> None:
    fleet.add("old", old=True)
    fleet.add("new")
    fleet.add("wrong", kerio_password=WRONG)
    late = fleet.add("late", old=True, kerio_not_after="2026-01-01T06:00")
    with ExitStack() as locks:
        locks.enter_context(ProfileLock(fleet.add("busy", old=True)))

        def see(line: str) -> None:
            if "TASK [Try again]" in line:
                locks.close()

        code = await fleet.run("-e", "kerio_batch=100%", "-e", "kerio_stop_percentage=50", "-vvv", see=see)
    assert code == 2, fleet.output  # Ansible's code for a host that failed
    assert [name for name in fleet.machines if fleet.failed(name)] == ["wrong"]
    assert {name: fleet.codes(name) for name in fleet.machines} == {
        "old": [0], "new": [0], "wrong": [5], "late": [3], "busy": [6, 0],
    }  # fmt: skip
    assert "exit code 5: kerio-resync: The server refused the user name or password" in fleet.output
    assert "It is too late to begin" in fleet.output
    assert detect_format(late / "cache.db").state == "old"
    for name in ("old", "new", "busy"):
        assert detect_format(fleet.root / name / "cache.db").state == "current"
    assert not list(fleet.root.glob("*/rollout-password"))
    assert stat.S_IMODE((fleet.root / "logs").stat().st_mode) == 0o700
    texts = [fleet.output, *(path.read_text() for path in (fleet.root / "logs").iterdir())]
    assert not any(secret in text for secret in (PASSWORD, WRONG) for text in texts)


async def test_rollout_stops_after_a_batch_with_too_many_failures(fleet: Fleet) -> None:
    fleet.add("first", kerio_password=WRONG)
    second = fleet.add("second", old=True)
    assert await fleet.run("-e", "kerio_batch=1", "-e", "kerio_stop_percentage=0") == 2
    assert fleet.failed("first")
    assert not fleet.ran("second")
    assert detect_format(second / "cache.db").state == "old"


async def test_check_mode_tells_what_the_plan_has_for_whom_and_changes_nothing(fleet: Fleet) -> None:
    now = datetime.now(UTC)
    soon, later = (f"{now + delay:%Y-%m-%dT%H:%M:%SZ}" for delay in (timedelta(hours=1), timedelta(days=2)))
    fleet.add("soon", kerio_not_after="06:00")
    fleet.add("later", old=True, kerio_user="later")
    fleet.add("other", old=True, kerio_user="other")
    users = [
        {"user": fleet.server.user, "site": "Brno", "action": "rebuild", "drop_first": True, "start": soon},
        {"user": "later", "site": "Lyon", "action": "rebuild", "drop_first": False, "start": later},
    ]
    plan = fleet.root / "plan.json"
    sites = [{"site": "Brno", "bwlimit": 250_000}, {"site": "Lyon", "bwlimit": None}]
    waves = [{"number": 1, "sites": sites, "users": users[:1]}, {"number": 2, "sites": sites, "users": users[1:]}]
    plan.write_text(json.dumps({"waves": waves}))
    assert await fleet.run("-e", f"kerio_plan={plan}", "--check") == 0, fleet.output
    [told] = re.findall(r"would run: (.*)\"", fleet.output)
    assert f"/soon rebuild --quiet --log-level info --log-file {fleet.root}/soon/rollout.log --not-after 06:00 " in told
    assert told.endswith(f" --drop-first --bwlimit 250000 --not-before {soon} --splay 0")
    assert not (fleet.root / "soon").exists()
    assert not (fleet.root / "logs").exists()
    for name in ("later", "other"):
        assert detect_format(fleet.root / name / "cache.db").state == "old"
