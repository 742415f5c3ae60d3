"""Fetches the contents of attachments, streamed in chunks into the database, however large they are.

A download that was cut, in this run or an earlier one, goes on where its committed bytes end if the server honours
that, and starts again if it doesn't. A content whose length is not what its struct says is fetched once more; if the
second copy is the same, it is the struct that is wrong, and the content is kept.
"""

from __future__ import annotations

import hashlib

from kerio_resync.cache.facts import FinishAttachment, OmitAttachment, PutContent, RestartAttachment
from kerio_resync.cache.reading import WantedAttachment
from kerio_resync.errors import BadCredentials, ItemGone, ServerNonsense, ServerRefused, SessionExpired
from kerio_resync.events import Skipped
from kerio_resync.resync.run import Run

STEP = 256 * 1024  # bytes handed to the writer at once


async def fetch_contents(run: Run) -> None:
    """One worker: until no attachment is wanted and no more items come."""
    while taken := await run.contents.take(lambda taken, row: False):
        await fetch_content(run, taken[0])
        run.contents.done(taken)


async def fetch_content(run: Run, wanted: WantedAttachment) -> None:
    """Brings one attachment in whole, or leaves it out by name."""
    try:
        first = await _download(run, wanted, wanted.received, wanted.etag)
        expected = wanted.attachment.size
        if expected is not None and wanted.attachment.role == "attachment" and first[1] != expected:
            await run.store.put(RestartAttachment(wanted.key))
            second = await _download(run, wanted, 0, "")
            if second != first and second[1] != expected:
                raise ServerNonsense(f"its length is {second[1]} bytes, then another, and should be {expected}")
            first = second
        await run.store.put(FinishAttachment(wanted.key, sha256=first[0], size=first[1]))
        run.nonsense = 0
    except ItemGone:
        # If its item is gone too, the change feed says so, and the record of this goes with it.
        await run.store.put(OmitAttachment(wanted.key, "the server does not have it any more"))
    except (ServerRefused, ServerNonsense) as error:
        if error.scope == "run" and isinstance(error, (BadCredentials, SessionExpired)):
            raise
        reason = str(error) or type(error).__name__
        await run.store.put(OmitAttachment(wanted.key, reason))
        run.listen(Skipped("attachment", wanted.attachment.id or wanted.item_id, reason))
    run.meter.attachment_done()


async def _download(run: Run, wanted: WantedAttachment, received: int, etag: str) -> tuple[bytes, int]:
    """(sha256, length) of the content, stored on the way from offset `received` on."""
    digest = hashlib.sha256()
    position = 0
    if received:
        async for data in run.store.content(wanted.key):
            digest.update(data)
            position += len(data)
    pending = bytearray()
    start = position
    async for piece in run.mailbox.download(wanted.attachment, offset=position, etag=etag):
        if piece.offset != position:
            if piece.offset:
                raise ServerNonsense(f"the download went on at byte {piece.offset} instead of {position}", scope="item")
            await run.store.put(RestartAttachment(wanted.key))
            digest, position, start = hashlib.sha256(), 0, 0
            pending.clear()
        digest.update(piece.data)
        position += len(piece.data)
        run.meter.piece(len(piece.data))
        pending += piece.data
        while len(pending) >= STEP:
            await run.store.put(PutContent(wanted.key, start, bytes(pending[:STEP]), piece.etag))
            del pending[:STEP]
            start += STEP
    if pending:
        await run.store.put(PutContent(wanted.key, start, bytes(pending)))
    return digest.digest(), position
