"""What the change feed tells of items created since a key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kerio_resync.model import ChangeSet, RemoteChange
from kerio_resync.sync.outbox.find_created import MAX_ROUNDS, created_since


class Feed:
    """Gives a page of changes for each key."""

    def __init__(self, *pages: list[RemoteChange]) -> None:
        self.pages = pages

    async def changes(self, key: str) -> ChangeSet:
        at = int(key)
        return ChangeSet(tuple(self.pages[at]), str(at + 1)) if at < len(self.pages) else ChangeSet((), key)


def line(kind: str, item_id: str, folder: str = "f", old: str = "", **more: Any) -> RemoteChange:
    return RemoteChange(kind, item_id, folder, kind=more.pop("of", "mail"), old_id=old, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pages", "found"),
    [
        ([], {}),
        ([[line("created", "a"), line("created", "b", "g")]], {"a": False}),
        ([[line("created", "a", of="note"), line("created", "b", is_folder=True)]], {}),
        ([[line("created", "a")], [line("modified", "a"), line("modified", "x")]], {"a": True}),
        ([[line("created", "a"), line("flags", "a")]], {"a": False}),
        ([[line("created", "a"), line("moved", "b", "g", "a")], [line("moved", "c", "h", "b")]], {"c": False}),
        ([[line("created", "a"), line("modified", "a"), line("moved", "b", "g", "a")]], {"b": True}),
        ([[line("moved", "b", "f", "a")]], {}),
        ([[line("created", "a"), line("deleted", "a"), line("deleted", "z")]], {}),
    ],
)
def test_created_since_follows_created_items(pages: list[list[RemoteChange]], found: dict[str, bool]) -> None:
    assert asyncio.run(created_since(Feed(*pages), "0", "mail", "f")) == found  # type: ignore[arg-type]


def test_created_since_stops_if_changes_never_end() -> None:
    pages = [[line("created", str(n))] for n in range(MAX_ROUNDS + 5)]
    assert len(asyncio.run(created_since(Feed(*pages), "0", "mail", "f"))) == MAX_ROUNDS  # type: ignore[arg-type]
