"""Contents: whole, in pieces, cut, of a length that is not theirs, and gone."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cache.mutations import PutAttachmentBytes, PutItems
from kerio_resync.errors import (
    BadCredentials,
    DownloadRefused,
    ForeignAddress,
    ForeignReply,
    ItemGone,
    ProtocolError,
    ServerRefused,
    SessionExpired,
)
from kerio_resync.events import Event, Skipped
from kerio_resync.model import Attachment, ContentChunk
from kerio_resync.sync.converge.catch_up import WORKERS
from kerio_resync.sync.converge.resolve_doubts import resolve_doubts
from kerio_resync.sync.fetch.attachments import WRITE_BYTES, attachment_worker
from simulation import virtual_time
from tests.support.cache import attachment, mail, rows
from tests.support.fake_mailbox import Mailbox, running

LARGE = bytes(range(256)) * (5 * WRITE_BYTES // 512)  # two and a half chunks


class Files(Mailbox):
    """Each content is served by itself: by the attachment's id, what its next downloads give."""

    async def download(self, attachment: Attachment, *, offset: int = 0, etag: str = "") -> AsyncIterator[ContentChunk]:
        for each in self._answer(attachment.id, [ContentChunk(0, b"12345")]):
            if isinstance(each, Exception):
                raise each
            yield each


async def fetched(
    folder: Path, *downloads: Any, size: int | None = 5, stored: bytes = b"", others: int = 1, listed: bool = True
) -> tuple[tuple[Any, ...], list[Event]]:
    """((state, content, reason), skipped) of an attachment whose downloads go like that, at the end of a run.

    `others`: mails whose attachments come as they should; `listed`: the server still lists the attachment.
    """
    heard: list[Event] = []
    mails = [mail("1", attached=(attachment("a", size),))]
    mails += [mail(str(n + 2), attached=(attachment(f"other-{n}"),)) for n in range(others)]
    mailbox = Files({each.id: each for each in mails[not listed :]}, answers={"id-a": list(downloads)})
    facts = (PutItems(tuple(mails)), *([PutAttachmentBytes(1, 0, stored)] if stored else ()))
    async with running(folder, mailbox, *facts, heard=heard) as run:
        await attachment_worker(run)
        await resolve_doubts(run)
        await run.store.flush()
        content = b"".join([each async for each in run.store.content(1)])
        assert await run.store.check() == ()
    ((state, reason, sha256),) = rows(
        folder / "cache.db", "SELECT state, reason, sha256 FROM attachment WHERE id = 'id-a'"
    )
    assert sha256 in (None, hashlib.sha256(content).digest())
    return (state, content, reason), [each for each in heard if isinstance(each, Skipped)]


def in_the_end(folder: Path, *downloads: Any, **more: Any) -> tuple[tuple[Any, ...], list[Event], float]:
    """The same in virtual time, with the seconds that it took."""

    async def go() -> tuple[tuple[Any, ...], list[Event], float]:
        found, skipped = await fetched(folder, *downloads, **more)
        return found, skipped, asyncio.get_running_loop().time()

    return virtual_time.run(go())


async def test_one_piece(tmp_path: Path) -> None:
    assert await fetched(tmp_path, [ContentChunk(0, b"12345")]) == (("done", b"12345", ""), [])


async def test_nothing_at_all(tmp_path: Path) -> None:
    assert await fetched(tmp_path, [], size=0) == (("done", b"", ""), [])


async def test_many_pieces_become_chunks(tmp_path: Path) -> None:
    pieces = [ContentChunk(start, LARGE[start : start + 100_000]) for start in range(0, len(LARGE), 100_000)]
    assert await fetched(tmp_path, pieces, size=len(LARGE)) == (("done", LARGE, ""), [])


async def test_goes_on_where_an_earlier_run_was(tmp_path: Path) -> None:
    pieces = [ContentChunk(WRITE_BYTES, LARGE[WRITE_BYTES:])]
    assert await fetched(tmp_path, pieces, size=len(LARGE), stored=LARGE[:WRITE_BYTES]) == (("done", LARGE, ""), [])


