"""Fetches queued items in batches sized by bytes.

A batch that is too large for the server, or whose answer is invalid, is halved until it succeeds. An item that fails
alone is skipped and named; one that the server no longer has is deleted.
"""

from __future__ import annotations

from kerio_resync.cache.mutations import DeleteItems, PutItems
from kerio_resync.cache.queries import QueuedItem
from kerio_resync.errors import FolderDenied, ItemGone, ProtocolError, TooLarge, words_of
from kerio_resync.model import Item, ItemBatch
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.sync.context import RebuildContext

MAX_CONSECUTIVE_FAILURES = 25  # items in a row that fail alone, before the server as a whole counts as broken


async def item_worker(run: RebuildContext) -> None:
    """Fetch batches until nothing is queued and no listing is left."""
    with run.attachment_queue.producer():
        while batch := await run.item_queue.take(run.fetch.batch_size.packing(run.progress.work, run.mailbox.traits)):
            await fetch_batch(run, batch)
            run.item_queue.done(batch)
            run.attachment_queue.notify()


async def fetch_batch(run: RebuildContext, batch: list[QueuedItem]) -> None:
    """Fetch the rows of `batch` (all of one kind): each is stored, deleted or skipped."""
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
    """Request the rows and store the items; return the rows that the answer left out."""
    await run.store.wait_for_capacity()
    with HeldReservations() as held:  # until the writer has the items
        sizes = {row.id: row.size for row in batch if row.size}
        reply = await run.mailbox.items_by_id(batch[0].kind, [row.id for row in batch], sizes=sizes, held=held)
        run.fetch.consecutive_failures = 0
        run.doubts.items_answered = run.clock()
        run.progress.reply(reply.plain_bytes, reply.wire_bytes)
        run.fetch.batch_size = run.fetch.batch_size.after(
            reply.plain_bytes, reply.seconds, reply.server_seconds, reply.min_latency
        )
        return await _store(run, {row.id: row for row in batch}, reply)


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


async def _store(run: RebuildContext, rows: dict[str, QueuedItem], reply: ItemBatch) -> list[QueuedItem]:
    """Store the items that were requested; return the rows that the answer left out."""
    missing, items = dict(rows), []
    for item in reply.items:
        row = missing.pop(item.id, None)
        if row is None:
            continue  # not requested, or sent twice
        items.append(item)
        fetch = not run.omits_contents(item)
        run.progress.stored(item, row.size, row.has_attachment, fetch_attachments=fetch)
    await put_items(run, items)
    # Some servers leave out deleted items instead of naming them: an item without list row and answer is gone.
    lost = (item.id for item in reply.malformed if item.unanswered and item.id in run.comparison.unlisted)
    gone = [missing.pop(item_id) for item_id in (*reply.gone, *lost) if item_id in missing]
    if gone:
        await run.store.apply(DeleteItems(tuple(row.id for row in gone)))
    for malformed in reply.malformed:
        if row := missing.pop(malformed.id, None):
            gone.append(row)
            await run.skip("item", row.id, malformed.reason)
    for row in gone:
        run.progress.dropped(row.size, row.has_attachment)
    return list(missing.values())


async def put_items(run: RebuildContext, items: list[Item]) -> None:
    """Store items; those without attachments in a mutation of their own."""
    for omit in (False, True):
        some = tuple(item for item in items if run.omits_contents(item) == omit)
        if some:
            await run.store.apply(PutItems(some, omit_attachments=omit, keep_contents=run.fetch.flag_changes))
