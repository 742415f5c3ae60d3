"""The rows of contents: at most 256 KiB each, those of sources compressed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from kerio_resync.cache import compression
from kerio_resync.cache.bulk_sql import insert_many
from kerio_resync.cache.checksums import crc32
from kerio_resync.cache.schema import CHUNK_BYTES

ChunkRow = tuple[int, int, int, int, bytes]  # attachment, offset, size, CRC-32, data


def chunk_rows(attachment: int, content: bytes, offset: int = 0, *, is_compressed: bool = False) -> list[ChunkRow]:
    """Return the rows for `content`, which begins at `offset`."""
    rows = []
    for start in range(0, len(content), CHUNK_BYTES):
        plain = content[start : start + CHUNK_BYTES]
        data = compression.compress(plain) if is_compressed else plain
        rows.append((attachment, offset + start, len(plain), crc32(data), data))
    return rows


def insert_chunks(db: sqlite3.Connection, rows: Sequence[ChunkRow]) -> None:
    """Insert rows of `chunk`."""
    insert_many(db, 'INSERT INTO chunk (attachment, "offset", size, crc32, data)', "(?, ?, ?, ?, ?)", rows)
