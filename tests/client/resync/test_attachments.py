"""Contents: whole, in pieces, cut, of a length that is not theirs, and gone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cache.facts import PutContent, PutItems
from kerio_resync.errors import BadCredentials, ItemGone, ServerNonsense, ServerRefused, SessionExpired
from kerio_resync.events import Event, Skipped
from kerio_resync.model import Piece
from kerio_resync.resync.attachments import STEP, fetch_contents
from tests.client.cache.world import attachment, mail, rows
from tests.client.resync.double import Mailbox, running

LARGE = bytes(range(256)) * (5 * STEP // 512)  # two and a half chunks


async def fetched(
    folder: Path, *downloads: Any, size: int | None = 5, stored: bytes = b""
) -> tuple[tuple[Any, ...], list[Event]]:
    """((state, content, reason), skipped) of an attachment whose downloads go like that."""
    heard: list[Event] = []
    mailbox = Mailbox(answers={"download": list(downloads)})
    facts = (PutItems((mail("1", attached=(attachment("a", size),)),)), *([PutContent(1, 0, stored)] if stored else ()))
    async with running(folder, mailbox, *facts, heard=heard) as run:
        await fetch_contents(run)
        await run.store.flush()
        content = b"".join([each async for each in run.store.content(1)])
        assert await run.store.check() == ()
    ((state, reason, sha256),) = rows(folder / "cache.db", "SELECT state, reason, sha256 FROM attachment")
    assert sha256 in (None, hashlib.sha256(content).digest())
    return (state, content, reason), [each for each in heard if isinstance(each, Skipped)]


async def test_one_piece(tmp_path: Path) -> None:
    assert await fetched(tmp_path, [Piece(0, b"12345")]) == (("done", b"12345", ""), [])


async def test_nothing_at_all(tmp_path: Path) -> None:
    assert await fetched(tmp_path, [], size=0) == (("done", b"", ""), [])


async def test_many_pieces_become_chunks(tmp_path: Path) -> None:
    pieces = [Piece(start, LARGE[start : start + 100_000]) for start in range(0, len(LARGE), 100_000)]
    assert await fetched(tmp_path, pieces, size=len(LARGE)) == (("done", LARGE, ""), [])


async def test_goes_on_where_an_earlier_run_was(tmp_path: Path) -> None:
    pieces = [Piece(STEP, LARGE[STEP:])]
    assert await fetched(tmp_path, pieces, size=len(LARGE), stored=LARGE[:STEP]) == (("done", LARGE, ""), [])


async def test_starts_again_if_the_server_does(tmp_path: Path) -> None:
    pieces = [Piece(STEP, b"x" * 5), Piece(0, LARGE[:3]), Piece(3, LARGE[3:])]
    assert await fetched(tmp_path, pieces, size=len(LARGE), stored=b"y" * STEP) == (("done", LARGE, ""), [])


async def test_that_goes_on_elsewhere_is_left_out(tmp_path: Path) -> None:
    found, skipped = await fetched(tmp_path, [Piece(0, b"123"), Piece(4, b"5")])
    assert found[0] == "failed"
    assert "went on at byte 4 instead of 3" in skipped[0].reason


async def test_a_length_that_is_twice_the_same_is_the_contents(tmp_path: Path) -> None:
    """It is the struct that is wrong."""
    assert await fetched(tmp_path, [Piece(0, b"1234")], [Piece(0, b"1234")]) == (("done", b"1234", ""), [])


async def test_a_length_that_is_right_the_second_time(tmp_path: Path) -> None:
    assert await fetched(tmp_path, [Piece(0, b"1234")], [Piece(0, b"12345")]) == (("done", b"12345", ""), [])


async def test_a_length_that_is_another_each_time(tmp_path: Path) -> None:
    found, skipped = await fetched(tmp_path, [Piece(0, b"1234")], [Piece(0, b"123")])
    assert found == ("failed", b"", "its length is 3 bytes, then another, and should be 5")
    assert [each.reason for each in skipped] == [found[2]]


@pytest.mark.parametrize("size", [5, None])
async def test_nothing_is_not_taken_for_the_contents(tmp_path: Path, size: int | None) -> None:
    assert await fetched(tmp_path, [], [Piece(0, b"12345")], size=size) == (("done", b"12345", ""), [])


@pytest.mark.parametrize("size", [5, None])
async def test_nothing_twice_is_left_out_by_name(tmp_path: Path, size: int | None) -> None:
    found, skipped = await fetched(tmp_path, [], [], size=size)
    assert found == ("failed", b"", "the server sends nothing for it")
    assert [each.reason for each in skipped] == [found[2]]


async def test_gone(tmp_path: Path) -> None:
    found, skipped = await fetched(tmp_path, ItemGone("gone"))
    assert (found[0], skipped) == ("failed", [])  # if its item is gone too, the change feed says so


@pytest.mark.parametrize("error", [ServerRefused("no", scope="item"), ServerNonsense("html", scope="item")])
async def test_refused(tmp_path: Path, error: Exception) -> None:
    found, skipped = await fetched(tmp_path, error)
    assert (found[0], len(skipped)) == ("failed", 1)


@pytest.mark.parametrize("error", [BadCredentials("no"), SessionExpired("no")])
async def test_what_concerns_the_run_ends_it(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)):
        await fetched(tmp_path, error)
