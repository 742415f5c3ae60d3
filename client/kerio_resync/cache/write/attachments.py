"""Writing contents: an attachment's bytes in chunks, each with its CRC, and what state the attachment is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kerio_resync.cache.bulk_sql import insert_many, json_array, select_in
from kerio_resync.cache.checksums import crc32
from kerio_resync.cache.mutations import (
    OMITTED_BY_POLICY,
    FinishAttachment,
    OmitAttachment,
    PutAttachmentBytes,
    PutWholeAttachment,
    RestartAttachment,
)
from kerio_resync.cache.schema import CHUNK_BYTES
from kerio_resync.cache.write.session import WriteSession

# to be completed by which
QUEUED_AGAIN_SQL: Final = (
    "UPDATE attachment SET state = 'wanted', reason = '', etag = '', received = 0, sha256 = NULL WHERE "
)


def put_content(tables: WriteSession, fact: PutAttachmentBytes) -> None:
    row = tables.db.execute("SELECT received, state FROM attachment WHERE number = ?", (fact.attachment,)).fetchone()
    if row is None or row[1] == "done" or fact.offset > row[0] or fact.offset < 0:
        return
    if not _is_refetched_version(tables, fact, row[0]):
        _truncate(tables, fact.attachment, fact.offset)
        put_chunks(tables, "chunk", fact.attachment, fact.data, fact.offset)
        row = (fact.offset + len(fact.data),)
    tables.db.execute(
        "UPDATE attachment SET received = ?, etag = CASE ? WHEN '' THEN etag ELSE ? END WHERE number = ?",
        (row[0], fact.etag, fact.etag, fact.attachment),
    )


def put_whole(tables: WriteSession, facts: Sequence[PutWholeAttachment]) -> None:
    """Contents that came in one piece each, in as few statements as it takes. Those that are here already stay."""
    given = {fact.attachment: fact for fact in facts}
    known = tables.db.execute(
        "SELECT number, received FROM attachment WHERE number IN (SELECT value FROM json_each(?)) AND state <> 'done'",
        (json_array(given),),
    ).fetchall()
    for number, received in known:
        if received:
            _truncate(tables, number, 0)
    new = [given[row[0]] for row in known]
    rows = [row for fact in new for row in _chunks(fact.attachment, fact.data, 0)]
    insert_many(tables.db, 'INSERT INTO chunk (attachment, "offset", crc32, data)', "(?, ?, ?, ?)", rows)
    insert_many(
        tables.db,
        "WITH came (number, received, sha256, etag) AS (",
        "(?, ?, ?, ?)",
        [(fact.attachment, len(fact.data), fact.sha256, fact.etag) for fact in new],
        ") UPDATE attachment SET state = 'done', reason = '', received = came.received, sha256 = came.sha256,"
        " etag = came.etag FROM came WHERE attachment.number = came.number",
    )


def put_chunks(tables: WriteSession, table: str, attachment: int, data: bytes, offset: int = 0) -> None:
    """Stores `data` from `offset` on; `table`: chunk or outbox_chunk."""
    rows = _chunks(attachment, data, offset)
    insert_many(tables.db, f'INSERT INTO {table} (attachment, "offset", crc32, data)', "(?, ?, ?, ?)", rows)


def _chunks(attachment: int, data: bytes, offset: int) -> list[tuple[int, int, int, bytes]]:
    pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    return [(attachment, offset + place * CHUNK_BYTES, crc32(each), each) for place, each in enumerate(pieces)]


def finish_attachment(tables: WriteSession, fact: FinishAttachment) -> None:
    whole = tables.db.execute(
        "UPDATE attachment SET state = 'done', reason = '', sha256 = ? WHERE number = ? AND received = ?",
        (fact.sha256, fact.attachment, fact.size),
    )
    if not whole.rowcount:
        _restart(tables, fact.attachment)


def reset_attachment(tables: WriteSession, fact: RestartAttachment) -> None:
    _restart(tables, fact.attachment)


def omit_attachment(tables: WriteSession, fact: OmitAttachment) -> None:
    _restart(tables, fact.attachment)
    state = "omitted" if fact.reason == OMITTED_BY_POLICY else "failed"
    tables.db.execute(
        "UPDATE attachment SET state = ?, reason = ? WHERE number = ?", (state, fact.reason, fact.attachment)
    )


def omit_all_attachments(tables: WriteSession, folder_ids: Sequence[str]) -> None:
    """All contents of the items in these folders, by policy."""
    some = "item IN (SELECT number FROM item WHERE folder IN (SELECT number FROM folder WHERE id IN (...)))"
    select_in(
        tables.db, f"DELETE FROM chunk WHERE attachment IN (SELECT number FROM attachment WHERE {some})", folder_ids
    )
    select_in(
        tables.db,
        "UPDATE attachment SET state = 'omitted', reason = ?, etag = '', received = 0, sha256 = NULL WHERE " + some,
        folder_ids,
        before=(OMITTED_BY_POLICY,),
    )


def _is_refetched_version(tables: WriteSession, fact: PutAttachmentBytes, received: int) -> bool:
    """Whether just these bytes are stored at just this place: then nothing after them has to go."""
    if fact.offset + len(fact.data) > received:
        return False
    sql = 'SELECT length(data), crc32 FROM chunk WHERE attachment = ? AND "offset" = ?'
    for start in range(0, len(fact.data), CHUNK_BYTES):
        piece = fact.data[start : start + CHUNK_BYTES]
        if tables.db.execute(sql, (fact.attachment, fact.offset + start)).fetchone() != (len(piece), crc32(piece)):
            return False
    return True


def _truncate(tables: WriteSession, attachment: int, offset: int) -> None:
    """Lets go of what is stored from `offset` on."""
    db = tables.db
    db.execute('DELETE FROM chunk WHERE attachment = ? AND "offset" >= ?', (attachment, offset))
    last = db.execute(
        'SELECT "offset", data FROM chunk WHERE attachment = ? AND "offset" + length(data) > ?', (attachment, offset)
    ).fetchone()
    if last:
        rest = last[1][: offset - last[0]]
        db.execute(
            'UPDATE chunk SET data = ?, crc32 = ? WHERE attachment = ? AND "offset" = ?',
            (rest, crc32(rest), attachment, last[0]),
        )


def _restart(tables: WriteSession, attachment: int) -> None:
    tables.db.execute("DELETE FROM chunk WHERE attachment = ?", (attachment,))
    tables.db.execute(QUEUED_AGAIN_SQL + "number = ?", (attachment,))
