"""Downloads attachments, streamed and resumable.

A download that was cut short resumes at its offset, or starts again if the server requires it: a chunk at offset 0
after others means that everything before it is void. Bytes of two versions of a file are never mixed (`If-Range`, and
the total must stay the same), and an early end is not taken for the end. The retry timeout starts again whenever the
download gets further than ever. URLs on other servers are refused before anything is sent, and endless streams end.

It is harder than for calls to see who answered, since an attachment can be anything. The protocol's package recognises
the server's own errors. An HTTP error in REFUSALS may concern this URL alone: it is raised as `DownloadRefused`, and
the caller decides what it means. Everything else that is not the attachment (a page, a redirect, nothing, a head that
fits no request) is `ForeignReply`; before the next attempt a call confirms the server and the session.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, TypeVar

from kerio_resync.errors import (
    DownloadRefused,
    ForeignReply,
    OutcomeUnknown,
    ProtocolError,
    ResyncError,
    ServerRefused,
    SessionExpired,
)
from kerio_resync.model import Attachment, ContentChunk
from kerio_resync.server.http import statuses
from kerio_resync.server.http.content_type import is_encoded_size, is_page, looks_like_page
from kerio_resync.server.http.link_stats import PLAIN
from kerio_resync.server.http.transport import Request, Response, TooLong, Transport
from kerio_resync.server.pacing.limiter import Limiter, Slot
from kerio_resync.server.pacing.retry import RetryState

T = TypeVar("T")

CHUNK_BYTES = 256 * 1024  # handed to the caller at once
EXCESS_BYTES = 64 << 20  # allowed beyond four times the size in the struct
MAX_UNKNOWN_BYTES = 4 << 30  # of an attachment without any stated size
REFUSALS = frozenset({403, 404, 410, 500})

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)


class DownloadState(NamedTuple):
    """The progress of a download.

    `received` bytes of the version `etag` are here; it has `total` bytes.
    """

    received: int = 0
    etag: str = ""
    total: int | None = None


def range_headers(state: DownloadState, encoding: str = PLAIN) -> dict[str, str]:
    """Return the headers that request the rest.

    `encoding` is accepted for a whole content only: ranges count encoded bytes. A weak ETag proves nothing about bytes
    (RFC 9110, 13.1.5).
    """
    headers = {"Accept-Encoding": PLAIN if state.received else encoding}
    if state.received:
        headers["Range"] = f"bytes={state.received}-"
        if state.etag and not state.etag.startswith("W/"):
            headers["If-Range"] = state.etag
    return headers


def state_after_head(state: DownloadState, status: int, headers: Mapping[str, str]) -> DownloadState | None:
    """Return the state after a reply's head: resumed, or started again at 0.

    None: request everything again.

    ForeignReply if the head fits no request of ours.
    """
    etag = headers.get("etag", "")
    if status == 200:
        length = headers.get("content-length", "")
        packed = headers.get("content-encoding", "identity") != "identity"
        return DownloadState(0, "" if packed else etag, int(length) if length.isdecimal() and not packed else None)
    if status == 416:
        unsatisfied = _UNSATISFIED.fullmatch(headers.get("content-range", ""))
        is_complete = unsatisfied and state.received and int(unsatisfied[1]) == state.received
        if is_complete and state.total in (None, state.received):
            return DownloadState(state.received, state.etag, state.received)
        if state.received:
            return None
        raise foreign_download("an unsatisfiable range", status)
    part = _RANGE.fullmatch(headers.get("content-range", ""))
    if not part or int(part[1]) > int(part[2]) or (not state.received and int(part[1])):
        raise foreign_download("a range that was not requested", status)
    total = None if part[3] == "*" else int(part[3])
    changed = (state.etag and etag != state.etag) or (None not in (total, state.total) and total != state.total)
    if state.received and (changed or int(part[1]) != state.received):
        return None
    return DownloadState(state.received, etag or state.etag, total if total is not None else state.total)


def has_foreign_type(attachment: Attachment, status: int, headers: Mapping[str, str]) -> bool:
    """Return whether a reply unexpectedly has the type of pages or of the API.

    Neither the attachment's type nor its size explains it.
    """
    content_type = headers.get("content-type", "").lower()
    kind = "html" if "html" in content_type else "json" if "json" in content_type else ""
    if status != 200 or not kind or kind in attachment.content_type.lower():
        return False
    return not (attachment.size and headers.get("content-length", "") == str(attachment.size))


def begins_as_page(attachment: Attachment, data: bytes, total: int | None) -> bool:
    """Return whether a content unexpectedly begins like an HTML page.

    Neither the attachment's type nor its size explains it.
    """
    if not looks_like_page(data) or is_page(attachment):
        return False
    return total is None or not (attachment.size == total or is_encoded_size(attachment.size, total))


def foreign_download(what: str, status: int) -> ForeignReply:
    """Return the error for a download that was answered with something else."""
    return ForeignReply(f"a download is answered with {what} (status {status})", status=status)


def max_bytes(attachment: Attachment, total: int | None) -> int:
    """Return how many bytes may arrive before the stream counts as endless.

    The size in a struct may be that of the encoded form.
    """
    if total is not None:
        return total
    return 4 * attachment.size + EXCESS_BYTES if attachment.size is not None else MAX_UNKNOWN_BYTES


@dataclass(slots=True)
class _Reply:
    """One accepted reply. `chunks` None: there is no body to read.

    `counted`: wire bytes counted so far.
    """

    stack: AsyncExitStack
    slot: Slot
    response: Response
    chunks: AsyncIterator[bytes] | None
    counted: int = 0


class Downloader(Protocol):
    """What a download needs of the client that makes it."""

    transport: Transport
    limiter: Limiter
    timeout: float
    wire_bytes: int

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers that carry the session."""
        ...

    async def confirm_session(self) -> None:
        """Wait until the server itself answers, and renew an expired session."""
        ...

    async def with_retries(
        self, attempt: Callable[[], Awaitable[T]], name: str, *, state: RetryState | None = None
    ) -> T:
        """Repeat `attempt` as `Retrier.call` does."""
        ...


