"""Attachments' contents, streamed: cut short they go on where they were, or begin again where the server wants that.

Promises: a piece at offset 0 after others means that all begins again; bytes of two versions of a file are never mixed
(`If-Range`, and the total must stay the same); what ends too early is not taken for whole; the retry timeout starts
again whenever the transfer gets further than ever. Refuses addresses of other servers before anything is sent, and
streams that never end.

Who answered is harder to tell here than at the API: a content can be anything. A JSON-RPC error is the server's own. So
may be an HTTP error that speaks of this address (`REFUSALS`): it comes out as `DownloadRefused`, for the caller to find
out whether it holds. All else that is not the content (a page, a redirect, nothing, a head that fits no request) is
`ForeignReply`; before it is asked again, the API is asked whether the server is there and the session still alive.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from kerio_resync.errors import (
    DownloadRefused,
    ForeignReply,
    OutcomeUnknown,
    ProtocolError,
    ResyncError,
    ServerRefused,
    SessionExpired,
    TooLarge,
)
from kerio_resync.model import Attachment, ContentChunk
from kerio_resync.server.http.transport import Request, Response, TooLong
from kerio_resync.server.kerio import error_codes
from kerio_resync.server.kerio.replies import foreign_download, looks_like_page, parse_response
from kerio_resync.server.kerio.rpc import RpcClient
from kerio_resync.server.kerio.session import resolve_url
from kerio_resync.server.pacing.limiter import Slot
from kerio_resync.server.pacing.retry import RetryState

DOWNLOAD_METHOD = "GET attachment"
CHUNK_BYTES = 256 * 1024  # bytes that are worth handing on
EXCESS_BYTES = 64 << 20  # bytes by which an attachment may exceed four times what its struct says
MAX_UNKNOWN_BYTES = 4 << 30  # bytes of an attachment of which nothing is known
MAX_ERROR_BODY_BYTES = 64 * 1024
PAGE_SUFFIXES = (".html", ".htm", ".xhtml", ".xht", ".shtml", ".mht", ".mhtml", ".xml", ".svg")
REFUSALS = frozenset({403, 404, 410, 500})

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)


class DownloadState(NamedTuple):
    """What is known of a transfer: `received` bytes of the version `etag`, which has `total` bytes."""

    received: int = 0
    etag: str = ""
    total: int | None = None


def range_headers(state: DownloadState) -> dict[str, str]:
    """Headers that ask for the rest of a transfer. A weak ETag proves nothing about bytes (RFC 9110, 13.1.5)."""
    headers = {"Accept-Encoding": "identity"}
    if state.received:
        headers["Range"] = f"bytes={state.received}-"
        if state.etag and not state.etag.startswith("W/"):
            headers["If-Range"] = state.etag
    return headers


def state_after_head(state: DownloadState, status: int, headers: Mapping[str, str]) -> DownloadState | None:
    """The state as a reply's head leaves it: going on, or beginning again at 0. None: ask again, from the start.

    ForeignReply if the head answers no request of ours.
    """
    etag = headers.get("etag", "")
    if status == 200:
        length = headers.get("content-length", "")
        packed = headers.get("content-encoding", "identity") != "identity"
        return DownloadState(0, "" if packed else etag, int(length) if length.isdecimal() and not packed else None)
    if status == 416:
        found = _UNSATISFIED.fullmatch(headers.get("content-range", ""))
        if found and state.received and int(found[1]) == state.received and state.total in (None, state.received):
            return DownloadState(state.received, state.etag, state.received)
        if state.received:
            return None
        raise foreign_download("the news that it has no beginning", status)
    found = _RANGE.fullmatch(headers.get("content-range", ""))
    if not found or int(found[1]) > int(found[2]) or (not state.received and int(found[1])):
        raise foreign_download("a part that was not asked for", status)
    total = None if found[3] == "*" else int(found[3])
    other = (state.etag and etag != state.etag) or (None not in (total, state.total) and total != state.total)
    if state.received and (other or int(found[1]) != state.received):
        return None
    return DownloadState(state.received, etag or state.etag, total if total is not None else state.total)


def is_typed_otherwise(attachment: Attachment, status: int, headers: Mapping[str, str]) -> bool:
    """Whether a reply's type is that of pages or of the API, and the struct speaks of neither it nor its length."""
    found = headers.get("content-type", "").lower()
    kind = "html" if "html" in found else "json" if "json" in found else ""
    if status != 200 or not kind or kind in attachment.content_type.lower():
        return False
    return not (attachment.size and headers.get("content-length", "") == str(attachment.size))


