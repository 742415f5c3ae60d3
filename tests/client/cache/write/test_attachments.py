from __future__ import annotations

import hashlib
import random

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.checksums import crc32
from kerio_resync.cache.integrity.check import check_items, content_matches_checksum
from kerio_resync.cache.mutations import (
    FinishAttachment,
    OmitAttachment,
    PutAttachmentBytes,
    PutItems,
    PutWholeAttachment,
    RestartAttachment,
)
from kerio_resync.cache.schema import CHUNK_BYTES
from kerio_resync.cache.write.attachments import omit_all_attachments
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.errors import CacheDamaged
from tests.support.cache import attachment, mail, put, source

DATA = bytes(range(256)) * (3 * CHUNK_BYTES // 256) + b"tail"


@pytest.fixture
def stored(tables: WriteSession) -> WriteSession:
    put(tables, PutItems((mail("1", attached=(attachment("a", len(DATA)),)),)))
    return tables


def state(found: WriteSession) -> tuple[str, int]:
    row: tuple[str, int] = found.db.execute("SELECT state, received FROM attachment").fetchone()
    return row


def content(found: WriteSession) -> bytes:
    data = b""
    while piece := queries.chunk(found.db, "chunk", 1, len(data)):
        assert len(piece) <= CHUNK_BYTES
        data += piece
    return data


@pytest.mark.parametrize("step", [CHUNK_BYTES, 100_000, len(DATA)])
def test_put_bytes_in_steps_completes_attachment(stored: WriteSession, step: int) -> None:
    for start in range(0, len(DATA), step):
        put(stored, PutAttachmentBytes(1, start, DATA[start : start + step], "etag"))
    (row,) = queries.queued_attachments(stored.db, 9, 0)
    assert (row.received, row.etag, row.item_id, row.attachment.name) == (len(DATA), "etag", "1", "a")
    digest = hashlib.sha256(DATA).digest()
    put(stored, FinishAttachment(1, digest, len(DATA)))
    assert state(stored) == ("done", len(DATA))
    assert content(stored) == DATA
    assert content_matches_checksum(stored.db, "chunk", 1, len(DATA), digest)


def test_put_bytes_again_changes_nothing(stored: WriteSession) -> None:
    facts = [
        PutAttachmentBytes(1, start, DATA[start : start + CHUNK_BYTES]) for start in range(0, len(DATA), CHUNK_BYTES)
    ]
    put(stored, *facts, facts[0], facts[2])
    assert content(stored) == DATA


@pytest.mark.parametrize("offset", [0, 7, CHUNK_BYTES, CHUNK_BYTES + 7, 2 * CHUNK_BYTES])
def test_put_bytes_replaces_everything_behind(stored: WriteSession, offset: int) -> None:
    put(stored, PutAttachmentBytes(1, 0, DATA[: 2 * CHUNK_BYTES]), PutAttachmentBytes(1, offset, b"other"))
    assert content(stored) == DATA[:offset] + b"other"
    assert state(stored) == ("wanted", offset + 5)
    assert content_matches_checksum(stored.db, "chunk", 1, offset + 5, None)


@pytest.mark.parametrize("offset", [-1, 5])
def test_put_bytes_ignores_bytes_beyond_gap(stored: WriteSession, offset: int) -> None:
    put(
        stored,
        PutAttachmentBytes(1, 0, b"1234"),
        PutAttachmentBytes(1, offset, b"x"),
        PutAttachmentBytes(99, 0, b"no such attachment"),
    )
    assert content(stored) == b"1234"


def test_finish_attachment_restarts_incomplete_one(stored: WriteSession) -> None:
    put(stored, PutAttachmentBytes(1, 0, b"1234"), FinishAttachment(1, b"\0" * 32, 5))
    assert state(stored) == ("wanted", 0)
    assert content(stored) == b""


def test_complete_attachment_stays_until_restart(stored: WriteSession) -> None:
    put(
        stored, PutAttachmentBytes(1, 0, b"1234"), FinishAttachment(1, b"\0" * 32, 4), PutAttachmentBytes(1, 0, b"late")
    )
    assert content(stored) == b"1234"
    put(stored, RestartAttachment(1))
    assert (state(stored), content(stored)) == (("wanted", 0), b"")


@pytest.mark.parametrize(("reason", "becomes"), [("policy", "omitted"), ("gone", "failed")])
def test_omit_attachment_sets_state_and_reason(stored: WriteSession, reason: str, becomes: str) -> None:
    put(stored, PutAttachmentBytes(1, 0, b"1234"), OmitAttachment(1, reason))
    assert state(stored) == (becomes, 0)
    assert stored.db.execute("SELECT reason FROM attachment").fetchone() == (reason,)


def test_empty_attachment_can_be_complete(stored: WriteSession) -> None:
    put(stored, FinishAttachment(1, hashlib.sha256().digest(), 0))
    assert state(stored) == ("done", 0)


@pytest.mark.parametrize(
    "before", [(), (PutAttachmentBytes(1, 0, b"earlier bytes", "old"),), (OmitAttachment(1, "no"),)]
)
@pytest.mark.parametrize("data", [b"x", DATA])
def test_put_whole_attachment_completes_it(
    stored: WriteSession, before: tuple[PutAttachmentBytes | OmitAttachment, ...], data: bytes
) -> None:
    digest = hashlib.sha256(data).digest()
    put(stored, *before, PutWholeAttachment(1, data, digest, "etag"))
    assert state(stored) == ("done", len(data))
    assert content(stored) == data
    assert content_matches_checksum(stored.db, "chunk", 1, len(data), digest)
    assert stored.db.execute("SELECT sha256, etag, reason FROM attachment").fetchone() == (digest, "etag", "")


TEXT = b"".join(b"%07d\r\n" % number for number in range(3 * CHUNK_BYTES // 9))


@pytest.fixture
def with_source(tables: WriteSession) -> WriteSession:
    put(tables, PutItems((mail("1", attached=(source(size=len(TEXT)),)),)))
    return tables


@pytest.mark.parametrize("step", [CHUNK_BYTES, 100_000, len(TEXT)])
@pytest.mark.parametrize("again", [0, 7, CHUNK_BYTES, CHUNK_BYTES + 7, 300_000])
def test_source_is_compressed_and_resumed_at_any_byte(with_source: WriteSession, step: int, again: int) -> None:
    for start in range(0, 2 * CHUNK_BYTES, step):
        put(with_source, PutAttachmentBytes(1, start, TEXT[start : start + step]))
    (row,) = queries.queued_attachments(with_source.db, 9, 0)
    assert row.received >= 2 * CHUNK_BYTES
    put(with_source, PutAttachmentBytes(1, again, TEXT[again:]))
    digest = hashlib.sha256(TEXT).digest()
    put(with_source, FinishAttachment(1, digest, len(TEXT)))
    assert state(with_source) == ("done", len(TEXT))
    assert content(with_source) == TEXT
    assert content_matches_checksum(with_source.db, "chunk", 1, len(TEXT), digest)
    (stored,) = with_source.db.execute("SELECT sum(length(data)) FROM chunk").fetchone()
    assert stored < len(TEXT) / 2


def test_source_bytes_replace_everything_behind(with_source: WriteSession) -> None:
    put(with_source, PutAttachmentBytes(1, 0, TEXT), PutAttachmentBytes(1, CHUNK_BYTES + 7, b"other"))
    assert content(with_source) == TEXT[: CHUNK_BYTES + 7] + b"other"
    assert content_matches_checksum(with_source.db, "chunk", 1, CHUNK_BYTES + 12, None)


def test_source_bytes_again_change_nothing(with_source: WriteSession) -> None:
    put(with_source, PutAttachmentBytes(1, 0, TEXT))
    before = list(with_source.db.iterdump())
    put(with_source, PutAttachmentBytes(1, CHUNK_BYTES, TEXT[CHUNK_BYTES : 2 * CHUNK_BYTES]))
    assert list(with_source.db.iterdump()) == before


def test_source_that_does_not_shrink_is_stored_as_it_is(with_source: WriteSession) -> None:
    noise = random.Random(1).randbytes(1000)
    put(with_source, PutWholeAttachment(1, noise, hashlib.sha256(noise).digest()))
    assert with_source.db.execute("SELECT size, data FROM chunk").fetchall() == [(1000, noise)]
    assert content(with_source) == noise


def test_only_sources_are_compressed(stored: WriteSession) -> None:
    put(stored, PutWholeAttachment(1, TEXT, hashlib.sha256(TEXT).digest()))
    assert stored.db.execute("SELECT count(*) FROM chunk WHERE size <> length(data)").fetchone() == (0,)


@pytest.mark.parametrize(
    "damage",
    [
        "data = zeroblob(length(data))",
        "data = substr(data, 1, 100)",
        "crc32 = crc32 + 1",
        "size = size + 1",
        "size = 1000000000",
        "data = x''",
    ],
)
def test_damage_of_source_is_found(with_source: WriteSession, damage: str) -> None:
    put(with_source, PutWholeAttachment(1, TEXT, hashlib.sha256(TEXT).digest()))
    assert check_items(with_source.db, 0) == ([], None)
    with_source.db.execute(f'UPDATE chunk SET {damage} WHERE "offset" > 0')
    assert ["attachment 0 does not match" in defect.line for defect in check_items(with_source.db, 0)[0]] == [True]


def test_chunk_with_right_crc_that_cannot_be_decompressed_is_damage(with_source: WriteSession) -> None:
    put(with_source, PutWholeAttachment(1, TEXT, hashlib.sha256(TEXT).digest()))
    with_source.db.execute("UPDATE chunk SET data = ?, crc32 = ?", (b"garbage", crc32(b"garbage")))
    assert not content_matches_checksum(with_source.db, "chunk", 1, len(TEXT), None)
    with pytest.raises(CacheDamaged, match="compressed chunk"):
        content(with_source)


def test_content_in_source_is_never_downloaded(tables: WriteSession) -> None:
    part = attachment("a")._replace(in_source=True)
    put(tables, PutItems((mail("1", attached=(part,)),)))
    put(tables, PutAttachmentBytes(1, 0, b"x"), PutWholeAttachment(1, b"x", b"0" * 32))
    put(tables, FinishAttachment(1, b"0" * 32, 0), OmitAttachment(1, "gone"), RestartAttachment(1))
    omit_all_attachments(tables, ["inbox"])
    assert state(tables) == ("source", 0)
    assert queries.queued_attachments(tables.db, 9, 0) == ()
    assert queries.totals(tables.db).queued_attachments == 0


def test_omit_all_attachments_spares_sources_and_other_folders(tables: WriteSession) -> None:
    parts = (source(b"From: a"), attachment("a")._replace(data=b"12345"))
    places = {"1": ("inbox",), "2": ("inbox", "work"), "3": ("work",), "4": ("inbox", "people")}
    put(tables, PutItems(tuple(mail(name, folder=folders, attached=parts) for name, folders in places.items())))
    omit_all_attachments(tables, ["inbox", "people", "never"])
    states = tables.db.execute("SELECT role, state, received FROM attachment ORDER BY number").fetchall()
    whole = [("source", "done", 7), ("attachment", "done", 5)]
    omitted = [("source", "done", 7), ("attachment", "omitted", 0)]
    assert states == [*omitted, *whole, *whole, *omitted]
    assert tables.db.execute("SELECT count(*) FROM chunk").fetchone() == (6,)


def test_queued_attachment_names_all_folders(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", folder=("work", "inbox"), attached=(attachment("a"),)),)))
    (row,) = queries.queued_attachments(tables.db, 9)
    assert (row.folder_ids, row.attachment) == (("inbox", "work"), attachment("a"))


def test_put_whole_attachments_stores_each_in_its_row(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", attached=tuple(attachment(str(n), 3) for n in range(300))),)))
    put(tables, PutWholeAttachment(7, b"old", hashlib.sha256(b"old").digest()))
    facts = [PutWholeAttachment(n, b"%03d" % n, hashlib.sha256(b"%03d" % n).digest()) for n in range(1, 301)]
    put(tables, *facts, PutWholeAttachment(999, b"no such attachment", b""))
    expected = {n: b"old" if n == 7 else b"%03d" % n for n in range(1, 301)}
    assert dict(tables.db.execute("SELECT attachment, data FROM chunk")) == expected
    assert tables.db.execute("SELECT count(*) FROM attachment WHERE state = 'done'").fetchone() == (300,)