class Download:
    """One download; a protocol's class adds what its refusals mean.

    `next_chunk` returns the chunks in turn, None at the end; `close` frees the connection. `name`: of the request.
    """

    name: ClassVar[str] = "GET"

    def __init__(self, client: Downloader, attachment: Attachment, url: str, offset: int, etag: str) -> None:
        self._client = client
        self._attachment = attachment
        self._url = url
        self._state = DownloadState(offset, etag)
        self._furthest = offset
        self._retries = RetryState()
        self._reply: _Reply | None = None
        self._deferred: OutcomeUnknown | None = None  # raised after the bytes before it were handed out
        self._has_chunks = False
        self._done = False

    async def next_chunk(self) -> ContentChunk | None:
        """Return the next chunk; raise as `Mailbox.download` does."""
        if self._done:
            return None
        try:
            chunk = await self._client.with_retries(self._attempt, self.name, state=self._retries)
        except ServerRefused as error:
            if not isinstance(error, SessionExpired):
                error.scope = "item"
            raise
        except ProtocolError as error:
            error.scope = "item"
            raise
        if self._state.received > self._furthest:
            self._furthest = self._state.received
            self._retries.clear()
        return chunk

    async def close(self, error: BaseException | None = None) -> None:
        """End the current request; `error` tells the limiter what happened."""
        reply, self._reply = self._reply, None
        if reply is None:
            return
        if isinstance(reply.chunks, AsyncGenerator):
            await reply.chunks.aclose()
        reply.slot.complete(self._count(reply))
        await reply.stack.__aexit__(type(error) if error else None, error, None)

    async def _attempt(self) -> ContentChunk | None:
        if deferred := self._deferred:
            self._deferred = None
            raise deferred
        try:
            if self._reply is None:
                self._reply = await self._open()
            return await self._read(self._reply)
        except BaseException as error:
            await self.close(error)
            if isinstance(error, ForeignReply):
                await self._client.confirm_session()  # an expired session looks the same
            raise

    async def _open(self) -> _Reply:
        """Send the request and check the reply's head; the slot is kept until `close`."""
        client = self._client
        async with AsyncExitStack() as stack:
            slot = await stack.enter_async_context(client.limiter.slot(self.name, download=True))
            headers = {**client.headers(self._url), **range_headers(self._state, self.accept_encoding())}
            request = Request("GET", self._url, headers, timeout=client.timeout)
            response = await stack.enter_async_context(client.transport.send(request))
            slot.answered(response.connect_seconds)
            status = response.status
            if status not in (200, 206, 416) or has_foreign_type(self._attachment, status, response.headers):
                raise await self.refusal(response)
            state = state_after_head(self._state, status, response.headers)
            if state is None:
                self._state = DownloadState()
                raise OutcomeUnknown("the server cannot resume an attachment; it starts again")
            if (state.total or 0) > max_bytes(self._attachment, None):
                raise TooLong(f"an attachment longer than its stated size allows ({state.total:,} bytes)", scope="item")
            self._has_chunks = self._has_chunks and state.received > 0
            self._state = state
            slot.accepted()
            return _Reply(stack.pop_all(), slot, response, None if status == 416 else response.chunks())

    async def _read(self, reply: _Reply) -> ContentChunk | None:
        """Return the next CHUNK_BYTES, or the rest."""
        parts: list[bytes] = []
        start, size, total = self._state.received, 0, self._state.total
        limit = max_bytes(self._attachment, total)
        try:
            if reply.chunks is not None:
                async for data in reply.chunks:
                    if not start and not parts and begins_as_page(self._attachment, data, total):
                        raise foreign_download("a web page", 200)
                    parts.append(data)
                    size += len(data)
                    self._count(reply)
                    if start + size > limit:
                        raise TooLong("an attachment longer than its stated size allows", scope="item")
                    if size >= CHUNK_BYTES:
                        return self._chunk(start, parts)
        except ForeignReply:
            raise  # nothing of it is the attachment
        except OutcomeUnknown as error:
            return await self._hand_out_before(error, start, parts)
        if total is not None and start + size < total:
            return await self._hand_out_before(OutcomeUnknown("an attachment ended early"), start, parts)
        if not start + size and self._attachment.size != 0:
            raise foreign_download("nothing", 200)
        await self.close()
        self._done = True
        self._state = DownloadState(start, self._state.etag, start + size)
        return self._chunk(start, parts) if parts or not self._has_chunks else None

    async def _hand_out_before(self, error: OutcomeUnknown, start: int, parts: list[bytes]) -> ContentChunk:
        """Return the bytes that arrived before `error`, which the next attempt raises."""
        if not parts:
            raise error
        await self.close(error)
        self._deferred = error
        return self._chunk(start, parts)

    def _chunk(self, start: int, parts: list[bytes]) -> ContentChunk:
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._state = DownloadState(start + len(data), self._state.etag, self._state.total)
        self._has_chunks = True
        return ContentChunk(start, data, self._state.total, self._state.etag)

    def _count(self, reply: _Reply) -> int:
        """Add new wire bytes to the client's total; return those of this reply."""
        before, reply.counted = reply.counted, reply.response.wire_bytes
        self._client.wire_bytes += reply.counted - before
        return reply.counted

    def accept_encoding(self) -> str:
        """Return the `Accept-Encoding`: most attachments are compressed already."""
        return PLAIN

    async def refusal(self, response: Response) -> ResyncError:
        """Return the error for a reply without the content.

        REFUSALS may concern this content alone.
        """
        status = response.status
        if status in REFUSALS:
            return DownloadRefused(f"the server answers with status {status}", code=status, method=self.name)
        if status in (200, 413):
            return foreign_download("something other than its content", status)
        after = statuses.retry_after(response.headers)
        return statuses.error_from_status(self.name, status, after=after, what="no content")


async def chunks_of(transfer: Download) -> AsyncIterator[ContentChunk]:
    """Yield the bytes of a download, as `Mailbox.download` describes."""
    try:
        while (chunk := await transfer.next_chunk()) is not None:
            yield chunk
    finally:
        await transfer.close()
