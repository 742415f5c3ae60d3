"""Fetches the contents of attachments, streamed in chunks into the database, however large they are.

A download that was cut, in this run or an earlier one, goes on where its committed bytes end if the server honours
that, and starts again if it doesn't. A content whose length is not what its struct says is fetched once more; if the
second copy is the same, it is the struct that is wrong, and the content is kept. An empty one is kept only if its
struct says so: a server in trouble sends nothing as readily as twice the same page.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from kerio_resync.cache.facts import FinishAttachment, OmitAttachment, PutContent, PutWhole, RestartAttachment
from kerio_resync.cache.reading import WantedAttachment
from kerio_resync.errors import BadCredentials, ItemGone, ServerNonsense, ServerRefused, SessionExpired
from kerio_resync.events import Skipped
from kerio_resync.resync.mending import STEP, mend
from kerio_resync.resync.run import Run


async def fetch_contents(run: Run) -> None:
    """One worker: until no attachment is wanted and no more items come."""
    while taken := await run.contents.take(lambda taken, row: False):
        await fetch_content(run, taken[0])
        run.contents.done(taken)


async def fetch_content(run: Run, wanted: WantedAttachment) -> None:
    """Brings one attachment in whole, or leaves it out by name."""
    try:
        if not await mend(run, wanted):
            await _fetch(run, wanted)
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


async def _fetch(run: Run, wanted: WantedAttachment) -> None:
    first = await _download(run, wanted, wanted.received, wanted.etag)
    if not _as_said(wanted, first):
        await run.store.put(RestartAttachment(wanted.key))
        second = await _download(run, wanted, 0, "")
        if not _as_said(wanted, second):
            if not second.size:
                raise ServerNonsense("the server sends nothing for it")
            if not second.same(first):
                said = wanted.attachment.size
                raise ServerNonsense(f"its length is {second.size} bytes, then another, and should be {said}")
        first = second
    await _keep(run, wanted, first)
    run.nonsense = 0


class _Fetched(NamedTuple):
    """A content: what it is, and of it the bytes from `start` on, which are not told to the database yet."""

    sha256: bytes
    size: int
    start: int
    rest: bytes
    etag: str

    def same(self, other: _Fetched) -> bool:
        return (self.sha256, self.size) == (other.sha256, other.size)


def _as_said(wanted: WantedAttachment, fetched: _Fetched) -> bool:
    """Whether the length is what the struct says; of a photo, whose struct says none, that there is anything."""
    if wanted.attachment.role == "photo" or wanted.attachment.size is None:
        return fetched.size > 0
    return fetched.size == wanted.attachment.size


async def _keep(run: Run, wanted: WantedAttachment, fetched: _Fetched) -> None:
    """What came is whole: its last bytes and that it is, in one fact if they are all of it."""
    if not fetched.start and fetched.rest:
        await run.store.put(PutWhole(wanted.key, fetched.rest, fetched.sha256, fetched.etag))
        return
    if fetched.rest:
        await run.store.put(PutContent(wanted.key, fetched.start, fetched.rest, fetched.etag))
    await run.store.put(FinishAttachment(wanted.key, sha256=fetched.sha256, size=fetched.size))


async def _download(run: Run, wanted: WantedAttachment, received: int, etag: str) -> _Fetched:
    """The content, told to the database on the way from offset `received` on, but for its last bytes."""
    digest = hashlib.sha256()
    position = 0
    if received:
        async for data in run.store.content(wanted.key):
            digest.update(data)
            position += len(data)
    pending, start = b"", position
    async for piece in run.mailbox.download(wanted.attachment, offset=position, etag=etag):
        if piece.offset != position:
            if piece.offset:
                raise ServerNonsense(f"the download went on at byte {piece.offset} instead of {position}", scope="item")
            await run.store.put(RestartAttachment(wanted.key))
            digest, position, start, pending = hashlib.sha256(), 0, 0, b""
        digest.update(piece.data)
        position += len(piece.data)
        run.meter.piece(len(piece.data))
        etag = piece.etag
        pending = pending + piece.data if pending else piece.data
        while len(pending) >= STEP:
            await run.store.put(PutContent(wanted.key, start, pending[:STEP], etag))
            pending = pending[STEP:]
            start += STEP
    return _Fetched(digest.digest(), position, start, pending, etag)
