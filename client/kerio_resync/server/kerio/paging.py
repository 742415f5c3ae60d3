"""Lists a folder without gaps while it changes.

Offset pages over a living list lose items: a deletion before the offset shifts an unchanged item onto a page that was
already fetched, and no change ever names that item. So each page overlaps the one before (`overlap` rows) and must
contain a row that was taken before (an anchor). If it does not, rows have shifted by more than the overlap, and the
listing steps back until it finds an anchor. Rows that arrive twice are harmless, because storing is idempotent.

`next_offset` and `advance` are pure; `list_folder` is the shell around them. A list that never ends, repeats, or never
shows an anchor again ends in ProtocolError with scope "folder": the number of pages is bounded by the size that the
server states, and if that is wrong, by meeting the same row again and again. The end is believed if the total and the
folder's size agree on it, or nothing more arrives.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import NamedTuple

from kerio_resync.errors import ProtocolError
from kerio_resync.model import Folder, Item, ListedItem, ListingPage, MalformedItem

ANCHOR_IDS = 64  # the listing starts over only if all of them disappear between two pages
MAX_CYCLES = 8  # times that an old row may appear again, or that the listing may start over
SPARE_PAGES = 32  # beyond the pages that the totals explain


class Page(NamedTuple):
    """One reply to a request for rows.

    `total`: rows of the list as the server states them, which may be wrong. `items`: the items of `rows`, if whole
    items were requested.
    """

    rows: tuple[ListedItem, ...]
    total: int
    items: tuple[Item, ...] = ()
    malformed: tuple[MalformedItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Position:
    """The state of a listing between two pages.

    `seen`: offset after the last row taken. `tail`: ids of the last rows taken, newest last. `step_back`: rows before
    `seen`, beyond the overlap, at which the next page starts. `pages`: requests so far. `width`: rows of the latest
    page; a server may send fewer than requested. `mark`: id of an old row; `cycles`: how often it appeared again.
    """

    seen: int = 0
    tail: tuple[str, ...] = ()
    step_back: int = 0
    pages: int = 0
    width: int = 1_000_000
    done: bool = False
    mark: str = ""
    cycles: int = 0

    def to_bytes(self) -> bytes:
        """Return the position for storage."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Position:
        """Return a stored position.

        The start of the list if there is none, or it is invalid.
        """
        try:
            members = json.loads(data or b"{}")
            position = cls(**{**members, "tail": tuple(members.get("tail", ()))})
        except (AttributeError, TypeError, ValueError):
            return cls()
        is_valid = all(type(getattr(position, field.name)) is type(field.default) for field in fields(cls))
        return position if is_valid else cls()


def effective_overlap(position: Position, overlap: int) -> int:
    """Return the number of rows by which the next page overlaps.

    It is at most half a page, so that every page advances.
    """
    return min(overlap, position.width // 2)


def next_offset(position: Position, overlap: int) -> int:
    """Return the offset of the next page."""
    return max(0, position.seen - effective_overlap(position, overlap) - position.step_back)


def advance(position: Position, page: Page, *, start: int, limit: int, overlap: int, count: int = 0) -> Position:
    """Return the position after `page`.

    The page was requested at offset `start`, with at most `limit` rows.

    `count`: the folder's size, as the server states it. With `overlap` 0 no anchor is required: plain offset pages,
    which lose items of a changing folder; for comparison.
    """
    ids = [row.id for row in page.rows]
    rows = len(ids) + len(page.malformed)  # malformed rows have a place in the list too
    pages = position.pages + 1
    anchored = (
        not effective_overlap(position, overlap)
        or start == 0
        or not position.tail
        or not set(position.tail).isdisjoint(ids)
    )
    if not anchored:
        return replace(position, step_back=max(ANCHOR_IDS, position.step_back * 4), pages=pages)
    end = start + rows
    known = set(position.tail)
    fresh = [item_id for item_id in ids if item_id not in known]
    tail = (*position.tail, *fresh)[-ANCHOR_IDS:]
    # Nothing new: the total promises more than there is. (Stepping back meets known rows anyway.)
    stuck = end <= position.seen and not fresh and not position.step_back
    agreed = end >= count and (end == page.total or (end > page.total and rows < limit))
    mark, cycles = _update_mark(position, fresh, over=start == 0)
    return Position(
        end, tail, pages=pages, width=rows or limit, done=not rows or stuck or agreed, mark=mark, cycles=cycles
    )


def _update_mark(position: Position, fresh: list[str], *, over: bool) -> tuple[str, int]:
    """Return (mark, cycles) after a page with the new rows `fresh`.

    The mark moves ever more rarely (Brent's cycle detection), and is dropped while stepping back.
    """
    if position.step_back:
        return "", position.cycles + over
    if position.mark in fresh:
        return position.mark, position.cycles + 1
    pages = position.pages + 1
    if fresh and not position.cycles and (not position.mark or not pages & (pages - 1)):
        return fresh[-1], 0
    return position.mark, position.cycles


def max_pages(folder: Folder, page: Page, position: Position, overlap: int) -> int:
    """Return how many pages a listing may take, by the sizes that the server states."""
    rows = max(folder.count, page.total if page.total < 2 * folder.count + 100_000 else folder.count)
    return SPARE_PAGES + 4 * (rows // max(1, position.width - effective_overlap(position, overlap)) + 1)


async def list_folder(
    request: Callable[[int, int], Awaitable[Page]], folder: Folder, position: Position, *, limit: int, overlap: int
) -> AsyncGenerator[ListingPage, None]:
    """Yield the pages of a folder from `position` on.

    `request` returns the page at an offset, with at most so many rows. Raise what it raises, and ProtocolError (scope
    folder) for an endless list.
    """
    position = replace(position, width=min(position.width, limit))
    allowed = 0
    first = position.pages
    while not position.done:
        start = next_offset(position, overlap)
        page = await request(start, limit)
        known = set(position.tail)
        position = advance(position, page, start=start, limit=limit, overlap=overlap, count=folder.count)
        allowed = max(allowed, max_pages(folder, page, position, overlap))
        if position.pages - first > allowed or position.cycles > MAX_CYCLES:
            raise ProtocolError(f"the list of folder {folder.id} does not end", scope="folder")
        fresh = tuple(row for row in page.rows if row.id not in known)
        yield ListingPage(
            page.rows, fresh, position.to_bytes(), position.seen, position.done, page.items, page.malformed
        )
