from __future__ import annotations

import hashlib

import pytest

from kerio_resync.cache import reading
from kerio_resync.cache.checking import holds
from kerio_resync.cache.facts import FinishAttachment, OmitAttachment, PutContent, PutItems, PutWhole, RestartAttachment
from kerio_resync.cache.schema import CHUNK
from kerio_resync.cache.tables import Tables
from tests.client.cache.world import attachment, mail, put, tables

DATA = bytes(range(256)) * (3 * CHUNK // 256) + b"tail"


def one() -> Tables:
    found = tables()
    put(found, PutItems((mail("1", attached=(attachment("a", len(DATA)),)),)))
    return found


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
def test_a_content_in_steps_is_whole(step: int) -> None:
    found = one()
    for start in range(0, len(DATA), step):
        put(found, PutContent(1, start, DATA[start : start + step], "etag"))
    (row,) = reading.wanted_attachments(found.db, 9, 0)
    assert (row.received, row.etag, row.item_id, row.attachment.name) == (len(DATA), "etag", "1", "a")
    digest = hashlib.sha256(DATA).digest()
    put(found, FinishAttachment(1, digest, len(DATA)))
    assert state(found) == ("done", len(DATA))
    assert content(found) == DATA
    assert holds(found.db, "chunk", 1, len(DATA), digest)


def test_bytes_told_again_change_nothing() -> None:
    found = one()
    facts = [PutContent(1, start, DATA[start : start + CHUNK]) for start in range(0, len(DATA), CHUNK)]
    put(found, *facts, facts[0], facts[2])
    assert content(found) == DATA


@pytest.mark.parametrize("offset", [0, 7, CHUNK, CHUNK + 7, 2 * CHUNK])
def test_other_bytes_take_the_place_of_all_that_follows(offset: int) -> None:
    found = one()
    put(found, PutContent(1, 0, DATA[: 2 * CHUNK]), PutContent(1, offset, b"other"))
    assert content(found) == DATA[:offset] + b"other"
    assert state(found) == ("wanted", offset + 5)
    assert holds(found.db, "chunk", 1, offset + 5, None)


@pytest.mark.parametrize("offset", [-1, 5])
def test_bytes_beyond_a_gap_are_let_go(offset: int) -> None:
    found = one()
    put(found, PutContent(1, 0, b"1234"), PutContent(1, offset, b"x"), PutContent(99, 0, b"no such attachment"))
    assert content(found) == b"1234"


def test_what_is_not_whole_is_not_done() -> None:
    found = one()
    put(found, PutContent(1, 0, b"1234"), FinishAttachment(1, b"\0" * 32, 5))
    assert state(found) == ("wanted", 0)
    assert content(found) == b""


def test_what_is_done_stays_until_it_is_restarted() -> None:
    found = one()
    put(found, PutContent(1, 0, b"1234"), FinishAttachment(1, b"\0" * 32, 4), PutContent(1, 0, b"late"))
    assert content(found) == b"1234"
    put(found, RestartAttachment(1))
    assert (state(found), content(found)) == (("wanted", 0), b"")


@pytest.mark.parametrize(("reason", "becomes"), [("policy", "omitted"), ("gone", "failed")])
def test_an_attachment_can_be_left_out(reason: str, becomes: str) -> None:
    found = one()
    put(found, PutContent(1, 0, b"1234"), OmitAttachment(1, reason))
    assert state(found) == (becomes, 0)
    assert found.db.execute("SELECT reason FROM attachment").fetchone() == (reason,)


def test_an_empty_content_can_be_done() -> None:
    found = one()
    put(found, FinishAttachment(1, hashlib.sha256().digest(), 0))
    assert state(found) == ("done", 0)


@pytest.mark.parametrize("before", [(), (PutContent(1, 0, b"earlier bytes", "old"),), (OmitAttachment(1, "no"),)])
@pytest.mark.parametrize("data", [b"x", DATA])
def test_a_content_in_one_piece_is_whole(before: tuple[PutContent | OmitAttachment, ...], data: bytes) -> None:
    found = one()
    digest = hashlib.sha256(data).digest()
    put(found, *before, PutWhole(1, data, digest, "etag"))
    assert state(found) == ("done", len(data))
    assert content(found) == data
    assert holds(found.db, "chunk", 1, len(data), digest)
    assert found.db.execute("SELECT sha256, etag, reason FROM attachment").fetchone() == (digest, "etag", "")


def test_whole_contents_in_a_row_each_go_to_their_place() -> None:
    found = tables()
    put(found, PutItems((mail("1", attached=tuple(attachment(str(n), 3) for n in range(300))),)))
    put(found, PutWhole(7, b"old", hashlib.sha256(b"old").digest()))
    facts = [PutWhole(n, b"%03d" % n, hashlib.sha256(b"%03d" % n).digest()) for n in range(1, 301)]
    put(found, *facts, PutWhole(999, b"no such attachment", b""))
    expected = {n: b"old" if n == 7 else b"%03d" % n for n in range(1, 301)}
    assert dict(found.db.execute("SELECT attachment, data FROM chunk")) == expected
    assert found.db.execute("SELECT count(*) FROM attachment WHERE state = 'done'").fetchone() == (300,)
