"""What becomes of an attempt to send a local change, and what it records before it is made: values."""

from __future__ import annotations

import json
from dataclasses import dataclass

from kerio_resync.model import Item


class StillUnknown(Exception):
    """The server may have done it or not: it has to be looked for."""


class RetryLater(Exception):
    """The server has not done it, and may at another time."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The server has it. `id`, `folder_id`, `watermark`: the item now; `gone`: it is deleted, as it should be. `alone`:
    nobody else's changes are in that version, so that later changes may build on it."""

    id: str
    folder_id: str = ""
    watermark: int = 0
    gone: bool = False
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """The server will not have it. `code`: what it answered with, 0 if that was not the point."""

    reason: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Conflict:
    """The server's item stays (None: it is gone). `item`: what the change wanted it to be, as far as that is known."""

    item: Item
    there: Item | None
    reason: str


Fate = Sent | Refused | Conflict


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """What an attempt records before it is made. `known`: items alike that were there before; `like`: a struct to know
    the item again by; `alone`: whether it was in the version that the change was made of; `key`: the sync key of just
    before a creation, '' if the server gave none."""

    known: tuple[str, ...] = ()
    like: bytes = b"{}"
    alone: bool = True
    key: str = ""

    def __str__(self) -> str:
        value = {"known": self.known, "like": self.like.decode(), "alone": self.alone, "key": self.key}
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> AttemptRecord | None:
        """None if it is none: an attempt of another program, or of one that was interrupted at once."""
        try:
            value = json.loads(text)
            known, like = tuple(map(str, value["known"])), str(value["like"]).encode()
            return cls(known, like, value["alone"] is True, str(value.get("key", "")))
        except (ValueError, TypeError, KeyError):
            return None
