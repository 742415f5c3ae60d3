"""Of a content of which a piece is lost, that piece is fetched; what does not come to the old whole is not taken."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cache.mutations import PutAttachmentBytes, PutItems
from kerio_resync.cache.recovery.salvage import OldCache
from kerio_resync.cache.schema import CHUNK_BYTES
from kerio_resync.errors import ItemGone, ProtocolError
from kerio_resync.model import Attachment, ContentChunk, Item
from kerio_resync.sync.fetch.attachments import attachment_worker
from tests.support.cache import attachment, change, filled, mail, rows, whole
from tests.support.fake_mailbox import Mailbox, running

DATA = b"".join(bytes([number]) * CHUNK_BYTES for number in range(1, 5)) + b"the rest" * 5
THERE = attachment("a", len(DATA))
MAIL = mail("1", 7, attached=(THERE,))
ALL = (0, None)


@dataclass
class Server(Mailbox):
    """Gives the parts that are asked for; `instead`: what it gives for the first one."""

    instead: Any = None
    parts: list[tuple[int, int | None]] = field(default_factory=list)

    async def download(
        self, attachment: Attachment, *, offset: int = 0, etag: str = "", end: int | None = None
    ) -> AsyncIterator[ContentChunk]:
        self.parts.append((offset, end))
        instead, self.instead = self.instead, None
        if isinstance(instead, Exception):
            raise instead
        yield instead or ContentChunk(offset, DATA[offset : offset + 9])
        if instead is None:
            yield ContentChunk(offset + 9, DATA[offset + 9 : end])


async def mended(
    folder: Path, damage: str, *, instead: Any = None, new: Item = MAIL, stored: bytes = b"", old: bool = True
) -> list[tuple[int, int | None]]:
    """The parts that were asked for, until the content was there."""
    await (await filled(folder / "old.db", PutItems((MAIL,)), *whole(1, DATA))).close()
    change(folder / "old.db", damage)
    server = Server(instead=instead)
    facts = (PutItems((new,)), *([PutAttachmentBytes(1, 0, stored)] if stored else ()))
    async with running(folder, server, *facts) as run:
        run.damaged_source = OldCache.open(folder / "old.db") if old else None
        try:
            await attachment_worker(run)
        finally:
            if run.damaged_source:
                await run.damaged_source.close()
        await run.store.flush()
        assert await run.store.check() == ()
        assert run.progress.tally.attachments_done == 1
        content = b"".join([each async for each in run.store.content(1)])
    state = ("failed", 0) if isinstance(instead, ItemGone) else ("done", len(DATA))
    assert rows(folder / "cache.db", "SELECT state, received FROM attachment") == [state]
    assert content == DATA[: state[1]]
    assert not list(folder.glob("mending-*"))
    return server.parts


def lost(*pieces: int) -> str:
    return ";".join(f'DELETE FROM chunk WHERE "offset" = {piece * CHUNK_BYTES}' for piece in pieces)


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (lost(1), [(CHUNK_BYTES, 2 * CHUNK_BYTES)]),
        (lost(0), [(0, CHUNK_BYTES)]),
        (lost(4), [(4 * CHUNK_BYTES, len(DATA))]),
        (lost(1, 2), [(CHUNK_BYTES, 3 * CHUNK_BYTES)]),
        (lost(0, 3), [(0, CHUNK_BYTES), (3 * CHUNK_BYTES, 4 * CHUNK_BYTES)]),
        ('UPDATE chunk SET data = zeroblob(length(data)) WHERE "offset" = 262144', [(CHUNK_BYTES, 2 * CHUNK_BYTES)]),
        ("", []),
    ],
)
async def test_what_is_lost_is_fetched(damage: str, parts: list[tuple[int, int | None]], tmp_path: Path) -> None:
    assert await mended(tmp_path, damage) == parts


@pytest.mark.parametrize(
    "damage",
    [
        lost(0, 1, 2, 3, 4),
        "UPDATE attachment SET sha256 = NULL",
        "UPDATE attachment SET state = 'wanted'",
        "UPDATE attachment SET url = '/other'",
        "UPDATE item SET watermark = 6",
        "DELETE FROM item",
        "DROP TABLE chunk",
    ],
)
async def test_where_nothing_is_left_of_that_version_all_is_fetched(damage: str, tmp_path: Path) -> None:
    assert await mended(tmp_path, damage) == [ALL]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE attachment SET sha256 = zeroblob(32)",
        "UPDATE attachment SET received = received + 1",
        'UPDATE chunk SET "offset" = "offset" + 1 WHERE "offset" > 300000',
    ],
)
async def test_what_does_not_come_to_the_old_whole_is_not_taken(damage: str, tmp_path: Path) -> None:
    assert (await mended(tmp_path, lost(1) + ";" + damage))[-1] == ALL


@pytest.mark.parametrize(
    "instead",
    [
        ContentChunk(0, DATA[:9]), ContentChunk(CHUNK_BYTES, DATA[: CHUNK_BYTES + 1]),
        ContentChunk(CHUNK_BYTES, b"less"), ProtocolError("no such part"),
        ContentChunk(CHUNK_BYTES, bytes(CHUNK_BYTES)),
    ],
)  # fmt: skip
async def test_a_server_that_gives_another_part_is_asked_for_all(instead: Any, tmp_path: Path) -> None:
    assert await mended(tmp_path, lost(1), instead=instead) == [(CHUNK_BYTES, 2 * CHUNK_BYTES), ALL]


async def test_what_is_gone_is_left_out_by_name(tmp_path: Path) -> None:
    assert await mended(tmp_path, lost(1), instead=ItemGone("gone")) == [(CHUNK_BYTES, 2 * CHUNK_BYTES)]


async def test_what_an_earlier_run_began_is_gone_on_with(tmp_path: Path) -> None:
    assert await mended(tmp_path, lost(1), stored=DATA[:7]) == [(7, None)]


async def test_without_an_old_cache_all_is_fetched(tmp_path: Path) -> None:
    assert await mended(tmp_path, "", old=False) == [ALL]


async def test_an_old_cache_that_can_not_be_read_has_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.db").write_bytes(b"text")
    old = OldCache(tmp_path / "old.db")
    assert (await old.find_damaged_attachment("1", THERE), await old.piece(1, 0)) == (None, b"")
    await old.close()


async def test_a_spoilt_page_is_no_piece(tmp_path: Path) -> None:
    await (await filled(tmp_path / "old.db", PutItems((MAIL,)), *whole(1, DATA))).close()
    old = OldCache(tmp_path / "old.db")
    assert await old.piece(1, 0)
    await old.close()
    change(tmp_path / "old.db", "DROP TABLE chunk")
    old = OldCache(tmp_path / "old.db")
    assert await old.piece(1, 0) == b""
    await old.close()


async def test_without_room_beside_it_all_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert await mended(tmp_path, lost(1)) == [ALL]
