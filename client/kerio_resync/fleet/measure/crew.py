"""The client processes of one machine: loaded first, then started at one instant.

A crew runs in a Dask worker, as an actor. No method waits for a client, so that the worker always answers.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from kerio_resync.errors import Exit
from kerio_resync.filesystem import available_bytes, translate_os_error
from kerio_resync.fleet.measure.states import ClientState, Machine, Order
from kerio_resync.redaction import Redactor

PREFIX = "kerio-resync-measure-"
_COMMAND = (sys.executable, "-m", "kerio_resync.fleet.measure.client_process")
_CONNECTIONS = 3
_CONNECT_SECONDS = 5.0
_END_SECONDS = 5.0  # for a killed process to be gone


class Crew:
    """Client processes, in a temporary folder that is removed at the end."""

    def __init__(self) -> None:
        self._clients: list[_Client] = []
        self._folder = ""

    def machine(self) -> Machine:
        """Return where the crew works."""
        folder = gettempdir()
        return Machine(platform.node(), os.cpu_count() or 1, available_bytes(Path(folder)), folder)

    def load(self, orders: Sequence[Order]) -> None:
        """Start a process per order; LocalError if that is impossible."""
        try:
            self._folder = mkdtemp(prefix=PREFIX)
            self._end = weakref.finalize(self, _end, self._clients, self._folder)
            for number, order in enumerate(orders):
                self._clients.append(_Client(order, Path(self._folder, str(number))))
        except OSError as error:
            self.close()
            raise translate_os_error(error, Path(error.filename or gettempdir(), "caches")) from None

    def go(self) -> None:
        """Give the start signal."""
        for client in self._clients:
            client.tell("go")

    def poll(self) -> list[ClientState]:
        """Return the state of each client."""
        return [client.state for client in self._clients]

    def stop(self) -> None:
        """Tell all clients to stop; they log out and remove their caches."""
        for client in self._clients:
            client.tell("stop")

    def close(self) -> None:
        """End all clients at once, and remove their caches. A second call does nothing."""
        if self._folder:
            self._end()


class _Client:
    """A client process, and what it last wrote."""

    def __init__(self, order: Order, folder: Path) -> None:
        self.state = ClientState()
        self._redactor = Redactor()
        secrets = {"password": order.password.get_secret_value()}
        if order.token is not None:
            secrets["token"] = order.token.get_secret_value()
        self._redactor.keep(*secrets.values())
        folder.mkdir(mode=0o700)
        self.process = subprocess.Popen(
            [*_COMMAND, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the measurement, which stops its clients itself
        )  # fmt: skip
        line = {"settings": {**order.settings, **secrets}, "ca": order.ca, "rounds": order.rounds}
        self.tell(json.dumps(line))
        threading.Thread(target=self._read, daemon=True).start()

    def tell(self, line: str) -> None:
        """Write a line to the process; nothing if it has ended."""
        stdin = self.process.stdin
        assert stdin is not None
        with suppress(OSError, ValueError):  # its end is read by the other thread
            stdin.write(line.encode() + b"\n")
            stdin.flush()

    def _read(self) -> None:
        stdout, last = self.process.stdout, ""
        assert stdout is not None
        with stdout:
            for line in stdout:
                try:
                    self.state = ClientState.from_json(json.loads(line))
                except (ValueError, TypeError, KeyError):
                    last = line.decode(errors="replace").strip()
        code = self.process.wait()
        if self.state.stage != "ended":
            text = f": {self._redactor.foreign(last[-300:])}" if last else ""
            error = f"The client process ended with {_name_of(code)}{text}."
            self.state = replace(self.state, stage="ended", exit_code=int(Exit.INTERNAL_ERROR), error=error)


def connect_seconds(host: str, port: int) -> float | None:
    """Return the shortest time to connect, about a round trip.

    None if nothing answers.
    """
    times = []
    for _ in range(_CONNECTIONS):
        began = time.perf_counter()
        try:
            socket.create_connection((host, port), _CONNECT_SECONDS).close()
        except OSError:
            return None
        times.append(time.perf_counter() - began)
    return min(times)


def _name_of(code: int) -> str:
    with suppress(ValueError):
        if code < 0:
            return signal.Signals(-code).name
    return f"exit code {code}"


def _end(clients: list[_Client], folder: str) -> None:
    for client in clients:
        if client.process.poll() is None:
            client.process.kill()
    until = time.monotonic() + _END_SECONDS
    for client in clients:
        with suppress(subprocess.TimeoutExpired):
            client.process.wait(max(0.1, until - time.monotonic()))
        if client.process.stdin is not None:
            with suppress(OSError):
                client.process.stdin.close()
    shutil.rmtree(folder, ignore_errors=True)
