"""The machine, and processes that are measured on it.

Client and server are processes of their own, so that their processor time and memory are the kernel's figures. Wall
time depends on other load, processor time hardly; results have both.

    python -m benchmarks.tools.machine serve JSON
        a mock server with `SeedOptions(**JSON)`, or with the mails under {"import": PATH}
"""

from __future__ import annotations

import asyncio
import compileall
import contextlib
import json
import os
import platform
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped,unused-ignore]

ROOT = Path(__file__).resolve().parents[2]
_PASSWORD = "secret"
_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
# Starts the command and prints its cost. It is a small process of its own, because the kernel includes in a process's
# peak memory that of its parent when it was started, which here grows with each measurement.
_METER = """
import os, sys, time
os.set_inheritable(int(sys.argv[1]), False)
began = time.perf_counter()
try:
    child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
except OSError as error:
    sys.exit(str(error))
_, status, used = os.wait4(child, 0)
wall = time.perf_counter() - began
with open(int(sys.argv[1]), "w") as figures:
    print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss, os.waitstatus_to_exitcode(status), file=figures)
"""
_PROBE = 0.1  # seconds of processor time
_PACKAGES = ("aiohttp", "aiosqlite", "orjson", "pydantic", "uvloop", "zstandard")


class Spent(NamedTuple):
    """A process's wall and processor seconds, peak memory in MB, and output."""

    wall: float
    cpu: float
    peak: float
    output: str


class Account(NamedTuple):
    """What a rebuild needs to know of a server."""

    url: str
    user: str
    password: str


class Server(NamedTuple):
    """A mock server in a process of its own."""

    url: str
    control_url: str
    user: str
    password: str
    process: psutil.Process

    def cpu(self) -> float:
        """Return its processor seconds so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def peak(self) -> float:
        """Return its peak memory in MB, or the present one if the kernel has no peak."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        return float(self.process.memory_info().rss / 2**20)


def about(folder: Path) -> dict[str, Any]:
    """Return what is needed to compare figures; `folder` is where the caches are."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    asked = ("git", "describe", "--always", "--dirty", "--exclude=*")
    commit = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "filesystem": _filesystem(folder),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: version(name) for name in _PACKAGES},
        "commit": commit.stdout.strip(),
        "load": round(os.getloadavg()[0], 1),
        "waiting": round(waiting(), 2),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two results are from machines of one make."""
    return all(one.get(name) == other.get(name) for name in ("processor", "cores", "memory_gb"))


def compile_packages() -> None:
    """Write the bytecode of client and server, as their installation does."""
    for folder in ("client", "mockserver"):
        compileall.compile_dir(ROOT / folder, quiet=2)


def waiting() -> float:
    """Return the wall seconds per second of processor time: 1 on a quiet machine."""
    began, spent = time.perf_counter(), time.process_time()
    while time.process_time() - spent < _PROBE:
        pass
    return (time.perf_counter() - began) / _PROBE


