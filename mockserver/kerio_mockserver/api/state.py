"""State that outlives a call: long polls, archives, and webmail preferences."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from kerio_mockserver.mailbox.journal import Journal

MAX_POLL_SECONDS = 3600.0
MAX_ARCHIVES = 8


class LongPolls:
    """The waiting long polls, one per key; a second poll for a key ends the first."""

    def __init__(self) -> None:
        self._ends: dict[Hashable, asyncio.Event] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def kill(self, key: Hashable) -> None:
        """End the poll for `key`, if there is one."""
        end = self._ends.pop(key, None)
        if end is not None:
            end.set()

    async def wait(self, journal: Journal, key: Hashable, watermark: int, timeout: float) -> None:
        """Wait until the journal passes `watermark`, time is over, or the poll is ended."""
        self.kill(key)
        end = self._ends[key] = asyncio.Event()
        waits = {
            asyncio.ensure_future(journal.wait(watermark, min(timeout, MAX_POLL_SECONDS))),
            asyncio.ensure_future(end.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            if self._ends.get(key) is end:
                del self._ends[key]


class Archives:
    """The newest archives of exported attachments, under keys that cannot be guessed."""

    def __init__(self, limit: int = MAX_ARCHIVES) -> None:
        self._limit = limit
        self._archives: OrderedDict[str, bytes] = OrderedDict()

    def put(self, data: bytes) -> str:
        """Keep an archive and return its key; the oldest archive beyond the limit goes."""
        key = sha256(data).hexdigest()[:32]
        self._archives[key] = data
        while len(self._archives) > self._limit:
            self._archives.popitem(last=False)
        return key

    def get(self, key: str) -> bytes:
        """Return an archive; raise KeyError if it is unknown or was dropped."""
        return self._archives[key]


@dataclass
class Preferences:
    """The user's webmail settings and automatic reply."""

    settings: dict[str, Any] = field(default_factory=dict)
    out_of_office: dict[str, Any] = field(
        default_factory=lambda: {
            "isEnabled": False,
            "text": "",
            "isTimeRangeEnabled": False,
            "timeRangeStart": "",
            "timeRangeEnd": "",
        }
    )
