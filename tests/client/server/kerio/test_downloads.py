from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from kerio_resync.errors import (
    DownloadRefused,
    FolderDenied,
    ForeignReply,
    ItemGone,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    ResyncError,
    SessionExpired,
)
from kerio_resync.events import Retrying
from kerio_resync.model import Attachment, ContentChunk
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.server.pacing.downloads import DownloadState, max_bytes, range_headers, state_after_head
from tests.support.scripted_server import ORIGIN, Scripted, error, opened

URL = "/webmail/api/download/attachment/guid/1/2/x.bin"
DATA = bytes(range(256)) * 4096  # 1 MiB
THERE = Attachment("a1", URL, "x.bin", size=len(DATA))
TAG = '"v1"'


@pytest.mark.parametrize(
    ("state", "headers"),
    [
        (DownloadState(), {"Accept-Encoding": "identity"}),
        (DownloadState(0, TAG), {"Accept-Encoding": "identity"}),
        (DownloadState(9), {"Accept-Encoding": "identity", "Range": "bytes=9-"}),
        (DownloadState(9, TAG), {"Accept-Encoding": "identity", "Range": "bytes=9-", "If-Range": TAG}),
        (DownloadState(9, 'W/"v1"'), {"Accept-Encoding": "identity", "Range": "bytes=9-"}),
    ],
)
def test_what_is_asked_for(state: DownloadState, headers: dict[str, str]) -> None:
    assert range_headers(state) == headers


def test_range_headers_accept_an_encoding_for_a_whole_content_only() -> None:
    assert range_headers(DownloadState(), "zstd") == {"Accept-Encoding": "zstd"}
    assert range_headers(DownloadState(9), "zstd") == {"Accept-Encoding": "identity", "Range": "bytes=9-"}


def part(said: str, tag: str = "") -> dict[str, str]:
    return {"content-range": said, **({"etag": tag} if tag else {})}


@pytest.mark.parametrize(
    ("state", "status", "headers", "then"),
    [
        (DownloadState(), 200, {"content-length": "7", "etag": TAG}, DownloadState(0, TAG, 7)),
        (
            DownloadState(5, TAG, 7),
            200,
            {"content-length": "9", "etag": '"v2"'},
            DownloadState(0, '"v2"', 9),
        ),  # the whole, anew
        (DownloadState(), 200, {}, DownloadState()),
        (DownloadState(), 200, {"content-length": "x"}, DownloadState()),
        (DownloadState(), 200, {"content-length": "7", "content-encoding": "gzip", "etag": TAG}, DownloadState()),
        (DownloadState(5, TAG, 7), 206, part("bytes 5-6/7", TAG), DownloadState(5, TAG, 7)),
        (DownloadState(5), 206, part("bytes 5-6/*"), DownloadState(5)),
        (DownloadState(5), 206, part("bytes 5-6/7", TAG), DownloadState(5, TAG, 7)),
        (DownloadState(5, TAG, 7), 206, part("bytes 5-6/7", '"v2"'), None),  # another version
        (DownloadState(5, TAG, 7), 206, part("bytes 5-6/8", TAG), None),
        (DownloadState(5, TAG, 7), 206, part("bytes 4-6/7", TAG), None),
        (DownloadState(5, TAG, 7), 206, part("bytes 5-6/7"), None),  # of the same version, as far as anybody says
        (DownloadState(), 206, part("bytes 0-6/7"), DownloadState(0, "", 7)),
        (DownloadState(7, TAG, 7), 416, part("bytes */7"), DownloadState(7, TAG, 7)),  # it was whole already
        (DownloadState(7, TAG), 416, part("bytes */7"), DownloadState(7, TAG, 7)),
        (DownloadState(7, TAG, 9), 416, part("bytes */7"), None),
        (DownloadState(7, TAG), 416, part("bytes */5"), None),
        (DownloadState(7, TAG), 416, {}, None),
    ],
)
def test_how_a_reply_begins(
    state: DownloadState, status: int, headers: dict[str, str], then: DownloadState | None
) -> None:
    assert state_after_head(state, status, headers) == then


@pytest.mark.parametrize(
    ("state", "status", "headers"),
    [
        (DownloadState(5), 206, {}),
        (DownloadState(5), 206, part("bytes 6-5/7")),
        (DownloadState(5), 206, part("lines 5-6/7")),
        (DownloadState(5), 206, part("bytes 5-99999999999999999999999/7")),
        (DownloadState(), 416, part("bytes */0")),
        (DownloadState(), 206, part("bytes 3-6/7")),
    ],
)
def test_heads_that_make_no_sense(state: DownloadState, status: int, headers: dict[str, str]) -> None:
    with pytest.raises(ForeignReply):
        state_after_head(state, status, headers)