def spent() -> float:
    """Return the processor seconds of this process and its ended children."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, _WHO))


def _filesystem(folder: Path) -> str:
    mounts = [mount for mount in psutil.disk_partitions(all=True) if folder.resolve().is_relative_to(mount.mountpoint)]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "unknown"


def spend(command: Sequence[str], more: Mapping[str, str] | None = None, *, codes: Sequence[int] = (0,)) -> Spent:
    """Run a command; raise OSError if its exit code is not among `codes`."""
    return wait(launch(command, more), codes=codes)


class Launched(NamedTuple):
    """A started child process with its output files."""

    process: subprocess.Popen[bytes]
    began: float
    out: Any
    figures: Any


def launch(command: Sequence[str], more: Mapping[str, str] | None = None) -> Launched:
    """Start a command with its output to a file; `wait` ends it."""
    out, figures = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - closed by `wait`
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _METER, str(figures.fileno()), *command],
        stdin=subprocess.DEVNULL, stdout=out, cwd=ROOT, env={**os.environ, **(more or {})},
        pass_fds=[figures.fileno()],
    )  # fmt: skip
    return Launched(process, began, out, figures)


def wait(launched: Launched, *, codes: Sequence[int] = (0,)) -> Spent:
    """Wait for a child process; return what it used."""
    process, _, out, figures = launched
    process.wait()
    with out, figures:
        out.seek(0)
        figures.seek(0)
        output, numbers = out.read().decode(errors="replace"), figures.read().split()
    if not numbers:
        raise OSError("a program that was to be measured could not be started")
    wall, cpu, peak, code = float(numbers[0]), float(numbers[1]), int(numbers[2]), int(numbers[3])
    if code not in codes:
        raise OSError(f"a measured program ended with {code}: {output[-300:]}")
    return Spent(wall, cpu, peak / 1024, output)


@contextlib.contextmanager
def server(
    conditions: Mapping[str, Any] | None = None,
    *,
    host: str = "127.0.0.1",
    before: Sequence[str] = (),
    **mailbox: Any,
) -> Iterator[Server]:
    """Run a mock server with `mailbox`: members of `SeedOptions`, or `import_=PATH`.

    `attached=N` adds a mail with an attachment of so many bytes, `host` is its address, `before` precedes its command.
    """
    config = json.dumps({"mailbox": mailbox, "conditions": dict(conditions or {}), "host": host})
    with child("mock server", "benchmarks.tools.machine", "serve", config, before=before) as (pid, line):
        yield Server(**json.loads(line), process=psutil.Process(pid))


@contextlib.contextmanager
def child(name: str, module: str, *arguments: str, before: Sequence[str] = ()) -> Iterator[tuple[int, str]]:
    """Run a module as a process that ends with its standard input.

    Yield its id and first line.

    Raise OSError if it prints none.
    """
    process = subprocess.Popen(
        [*before, sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise OSError(f"the {name} did not start")
        yield process.pid, line
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def command(to: Server | Account, profile: Path, *options: str) -> tuple[list[str], dict[str, str]]:
    """Return the command that rebuilds a profile, and its environment."""
    line = [sys.executable, "-m", "kerio_resync", "--profile", str(profile), "rebuild"]
    line += ["--server", to.url, "--user", to.user, "--json", *options]
    return line, {"KERIO_RESYNC_PASSWORD": to.password}


def rebuilt(to: Server | Account, profile: Path, *options: str) -> tuple[Spent, dict[str, Any]]:
    """Rebuild once as users do; return its cost and summary."""
    spent = spend(*command(to, profile, *options))
    return spent, summary(spent.output)


def summary(output: str) -> dict[str, Any]:
    """Return the summary at the end of `--json`'s lines."""
    last = json.loads(output.splitlines()[-1])
    found: dict[str, Any] = last["summary"]
    return found


def progress(output: str) -> list[dict[str, Any]]:
    """Return the progress events among `--json`'s lines."""
    return [line for line in map(json.loads, output.splitlines()) if line["event"] == "progress"]


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """Yield a folder for caches, on the disk of temporary files ($TMPDIR)."""
    with tempfile.TemporaryDirectory(prefix="kerio-bench-") as folder:
        yield Path(folder)


def empty(folder: Path) -> Path:
    """Empty a folder and return it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def middle(values: Sequence[float]) -> dict[str, float]:
    """Return median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def shown(value: Mapping[str, float], digits: int = 2) -> str:
    """Return `middle`'s figures for a table."""
    return f"{value['median']:.{digits}f} ({value['least']:.{digits}f}–{value['most']:.{digits}f})"


async def _serve(config: Mapping[str, Any]) -> None:
    from kerio_mockserver.app import serve
    from kerio_mockserver.conditions.model import Conditions
    from kerio_mockserver.mailbox.blobs import NewBlob, Slice
    from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
    from kerio_mockserver.mailbox.imports.importer import load
    from kerio_mockserver.mailbox.store import MailboxStore
    from kerio_mockserver.server import MockServer

    mailbox = dict(config["mailbox"])
    attached = mailbox.pop("attached", 0)
    if path := mailbox.pop("import_", None):
        store = MailboxStore("example.com", "anna")
        load(store, [Path(path)])
    else:
        store = generate_mailbox(SeedOptions(**mailbox))
    if attached:
        blob = NewBlob(Slice(b"", 0, attached), "large.bin")
        store.deliver({"subject": "large", "displayableParts": []}, [blob])
    core = MockServer(store, password=_PASSWORD, conditions=Conditions().patched(config["conditions"]))
    running = await serve(core, config["host"], 0, control_port=0, ssl=None)
    line = {"url": running.url, "control_url": running.control_url, "user": core.user, "password": _PASSWORD}
    print(json.dumps(line), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await running.aclose()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _runner.run(_serve(json.loads(sys.argv[2])))
