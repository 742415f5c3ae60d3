"""Makes batches of rows in a process of its own.

That is work in Python, which holds the interpreter's lock, while contents are decoded, hashed and written outside of
it. So for a large file another process makes the batches. It reads the file that the migration has locked, and writes
pickled batches to its standard output. Until it has started, and if it cannot or dies, this process makes them.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeVar

from kerio_resync.errors import CacheDamaged
from kerio_resync.upgrade.migration.run import Source

PIPE_BYTES: Final = 1024 * 1024  # lets the process be some batches ahead
_PROGRAM: Final = """
import sys
from kerio_resync.upgrade.migration.batch_process import main
main(sys.stdin.buffer, sys.stdout.buffer)
"""


class Start(Protocol):
    """Where batches begin."""

    def after(self, batch: Any) -> Any:
        """Return where the batches after `batch` begin."""
        ...


SourceT = TypeVar("SourceT", bound=Source)
StartT = TypeVar("StartT", bound=Start)
BatchT = TypeVar("BatchT")
MakeBatches = Callable[[SourceT, StartT], Iterator[BatchT]]


def read_batches(
    source: SourceT, start: StartT, make: MakeBatches[SourceT, StartT, BatchT], *, process: bool
) -> Generator[BatchT, None, None]:
    """Yield what `make` yields: all batches after `start`. CacheDamaged.

    `make`: a function of a module. `process`: another process makes the batches as soon as it has started.
    """
    if process:
        with suppress(EOFError, OSError, pickle.UnpicklingError), _child() as child:
            for batch in make(source, start):
                yield batch
                start = start.after(batch)
                if child.ready():
                    break
            else:
                return
            for batch in child.batches(type(source), source.path, make, start):
                yield batch
                start = start.after(batch)
            return
    yield from make(source, start)


class _Child:
    """The process. EOFError, OSError or UnpicklingError once it has died."""

    def __init__(self, request: IO[bytes], reply: IO[bytes], greeting: Future[bytes]) -> None:
        self._request, self._reply, self._greeting = request, reply, greeting

    def ready(self) -> bool:
        """Tell whether it has started, or died."""
        return self._greeting.done()

    def batches(self, reader: type[Source], path: Path, make: Callable[..., Any], start: Start) -> Iterator[Any]:
        """Yield the batches after `start`; CacheDamaged if it finds damage."""
        if not self._greeting.result():
            raise EOFError
        with self._request:
            pickle.dump((reader, path.absolute(), make, start), self._request)
        while not isinstance(batch := pickle.load(self._reply), str):
            yield batch
        if batch:
            raise CacheDamaged(batch)


@contextmanager
def _child() -> Iterator[_Child]:
    """Start the process; kill it at the end. OSError."""
    child = subprocess.Popen(
        [sys.executable or "", "-P", "-c", _PROGRAM],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    with ThreadPoolExecutor(1) as thread, child.stdout, suppress(BrokenPipeError), child.stdin:
        try:
            _widen(child.stdout)
            yield _Child(child.stdin, child.stdout, thread.submit(child.stdout.read, 1))
        finally:
            child.kill()
            child.wait()


def _widen(pipe: IO[bytes]) -> None:
    with suppress(ImportError, AttributeError, OSError):  # only Linux can
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def main(request: IO[bytes], reply: IO[bytes]) -> None:
    """Run the process.

    It writes a byte, reads what to do, and writes batches, then what is damaged or nothing.

    If the parent dies, writing fails, and this process ends.
    """
    reply.write(b"+")
    reply.flush()
    reader, path, make, start = pickle.load(request)
    damage = ""
    try:
        with reader.open(path, locked_elsewhere=True) as source:
            for batch in make(source, start):
                pickle.dump(batch, reply, protocol=5)
                reply.flush()
    except CacheDamaged as error:
        damage = error.detail
    pickle.dump(damage, reply)
    reply.flush()
