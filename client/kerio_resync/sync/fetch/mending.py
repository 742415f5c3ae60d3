"""A content of which the old cache has lost a piece: the piece is fetched, not the whole.

Promises: what comes of it is, to the last bit, the content that the old cache once had whole, of the version that the
server lists; else nothing comes of it, and the content is fetched like any other. Until that is proven nothing of it is
in the database: it is put together in a file without a name, in the profile's folder.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from typing import IO, Final, cast

from kerio_resync.cache.mutations import FinishAttachment, PutAttachmentBytes
from kerio_resync.cache.queries import QueuedAttachment
from kerio_resync.cache.recovery.salvage import DamagedAttachment, OldCache
from kerio_resync.errors import ProtocolError
from kerio_resync.model import ContentChunk
from kerio_resync.sync.context import RebuildContext

STEP: Final = 256 * 1024  # bytes handed to the writer at once


async def mend(run: RebuildContext, wanted: QueuedAttachment) -> bool:
    """Brings a content in that the old cache has most of; False if it has to be fetched. ItemGone, ServerRefused."""
    old = run.damaged_source
    if old is None or wanted.received:
        return False
    found = await old.find_damaged_attachment(wanted.item_id, wanted.attachment)
    if found is None or await run.store.watermarks([wanted.item_id]) != {wanted.item_id: found.watermark}:
        return False
    async with _whole(run, old, wanted, found) as file:
        if file is None:
            return False
        start = 0
        while data := file.read(STEP):
            await run.store.apply(PutAttachmentBytes(wanted.key, start, data, found.etag))
            start += len(data)
    await run.store.apply(FinishAttachment(wanted.key, sha256=found.sha256, size=found.size))
    return True


@asynccontextmanager
async def _whole(
    run: RebuildContext, old: OldCache, wanted: QueuedAttachment, found: DamagedAttachment
) -> AsyncIterator[IO[bytes] | None]:
    """The content in a file, proven; None if it does not come to that."""
    with ExitStack() as stack:
        file = None
        with suppress(OSError, ProtocolError):
            made = stack.enter_context(tempfile.TemporaryFile(dir=run.settings.profile, prefix="mending-"))
            if await _put_together(run, old, wanted, found, made):
                made.seek(0)
                file = made
        yield file


async def _put_together(
    run: RebuildContext, old: OldCache, wanted: QueuedAttachment, found: DamagedAttachment, file: IO[bytes]
) -> bool:
    """Whether it came to the old whole. Nothing is fetched where no piece is left."""
    digest, position = hashlib.sha256(), 0

    def put(data: bytes) -> None:
        nonlocal position
        file.write(data)
        digest.update(data)
        position += len(data)

    async def fetch(end: int) -> bool:
        """Up to `end`; whether that is what came."""
        pieces = run.mailbox.download(wanted.attachment, offset=position, etag=found.etag, end=end)
        async with aclosing(cast("AsyncGenerator[ContentChunk]", pieces)):
            async for piece in pieces:
                if piece.offset != position or position + len(piece.data) > end:
                    return False
                put(piece.data)
                run.progress.chunk(len(piece.data))
        return position == end

    for offset in found.offsets:
        data = await old.piece(found.number, offset)
        if data and offset > position and not await fetch(offset):
            return False
        put(data)
    if not position or (position < found.size and not await fetch(found.size)):
        return False
    return (position, digest.digest()) == (found.size, found.sha256)
