"""Copies rows of a 7.2 file into the new database.

Each statement reads the one file and writes the other. Row numbers stay the same. Only items and local changes pass
through Python, because their checksums are new.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kerio_resync.cache.checksums import change_checksum
from kerio_resync.cache.format72.rows import StoredContent
from kerio_resync.cache.mutations import LocalChange
from kerio_resync.cache.new_database import NewDatabase
from kerio_resync.errors import CacheDamaged

CONTENT_SLICE_BYTES: Final = 4 * 1024 * 1024  # of contents, copied by one statement
_VERSION: Final = "CASE WHEN watermark > 0 THEN CAST(watermark AS TEXT) ELSE '' END"
_LISTED_ROWS: Final = (
    "CASE WHEN json_valid(CAST(position AS TEXT)) THEN"
    " max(0, CAST(coalesce(json_extract(CAST(position AS TEXT), '$.seen'), 0) AS INTEGER)) ELSE 0 END"
)
_FOLDERS: Final = (
    "number, id, parent_id, name, path, kind, role, place, owner, readable, count, unread, size, payload, extra, rank,"
    " position, listed, standing"
)
_COPY_FOLDERS: Final = (
    f"INSERT INTO main.folder ({_FOLDERS}, listed_rows) SELECT {_FOLDERS}, {_LISTED_ROWS} FROM old.folder"
)
_ATTACHMENTS: Final = (
    "number, item, ordinal, role, id, url, name, content_type, content_id, size, state, reason, etag, received, sha256"
)
_COPY_ATTACHMENTS: Final = (
    f"INSERT INTO main.attachment ({_ATTACHMENTS}) SELECT {_ATTACHMENTS} FROM old.attachment"
    " WHERE item BETWEEN ? AND ? ORDER BY item, ordinal"
)
_COPY_CHUNKS: Final = (
    'INSERT INTO main.chunk (attachment, "offset", size, crc32, data)'
    ' SELECT attachment, chunk."offset", length(data), crc32, data FROM old.chunk WHERE attachment'
)
_QUEUE: Final = "id, folder, kind, size, date, has_attachment, rank, keep, late"
_FILES: Final = "number, change, ordinal, name, content_type, content_id, size, sha256"
_FILE_CHUNKS: Final = 'attachment, "offset", crc32, data'
_COPY_REST: Final = (
    f"INSERT INTO main.wanted ({_QUEUE}, version) SELECT {_QUEUE}, {_VERSION} FROM old.wanted ORDER BY rank, date DESC",
    "INSERT INTO main.seen (item, round) SELECT item, round FROM old.seen",
    "INSERT INTO main.skipped (scope, id, reason) SELECT scope, id, reason FROM old.skipped",
    f"INSERT INTO main.outbox_attachment ({_FILES}) SELECT {_FILES} FROM old.outbox_attachment",
    f"INSERT INTO main.outbox_chunk ({_FILE_CHUNKS}) SELECT {_FILE_CHUNKS} FROM old.outbox_chunk",
    # a number of the outbox is never used again
    "UPDATE main.sqlite_sequence SET seq = max(seq, coalesce((SELECT max(seq) FROM old.sqlite_sequence"
    " WHERE name = 'outbox'), 0)) WHERE name = 'outbox'",
    "INSERT OR REPLACE INTO main.meta SELECT key, value FROM old.meta"
    " WHERE key NOT IN ('format', 'upgrade_from', 'upgrade_at')",
)
_CHANGE_COLUMNS: Final = (*LocalChange._fields, "checksum")
_INSERT_CHANGE: Final = (
    f"INSERT INTO main.outbox ({', '.join(_CHANGE_COLUMNS)}) VALUES"
    f" ({', '.join('CAST(:struct AS TEXT)' if name == 'struct' else f':{name}' for name in _CHANGE_COLUMNS)})"
)
_TABLES: Final = (
    "folder", "item", "attachment", "chunk", "wanted", "seen", "skipped", "outbox", "outbox_attachment", "outbox_chunk",
)  # fmt: skip
_SAME_CONTENTS: Final = "SELECT coalesce(sum(received), 0) FROM {}.attachment"


@dataclass(frozen=True, slots=True)
class Format72Copy:
    """Copies rows of the file that is attached to `target`."""

    target: NewDatabase

    def folders(self) -> None:
        """Copy the folders with the state of their listings."""
        self.target.copy(_COPY_FOLDERS)

    def attachments(self, first: int, last: int) -> None:
        """Copy the rows of the attachments of items `first` to `last`."""
        self.target.copy(_COPY_ATTACHMENTS, (first, last))

    def contents(self, contents: Sequence[StoredContent]) -> Iterator[int]:
        """Copy contents in slices; yield the bytes of each slice."""
        numbers, size = list[int](), 0
        for content in contents:
            if content.received > CONTENT_SLICE_BYTES:
                yield from self._large_content(content)
            elif content.received:
                numbers.append(content.number)
                size += content.received
            if size >= CONTENT_SLICE_BYTES:
                yield self._small_contents(numbers, size)
                numbers, size = [], 0
        if numbers:
            yield self._small_contents(numbers, size)

    def _small_contents(self, numbers: Sequence[int], size: int) -> int:
        self.target.copy(f"{_COPY_CHUNKS} IN (SELECT value FROM json_each(?))", (json.dumps(numbers),), size)
        return size

    def _large_content(self, content: StoredContent) -> Iterator[int]:
        for start in range(0, content.received, CONTENT_SLICE_BYTES):
            size = min(CONTENT_SLICE_BYTES, content.received - start)
            window = f'{_COPY_CHUNKS} = ? AND chunk."offset" >= ? AND chunk."offset" < ?'
            rows = self.target.copy(window, (content.number, start, start + size), size)
            if not rows and size == CONTENT_SLICE_BYTES:  # no chunk is so long; `received` may be any number
                raise CacheDamaged(f"content {content.number} has a gap")
            yield size

    def rest(self, changes: Sequence[LocalChange]) -> None:
        """Copy the queue, the outbox with `changes`, and everything else."""
        rows = [
            {**change._asdict(), "files": len(change.files), "checksum": change_checksum(change)} for change in changes
        ]
        self.target.put_rows(_INSERT_CHANGE, rows)
        for statement in _COPY_REST:
            self.target.copy(statement)

    def require_equal_counts(self) -> None:
        """Raise CacheDamaged unless each table has as many rows as the old one."""
        for table in _TABLES:
            old, new = (self.target.number(f"SELECT count(*) FROM {schema}.{table}") for schema in ("old", "main"))
            if old != new:
                raise CacheDamaged(f"{new:,} rows of {table} were copied, not {old:,}")
        if self.target.number(_SAME_CONTENTS.format("old")) != self.target.number(_SAME_CONTENTS.format("main")):
            raise CacheDamaged("not every content was copied")
