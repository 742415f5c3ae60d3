"""Fetches the items that are wanted, in batches sized by bytes, and stores each with the deletion of its want.

A batch that is too large for the server, or whose answer makes no sense, is halved until it goes through; an item that
alone can't be had is left out and named. An item the server no longer has is forgotten. What the old cache still holds,
whole and in the wanted version, is taken over instead of being fetched.
"""

from __future__ import annotations

from kerio_resync.cache.facts import Forget, PutItems, PutSalvaged
from kerio_resync.cache.reading import Wanted
from kerio_resync.errors import FolderDenied, ItemGone, ServerNonsense, TooLarge, words_of
from kerio_resync.model import Details, Item
from kerio_resync.resync.run import Run
from kerio_resync.server.room import kept

HOPELESS = 25  # items in a row that can't be had alone, before the server as a whole makes no sense


async def fetch_details(run: Run) -> None:
    """One worker: until nothing is wanted and nobody lists any more."""
    with run.contents.source():
        while batch := await run.details.take(run.batch.packing(run.meter.tally)):
            await fetch_batch(run, batch)
            run.details.done(batch)
            run.contents.announce()


async def fetch_batch(run: Run, batch: list[Wanted]) -> None:
    """Fulfils every row of `batch` (all of one kind): stored, taken over, forgotten, or left out by name."""
    if run.old is not None:
        batch = await take_over(run, batch)
    if not batch:
        return
    try:
        unanswered = await _fetch(run, batch)
    except (TooLarge, ServerNonsense, FolderDenied, ItemGone) as error:
        await _divide(run, batch, error)
        return
    if unanswered and len(unanswered) < len(batch):
        for row in unanswered:
            await fetch_batch(run, [row])
    elif unanswered:
        await _divide(run, unanswered, ServerNonsense("the server did not answer for it"))


async def _fetch(run: Run, batch: list[Wanted]) -> list[Wanted]:
    """Asks for the rows and stores what came; returns those that were not answered for."""
    await run.store.eased()
    with kept():  # until it is on its way to the disk
        details = await run.mailbox.by_ids(batch[0].kind, [row.id for row in batch])
        run.nonsense = 0
        run.doubts.items_answered = run.clock()
        run.meter.reply(details.plain_bytes, details.wire_bytes)
        run.batch = run.batch.after(details.plain_bytes, details.seconds, details.held, details.way)
        return await _store(run, {row.id: row for row in batch}, details)


async def _divide(run: Run, batch: list[Wanted], error: Exception) -> None:
    if len(batch) > 1:
        middle = len(batch) // 2
        await fetch_batch(run, batch[:middle])
        await fetch_batch(run, batch[middle:])
        return
    row = batch[0]
    run.nonsense += isinstance(error, ServerNonsense | TooLarge)
    if run.nonsense >= HOPELESS:
        raise error
    if isinstance(error, ServerNonsense) and not run.doubts.believes(row.id, words_of(error)):
        run.details.set_aside(row)
        return
    run.meter.dropped(row.size, row.has_attachment)
    if isinstance(error, ItemGone):
        await run.store.put(Forget((row.id,)))
    else:
        await run.skip("item", row.id, words_of(error))


async def _store(run: Run, rows: dict[str, Wanted], details: Details) -> list[Wanted]:
    """Stores what was asked for and came; returns the rows that were not answered for."""
    asked, items = dict(rows), []
    for item in details.items:
        row = asked.pop(item.id, None)
        if row is None:
            continue  # not asked for, or answered twice
        items.append(item)
        fetch = not run.omits_attachments(item.folder_id)
        run.meter.stored(item, row.size, row.has_attachment, fetch_attachments=fetch)
    await put_items(run, items)
    # what no list has and nothing is said about is gone: some servers leave it out instead of naming it
    lost = (one.id for one in details.malformed if one.unanswered and one.id in run.unlisted)
    gone = [asked.pop(each) for each in (*details.gone, *lost) if each in asked]
    if gone:
        await run.store.put(Forget(tuple(row.id for row in gone)))
    for broken in details.malformed:
        if row := asked.pop(broken.id, None):
            gone.append(row)
            await run.skip("item", row.id, broken.reason)
    for row in gone:
        run.meter.dropped(row.size, row.has_attachment)
    return list(asked.values())


async def put_items(run: Run, items: list[Item]) -> None:
    """Stores items, those of folders whose attachments are left out apart from the others."""
    for omit in (False, True):
        some = tuple(item for item in items if run.omits_attachments(item.folder_id) == omit)
        if some:
            await run.store.put(PutItems(some, omit_attachments=omit, keep_contents=run.only_flags))


async def take_over(run: Run, batch: list[Wanted]) -> list[Wanted]:
    """Stores what the old cache still holds of `batch`; returns what has to be fetched."""
    assert run.old is not None
    found = await run.old.take(batch)
    rows = {row.id: row for row in batch}
    for each in found:
        row = rows.pop(each.item.id)
        await run.store.put(PutSalvaged(each, omit_attachments=run.omits_attachments(row.folder_id)))
        run.meter.stored(each.item, row.size, row.has_attachment, fetch_attachments=False, kept=True)
        run.salvaged += 1
    return list(rows.values())
