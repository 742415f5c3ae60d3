"""Writes attachments: chunks of bytes with their CRC-32, and states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kerio_resync.cache import compression
from kerio_resync.cache.bulk_sql import insert_many, json_array, select_in
from kerio_resync.cache.mutations import (
    OMITTED_BY_POLICY,
    FinishAttachment,
    OmitAttachment,
    PutAttachmentBytes,
    PutWholeAttachment,
    RestartAttachment,
)
from kerio_resync.cache.write.chunks import ChunkRow, chunk_rows, insert_chunks
from kerio_resync.cache.write.session import WriteSession

QUEUED_AGAIN_SQL: Final = (  # a condition has to follow
    "UPDATE attachment SET state = 'wanted', reason = '', etag = '', received = 0, sha256 = NULL WHERE "
)


def put_bytes(mutation: PutAttachmentBytes, session: WriteSession) -> None:
    """Store bytes of an attachment.

    Bytes stored behind them are dropped, unless exactly these bytes are stored already.
    """
    number, offset, data, etag = mutation
    row = session.db.execute("SELECT received, state, role FROM attachment WHERE number = ?", (number,)).fetchone()
    if row is None or row[1] in ("done", "source") or offset > row[0] or offset < 0:
        return
    received = row[0]
    rows = chunk_rows(number, data, offset, is_compressed=row[2] == "source")
    if offset + len(data) > received or not _has_chunks(session, rows):
        _truncate(session, number, offset)
        insert_chunks(session.db, rows)
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
        "SELECT number, received, role FROM attachment"
        " WHERE number IN (SELECT value FROM json_each(?)) AND state NOT IN ('done', 'source')",
        (json_array(by_number),),
    ).fetchall()
    chunks = []
    for number, received, role in rows:
        if received:
            _truncate(session, number, 0)
        chunks += chunk_rows(number, by_number[number].data, is_compressed=role == "source")
    insert_chunks(session.db, chunks)
    insert_many(
        session.db,
        "WITH complete (number, received, sha256, etag) AS (",
        "(?, ?, ?, ?)",
        [(number, len(by_number[number].data), *by_number[number][2:]) for number, _, _ in rows],
        ") UPDATE attachment SET state = 'done', reason = '', received = complete.received, sha256 = complete.sha256,"
        " etag = complete.etag FROM complete WHERE attachment.number = complete.number",
    )


def finish_attachment(mutation: FinishAttachment, session: WriteSession) -> None:
    """Mark an attachment as complete.

    With another size, it is downloaded again from its start.
    """
    updated = session.db.execute(
        "UPDATE attachment SET state = 'done', reason = '', sha256 = ? WHERE number = ? AND received = ?"
        " AND state <> 'source'",
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
        "UPDATE attachment SET state = ?, reason = ? WHERE number = ? AND state <> 'source'",
        (state, mutation.reason, mutation.attachment),
    )


def omit_all_attachments(session: WriteSession, folder_ids: Sequence[str], before: str = "") -> None:
    """Drop the attachments of items that are in no other folder; mark them as omitted.

    So are those of mails with a date before `before`. Sources stay, with what is part of them.
    """
    numbers = [row[0] for row in select_in(session.db, "SELECT number FROM folder WHERE id IN (...)", folder_ids)]
    _omit(
        session,
        "number IN (SELECT attachment.number FROM placement JOIN attachment ON attachment.item = placement.item"
        " WHERE placement.folder IN (SELECT value FROM json_each(:folders)) AND role <> 'source' AND state <> 'source'"
        " AND NOT EXISTS (SELECT 1 FROM placement AS other WHERE other.item = placement.item"
        "  AND other.folder NOT IN (SELECT value FROM json_each(:folders))))",
        {"folders": json_array(numbers)},
    )
    if before:
        _omit(
            session,
            "role <> 'source' AND state <> 'source'"
            " AND item IN (SELECT number FROM item WHERE kind = 'mail' AND date < :before)",
            {"before": before},
        )


def _omit(session: WriteSession, omitted: str, values: dict[str, str]) -> None:
    """Mark the attachments that the condition selects as omitted."""
    values = {**values, "reason": OMITTED_BY_POLICY}
    session.db.execute(f"DELETE FROM chunk WHERE attachment IN (SELECT number FROM attachment WHERE {omitted})", values)
    session.db.execute(
        "UPDATE attachment SET state = 'omitted', reason = :reason, etag = '', received = 0, sha256 = NULL WHERE "
        + omitted,
        values,
    )


def _has_chunks(session: WriteSession, rows: Sequence[ChunkRow]) -> bool:
    """Return whether exactly these chunks are stored at their offsets."""
    sql = 'SELECT size, crc32 FROM chunk WHERE attachment = ? AND "offset" = ?'
    return all(
        session.db.execute(sql, (number, offset)).fetchone() == (size, crc) for number, offset, size, crc, _ in rows
    )


def _truncate(session: WriteSession, attachment: int, offset: int) -> None:
    """Delete the stored bytes from `offset` on."""
    db = session.db
    db.execute('DELETE FROM chunk WHERE attachment = ? AND "offset" >= ?', (attachment, offset))
    last = db.execute(
        'SELECT "offset", size, data FROM chunk WHERE attachment = ? AND "offset" + size > ?', (attachment, offset)
    ).fetchone()
    if last:
        start, size, data = last
        db.execute('DELETE FROM chunk WHERE attachment = ? AND "offset" = ?', (attachment, start))
        rest = compression.decompress(data, size)[: offset - start]
        insert_chunks(db, chunk_rows(attachment, rest, start, is_compressed=len(data) < size))


def _restart(session: WriteSession, attachment: int) -> None:
    session.db.execute("DELETE FROM chunk WHERE attachment = ?", (attachment,))
    session.db.execute(QUEUED_AGAIN_SQL + "number = ? AND state <> 'source'", (attachment,))
