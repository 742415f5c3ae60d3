"""A timer finer than the event loop's.

The loop's timers are rounded up to a millisecond (the unit of epoll), which is 3 % of the latency of a 30 ms link and
all of a local network's. Linux has timers with nanoseconds as file descriptors; elsewhere the loop's own timer is used.
The clock is `time.monotonic`, so this does not work in virtual time.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import time
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = 0o2004000
_ABSOLUTE = 1


class _Setting(ctypes.Structure):
    """`struct itimerspec`: interval and instant, each in seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("at_s", ctypes.c_long),
        ("at_ns", ctypes.c_long),
    )


def _timer_calls() -> tuple[Callable[..., int], Callable[..., int]] | None:
    try:
        library = ctypes.CDLL(None, use_errno=True)
        return library.timerfd_create, library.timerfd_settime
    except (OSError, AttributeError, TypeError):
        return None


_CALLS = _timer_calls()


class PreciseTimer:
    """Calls a function at the instant last set, within about 0.1 ms on Linux."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None] = lambda: None) -> None:
        self._loop = loop
        self.ring = ring
        self._at = math.inf
        self._handle: asyncio.TimerHandle | None = None
        self._fd = _CALLS[0](_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC) if _CALLS else -1
        if self._fd >= 0:
            loop.add_reader(self._fd, self._fired)

    def set(self, at: float) -> None:
        """Set the instant, replacing an earlier one; infinity cancels it."""
        if at == self._at:
            return
        self._at = at
        if self._fd >= 0:
            self._set_fine(at)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None if math.isinf(at) else self._loop.call_later(max(0.0, at - time.monotonic()), self._fired)

    def _set_fine(self, at: float) -> None:
        nanoseconds = 0 if math.isinf(at) else max(1, int(at * 1e9))
        setting = _Setting(0, 0, *divmod(nanoseconds, 1_000_000_000))
        assert _CALLS is not None
        _CALLS[1](self._fd, _ABSOLUTE, ctypes.byref(setting), None)

    def _fired(self) -> None:
        if self._fd >= 0:
            try:
                os.read(self._fd, 8)
            except BlockingIOError:
                return  # set again between its expiry and this call
        self._at = math.inf
        self.ring()

    def close(self) -> None:
        """Release the file descriptor."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        elif self._handle is not None:
            self._handle.cancel()
