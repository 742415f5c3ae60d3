"""The entry point: streams and signals are safe before anything is imported that takes time.

Told to end before it serves, the process ends at once, with 0 as at any other time. A standard stream that is closed
is opened on the null device: the next socket would get its number.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from kerio_mockserver.signals import TERMINATION


def main() -> NoReturn:
    """The program; ends the process."""
    for number in TERMINATION:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:  # which `nohup` sees to
            signal.signal(number, lambda *_: os._exit(0))
    reopen_closed()
    try:
        from kerio_mockserver.cli import main as command_line

        command_line()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "kerio_mockserver":
            raise
        print(
            f"kerio-mockserver: the package {package} is missing. Install what the mock server needs:"
            " pip install 'kerio-resync[mock]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    finally:
        for stream in (sys.stdout, sys.stderr):
            quieten(stream)


def reopen_closed() -> None:
    """Opens the null device at each of the descriptors 0 to 2 that is closed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it is the process's as long as it runs
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def quieten(stream: object) -> None:
    """What the stream can't take is dropped: the interpreter would complain of it, and end with 120."""
    if stream is None:
        return
    try:
        stream.flush()  # type: ignore[attr-defined]
    except OSError:
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
            os.close(nowhere)
