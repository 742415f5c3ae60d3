"""Reads the database that a migration has built, and checks all of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

from kerio_resync.cache.checksums import plain_crc32
from kerio_resync.cache.db_errors import mapped_db_errors
from kerio_resync.cache.files import sync_file
from kerio_resync.cache.integrity.check import (
    check_changes,
    check_structure,
    content_matches_checksum,
    corrupt_items,
)
from kerio_resync.cache.new_database import connect
from kerio_resync.cache.schema_guard import lift_limits
from kerio_resync.errors import CacheDamaged

_CHECK_CONTENTS: Final = """
SELECT number,
  CASE state WHEN 'done' THEN received ELSE 0 END <> coalesce(sum(chunk.size), 0)
  OR received <> coalesce(max("offset" + chunk.size), 0)
  OR coalesce(max(chunk.size <> length(data) OR crc32 <> crc32_of(coalesce(data, x''))), 0)
FROM attachment LEFT JOIN chunk ON attachment = number
WHERE number > :after AND number <= :after + 100 GROUP BY number
"""
CheckSlice = Callable[[sqlite3.Connection, int], tuple[Sequence[int], int | None]]


def verify(path: Path, report: Callable[[float], None], *, hashes: bool = False) -> None:
    """Read everything back, and check it.

    That is SQLite's own check, the checksums of items and local changes, and the CRCs of contents. `hashes`: also the
    SHA-256 of contents, if they were not computed but copied.

    CacheDamaged says what does not match. `report` is called with the share of the rows that were read, by two threads;
    what it raises ends the check. The file is synced to the disk meanwhile.
    """
    progress = {"item": 0, "attachment": 0}
    with mapped_db_errors(path), closing(connect(path)) as db:
        total = sum(db.execute(f"SELECT coalesce(max(number), 0) FROM {table}").fetchone()[0] for table in progress)

    def check_table(table: str, corrupt_rows: CheckSlice) -> list[str]:
        corrupt: list[int] = []
        with closing(connect(path)) as db:
            after: int | None = 0
            while after is not None:
                with mapped_db_errors(path):
                    numbers, after = corrupt_rows(db, after)
                corrupt += numbers
                progress[table] = after or progress[table]
                report(sum(progress.values()) / max(total, 1))  # may raise InterruptedError, which is an OSError
        return [f"{table} {number} does not match its checksum" for number in corrupt]

    with ThreadPoolExecutor(3) as pool:
        checks = [
            pool.submit(check_table, "item", corrupt_items),
            pool.submit(check_table, "attachment", _corrupt_hashes if hashes else _corrupt_contents),
            pool.submit(_check_file, path),
        ]
        with mapped_db_errors(path):
            sync_file(path)
        defects = [line for check in checks for line in check.result()]
    if defects:
        raise CacheDamaged(f"the new database is damaged: {defects[0]}")


def _corrupt_contents(db: sqlite3.Connection, after: int) -> tuple[list[int], int | None]:
    """Return which of the next attachments do not have their content.

    The second value is the number of the last one, None at the end.
    """
    db.create_function("crc32_of", 1, plain_crc32, deterministic=True)
    rows = db.execute(_CHECK_CONTENTS, {"after": after}).fetchall()
    return [number for number, corrupt in rows if corrupt], rows[-1][0] if rows else None


def _corrupt_hashes(db: sqlite3.Connection, after: int) -> tuple[list[int], int | None]:
    """Do the same as `_corrupt_contents`, with the SHA-256 of each."""
    rows = db.execute(
        "SELECT number, received, sha256, state FROM attachment WHERE number > ? ORDER BY number LIMIT 100", (after,)
    ).fetchall()
    corrupt = [
        number
        for number, received, sha256, state in rows
        if (state == "done" and sha256 is None) or not content_matches_checksum(db, "chunk", number, received, sha256)
    ]
    return corrupt, rows[-1][0] if rows else None


def _check_file(path: Path) -> list[str]:
    with mapped_db_errors(path), closing(connect(path)) as db:
        lift_limits(db)
        return [defect.line for defect in check_structure(db) + check_changes(db)]