async def test_starts_again_if_the_server_does(tmp_path: Path) -> None:
    pieces = [ContentChunk(WRITE_BYTES, b"x" * 5), ContentChunk(0, LARGE[:3]), ContentChunk(3, LARGE[3:])]
    assert await fetched(tmp_path, pieces, size=len(LARGE), stored=b"y" * WRITE_BYTES) == (("done", LARGE, ""), [])


ODD = [ContentChunk(0, b"123"), ContentChunk(4, b"5")]
PAGE = b"<html>12345</html>"
REFUSED = DownloadRefused("the server answers with status 404", code=404)


def test_content_that_goes_on_elsewhere_is_left_out_at_last(tmp_path: Path) -> None:
    found, skipped, seconds = in_the_end(tmp_path, *[ODD] * 99)
    assert found[0] == "failed"
    assert "resumed at byte 4 instead of 3" in skipped[0].reason  # type: ignore[attr-defined]
    assert 60 <= seconds < 100


@pytest.mark.parametrize("others", [0, 1])
def test_content_of_another_length_is_kept_if_it_stays_the_same(others: int, tmp_path: Path) -> None:
    """It is the struct that is wrong."""
    found, skipped, seconds = in_the_end(tmp_path, *[[ContentChunk(0, b"1234")]] * 99, others=others)
    assert (found, skipped) == (("done", b"1234", ""), [])
    assert 60 <= seconds < 100


def test_content_of_the_length_that_base64_would_have_is_kept_at_once(tmp_path: Path) -> None:
    found, _, seconds = in_the_end(tmp_path, *[[ContentChunk(0, b"x" * 114)]] * 9, size=156)
    assert (found[0], seconds) == ("done", 0)


@pytest.mark.parametrize("wrong", [[ContentChunk(0, b"1234")], [ContentChunk(0, PAGE)], REFUSED, ItemGone("gone"), ODD])
@pytest.mark.parametrize("times", [1, 2, 4])
def test_content_is_kept_that_comes_right_later(wrong: Any, times: int, tmp_path: Path) -> None:
    found, skipped, _ = in_the_end(tmp_path, *[wrong] * times)
    assert (found, skipped) == (("done", b"12345", ""), [])


def test_content_that_is_another_each_time_is_never_kept(tmp_path: Path) -> None:
    with pytest.raises(ForeignReply, match="and another one the next time"):
        in_the_end(tmp_path, *[[ContentChunk(0, b"12345" + str(n).encode())] for n in range(10, 999)])
    assert rows(tmp_path / "cache.db", "SELECT state FROM attachment WHERE id = 'id-a'") == [("wanted",)]


def test_the_same_page_for_two_attachments_is_never_kept(tmp_path: Path) -> None:
    """Though nothing else ever came."""

    async def go() -> None:
        mails = [mail(each, attached=(attachment(each, 5),)) for each in ("1", "2")]
        mailbox = Mailbox({each.id: each for each in mails}, answers={"download": [[ContentChunk(0, PAGE)]] * 999})
        async with running(tmp_path, mailbox, PutItems(tuple(mails)), retry_timeout=100.0) as run:
            await attachment_worker(run)
            await resolve_doubts(run)

    with pytest.raises(ForeignReply):
        virtual_time.run(go())
    assert rows(tmp_path / "cache.db", "SELECT state FROM attachment") == [("wanted",)] * 2


@pytest.mark.parametrize("size", [5, None])
async def test_nothing_is_not_taken_for_the_contents(tmp_path: Path, size: int | None) -> None:
    assert await fetched(tmp_path, [], [ContentChunk(0, b"12345")], size=size) == (("done", b"12345", ""), [])


