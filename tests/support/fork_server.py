"""Starts programs as copies of a process that has imported them already.

Most of the time of a short `kerio-resync` command goes into imports. `forked("kerio_resync")` gives the beginning of a
command line that runs the module in a process of its own, with its own streams, environment and signals, forked from a
server that this test process starts once; `forked("-c")` does the same with code. Where that differs from a new
interpreter (closed streams, encodings, what is imported), and without Linux, a test starts `sys.executable`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import types
from functools import cache
from pathlib import Path

IMPORTS = {
    "kerio_resync": (
        "encodings.idna", "rich.progress", "uvloop", "kerio_resync.cli.app", "kerio_resync.cli.display",
        "kerio_resync.server.jmap.mailbox", "kerio_resync.server.kerio.mailbox", "kerio_resync.sync.rebuild",
        "kerio_resync.sync.status", "kerio_resync.sync.verify", "kerio_resync.upgrade.procedure",
    ),
    "browse": ("kerio_resync.cli.app", "kerio_resync.browse.run"),
    "kerio_mockserver": ("kerio_mockserver.app", "kerio_mockserver.cli", "kerio_mockserver.mailbox.generate.seed"),
}  # fmt: skip


def forked(module: str, imports: str = "") -> list[str]:
    """Return the beginning of a command line that runs `python -m MODULE`, or `python -c`.

    `imports`: the entry of `IMPORTS` that it needs, by default that of the module.
    """
    if not hasattr(os, "pidfd_open"):
        return [sys.executable, *(["-c"] if module == "-c" else ["-m", module])]
    client = Path(__file__).with_name("fork_client.py")
    address = _address(imports or ("kerio_resync" if module == "-c" else module))
    return [sys.executable, "-I", "-S", str(client), address, module]


@cache
def _address(imports: str) -> str:
    """Start a server with these imports; it ends with this process."""
    folder = tempfile.mkdtemp(prefix="fork-server-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    environment = os.environ | {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
    if imports != "browse":  # Datasette uses what is deprecated
        environment["PYTHONWARNINGS"] = "error"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fork_server", f"{folder}/socket", *IMPORTS[imports]],
        cwd=Path(__file__).parents[2], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    atexit.register(process.wait)
    atexit.register(process.stdin.close)
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    return f"{folder}/socket"


class Server:
    """Forks a child for each client, and tells it how the child ended."""

    def __init__(self, address: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen()
        self.clients: dict[int, tuple[socket.socket, int]] = {}  # by the handle of the child: its client, its process

    def serve(self) -> str:
        """Return the module to run, in a child; end with standard input."""
        os.write(1, b"ready\n")
        while True:
            handles = {client.fileno(): handle for handle, (client, _) in self.clients.items()}
            ready: list[int] = select.select([0, self.listener.fileno(), *self.clients, *handles], [], [])[0]
            if 0 in ready:
                os._exit(0)
            for handle in {handles.get(number, number) for number in ready if number != self.listener.fileno()}:
                self.reap(handle, is_orphan=handle not in ready)
            if self.listener.fileno() in ready and (module := self.accept()):
                return module

    def accept(self) -> str:
        """Fork; return the module to run in the child, and "" in the server."""
        client = self.listener.accept()[0]
        head, streams, _, _ = socket.recv_fds(client, 4, 3)
        request = client.recv(int.from_bytes(head, sys.byteorder), socket.MSG_WAITALL)
        if not (pid := os.fork()):
            for each in (self.listener, client, *(other for other, _ in self.clients.values())):
                each.close()
            for handle in self.clients:
                os.close(handle)
            return become(request, streams)
        for number in streams:
            os.close(number)
        self.clients[os.pidfd_open(pid)] = client, pid
        client.sendall(pid.to_bytes(4, sys.byteorder))
        return ""

    def reap(self, handle: int, *, is_orphan: bool) -> None:
        client, pid = self.clients.pop(handle)
        if is_orphan:  # its client was killed
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(OSError):
            client.sendall(code.to_bytes(4, sys.byteorder, signed=True))
        client.close()
        os.close(handle)


def become(request: bytes, streams: list[int]) -> str:
    """Take on the arguments, the folder, the environment and the streams of a client; return the module."""
    count, *words = map(os.fsdecode, request.split(b"\0"))
    (module, *arguments), (folder, *environment) = words[: int(count)], words[int(count) :]
    os.chdir(folder)
    os.environ.clear()
    for each in environment:
        name, _, os.environ[name] = each.partition("=")
    for number, (stream, name) in enumerate(zip(streams, ("stdin", "stdout", "stderr"), strict=True)):
        os.dup2(stream, number)
        os.close(stream)
        old, buffering = getattr(sys, name), 1 if number == 2 or "PYTHONUNBUFFERED" in os.environ else -1
        how = {"encoding": old.encoding, "errors": old.errors, "closefd": False, "buffering": buffering}
        new = open(number, "w" if number else "r", **how)  # noqa: SIM115  # a standard stream
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    sys.argv = [module, *arguments]
    return module


def run() -> None:
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    module = Server(sys.argv[1]).serve()
    if module == "-c":
        sys.modules["__main__"] = own = types.ModuleType("__main__")
        exec(sys.argv.pop(1), vars(own))
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run()
