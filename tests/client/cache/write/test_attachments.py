from __future__ import annotations

import hashlib

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.integrity.check import content_matches_checksum
from kerio_resync.cache.mutations import (
    FinishAttachment,
    OmitAttachment,
    PutAttachmentBytes,
    PutItems,
    PutWholeAttachment,
    RestartAttachment,
)
from kerio_resync.cache.schema import CHUNK_BYTES
from kerio_resync.cache.write.session import WriteSession
from tests.support.cache import attachment, mail, put

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


def test_put_whole_attachments_stores_each_in_its_row(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", attached=tuple(attachment(str(n), 3) for n in range(300))),)))
    put(tables, PutWholeAttachment(7, b"old", hashlib.sha256(b"old").digest()))
    facts = [PutWholeAttachment(n, b"%03d" % n, hashlib.sha256(b"%03d" % n).digest()) for n in range(1, 301)]
    put(tables, *facts, PutWholeAttachment(999, b"no such attachment", b""))
    expected = {n: b"old" if n == 7 else b"%03d" % n for n in range(1, 301)}
    assert dict(tables.db.execute("SELECT attachment, data FROM chunk")) == expected
    assert tables.db.execute("SELECT count(*) FROM attachment WHERE state = 'done'").fetchone() == (300,)
