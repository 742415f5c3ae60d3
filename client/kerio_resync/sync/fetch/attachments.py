"""Downloads attachments of any size, streamed in chunks into the database.

A download that was cut short, in this run or an earlier one, resumes after its committed bytes if the server allows
that, and starts again if not. A content that contradicts its struct (by its length, or because it is an HTML page or a
truncated picture) is downloaded once more. If that does not help, it is set aside: a proxy may send the same page
twice, and a server a wrong struct. The end of the run finds out which it was (`resolve_doubts`).
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
from kerio_resync.server.http.content_type import is_encoded_size, is_page, looks_like_page
from kerio_resync.server.http.decompression import TooLong
from kerio_resync.sync.context import RebuildContext

GONE: Final = "the server does not have it any more"
MAX_FAST_REFUSALS: Final = 8  # downloads refused in a row before the next ones are slowed down
MAX_BRAKE_SECONDS: Final = 30.0
WRITE_BYTES: Final = 256 * 1024  # passed to the writer at once
HEAD_BYTES: Final = 512  # enough to recognise a page or a picture
TAIL_BYTES: Final = 32  # must contain the end mark of a picture


async def attachment_worker(run: RebuildContext) -> None:
    """Fetch attachments until none is queued and no more items arrive."""
    while taken := await run.attachment_queue.take(lambda taken, row: False):
        await fetch_attachment(run, taken[0])
        run.attachment_queue.done(taken)


async def fetch_attachment(run: RebuildContext, wanted: QueuedAttachment) -> None:
    """Store one attachment, skip it, or set it aside for another try."""
    try:
        await _fetch(run, wanted)
    except (ForeignAddress, TooLong) as error:
        await _skip(run, wanted, str(error))
    except (ItemGone, DownloadRefused, ProtocolError) as error:
        if not await _is_listed(run, wanted):
            # If its item is gone too, the change feed deletes it together with this record.
            await run.store.apply(OmitAttachment(wanted.key, GONE))
        elif not await _believe(run, wanted, error):
            await run.store.apply(RestartAttachment(wanted.key))
            run.attachment_queue.set_aside(wanted)
            await _slow_down(run)
            return
    except ServerRefused as error:
        if isinstance(error, (BadCredentials, SessionExpired)):
            raise
        await _skip(run, wanted, words_of(error))
    if wanted.attachment.role != "source":
        run.progress.attachment_done()


async def _believe(run: RebuildContext, wanted: QueuedAttachment, error: ResyncError) -> bool:
    """Return whether a failure is believed; then its consequence is stored."""
    fetched = error.fetched if isinstance(error, _Contradiction) else None
    if not run.doubts.believes(wanted.key, str(error), fetched and (fetched.sha256, fetched.size)):
        return False
    if fetched is not None and fetched.size:
        await _store(run, wanted, fetched)
    else:
        await _skip(run, wanted, str(error))
    return True


async def _skip(run: RebuildContext, wanted: QueuedAttachment, reason: str) -> None:
    await run.store.apply(OmitAttachment(wanted.key, reason))
    run.announce_skipped("attachment", wanted.attachment.id or wanted.item_id, reason)


async def _is_listed(run: RebuildContext, wanted: QueuedAttachment) -> bool:
    """Ask the API whether the item, and the attachment in it, still exist."""
    kind: Kind = "contact" if wanted.attachment.role == "photo" else "mail"
    reply = await run.mailbox.items_by_id(kind, [wanted.item_id])
    listed = {(attachment.id, attachment.url) for item in reply.items for attachment in item.attachments}
    return (wanted.attachment.id, wanted.attachment.url) in listed or not (reply.items or reply.gone)


async def _slow_down(run: RebuildContext) -> None:
    """Wait if one download after the other is refused: then something else is wrong."""
    run.doubts.refused_in_a_row += 1
    excess = run.doubts.refused_in_a_row - MAX_FAST_REFUSALS
    if excess > 0:
        await asyncio.sleep(min(MAX_BRAKE_SECONDS, 0.25 * 2.0 ** min(excess, 30)))


async def _fetch(run: RebuildContext, wanted: QueuedAttachment) -> None:
    """Download and store one attachment.

    ProtocolError for a content that contradicts its struct.
    """
    fetched = await _download(run, wanted, wanted.received, wanted.etag)
    problem = _problem(wanted.attachment, fetched)
    if problem:
        first = fetched
        await run.store.apply(RestartAttachment(wanted.key))
        fetched = await _download(run, wanted, 0, "")
        problem = _problem(wanted.attachment, fetched)
        if problem and not fetched.same(first):
            problem = f"{problem}, and another one the next time"
        elif problem and is_encoded_size(wanted.attachment.size, fetched.size):
            problem = ""
    if problem:
        raise _Contradiction(problem, fetched)
    run.doubts.served(wanted.attachment, fetched.sha256, fetched.size)
    await _store(run, wanted, fetched)
    run.fetch.consecutive_failures = 0


class _Contradiction(ProtocolError):
    """A content that contradicts its struct, downloaded twice."""

    def __init__(self, detail: str, fetched: _Fetched) -> None:
        super().__init__(detail, scope="item")
        self.fetched = fetched


class _Fetched(NamedTuple):
    """A content of `size` bytes.

    `rest`: the bytes from `start` on, which the database does not have yet.

    `head` and `tail`: its first and last bytes.
    """

    sha256: bytes
    size: int
    start: int
    rest: bytes
    etag: str
    head: bytes = b""
    tail: bytes = b""

    def same(self, other: _Fetched) -> bool:
        """Return whether both have the same bytes."""
        return (self.sha256, self.size) == (other.sha256, other.size)


def _problem(attachment: Attachment, fetched: _Fetched) -> str:
    """Return how a content contradicts its struct; "" if it does not."""
    size = None if attachment.role == "photo" else attachment.size
    if size is not None and fetched.size != size:
        return f"its length is {fetched.size} bytes instead of {size}"
    if not fetched.size and size is None:
        return "the server sent nothing for it"
    if size is None and not _has_end(fetched.head, fetched.tail):
        return "it is a truncated picture"
    if attachment.role != "source" and looks_like_page(fetched.head) and not is_page(attachment):
        return "it is a web page"
    return ""


_ENDS: Final = ((b"\xff\xd8\xff", b"\xff\xd9"), (b"\x89PNG\r\n", b"IEND\xaeB`\x82"), (b"GIF8", b";"))


def _has_end(head: bytes, tail: bytes) -> bool:
    return all(end in tail for start, end in _ENDS if head.startswith(start))


async def _store(run: RebuildContext, wanted: QueuedAttachment, fetched: _Fetched) -> None:
    """Store the rest of a complete content; a small content takes one mutation."""
    if not fetched.start and fetched.rest:
        await run.store.apply(PutWholeAttachment(wanted.key, fetched.rest, fetched.sha256, fetched.etag))
        return
    if fetched.rest:
        await run.store.apply(PutAttachmentBytes(wanted.key, fetched.start, fetched.rest, fetched.etag))
    await run.store.apply(FinishAttachment(wanted.key, sha256=fetched.sha256, size=fetched.size))


async def _download(run: RebuildContext, wanted: QueuedAttachment, received: int, etag: str) -> _Fetched:
    """Download from offset `received` on into the database, except the last bytes."""
    digest = hashlib.sha256()
    position, head, tail = 0, b"", b""
    if received:
        async for data in run.store.content(wanted.key):
            digest.update(data)
            position += len(data)
            head, tail = _add_to_ends(head, tail, data)
    pending, start = b"", position
    async for chunk in run.mailbox.download(wanted.attachment, offset=position, etag=etag):
        if chunk.offset != position:
            if chunk.offset:
                raise ProtocolError(f"the download resumed at byte {chunk.offset} instead of {position}", scope="item")
            await run.store.apply(RestartAttachment(wanted.key))
            digest, position, start, pending, head, tail = hashlib.sha256(), 0, 0, b"", b"", b""
        digest.update(chunk.data)
        position += len(chunk.data)
        head, tail = _add_to_ends(head, tail, chunk.data)
        run.progress.chunk(len(chunk.data))
        etag = chunk.etag
        pending = pending + chunk.data if pending else chunk.data
        while len(pending) >= WRITE_BYTES:
            await run.store.apply(PutAttachmentBytes(wanted.key, start, pending[:WRITE_BYTES], etag))
            pending = pending[WRITE_BYTES:]
            start += WRITE_BYTES
    return _Fetched(digest.digest(), position, start, pending, etag, head, tail)


def _add_to_ends(head: bytes, tail: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Return the first and last bytes of a content after `data` is appended."""
    if len(head) < HEAD_BYTES:
        head += data[: HEAD_BYTES - len(head)]
    return head, data[-TAIL_BYTES:] if len(data) >= TAIL_BYTES else (tail + data)[-TAIL_BYTES:]