def test_how_long_an_attachment_may_be() -> None:
    assert max_bytes(THERE, 5) == 5
    assert max_bytes(Attachment("a", "u", "n", size=10), None) > 40
    assert max_bytes(Attachment("a", "u", "n"), None) >= 1 << 32


class Stream(httpx.AsyncByteStream):
    def __init__(self, data: bytes, cut: int | None) -> None:
        self.data, self.cut = data, cut

    async def __aiter__(self) -> AsyncIterator[bytes]:
        end = len(self.data) if self.cut is None else self.cut
        for at in range(0, end, 50_000):
            yield self.data[at : min(at + 50_000, end)]
        if self.cut is not None:
            raise httpx.ReadError("reset")


@dataclass
class Files:
    """Serves DATA in the quirks given; `cuts`: after how many bytes of each reply the connection breaks."""

    ranges: bool = True
    etag: str = TAG
    length: bool = True
    cuts: list[int | None] = field(default_factory=list)
    data: bytes = DATA
    asked: list[str] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers.get("range", "whole"))
        cut = self.cuts.pop(0) if self.cuts else None
        headers = {"ETag": self.etag} if self.etag else {}
        start, status = 0, 200
        asked = request.headers.get("range")
        if self.ranges and asked and request.headers.get("if-range", self.etag) == self.etag:
            start, status = int(asked[6:-1]), 206
            if start >= len(self.data):
                return httpx.Response(416, headers={"Content-Range": f"bytes */{len(self.data)}"})
            headers["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        if self.length:
            headers["Content-Length"] = str(len(self.data) - start)
        return httpx.Response(status, headers=headers, stream=Stream(self.data[start:], cut))


def fetched(
    files: Any, attachment: Attachment = THERE, *, server: Scripted | None = None, **options: Any
) -> list[ContentChunk]:
    server = server or Scripted()
    server.router.get(url__startswith=f"{ORIGIN}/webmail/api/download/").mock(side_effect=files)

    async def work(mailbox: KerioMailbox) -> list[ContentChunk]:
        pieces = [piece async for piece in mailbox.download(attachment, **options)]
        assert mailbox.in_flight == 0
        return pieces

    found = opened(server, work)
    assert isinstance(found, list)
    return found


def joined(pieces: list[ContentChunk], before: bytes = b"") -> bytes:
    """What a reader has in the end that follows the pieces' offsets."""
    have = before
    for piece in pieces:
        assert piece.offset in (0, len(have))
        have = have[: piece.offset] + piece.data
    return have


def test_a_download() -> None:
    files = Files()
    pieces = fetched(files)
    assert joined(pieces) == DATA
    assert {piece.etag for piece in pieces} == {TAG}
    assert {piece.total for piece in pieces} == {len(DATA)}
    assert len(pieces) <= 5


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("etag", [TAG, ""])
def test_a_download_cut_short_goes_on_where_it_was(etag: str, length: bool) -> None:
    files = Files(etag=etag, length=length, cuts=[300_000, 0, 100_001])
    assert joined(fetched(files)) == DATA
    assert files.asked == ["whole", "bytes=300000-", "bytes=300000-", "bytes=400001-"]


def test_it_begins_again_where_ranges_are_not_honoured() -> None:
    files = Files(ranges=False, cuts=[300_000, 200_000])
    pieces = fetched(files)
    assert joined(pieces) == DATA
    assert [piece.offset for piece in pieces].count(0) == 3


def test_it_goes_on_from_an_earlier_run() -> None:
    files = Files()
    assert joined(fetched(files, offset=400_000, etag=TAG), DATA[:400_000]) == DATA
    assert files.asked == ["bytes=400000-"]


def test_what_changed_since_begins_again() -> None:
    pieces = fetched(Files(), offset=400_000, etag='"v0"')
    assert pieces[0].offset == 0
    assert joined(pieces, bytes(400_000)) == DATA


def test_what_was_whole_already() -> None:
    pieces = fetched(Files(), offset=len(DATA), etag=TAG)
    assert pieces == [ContentChunk(len(DATA), b"", len(DATA), TAG)]


def test_more_than_there_is_begins_again() -> None:
    pieces = fetched(Files(), offset=len(DATA) + 5)
    assert joined(pieces, bytes(len(DATA) + 5)) == DATA


@pytest.mark.parametrize("length", [True, False])
def test_an_empty_attachment_is_one_empty_piece(length: bool) -> None:
    pieces = fetched(Files(data=b"", length=length), Attachment("a1", URL, "x.bin", size=0))
    assert len(pieces) == 1
    assert (pieces[0].offset, pieces[0].data) == (0, b"")


def test_a_length_that_lies_is_found_out() -> None:
    """A server that says more than it sends, without the connection breaking."""

    def files(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Length": "9"}, stream=Stream(b"short", None))

    with pytest.raises(OutcomeUnknown):
        fetched(files, server=Scripted())


def test_retry_timeout_counts_from_the_last_progress() -> None:
    """A file that breaks off twice a minute is fetched, though the retry timeout is shorter than that takes in all."""
    times: list[float] = []

    class Slow(Files):
        def __call__(self, request: httpx.Request) -> httpx.Response:
            times.append(asyncio.get_running_loop().time())
            return super().__call__(request)

    files = Slow(cuts=[50_000, *([0] * 9), 50_000, *([0] * 9), 50_000])
    assert joined(fetched(files, server=Scripted())) == DATA
    assert times[-1] > 100


def test_a_file_that_never_gets_further_is_given_up() -> None:
    files = Files(ranges=False, cuts=[300_000] * 100_000)
    server = Scripted()
    with pytest.raises(OutcomeUnknown):
        fetched(files, server=server)
    assert len(files.asked) < 200


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (httpx.Response(403, html="<html>"), DownloadRefused),
        (httpx.Response(404), DownloadRefused),
        (httpx.Response(410), DownloadRefused),
        (httpx.Response(500, html="<html>"), DownloadRefused),
        (httpx.Response(500, text="{broken", headers={"Content-Type": "application/json"}), DownloadRefused),
        (httpx.Response(500, json=error(1002, "no such item")), ItemGone),
        (httpx.Response(200, json=error(1004, "access denied")), FolderDenied),
    ],
)
def test_refusals_concern_the_item(reply: httpx.Response, kind: type[ResyncError]) -> None:
    asked = []

    def files(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return reply

    with pytest.raises(kind) as caught:
        fetched(files)
    assert type(caught.value) is kind
    assert caught.value.scope == "item"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (httpx.Response(200, html="<html>Please log in.</html>"), ForeignReply),
        (httpx.Response(200, content=b"<!DOCTYPE HTML><title>", headers={"Content-Type": "image/png"}), ForeignReply),
        (httpx.Response(200, content=b""), ForeignReply),
        (httpx.Response(200, json={"result": {"list": []}}), ForeignReply),
        (httpx.Response(204), ForeignReply),
        (httpx.Response(302, headers={"Location": "https://evil.example/"}), ForeignReply),
        (httpx.Response(302, headers={"Location": "/webmail/login/"}), ForeignReply),
        (httpx.Response(206), ForeignReply),
        (httpx.Response(206, content=b"portal", headers={"Content-Range": "bytes 3-8/9"}), ForeignReply),
        (httpx.Response(401, html="<html>"), ForeignReply),
        (httpx.Response(407, html="<html>"), ForeignReply),
        (httpx.Response(413, html="<html>"), ForeignReply),
        (httpx.Response(511, html="<html>"), ForeignReply),
        (httpx.Response(503, headers={"Retry-After": "500"}), Overloaded),
    ],
)
def test_what_comes_from_elsewhere_is_waited_for(reply: httpx.Response, kind: type[ResyncError]) -> None:
    """For as long as the retry timeout; it says nothing about the attachment."""
    times: list[float] = []

    def files(request: httpx.Request) -> httpx.Response:
        times.append(asyncio.get_running_loop().time())
        return reply

    with pytest.raises(kind) as caught:
        fetched(files)
    assert caught.value.scope == "run"
    assert caught.value.retryable
    assert times[-1] == pytest.approx(600, abs=31)
    assert len(times) < 60


