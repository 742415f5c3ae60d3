"""Lists a folder that changes while it is being listed, without a gap.

Offset pages over a living list lose items: an item deleted before the offset shifts an unchanged one onto a page that
has passed, and no change ever names it. So each page reaches back into the one before (`overlap` rows) and must contain
a row that was taken before (an anchor); if it does not, rows have shifted by more than that, and the listing steps back
until it finds one. What is met twice is harmless, because storing is idempotent.

`begin`, `ask` and `advance` are pure; `list_folder` is the shell around them. A server whose list never ends, repeats
for ever, or never shows an anchor again ends in ProtocolError with scope "folder": the number of pages is bounded by
what the server itself says the folder holds, and if that is a lie, by meeting the same row again and again. An end is
believed if total and folder agree on it, or nothing more comes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, replace

from kerio_resync.errors import FolderDenied, ItemGone, ProtocolError, ResyncError
from kerio_resync.model import Folder, ListedItem, Page
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.server.memory_budget import HeldReservations

ANCHOR_IDS = 64  # ids kept as anchors: all of them would have to go between two pages before the listing starts over
MAX_CYCLES = 8  # times that a row may be met again far behind it, or that the listing may have to start over
SPARE_PAGES = 32  # pages beyond what the totals explain, before a listing is called endless


@dataclass(frozen=True, slots=True)
class Position:
    """Where a listing stands, between two pages.

    `seen`: offset just after the last row taken. `tail`: ids of the last rows taken, newest last. `back`: how many rows
    before `seen` the next page starts beyond the overlap (0 unless stepping back). `pages`: requests made so far.
    `width`: rows of the last page; a server may give fewer than it is asked for. `mark`: a row long passed; `laps`: how
    often it was met again.
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
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Position:
        """The position as it was stored; the beginning if there is none or it can't be read."""
        try:
            members = json.loads(data or b"{}")
            return cls(**{**members, "tail": tuple(members.get("tail", ()))})
        except (ValueError, TypeError):
            return cls()


def effective_overlap(position: Position, overlap: int) -> int:
    """How many rows the next page reaches back: never more than half a page, so that every page goes forward."""
    return min(overlap, position.width // 2)


def next_offset(position: Position, overlap: int) -> int:
    """The offset to ask for next."""
    return max(0, position.seen - effective_overlap(position, overlap) - position.step_back)


def advance(position: Position, page: Page, *, start: int, limit: int, overlap: int, count: int = 0) -> Position:
    """The position after `page`, which was asked for at offset `start` with at most `limit` rows. `count`: how many the
    folder is said to hold.

    With `overlap` 0 no anchor is looked for: plain offset pages, which lose items of a changing folder; for comparison.
    """
    ids = [row.id for row in page.rows]
    rows = len(ids) + len(page.malformed)  # what can't be read has its place in the list all the same
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
    fresh = [each for each in ids if each not in known]
    tail = (*position.tail, *fresh)[-ANCHOR_IDS:]
    # Nothing new where there should be: the total promises more than there is (but stepping back meets what is known).
    stuck = end <= position.seen and not fresh and not position.step_back
    agreed = end >= count and (end == page.total or (end > page.total and rows < limit))
    mark, laps = _start_cycle(position, fresh, over=start == 0)
    return Position(
        end, tail, pages=pages, width=rows or limit, done=not rows or stuck or agreed, mark=mark, cycles=laps
    )


def _start_cycle(position: Position, fresh: list[str], *, over: bool) -> tuple[str, int]:
    """(mark, laps) after a page that brought the rows `fresh`: the mark is moved on ever more rarely (Brent's way to
    find a cycle), and forgotten where stepping back meets old rows anyway."""
    if position.step_back:
        return "", position.cycles + over
    if position.mark in fresh:
        return position.mark, position.cycles + 1
    pages = position.pages + 1
    if fresh and not position.cycles and (not position.mark or not pages & (pages - 1)):
        return fresh[-1], 0
    return position.mark, position.cycles


def concerns_this_list_only(error: ResyncError) -> bool:
    """Whether it says no more than that one folder can't be listed: it went, is closed to us, or its list makes no
    sense."""
    if isinstance(error, ProtocolError):
        return error.scope == "folder"
    return isinstance(error, ItemGone | FolderDenied)


def max_pages(folder: Folder, page: Page, position: Position, overlap: int) -> int:
    """How many pages a listing may take before it is called endless, from what the server says the folder holds."""
    rows = max(folder.count, page.total if page.total < 2 * folder.count + 100_000 else folder.count)
    return SPARE_PAGES + 4 * (rows // max(1, position.width - effective_overlap(position, overlap)) + 1)


async def list_folder(
    mailbox: Mailbox,
    folder: Folder,
    position: Position,
    *,
    limit: int,
    overlap: int,
    whole: bool = False,
    held: HeldReservations | None = None,
) -> AsyncGenerator[tuple[Page, tuple[ListedItem, ...], Position], None]:
    """Pages from `position` on, each with those of its rows that the page before did not have, and with the position to
    store together with its rows; the last one is `done`.

    Raises what `Mailbox.page` raises, and ProtocolError (scope folder) for a list without end.
    """
    position = replace(position, width=min(position.width, limit))
    allowed = 0
    first = position.pages
    while not position.done:
        start = next_offset(position, overlap)
        page = await mailbox.page(folder, start, limit, whole=whole, held=held)
        known = set(position.tail)
        position = advance(position, page, start=start, limit=limit, overlap=overlap, count=folder.count)
        allowed = max(allowed, max_pages(folder, page, position, overlap))
        if position.pages - first > allowed or position.cycles > MAX_CYCLES:
            raise ProtocolError(f"the list of folder {folder.id} does not end", scope="folder")
        yield page, tuple(row for row in page.rows if row.id not in known), position