@pytest.mark.parametrize("size", [5, None])
def test_nothing_each_time_is_left_out_by_name(tmp_path: Path, size: int | None) -> None:
    found, skipped, _ = in_the_end(tmp_path, *[[]] * 99, size=size)
    assert found[:2] == ("failed", b"")
    assert [each.reason for each in skipped] == [found[2]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(99), False),
        (b"\x89PNG\r\n\x1a\n" + bytes(99) + b"IEND\xaeB`\x82", True),
        (b"\xff\xd8\xff" + bytes(99), False),
        (b"\xff\xd8\xff" + bytes(99) + b"\xff\xd9\0", True),
        (b"GIF89a;" + bytes(99), False),
        (b"GIF89a;" + bytes(99) + b";", True),
        (b"anything else", True),
    ],
)
def test_a_picture_of_no_known_length_must_have_an_end(data: bytes, whole: bool, tmp_path: Path) -> None:
    found, _, seconds = in_the_end(tmp_path, *[[ContentChunk(0, data)]] * 99, size=None)
    assert found == ("done", data, "")
    assert (seconds == 0) is whole  # else it is believed later


@pytest.mark.parametrize("error", [ItemGone("gone"), REFUSED, ProtocolError("?", scope="item")])
async def test_what_the_server_lists_no_more_is_gone(error: Exception, tmp_path: Path) -> None:
    found, skipped = await fetched(tmp_path, error, listed=False)
    assert (found[0], skipped) == ("failed", [])  # if its item is gone too, the change feed says so


def test_an_attachment_refused_again_and_again_is_left_out_by_name(tmp_path: Path) -> None:
    found, skipped, seconds = in_the_end(tmp_path, *[REFUSED] * 99)
    assert found[0] == "failed"
    assert [each.reason for each in skipped] == ["the server answers with status 404"]  # type: ignore[attr-defined]
    assert 60 <= seconds < 100


def test_downloads_that_are_all_refused_end_the_run(tmp_path: Path) -> None:
    """Nothing shows that the server serves contents at all."""
    with pytest.raises(ForeignReply, match="status 404"):
        in_the_end(tmp_path, *[REFUSED] * 999, others=0)
    assert rows(tmp_path / "cache.db", "SELECT state FROM attachment") == [("wanted",)]


def test_downloads_refused_in_a_row_are_slowed_down(tmp_path: Path) -> None:
    async def go() -> int:
        mails = [mail(str(each), attached=(attachment(str(each)),)) for each in range(500)]
        mailbox = Mailbox({each.id: each for each in mails}, answers={"download": [REFUSED] * 10_000})
        async with running(tmp_path, mailbox, PutItems(tuple(mails))) as run:
            workers = [asyncio.create_task(attachment_worker(run)) for _ in range(WORKERS)]
            await asyncio.sleep(10)
            for each in workers:
                each.cancel()
            await asyncio.wait(workers)
        return mailbox.asked.count("download")

    assert virtual_time.run(go()) < 60


@pytest.mark.parametrize("error", [ServerRefused("no", scope="item"), ForeignAddress("elsewhere")])
async def test_refused(tmp_path: Path, error: Exception) -> None:
    found, skipped = await fetched(tmp_path, error)
    assert (found[0], len(skipped)) == ("failed", 1)


@pytest.mark.parametrize("error", [BadCredentials("no"), SessionExpired("no")])
async def test_what_concerns_the_run_ends_it(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        await fetched(tmp_path, error)


def test_page_named_as_one_is_stored_at_once_whatever_its_type(tmp_path: Path) -> None:
    """Mail often has its pages as `application/octet-stream`."""
    page = attachment("offer.HTML", len(PAGE))._replace(content_type="application/octet-stream")

    async def go() -> float:
        mailbox = Mailbox(
            {"1": mail("1", attached=(page,))},
            answers={"download": [[ContentChunk(0, PAGE)], ProtocolError("a second download")]},
        )
        async with running(tmp_path, mailbox, PutItems((mail("1", attached=(page,)),))) as run:
            await attachment_worker(run)
            await resolve_doubts(run)
        return asyncio.get_running_loop().time()

    assert virtual_time.run(go()) < 1.0
    assert rows(tmp_path / "cache.db", "SELECT state, reason FROM attachment") == [("done", "")]
