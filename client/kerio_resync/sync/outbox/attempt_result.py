"""Values of an attempt: its result, and its record before the call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from kerio_resync.model import Item


class StillUnknown(Exception):
    """The server may have executed the call: the next attempt has to look first."""


class RetryLater(Exception):
    """The server has not executed the call, and may do so later."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The server has the change.

    `id`, `folder_id`, `version`: the item now ('' if unknown). `gone`: it is deleted, as it should be.
    `only_ours`: that version has no changes of others, so that later changes may build on it.
    """

    id: str
    folder_id: str = ""
    version: str = ""
    gone: bool = False
    only_ours: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refused the change. `code`: its error code, 0 if there is none."""

    reason: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class Conflict:
    """The server's item stays.

    `item`: what the change wanted it to be, as far as that is known.
    """

    item: Item
    reason: str


AttemptResult = Sent | Refused | Conflict


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """What is recorded before a call, to find out later whether it was executed.

    `known`: ids of similar items that existed before; `fingerprint`: a struct to recognize the item by; `only_ours`:
    the version before the call was the one that the change was made of; `key`: the sync key before a creation, '' if
    the server gave none.
    """

    known: tuple[str, ...] = ()
    fingerprint: bytes = b"{}"
    only_ours: bool = True
    key: str = ""

    def to_json(self) -> str:
        """Return the text for the column `outbox.attempt`."""
        value = {"known": self.known, "like": self.fingerprint.decode(), "alone": self.only_ours, "key": self.key}
        return json.dumps(value, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """Return the record; None if there is none or it cannot be parsed."""
        try:
            value = json.loads(text)
            known, fingerprint = tuple(map(str, value["known"])), str(value["like"]).encode()
            return cls(known, fingerprint, value["alone"] is True, str(value.get("key", "")))
        except (ValueError, TypeError, KeyError):
            return None
