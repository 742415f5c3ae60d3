"""Writing contents: an attachment's bytes in chunks, each with its CRC, and what state the attachment is in."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kerio_resync.cache import items
from kerio_resync.cache.bulk import among, array, insert
from kerio_resync.cache.facts import (
    POLICY,
    FinishAttachment,
    OldContent,
    OmitAttachment,
    PutContent,
    PutItems,
    PutSalvaged,
    PutWhole,
    RestartAttachment,
)
from kerio_resync.cache.reading import chunk
from kerio_resync.cache.schema import CHUNK
from kerio_resync.cache.sums import crc32
from kerio_resync.cache.tables import Tables

# to be completed by which
WANTED_AGAIN: Final = (
    "UPDATE attachment SET state = 'wanted', reason = '', etag = '', received = 0, sha256 = NULL WHERE "
)


def put_content(tables: Tables, fact: PutContent) -> None:
    row = tables.db.execute("SELECT received, state FROM attachment WHERE number = ?", (fact.attachment,)).fetchone()
    if row is None or row[1] == "done" or fact.offset > row[0] or fact.offset < 0:
        return
    if not _same_again(tables, fact, row[0]):
        _cut(tables, fact.attachment, fact.offset)
        put_chunks(tables, "chunk", fact.attachment, fact.data, fact.offset)
        row = (fact.offset + len(fact.data),)
    tables.db.execute(
        "UPDATE attachment SET received = ?, etag = CASE ? WHEN '' THEN etag ELSE ? END WHERE number = ?",
        (row[0], fact.etag, fact.etag, fact.attachment),
    )


def put_whole(tables: Tables, facts: Sequence[PutWhole]) -> None:
    """Contents that came in one piece each, in as few statements as it takes. Those that are here already stay."""
    given = {fact.attachment: fact for fact in facts}
    known = tables.db.execute(
        "SELECT number, received FROM attachment WHERE number IN (SELECT value FROM json_each(?)) AND state <> 'done'",
        (array(given),),
    ).fetchall()
    for number, received in known:
        if received:
            _cut(tables, number, 0)
    new = [given[row[0]] for row in known]
    rows = [row for fact in new for row in _chunks(fact.attachment, fact.data, 0)]
    insert(tables.db, 'INSERT INTO chunk (attachment, "offset", crc32, data)', "(?, ?, ?, ?)", rows)
    insert(
        tables.db,
        "WITH came (number, received, sha256, etag) AS (",
        "(?, ?, ?, ?)",
        [(fact.attachment, len(fact.data), fact.sha256, fact.etag) for fact in new],
        ") UPDATE attachment SET state = 'done', reason = '', received = came.received, sha256 = came.sha256,"
        " etag = came.etag FROM came WHERE attachment.number = came.number",
    )


def put_chunks(tables: Tables, table: str, attachment: int, data: bytes, offset: int = 0) -> None:
    """Stores `data` from `offset` on; `table`: chunk or outbox_chunk."""
    rows = _chunks(attachment, data, offset)
    insert(tables.db, f'INSERT INTO {table} (attachment, "offset", crc32, data)', "(?, ?, ?, ?)", rows)


def _chunks(attachment: int, data: bytes, offset: int) -> list[tuple[int, int, int, bytes]]:
    pieces = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    return [(attachment, offset + place * CHUNK, crc32(each), each) for place, each in enumerate(pieces)]


def finish(tables: Tables, fact: FinishAttachment) -> None:
    whole = tables.db.execute(
        "UPDATE attachment SET state = 'done', reason = '', sha256 = ? WHERE number = ? AND received = ?",
        (fact.sha256, fact.attachment, fact.size),
    )
    if not whole.rowcount:
        _restart(tables, fact.attachment)


def restart(tables: Tables, fact: RestartAttachment) -> None:
    _restart(tables, fact.attachment)


def omit(tables: Tables, fact: OmitAttachment) -> None:
    _restart(tables, fact.attachment)
    state = "omitted" if fact.reason == POLICY else "failed"
    tables.db.execute(
        "UPDATE attachment SET state = ?, reason = ? WHERE number = ?", (state, fact.reason, fact.attachment)
    )


def omit_all(tables: Tables, folder_ids: Sequence[str]) -> None:
    """All contents of the items in these folders, by policy."""
    some = "item IN (SELECT number FROM item WHERE folder IN (SELECT number FROM folder WHERE id IN (...)))"
    among(tables.db, f"DELETE FROM chunk WHERE attachment IN (SELECT number FROM attachment WHERE {some})", folder_ids)
    among(
        tables.db,
        "UPDATE attachment SET state = 'omitted', reason = ?, etag = '', received = 0, sha256 = NULL WHERE " + some,
        folder_ids,
        before=(POLICY,),
    )


def put_salvaged(tables: Tables, fact: PutSalvaged) -> None:
    """The item, then each content that proves whole while it is copied; what does not stays wanted."""
    found = fact.found
    items.put_items(tables, PutItems((found.item,), fact.omit_attachments))
    if fact.omit_attachments:
        return
    for each in found.contents:
        row = tables.db.execute(
            "SELECT attachment.number FROM attachment JOIN item ON item.number = attachment.item"
            " WHERE item.id = ? AND item.watermark = ? AND ordinal = ? AND state <> 'done'",
            (found.item.id, found.item.watermark, each.ordinal),
        ).fetchone()
        if row is None:
            continue
        try:
            whole = _copy(tables, found.path, each, row[0])
        except _Unreadable:
            whole = False
        if whole:
            finish(tables, FinishAttachment(row[0], each.sha256, each.size))
        else:
            _restart(tables, row[0])


class _Unreadable(Exception):
    """The old file could not be read; an error of the new file is another thing."""


def _copy(tables: Tables, old: Path, content: OldContent, attachment: int) -> bool:
    digest, offset = hashlib.sha256(), 0
    while offset < content.size:
        try:
            data = chunk(tables.old(old), "chunk", content.number, offset)
        except sqlite3.Error as error:
            raise _Unreadable from error
        if not data:
            return False
        digest.update(data)
        put_content(tables, PutContent(attachment, offset, data))
        offset += len(data)
    return offset == content.size and digest.digest() == content.sha256


def _same_again(tables: Tables, fact: PutContent, received: int) -> bool:
    """Whether just these bytes are stored at just this place: then nothing after them has to go."""
    if fact.offset + len(fact.data) > received:
        return False
    sql = 'SELECT length(data), crc32 FROM chunk WHERE attachment = ? AND "offset" = ?'
    for start in range(0, len(fact.data), CHUNK):
        piece = fact.data[start : start + CHUNK]
        if tables.db.execute(sql, (fact.attachment, fact.offset + start)).fetchone() != (len(piece), crc32(piece)):
            return False
    return True


def _cut(tables: Tables, attachment: int, offset: int) -> None:
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


def _restart(tables: Tables, attachment: int) -> None:
    tables.db.execute("DELETE FROM chunk WHERE attachment = ?", (attachment,))
    tables.db.execute(WANTED_AGAIN + "number = ?", (attachment,))
