"""Writes attachments: chunks of bytes with their CRC-32, and states."""

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

QUEUED_AGAIN_SQL: Final = (  # a condition has to follow
    "UPDATE attachment SET state = 'wanted', reason = '', etag = '', received = 0, sha256 = NULL WHERE "
)


def put_bytes(mutation: PutAttachmentBytes, session: WriteSession) -> None:
    """Store bytes of an attachment.

    Bytes stored behind them are dropped, unless exactly these bytes are stored already.
    """
    number, offset, data, etag = mutation
    row = session.db.execute("SELECT received, state FROM attachment WHERE number = ?", (number,)).fetchone()
    if row is None or row[1] == "done" or offset > row[0] or offset < 0:
        return
    received = row[0]
    if not _has_bytes(session, mutation, received):
        _truncate(session, number, offset)
        put_chunks(session, "chunk", number, data, offset)
        received = offset + len(data)
    session.db.execute(
        "UPDATE attachment SET received = ?, etag = CASE ? WHEN '' THEN etag ELSE ? END WHERE number = ?",
        (received, etag, etag, number),
    )


def put_whole_attachments(mutations: Sequence[PutWholeAttachment], session: WriteSession) -> None:
    """Store complete attachments, in few statements.

    Attachments that are complete already do not change.
    """
    by_number = {mutation.attachment: mutation for mutation in mutations}
    rows = session.db.execute(
        "SELECT number, received FROM attachment WHERE number IN (SELECT value FROM json_each(?)) AND state <> 'done'",
        (json_array(by_number),),
    ).fetchall()
    for number, received in rows:
        if received:
            _truncate(session, number, 0)
    missing = [by_number[number] for number, _ in rows]
    chunks = [chunk for mutation in missing for chunk in _chunk_rows(mutation.attachment, mutation.data, 0)]
    insert_many(session.db, 'INSERT INTO chunk (attachment, "offset", crc32, data)', "(?, ?, ?, ?)", chunks)
    insert_many(
        session.db,
        "WITH complete (number, received, sha256, etag) AS (",
        "(?, ?, ?, ?)",
        [(mutation.attachment, len(mutation.data), mutation.sha256, mutation.etag) for mutation in missing],
        ") UPDATE attachment SET state = 'done', reason = '', received = complete.received, sha256 = complete.sha256,"
        " etag = complete.etag FROM complete WHERE attachment.number = complete.number",
    )


def put_chunks(session: WriteSession, table: str, attachment: int, data: bytes, offset: int = 0) -> None:
    """Insert `data` in chunks from `offset` on. `table`: chunk or outbox_chunk."""
    rows = _chunk_rows(attachment, data, offset)
    insert_many(session.db, f'INSERT INTO {table} (attachment, "offset", crc32, data)', "(?, ?, ?, ?)", rows)


def _chunk_rows(attachment: int, data: bytes, offset: int) -> list[tuple[int, int, int, bytes]]:
    chunks = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    return [(attachment, offset + place * CHUNK_BYTES, crc32(chunk), chunk) for place, chunk in enumerate(chunks)]


def finish_attachment(mutation: FinishAttachment, session: WriteSession) -> None:
    """Mark an attachment as complete.

    With another size, it is downloaded again from its start.
    """
    updated = session.db.execute(
        "UPDATE attachment SET state = 'done', reason = '', sha256 = ? WHERE number = ? AND received = ?",
        (mutation.sha256, mutation.attachment, mutation.size),
    )
    if not updated.rowcount:
        _restart(session, mutation.attachment)


def restart_attachment(mutation: RestartAttachment, session: WriteSession) -> None:
    """Drop the bytes of an attachment and queue it."""
    _restart(session, mutation.attachment)


def omit_attachment(mutation: OmitAttachment, session: WriteSession) -> None:
    """Drop the bytes of an attachment and mark it as omitted or failed."""
    _restart(session, mutation.attachment)
    state = "omitted" if mutation.reason == OMITTED_BY_POLICY else "failed"
    session.db.execute(
        "UPDATE attachment SET state = ?, reason = ? WHERE number = ?", (state, mutation.reason, mutation.attachment)
    )


def omit_all_attachments(session: WriteSession, folder_ids: Sequence[str]) -> None:
    """Drop the attachments of these folders, and mark them as omitted."""
    in_folders = "item IN (SELECT number FROM item WHERE folder IN (SELECT number FROM folder WHERE id IN (...)))"
    select_in(
        session.db,
        f"DELETE FROM chunk WHERE attachment IN (SELECT number FROM attachment WHERE {in_folders})",
        folder_ids,
    )
    select_in(
        session.db,
        "UPDATE attachment SET state = 'omitted', reason = ?, etag = '', received = 0, sha256 = NULL WHERE "
        + in_folders,
        folder_ids,
        before=(OMITTED_BY_POLICY,),
    )


def _has_bytes(session: WriteSession, mutation: PutAttachmentBytes, received: int) -> bool:
    """Return whether exactly these bytes are stored at their offset."""
    if mutation.offset + len(mutation.data) > received:
        return False
    sql = 'SELECT length(data), crc32 FROM chunk WHERE attachment = ? AND "offset" = ?'
    for number, offset, crc, data in _chunk_rows(mutation.attachment, mutation.data, mutation.offset):
        if session.db.execute(sql, (number, offset)).fetchone() != (len(data), crc):
            return False
    return True


def _truncate(session: WriteSession, attachment: int, offset: int) -> None:
    """Delete the stored bytes from `offset` on."""
    db = session.db
    db.execute('DELETE FROM chunk WHERE attachment = ? AND "offset" >= ?', (attachment, offset))
    last = db.execute(
        'SELECT "offset", data FROM chunk WHERE attachment = ? AND "offset" + length(data) > ?', (attachment, offset)
    ).fetchone()
    if last:
        start, data = last
        rest = data[: offset - start]
        db.execute(
            'UPDATE chunk SET data = ?, crc32 = ? WHERE attachment = ? AND "offset" = ?',
            (rest, crc32(rest), attachment, start),
        )


def _restart(session: WriteSession, attachment: int) -> None:
    session.db.execute("DELETE FROM chunk WHERE attachment = ?", (attachment,))
    session.db.execute(QUEUED_AGAIN_SQL + "number = ?", (attachment,))
