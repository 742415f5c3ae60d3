"""Handlers for the signals that end the process, and their restoration.

Ctrl-C (SIGINT), SIGTERM and the end of the terminal (SIGHUP) are handled alike. A SIGHUP that was ignored at the start
stays ignored, as `nohup` expects. `restore` resets the handlers before `exec`.
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
    """Install `handler` for each of the signals; ValueError outside the main thread."""
    for number in ENDING:
        current = signal.getsignal(number)
        _former.setdefault(number, current)
        if number == signal.SIGINT or _former[number] is not signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def caught(handler: Handler) -> Iterator[None]:
    """Install `handler` for a while; do nothing outside the main thread."""
    try:
        before = {number: signal.getsignal(number) for number in ENDING}
        catch(handler)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def restore() -> None:
    """Restore the handlers of the process's start, before an `exec`."""
    for number, old in _former.items():
        signal.signal(number, old)
    for number in _IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