def test_a_portal_of_a_while_leaves_nothing_in_the_content() -> None:
    files = Files()

    def portal(request: httpx.Request) -> httpx.Response:
        if asyncio.get_running_loop().time() < 10:
            return httpx.Response(200, content=b"<html>Sign in</html>", headers={"Content-Type": "application/pdf"})
        return files(request)

    assert joined(fetched(portal)) == DATA
    assert files.asked == ["whole"]


def test_a_dead_session_is_renewed() -> None:
    server, files = Scripted(), Files()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["x-token"] == "token-1":
            return httpx.Response(401, json=error(-32001, "Session expired."))
        return files(request)

    assert joined(fetched(answer, server=server)) == DATA
    assert server.tokens == 2
    with pytest.raises(SessionExpired) as caught:
        fetched(lambda request: httpx.Response(401, json=error(-32001, "Session expired.")))
    assert caught.value.scope == "run"


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(401),
        httpx.Response(302, headers={"Location": "/webmail/login/"}),
        httpx.Response(200, html="<html>Please log in.</html>"),
    ],
)
def test_a_dead_session_that_a_page_tells_of_is_renewed(reply: httpx.Response) -> None:
    """The API is asked whether it is the session; it says so in its own way."""
    server, files = Scripted(), Files()

    def answer(request: httpx.Request) -> httpx.Response:
        return reply if request.headers["x-token"] == "token-1" else files(request)

    def who(params: dict[str, Any]) -> Any:
        alive = server.calls["Session.whoAmI"] == 1 or server.tokens == 2
        return {"userDetails": {"id": "u1"}} if alive else error(-32001)

    server.methods["Session.whoAmI"] = who
    assert joined(fetched(answer, server=server)) == DATA
    assert server.tokens == 2


