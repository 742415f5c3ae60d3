"""Holds the cache against the server: ids and watermarks by a second listing, contents by checksums or by fetching.

`relist` is the repairing kind, used by a rebuild: what disagrees becomes wanted, and asking for it by id settles it.
`verify` is the reporting kind: it names what disagrees and is not explained by a change since the last sync key.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kerio_resync.cache.facts import Forget, Want
from kerio_resync.cache.store import Store
from kerio_resync.errors import FolderDenied, ItemGone, KeyExpired
from kerio_resync.model import Change, Folder, Kind, Listed
from kerio_resync.resync.catchup import ROUNDS, SYNC_KEY
from kerio_resync.resync.folders import mirrored
from kerio_resync.resync.listing import Position, list_folder
from kerio_resync.resync.run import Run
from kerio_resync.server.items import digest as digest_struct
from kerio_resync.server.mailbox import Mailbox

WORKERS = 8
NAMED = 1000  # differences named one by one; beyond that they are only counted


@dataclass(frozen=True, slots=True)
class Verdict:
    """`checked`: items compared. `differences`: one line each, at most NAMED; `count`: how many there are in all."""

    checked: int
    differences: tuple[str, ...] = ()
    count: int = 0
    repaired: int = 0

    @property
    def ok(self) -> bool:
        return self.count == self.repaired

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True, slots=True)
class Difference:
    """`what`: missing (only on the server), stale (another version here), extra (only here)."""

    what: str
    folder: Folder
    row: Listed


async def compare_folder(
    mailbox: Mailbox, store: Store, folder: Folder, round_: int, *, page_size: int, overlap: int
) -> AsyncIterator[tuple[int, list[Difference]]]:
    """Lists a folder and yields, page by page, how many rows were compared and which of them disagree."""
    before: set[str] = set()
    async for page, after in list_folder(mailbox, folder, Position(), limit=page_size, overlap=overlap):
        fresh = sum(row.id not in before for row in page.rows)
        before = set(after.tail)
        odd = await store.compare(folder.id, page.rows, round_)
        held = await store.watermarks([row.id for row in odd]) if odd else {}
        found = [Difference("stale" if row.id in held else "missing", folder, row) for row in odd]
        yield fresh, found
    extra = await store.unseen(folder.id, round_)
    yield 0, [Difference("extra", folder, Listed(each, 0)) for each in extra]


async def relist(run: Run, round_: int) -> int:
    """Lists every mirrored folder again; what disagrees becomes wanted. Returns how many rows that were."""
    left_out = {row.id for row in await run.store.skipped()}
    todo = [each for each in mirrored(run.folders.values()) if each.id not in left_out]
    found = 0

    async def work() -> None:
        nonlocal found
        while todo:
            folder = todo.pop(0)
            assert folder.kind is not None
            try:
                async for _, differences in compare_folder(
                    run.mailbox, run.store, folder, round_,
                    page_size=run.settings.page_size, overlap=run.settings.overlap,
                ):  # fmt: skip
                    rows = tuple(each.row for each in differences if each.row.id not in left_out)
                    await _let_older_in(run, rows)
                    if rows:
                        found += len(rows)
                        run.meter.wanted(rows)
                        await run.store.put(Want(folder.id, folder.kind, rows))
            except (ItemGone, FolderDenied):
                continue  # the folder went or was closed meanwhile: the catch-up deals with it

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work())
    return found


async def _let_older_in(run: Run, rows: Sequence[Listed]) -> None:
    """Forgets what is stored in a newer version than the server has: it was restored from a backup meanwhile."""
    held = await run.store.watermarks([row.id for row in rows]) if rows else {}
    newer = tuple(row.id for row in rows if held.get(row.id, -1) > row.watermark > 0)
    if newer:
        await run.store.put(Forget(newer))


async def explained(mailbox: Mailbox, store: Store) -> tuple[set[str], bool]:
    """(ids that changed on the server since the cache's sync key, whether the server could tell)."""
    key = await store.meta(SYNC_KEY)
    ids: set[str] = set()
    if key is None:
        return ids, False
    for _ in range(ROUNDS):
        try:
            told = await mailbox.changes(key)
        except KeyExpired:
            return ids, False
        if not told.changes or told.key == key:
            return ids, True
        ids.update(_ids(told.changes))
        key = told.key
    return ids, False


def _ids(changes: Sequence[Change]) -> set[str]:
    return {
        each
        for change in changes
        for each in (change.id, change.old_id, change.parent_id if change.is_folder else "")
        if each
    }


async def item_digests(store: Store) -> AsyncIterator[tuple[Kind, str, int, str]]:
    """(kind, id, watermark, sha256) of every stored item of the own mailbox, in the order of the digest's lines."""
    after = ("", "")
    while rows := await store.items(after):
        for row in rows:
            contents = {each.id: each.sha256.hex() for each in row.attachments if each.sha256 is not None}
            yield row.kind, row.id, row.watermark, digest_struct(row.kind, row.payload, contents)
        after = (rows[-1].kind, rows[-1].id)
