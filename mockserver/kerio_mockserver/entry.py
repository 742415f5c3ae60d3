"""The entry point: makes streams and signals safe before the slow imports.

A signal before the server listens ends the process at once, with exit code 0 as at any other time. A closed standard
stream is opened on the null device; otherwise the next socket would get its number.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from kerio_mockserver.signals import TERMINATION


def main() -> NoReturn:
    """Run the program; end the process."""
    for number in TERMINATION:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` sets it
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
    """Open the null device at each closed descriptor of 0 to 2."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - stays open as long as the process runs
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def quieten(stream: object) -> None:
    """Flush a stream and drop what it does not accept.

    The interpreter would complain and exit with 120.
    """
    if stream is None:
        return
    try:
        stream.flush()  # type: ignore[attr-defined]
    except OSError:
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
            os.close(nowhere)