@pytest.mark.parametrize(
    "url", ["https://evil.example/x", "//evil.example/x", "http://mail.example.com/x", "", "file:///x"]
)
def test_addresses_of_others_are_not_even_asked(url: str) -> None:
    server = Scripted()
    with pytest.raises(ProtocolError) as caught:
        fetched(Files(), Attachment("a", url, "x"), server=server)
    assert caught.value.scope == "item"
    assert {request.method for request in server.transport.requests} == {"POST"}


def test_an_endless_stream_ends() -> None:
    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield bytes(1 << 22)

    count = 0

    def files(request: httpx.Request) -> httpx.Response:
        nonlocal count
        count += 1
        return httpx.Response(200, stream=Endless())

    with pytest.raises(ProtocolError, match="longer"):
        fetched(files, Attachment("a", URL, "x", size=10))
    assert count == 1


def test_an_attachment_is_not_fetched_of_which_far_more_is_announced_than_its_struct_says() -> None:
    asked = 0

    def files(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(200, headers={"content-length": "10000000000"}, stream=Stream(b"", None))

    with pytest.raises(ProtocolError, match="10,000,000,000"):
        fetched(files, Attachment("a", URL, "x", size=10))
    assert asked == 1


def test_who_stops_reading_lets_go() -> None:
    server = Scripted()
    server.router.get(url__startswith=f"{ORIGIN}/webmail/api/download/").mock(side_effect=Files())

    async def work(mailbox: KerioMailbox) -> None:
        pieces = mailbox.download(THERE)
        await anext(pieces)
        assert mailbox.in_flight == 1
        await pieces.aclose()  # type: ignore[attr-defined]
        assert mailbox.in_flight == 0
        assert 0 < mailbox.wire_bytes < len(DATA)

    opened(server, work)


def test_who_is_cancelled_while_he_waits_for_a_slot_takes_none_along() -> None:
    server = Scripted()
    held = asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        await held.wait()
        return httpx.Response(200, content=DATA, headers={"Content-Length": str(len(DATA))})

    server.router.get(url__startswith=f"{ORIGIN}/webmail/api/download/").mock(side_effect=slow)

    async def work(mailbox: KerioMailbox) -> int:
        async def read() -> int:
            return sum([len(piece.data) async for piece in mailbox.download(THERE)])

        first, second = asyncio.create_task(read()), asyncio.create_task(read())
        await asyncio.sleep(1)
        second.cancel()
        await asyncio.wait([second])
        held.set()
        assert await first == len(DATA)
        assert mailbox.in_flight == 0
        return await read()

    assert opened(server, work, max_in_flight=1) == len(DATA)


def test_bytes_and_retries_are_counted() -> None:
    server, files = Scripted(), Files(cuts=[300_000])
    server.router.get(url__startswith=f"{ORIGIN}/webmail/api/download/").mock(side_effect=files)

    async def work(mailbox: KerioMailbox) -> tuple[int, int]:
        before = mailbox.wire_bytes
        async for _ in mailbox.download(THERE):
            pass
        return mailbox.wire_bytes - before, mailbox.retries

    assert opened(server, work) == (len(DATA), 1)
    assert [event for event in server.events if isinstance(event, Retrying)]


PAGE = b"<html>a page that somebody sent</html>"


@pytest.mark.parametrize(
    "attachment",
    [
        Attachment("a1", URL, "x", "text/html; charset=utf-8"),  # it is one by its type
        Attachment("a1", URL, "x.bin", "application/octet-stream", size=len(PAGE)),  # or by its length
    ],
)
def test_an_attachment_that_is_a_page_itself_is_taken(attachment: Attachment) -> None:
    assert joined(fetched(lambda request: httpx.Response(200, html=PAGE.decode()), attachment)) == PAGE


def test_a_page_by_its_name_alone_is_taken_in_the_type_that_its_mail_states() -> None:
    attachment = Attachment("a1", URL, "x.HTM", "application/octet-stream")
    stated = {"Content-Type": attachment.content_type}
    assert joined(fetched(lambda request: httpx.Response(200, content=PAGE, headers=stated), attachment)) == PAGE
    with pytest.raises(ForeignReply):  # a portal's page has the type of pages
        fetched(lambda request: httpx.Response(200, html=PAGE.decode()), attachment)
