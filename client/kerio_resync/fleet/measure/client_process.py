"""A client process of a measurement.

    python -m kerio_resync.fleet.measure.client_process FOLDER

It imports all that a rebuild needs, waits for the start signal, and rebuilds one mailbox, again and again if that is
asked for. So the server is measured, and not the start of programs.

    standard input:   the order, as one line of JSON; then `go`; then perhaps `stop`
    standard output:  a `ClientState` per line, as JSON

FOLDER and the caches in it are removed at the end, and also when the process that started this one dies: the standard
input ends then. A password is neither an argument nor a variable of the environment.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from kerio_resync.errors import Exit, Overloaded, explain, kind_of
from kerio_resync.event_loop import loop_factory
from kerio_resync.events import Event, Progress, Retrying
from kerio_resync.fleet.measure.states import ClientState, Round
from kerio_resync.settings import Settings
from kerio_resync.sync.rebuild import rebuild

STATE_SECONDS = 0.25  # between two states
_REMOVALS = 20  # attempts to remove a folder in which a writer still works
_MODULES = ("kerio_resync.server.http.transport", "kerio_resync.server.discovery")
_BY_PROTOCOL = {"kerio": ("kerio",), "jmap": ("jmap",), "auto": ("kerio", "jmap")}

Emit = Callable[[ClientState], None]


class Client:
    """Rebuilds one mailbox, and describes itself by `emit`."""

    def __init__(self, settings: Settings, rounds: int, emit: Emit) -> None:
        self._settings, self._rounds, self._emit = settings, rounds, emit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._began = self._cpu = self._next = 0.0
        self._before = (0, 0)  # items and bytes of the rounds so far
        self.state = ClientState("loaded")

    def run(self) -> ClientState:
        """Rebuild until it is done, stopped or failed; return the last state."""
        self._began, self._cpu = time.perf_counter(), time.process_time()
        code, sentence, kind = Exit.DONE, "", ""
        try:
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
                runner.run(self._work())
        except BaseException as error:
            if not self._stopped:
                sentence, code = explain(self._settings.redactor.error(error))
                kind = kind_of(error)
        self._update(stage="ended", exit_code=int(code), error=sentence, kind=kind)
        return self.state

    def stop(self) -> None:
        """Cancel the rebuild; callable from another thread. The state keeps this instant."""
        self._update(stage="running")
        self._stopped = True
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def _work(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        done = 0
        while not self._stopped and (not self._rounds or done < self._rounds):
            began = time.perf_counter()
            profile = self._settings.profile / str(done)
            report = await rebuild(self._settings.model_copy(update={"profile": profile}), self._listen)
            seconds = time.perf_counter() - began
            done += 1
            if not self._stopped:
                self._add(Round(seconds, sum(report.items.values()), report.plain_bytes))
            await asyncio.to_thread(shutil.rmtree, profile, ignore_errors=True)

    def _add(self, finished: Round) -> None:
        self._before = (self._before[0] + finished.items, self._before[1] + finished.bytes)
        items, size = self._before
        self._update(rounds=(*self.state.rounds, finished), items=items, bytes=size)
        self._emit(self.state)

    def _listen(self, event: Event) -> None:
        match event:
            case Retrying():
                # `pacing.retry.reason` begins with the summary of the error
                refused = event.reason.startswith(Overloaded.summary)
                self._update(retries=self.state.retries + 1, refused=self.state.refused + refused)
            case Progress():
                items, size = self._before
                self._update(items=items + event.items_done, bytes=size + event.bytes_done)
                if (now := time.perf_counter()) >= self._next:
                    self._next = now + STATE_SECONDS
                    self._emit(self.state)

    def _update(self, **changes: Any) -> None:
        """Change the state. Once stopped, only its stage and its error change."""
        if self._stopped:
            changes = {
                name: value for name, value in changes.items() if name in ("stage", "exit_code", "error", "kind")
            }
        else:
            now, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
            changes = {"stage": "running", "elapsed": now, "cpu": cpu, **changes}
        self.state = replace(self.state, **changes)


def main() -> None:
    """Run a client as the input says; the exit code is that of the rebuild."""
    folder = Path(sys.argv[1])
    client = _load(folder, _read_line())
    _write(client.state)
    if _read_line() != "go":
        _leave(folder, Exit.INTERRUPTED)
    threading.Thread(target=_watch_input, args=(client, folder), daemon=True).start()
    state = client.run()
    _remove(folder)
    _write(state)
    _leave(folder, state.exit_code)


def _load(folder: Path, line: str) -> Client:
    order = json.loads(line)
    values, ca = order["settings"], order["ca"]
    if ca:
        path = folder / "ca.pem"
        path.write_text(ca)
        values["ca_file"] = path
    settings = Settings.model_validate({**values, "profile": folder})
    for name in _MODULES:
        importlib.import_module(name)
    for name in _BY_PROTOCOL[settings.protocol]:
        importlib.import_module(f"kerio_resync.server.{name}.mailbox")
    return Client(settings, order["rounds"], _write)


def _write(state: ClientState) -> None:
    line = json.dumps(state.as_json()).encode() + b"\n"
    with suppress(OSError):  # the reader is gone: the input ends, too
        while line:
            line = line[os.write(1, line) :]


def _read_line() -> str:
    """Read a line of the input; "" at its end.

    It is read without a buffer, on whose lock the exit of the process could wait.
    """
    line = b""
    while not line.endswith(b"\n"):
        if not (letter := os.read(0, 1)):
            return ""
        line += letter
    return line.decode().rstrip("\n")


def _watch_input(client: Client, folder: Path) -> None:
    while line := _read_line():
        if line == "stop":
            client.stop()
    _leave(folder, Exit.INTERRUPTED)


def _leave(folder: Path, code: int) -> None:
    """Remove the folder, and exit at once: the rebuild may still be working."""
    _remove(folder)
    with suppress(OSError):  # others still use it
        folder.parent.rmdir()
    os._exit(code)


def _remove(folder: Path) -> None:
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


if __name__ == "__main__":
    main()
