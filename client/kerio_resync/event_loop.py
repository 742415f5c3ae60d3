"""Chooses the event loop: uvloop's if it is installed (extra `fast`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def loop_factory() -> Callable[[], Any] | None:
    """Return the factory for `asyncio.Runner`; None for asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], Any] = uvloop.new_event_loop
    return factory
