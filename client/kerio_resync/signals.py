"""The signals that ask the process to end, and what they did before it was asked.

Ctrl-C (SIGINT), SIGTERM and the end of the terminal (SIGHUP) all mean the same. A SIGHUP that was ignored when the
process began stays ignored: that is what `nohup` is for. `restore` undoes everything for a program that takes over.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Handler = Callable[[int, Any], object]

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_IGNORED_BY_PYTHON = tuple(getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name))
_former: dict[int, Any] = {}


def catch(handler: Handler) -> None:
    """Calls `handler` for each of the signals from now on. Only the main thread may do so."""
    for number in ENDING:
        current = signal.getsignal(number)
        _former.setdefault(number, current)
        if number == signal.SIGINT or _former[number] is not signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def caught(handler: Handler) -> Iterator[None]:
    """Calls `handler` meanwhile; outside the main thread, nothing changes."""
    try:
        before = {number: signal.getsignal(number) for number in ENDING}
        catch(handler)
    except ValueError:  # only the main thread may set handlers
        yield
        return
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def restore() -> None:
    """As they were when the process began, for a program that takes its place."""
    for number, old in _former.items():
        signal.signal(number, old)
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
