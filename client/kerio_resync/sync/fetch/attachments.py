"""Fetches the contents of attachments, streamed in chunks into the database, however large they are.

A download that was cut, in this run or an earlier one, goes on where its committed bytes end if the server honours
that, and starts again if it doesn't. A content that is not what its struct says (by its length, or because it is a page
of HTML or a picture without an end) is fetched once more. If that is no better, it is set aside: a proxy sends the same
page twice as readily as the server a content whose struct is wrong. Which of them it was is found out at the end of the
run (`doubts`).
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final, NamedTuple

from kerio_resync.cache.mutations import (
    FinishAttachment,
    OmitAttachment,
    PutAttachmentBytes,
    PutWholeAttachment,
    RestartAttachment,
)
from kerio_resync.cache.queries import QueuedAttachment
from kerio_resync.errors import (
    BadCredentials,
    DownloadRefused,
    ForeignAddress,
    ItemGone,
    ProtocolError,
    ResyncError,
    ServerRefused,
    SessionExpired,
    words_of,
)
from kerio_resync.model import Attachment, Kind
from kerio_resync.server.http.decompression import TooLong
from kerio_resync.server.kerio.downloads import is_encoded_size, is_page
from kerio_resync.server.kerio.replies import looks_like_page
from kerio_resync.sync.context import RebuildContext

GONE: Final = "the server does not have it any more"
BRAKE: Final = 8  # downloads refused in a row before the next ones are slowed down
LONGEST_BRAKE: Final = 30.0  # seconds
WRITE_BYTES: Final = 256 * 1024  # bytes handed to the writer at once
HEAD: Final = 512  # bytes that tell what a content is
TAIL: Final = 32  # bytes in which a picture's end mark must be


async def attachment_worker(run: RebuildContext) -> None:
    """One worker: until no attachment is wanted and no more items come."""
    while taken := await run.attachment_queue.take(lambda taken, row: False):
        await fetch_attachment(run, taken[0])
        run.attachment_queue.done(taken)


async def fetch_attachment(run: RebuildContext, wanted: QueuedAttachment) -> None:
    """Brings one attachment in whole, leaves it out by name, or sets it aside for another try."""
    try:
        await _fetch(run, wanted)
    except (ForeignAddress, TooLong) as error:
        await _leave_out(run, wanted, str(error))
    except (ItemGone, DownloadRefused, ProtocolError) as error:
        if not await _is_listed(run, wanted):
            # if its item is gone too, the change feed says so, and the record of this goes with it
            await run.store.apply(OmitAttachment(wanted.key, GONE))
        elif not await _believe(run, wanted, error):
            await run.store.apply(RestartAttachment(wanted.key))
            run.attachment_queue.set_aside(wanted)
            await _slow_down(run)
            return
    except ServerRefused as error:
        if isinstance(error, (BadCredentials, SessionExpired)):
            raise
        await _leave_out(run, wanted, words_of(error))
    run.progress.attachment_done()


async def _believe(run: RebuildContext, wanted: QueuedAttachment, error: ResyncError) -> bool:
    """Whether a failure came often enough; then what it comes to is stored."""
    odd = error.fetched if isinstance(error, _Odd) else None
    if not run.doubts.believes(wanted.key, str(error), odd and (odd.sha256, odd.size)):
        return False
    if odd is not None and odd.size:
        await _keep(run, wanted, odd)
    else:
        await _leave_out(run, wanted, str(error))
    return True


async def _leave_out(run: RebuildContext, wanted: QueuedAttachment, reason: str) -> None:
    await run.store.apply(OmitAttachment(wanted.key, reason))
    run.announce_skipped("attachment", wanted.attachment.id or wanted.item_id, reason)


async def _is_listed(run: RebuildContext, wanted: QueuedAttachment) -> bool:
    """Whether the server still has the item, and the item the attachment: the API is asked, not the download."""
    kind: Kind = "contact" if wanted.attachment.role == "photo" else "mail"
    details = await run.mailbox.items_by_id(kind, [wanted.item_id])
    listed = {(each.id, each.url) for item in details.items for each in item.attachments}
    return (wanted.attachment.id, wanted.attachment.url) in listed or not (details.items or details.gone)


async def _slow_down(run: RebuildContext) -> None:
    """Where one download after the other is refused, it is not these that are wrong."""
    run.doubts.refused_in_a_row += 1
    beyond = run.doubts.refused_in_a_row - BRAKE
    if beyond > 0:
        await asyncio.sleep(min(LONGEST_BRAKE, 0.25 * 2.0 ** min(beyond, 30)))


async def _fetch(run: RebuildContext, wanted: QueuedAttachment) -> None:
    """ProtocolError for a content that is not as its struct says, and not believed yet to be the right one."""
    fetched = await _download(run, wanted, wanted.received, wanted.etag)
    problem = _problem(wanted.attachment, fetched)
    if problem:
        first = fetched
        await run.store.apply(RestartAttachment(wanted.key))
        fetched = await _download(run, wanted, 0, "")
        problem = _problem(wanted.attachment, fetched)
        if problem and not fetched.same(first):
            problem = f"{problem}, and then another"
        elif problem and is_encoded_size(wanted.attachment.size, fetched.size):
            problem = ""
    if problem:
        raise _Odd(problem, fetched)
    run.doubts.served(wanted.attachment, fetched.sha256, fetched.size)
    await _keep(run, wanted, fetched)
    run.fetch.consecutive_failures = 0


class _Odd(ProtocolError):
    """A content that is not as its struct says, the same twice or another each time."""

    def __init__(self, detail: str, fetched: _Fetched) -> None:
        super().__init__(detail, scope="item")
        self.fetched = fetched


class _Fetched(NamedTuple):
    """A content: what it is, and of it the bytes from `start` on, which are not told to the database yet. `head` and
    `tail`: its first and last bytes."""

    sha256: bytes
    size: int
    start: int
    rest: bytes
    etag: str
    head: bytes = b""
    tail: bytes = b""

    def same(self, other: _Fetched) -> bool:
        return (self.sha256, self.size) == (other.sha256, other.size)


def _problem(attachment: Attachment, fetched: _Fetched) -> str:
    """What about a content does not fit its struct; "" if nothing."""
    size = None if attachment.role == "photo" else attachment.size
    if size is not None and fetched.size != size:
        return f"its length is {fetched.size} bytes, and should be {size}"
    if not fetched.size and size is None:
        return "the server sends nothing for it"
    if size is None and not _has_end(fetched.head, fetched.tail):
        return "it is a picture without an end"
    if looks_like_page(fetched.head) and not is_page(attachment):
        return "it is a web page, and should be something else"
    return ""


_ENDS: Final = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG\r\n", b"IEND\xaeB`\x82"), (b"GIF8", b";"))


def _has_end(head: bytes, tail: bytes) -> bool:
    return all(end in tail for start, end in _ENDS if head.startswith(start))


async def _keep(run: RebuildContext, wanted: QueuedAttachment, fetched: _Fetched) -> None:
    """What came is whole: its last bytes and that it is, in one fact if they are all of it."""
    if not fetched.start and fetched.rest:
        await run.store.apply(PutWholeAttachment(wanted.key, fetched.rest, fetched.sha256, fetched.etag))
        return
    if fetched.rest:
        await run.store.apply(PutAttachmentBytes(wanted.key, fetched.start, fetched.rest, fetched.etag))
    await run.store.apply(FinishAttachment(wanted.key, sha256=fetched.sha256, size=fetched.size))


async def _download(run: RebuildContext, wanted: QueuedAttachment, received: int, etag: str) -> _Fetched:
    """The content, told to the database on the way from offset `received` on, but for its last bytes."""
    digest = hashlib.sha256()
    position, head, tail = 0, b"", b""
    if received:
        async for data in run.store.content(wanted.key):
            digest.update(data)
            position += len(data)
            head, tail = _ends(head, tail, data)
    pending, start = b"", position
    async for piece in run.mailbox.download(wanted.attachment, offset=position, etag=etag):
        if piece.offset != position:
            if piece.offset:
                raise ProtocolError(f"the download went on at byte {piece.offset} instead of {position}", scope="item")
            await run.store.apply(RestartAttachment(wanted.key))
            digest, position, start, pending, head, tail = hashlib.sha256(), 0, 0, b"", b"", b""
        digest.update(piece.data)
        position += len(piece.data)
        head, tail = _ends(head, tail, piece.data)
        run.progress.chunk(len(piece.data))
        etag = piece.etag
        pending = pending + piece.data if pending else piece.data
        while len(pending) >= WRITE_BYTES:
            await run.store.apply(PutAttachmentBytes(wanted.key, start, pending[:WRITE_BYTES], etag))
            pending = pending[WRITE_BYTES:]
            start += WRITE_BYTES
    return _Fetched(digest.digest(), position, start, pending, etag, head, tail)


def _ends(head: bytes, tail: bytes, data: bytes) -> tuple[bytes, bytes]:
    """The first and the last bytes of a content to which `data` is added."""
    if len(head) < HEAD:
        head += data[: HEAD - len(head)]
    return head, data[-TAIL:] if len(data) >= TAIL else (tail + data)[-TAIL:]
