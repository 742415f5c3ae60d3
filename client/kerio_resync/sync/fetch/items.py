"""Fetches the items that are wanted, in batches sized by bytes, and stores each with the deletion of its want.

A batch that is too large for the server, or whose answer makes no sense, is halved until it goes through; an item that
alone can't be had is left out and named. An item the server no longer has is forgotten.
"""

from __future__ import annotations

from kerio_resync.cache.mutations import DeleteItems, PutItems
from kerio_resync.cache.queries import QueuedItem
from kerio_resync.errors import FolderDenied, ItemGone, ProtocolError, TooLarge, words_of
from kerio_resync.model import Item, ItemBatch
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.sync.context import RebuildContext

MAX_CONSECUTIVE_FAILURES = 25  # items in a row that can't be had alone, before the server as a whole makes no sense


async def item_worker(run: RebuildContext) -> None:
    """One worker: until nothing is wanted and nobody lists any more."""
    with run.attachment_queue.producer():
        while batch := await run.item_queue.take(run.fetch.batch_size.packing(run.progress.work)):
            await fetch_batch(run, batch)
            run.item_queue.done(batch)
            run.attachment_queue.notify()


async def fetch_batch(run: RebuildContext, batch: list[QueuedItem]) -> None:
    """Fulfils every row of `batch` (all of one kind): stored, forgotten, or left out by name."""
    try:
        unanswered = await _fetch(run, batch)
    except (TooLarge, ProtocolError, FolderDenied, ItemGone) as error:
        await _split_batch(run, batch, error)
        return
    if unanswered and len(unanswered) < len(batch):
        for row in unanswered:
            await fetch_batch(run, [row])
    elif unanswered:
        await _split_batch(run, unanswered, ProtocolError("the server did not answer for it"))


async def _fetch(run: RebuildContext, batch: list[QueuedItem]) -> list[QueuedItem]:
    """Asks for the rows and stores what came; returns those that were not answered for."""
    await run.store.wait_for_capacity()
    with HeldReservations() as held:  # until the writer has the items
        details = await run.mailbox.items_by_id(batch[0].kind, [row.id for row in batch], held=held)
        run.fetch.consecutive_failures = 0
        run.doubts.items_answered = run.clock()
        run.progress.reply(details.plain_bytes, details.wire_bytes)
        run.fetch.batch_size = run.fetch.batch_size.after(
            details.plain_bytes, details.seconds, details.server_seconds, details.min_latency
        )
        return await _store(run, {row.id: row for row in batch}, details)


async def _split_batch(run: RebuildContext, batch: list[QueuedItem], error: Exception) -> None:
    if len(batch) > 1:
        middle = len(batch) // 2
        await fetch_batch(run, batch[:middle])
        await fetch_batch(run, batch[middle:])
        return
    row = batch[0]
    run.fetch.consecutive_failures += isinstance(error, ProtocolError | TooLarge)
    if run.fetch.consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
        raise error
    if isinstance(error, ProtocolError) and not run.doubts.believes(row.id, words_of(error)):
        run.item_queue.set_aside(row)
        return
    run.progress.dropped(row.size, row.has_attachment)
    if isinstance(error, ItemGone):
        await run.store.apply(DeleteItems((row.id,)))
    else:
        await run.skip("item", row.id, words_of(error))


async def _store(run: RebuildContext, rows: dict[str, QueuedItem], details: ItemBatch) -> list[QueuedItem]:
    """Stores what was asked for and came; returns the rows that were not answered for."""
    asked, items = dict(rows), []
    for item in details.items:
        row = asked.pop(item.id, None)
        if row is None:
            continue  # not asked for, or answered twice
        items.append(item)
        fetch = not run.omits_attachments(item.folder_id)
        run.progress.stored(item, row.size, row.has_attachment, fetch_attachments=fetch)
    await put_items(run, items)
    # what no list has and nothing is said about is gone: some servers leave it out instead of naming it
    lost = (one.id for one in details.malformed if one.unanswered and one.id in run.comparison.unlisted)
    gone = [asked.pop(each) for each in (*details.gone, *lost) if each in asked]
    if gone:
        await run.store.apply(DeleteItems(tuple(row.id for row in gone)))
    for broken in details.malformed:
        if row := asked.pop(broken.id, None):
            gone.append(row)
            await run.skip("item", row.id, broken.reason)
    for row in gone:
        run.progress.dropped(row.size, row.has_attachment)
    return list(asked.values())


async def put_items(run: RebuildContext, items: list[Item]) -> None:
    """Stores items, those of folders whose attachments are left out apart from the others."""
    for omit in (False, True):
        some = tuple(item for item in items if run.omits_attachments(item.folder_id) == omit)
        if some:
            await run.store.apply(PutItems(some, omit_attachments=omit, keep_contents=run.fetch.flag_changes))
