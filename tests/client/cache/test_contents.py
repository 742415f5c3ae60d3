from __future__ import annotations

import hashlib

import pytest

from kerio_resync.cache import reading
from kerio_resync.cache.checking import holds
from kerio_resync.cache.facts import FinishAttachment, OmitAttachment, PutContent, PutItems, PutWhole, RestartAttachment
from kerio_resync.cache.schema import CHUNK
from kerio_resync.cache.tables import Tables
from tests.client.cache.world import attachment, mail, put

DATA = bytes(range(256)) * (3 * CHUNK // 256) + b"tail"


@pytest.fixture
def stored(tables: Tables) -> Tables:
    put(tables, PutItems((mail("1", attached=(attachment("a", len(DATA)),)),)))
    return tables


def state(found: Tables) -> tuple[str, int]:
    row: tuple[str, int] = found.db.execute("SELECT state, received FROM attachment").fetchone()
    return row


def content(found: Tables) -> bytes:
    data = b""
    while piece := reading.chunk(found.db, "chunk", 1, len(data)):
        assert len(piece) <= CHUNK
        data += piece
    return data


@pytest.mark.parametrize("step", [CHUNK, 100_000, len(DATA)])
def test_a_content_in_steps_is_whole(stored: Tables, step: int) -> None:
    for start in range(0, len(DATA), step):
        put(stored, PutContent(1, start, DATA[start : start + step], "etag"))
    (row,) = reading.wanted_attachments(stored.db, 9, 0)
    assert (row.received, row.etag, row.item_id, row.attachment.name) == (len(DATA), "etag", "1", "a")
    digest = hashlib.sha256(DATA).digest()
    put(stored, FinishAttachment(1, digest, len(DATA)))
    assert state(stored) == ("done", len(DATA))
    assert content(stored) == DATA
    assert holds(stored.db, "chunk", 1, len(DATA), digest)


def test_bytes_told_again_change_nothing(stored: Tables) -> None:
    facts = [PutContent(1, start, DATA[start : start + CHUNK]) for start in range(0, len(DATA), CHUNK)]
    put(stored, *facts, facts[0], facts[2])
    assert content(stored) == DATA


@pytest.mark.parametrize("offset", [0, 7, CHUNK, CHUNK + 7, 2 * CHUNK])
def test_other_bytes_take_the_place_of_all_that_follows(stored: Tables, offset: int) -> None:
    put(stored, PutContent(1, 0, DATA[: 2 * CHUNK]), PutContent(1, offset, b"other"))
    assert content(stored) == DATA[:offset] + b"other"
    assert state(stored) == ("wanted", offset + 5)
    assert holds(stored.db, "chunk", 1, offset + 5, None)


@pytest.mark.parametrize("offset", [-1, 5])
def test_bytes_beyond_a_gap_are_let_go(stored: Tables, offset: int) -> None:
    put(stored, PutContent(1, 0, b"1234"), PutContent(1, offset, b"x"), PutContent(99, 0, b"no such attachment"))
    assert content(stored) == b"1234"


def test_what_is_not_whole_is_not_done(stored: Tables) -> None:
    put(stored, PutContent(1, 0, b"1234"), FinishAttachment(1, b"\0" * 32, 5))
    assert state(stored) == ("wanted", 0)
    assert content(stored) == b""


def test_what_is_done_stays_until_it_is_restarted(stored: Tables) -> None:
    put(stored, PutContent(1, 0, b"1234"), FinishAttachment(1, b"\0" * 32, 4), PutContent(1, 0, b"late"))
    assert content(stored) == b"1234"
    put(stored, RestartAttachment(1))
    assert (state(stored), content(stored)) == (("wanted", 0), b"")


@pytest.mark.parametrize(("reason", "becomes"), [("policy", "omitted"), ("gone", "failed")])
def test_an_attachment_can_be_left_out(stored: Tables, reason: str, becomes: str) -> None:
    put(stored, PutContent(1, 0, b"1234"), OmitAttachment(1, reason))
    assert state(stored) == (becomes, 0)
    assert stored.db.execute("SELECT reason FROM attachment").fetchone() == (reason,)


def test_an_empty_content_can_be_done(stored: Tables) -> None:
    put(stored, FinishAttachment(1, hashlib.sha256().digest(), 0))
    assert state(stored) == ("done", 0)


@pytest.mark.parametrize("before", [(), (PutContent(1, 0, b"earlier bytes", "old"),), (OmitAttachment(1, "no"),)])
@pytest.mark.parametrize("data", [b"x", DATA])
def test_a_content_in_one_piece_is_whole(
    stored: Tables, before: tuple[PutContent | OmitAttachment, ...], data: bytes
) -> None:
    digest = hashlib.sha256(data).digest()
    put(stored, *before, PutWhole(1, data, digest, "etag"))
    assert state(stored) == ("done", len(data))
    assert content(stored) == data
    assert holds(stored.db, "chunk", 1, len(data), digest)
    assert stored.db.execute("SELECT sha256, etag, reason FROM attachment").fetchone() == (digest, "etag", "")


def test_whole_contents_in_a_row_each_go_to_their_place(tables: Tables) -> None:
    put(tables, PutItems((mail("1", attached=tuple(attachment(str(n), 3) for n in range(300))),)))
    put(tables, PutWhole(7, b"old", hashlib.sha256(b"old").digest()))
    facts = [PutWhole(n, b"%03d" % n, hashlib.sha256(b"%03d" % n).digest()) for n in range(1, 301)]
    put(tables, *facts, PutWhole(999, b"no such attachment", b""))
    expected = {n: b"old" if n == 7 else b"%03d" % n for n in range(1, 301)}
    assert dict(tables.db.execute("SELECT attachment, data FROM chunk")) == expected
    assert tables.db.execute("SELECT count(*) FROM attachment WHERE state = 'done'").fetchone() == (300,)