def begins_as_page(attachment: Attachment, data: bytes, total: int | None) -> bool:
    """Whether a content begins as a page of HTML does, and the struct speaks of neither it nor its length.

    Mail programs send pages as `application/octet-stream` too: then the file's name tells that it is one.
    """
    if not looks_like_page(data):
        return False
    if is_page(attachment):
        return False
    return total is None or not (attachment.size == total or is_encoded_size(attachment.size, total))


def is_page(attachment: Attachment) -> bool:
    """Whether an attachment is a page by its type or name; programs send pages as `application/octet-stream` too."""
    kind = attachment.content_type.lower()
    return "html" in kind or "xml" in kind or attachment.name.lower().rstrip().endswith(PAGE_SUFFIXES)


def is_encoded_size(told: int | None, size: int) -> bool:
    """Whether `told` is the size of `size` bytes in base64, as mails have it: in lines of 76 characters."""
    letters = 4 * -(-size // 3)
    breaks = -(-letters // 76)
    return breaks > 1 and told in [letters + end * (breaks - less) for end in (1, 2) for less in (0, 1)]


def max_bytes(attachment: Attachment, total: int | None) -> int:
    """How many bytes may come before the stream counts as endless. A struct's size may be that of its encoded form."""
    if total is not None:
        return total
    return 4 * attachment.size + EXCESS_BYTES if attachment.size is not None else MAX_UNKNOWN_BYTES


class Download:
    """One attachment on its way. `next_piece` gives the pieces in turn, None at the end; `close` lets go of it."""

    def __init__(self, caller: RpcClient, attachment: Attachment, offset: int, etag: str) -> None:
        self._caller = caller
        self._attachment = attachment
        self._url = resolve_url(caller.session.origin, attachment.url)
        self._state = DownloadState(offset, etag)
        self._furthest = offset
        self._retries = RetryState()
        self._sending: AbstractAsyncContextManager[Response] | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        self._slot: Slot | None = None
        self._response: Response | None = None
        self._counted = 0
        self._owed: OutcomeUnknown | None = None
        self._told = False
        self._done = False

    async def next_chunk(self) -> ContentChunk | None:
        if self._done:
            return None
        try:
            piece = await self._caller.with_retries(self._attempt, DOWNLOAD_METHOD, state=self._retries)
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
        return piece

    async def close(self, error: BaseException | None = None) -> None:
        slot, sending, chunks = self._slot, self._sending, self._chunks
        self._slot = self._sending = self._chunks = None
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
        kind = type(error) if error else None
        try:
            if sending:
                await sending.__aexit__(kind, error, None)
        finally:
            if slot:
                if chunks:
                    slot.complete(self._count())
                await slot.__aexit__(kind, error, None)

    async def _attempt(self) -> ContentChunk | None:
        if owed := self._owed:
            self._owed = None
            raise owed
        try:
            if self._chunks is None:
                await self._begin()
            return await self._read()
        except BaseException as error:
            await self.close(error)
            if isinstance(error, ForeignReply):
                # a dead session looks like this, too
                await self._caller.confirm_session()
            raise

    async def _begin(self) -> None:
        """Sends the request and judges the head of the reply; the slot is held until `close`."""
        slot = self._slot = self._caller.limiter.slot(DOWNLOAD_METHOD, download=True)
        try:
            await slot.__aenter__()
        except BaseException:
            self._slot = None
            raise
        headers = {**self._caller.session.headers(self._url), **range_headers(self._state)}
        sending = self._caller.transport.send(Request("GET", self._url, headers, timeout=self._caller.timeout))
        response = await sending.__aenter__()
        self._sending, self._response, self._counted = sending, response, 0
        slot.answered(response.connect_seconds)
        if response.status not in (200, 206, 416):
            raise await self._refusal(response)
        if is_typed_otherwise(self._attachment, response.status, response.headers):
            raise await self._refusal(response)
        state = state_after_head(self._state, response.status, response.headers)
        if state is None:
            self._state = DownloadState()
            raise OutcomeUnknown("the server can't go on with an attachment; it begins again")
        if (state.total or 0) > max_bytes(self._attachment, None):
            raise TooLong(f"an attachment that is longer than it can be ({state.total:,} bytes)", scope="item")
        self._told = self._told and state.received > 0
        self._state = state
        self._chunks = _nothing() if response.status == 416 else response.chunks()
        slot.taken()

    async def _read(self) -> ContentChunk | None:
        """The next piece: what comes until there is enough of it, or what is left at the end."""
        assert self._chunks is not None
        parts: list[bytes] = []
        start, size = self._state.received, 0
        total = self._state.total
        most = max_bytes(self._attachment, total)
        try:
            async for chunk in self._chunks:
                if not start and not parts and begins_as_page(self._attachment, chunk, total):
                    raise foreign_download("a web page", 200)
                parts.append(chunk)
                size += len(chunk)
                self._count()
                if start + size > most:
                    raise TooLong("an attachment that is longer than it can be", scope="item")
                if size >= CHUNK_BYTES:
                    return self._piece(start, parts)
        except ForeignReply:
            raise  # what came is not the content
        except OutcomeUnknown as error:
            return await self._cut(error, start, parts)
        if total is not None and start + size < total:
            return await self._cut(OutcomeUnknown("an attachment ended early"), start, parts)
        if not start + size and self._attachment.size != 0:
            raise foreign_download("nothing", 200)
        await self.close()
        self._done = True
        self._state = DownloadState(start, self._state.etag, start + size)
        return self._piece(start, parts) if parts or not self._told else None

    async def _cut(self, error: OutcomeUnknown, start: int, parts: list[bytes]) -> ContentChunk:
        """What has come is good: it is handed on first, and the error comes with the next piece."""
        if not parts:
            raise error
        await self.close(error)
        self._owed = error
        return self._piece(start, parts)

    def _piece(self, start: int, parts: list[bytes]) -> ContentChunk:
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._state = DownloadState(start + len(data), self._state.etag, self._state.total)
        self._told = True
        return ContentChunk(start, data, self._state.total, self._state.etag)

    def _count(self) -> int:
        """Adds to the caller's bytes what came since; all of this reply's as they travelled."""
        assert self._response is not None
        before, self._counted = self._counted, self._response.wire_bytes
        self._caller.wire_bytes += self._counted - before
        return self._counted

    async def _refusal(self, response: Response) -> ResyncError:
        """The error of a reply that has no content for us."""
        status = response.status
        if "json" in response.headers.get("content-type", "").lower():
            try:
                clean, envelope = self._caller.session.redactor.value, self._caller.envelope
                body = await response.read(MAX_ERROR_BODY_BYTES)
                parse_response(DOWNLOAD_METHOD, status, response.headers, body, clean=clean, envelope=envelope)
            except ProtocolError:
                pass
            except ResyncError as error:
                if not isinstance(error, ForeignReply | TooLarge):
                    return error
        if status in REFUSALS:
            return DownloadRefused(f"the server answers with status {status}", code=status, method=DOWNLOAD_METHOD)
        if status in (200, 413):
            return foreign_download("something else than its content", status)
        return error_codes.error_from_status(
            DOWNLOAD_METHOD, status, after=error_codes.retry_after(response.headers), what="no content"
        )


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for chunk in nothing:
        yield chunk  # pragma: no cover - there is none; that it stands here is what makes this a generator


async def download(
    caller: RpcClient, attachment: Attachment, offset: int = 0, etag: str = ""
) -> AsyncIterator[ContentChunk]:
    """The bytes of an attachment, as `Mailbox.download` promises."""
    transfer = Download(caller, attachment, offset, etag)
    try:
        while (piece := await transfer.next_chunk()) is not None:
            yield piece
    finally:
        await transfer.close()
