"""Makes of an old cache of this format the beginning of a new one: a copy, in which only what is proven stays.

Promises: what bears the new name is a whole cache, durable, in which every item and every content holds its checksum
and the file's structure is sound; it says of nothing that the server has it: the lists have to be compared before it
may take the old one's place. Local changes and local items are not in it, they are rescued from the old file. The old
file is only read. Refuses (with None) what is not worth the trouble or not safe: another account's file, another
schema, no room for two; `salvage` then takes item by item what it can.

Copying is what makes a gigabyte a matter of seconds: row by row the new file would be written as slowly as when it was
fetched. Only where the structure is damaged is it made anew, of the rows that still stand (`recover`).
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from kerio_resync.cache import checking
from kerio_resync.cache.bulk import array
from kerio_resync.cache.contents import WANTED_AGAIN
from kerio_resync.cache.files import clear, sync_file, sync_folder
from kerio_resync.cache.items import read
from kerio_resync.cache.line import Line
from kerio_resync.cache.recover import recover
from kerio_resync.cache.schema import FORMAT, PAGE_SIZE, check_header, identity_rows, lay_out
from kerio_resync.cache.store import FIRST_BYTES
from kerio_resync.cache.sums import item_sum
from kerio_resync.cache.trouble import available
from kerio_resync.errors import CacheDamaged, ResyncError
from kerio_resync.model import Identity

COPIED: Final = "copied"  # meta: how many items were taken along, until the lists have been compared
SLICE: Final = 500  # items, or contents, that are proven at once
LARGE: Final = 64 * 1024 * 1024  # bytes of contents proven at once, or a single larger one
SPARE: Final = 64 * 1024 * 1024  # bytes to leave free
_BROKEN: Final = (sqlite3.Error, ValueError, TypeError, OverflowError, OSError, ResyncError)


@dataclass(frozen=True, slots=True)
class Copied:
    """How many items are in the new file; whether the old one's structure is damaged."""

    items: int
    damaged: bool


async def copy_proven(old: Path, path: Path, identity: Identity) -> Copied | None:
    """Makes `path`, which must not exist, of `old`. None: it can't be, and nothing is there.

    Errors of the disk are None as well: who goes on without the copy meets them again, and says so."""
    new = path.with_name(path.name + ".new")
    try:
        if not old.is_file() or available(path) < old.stat().st_size + SPARE + FIRST_BYTES:
            return None
        damaged = await _copy(old, new, identity)
        kept = await _prove(new, identity)
        if not kept:
            return None
        sync_file(new)
        clear(path)
        new.rename(path)
        sync_folder(path.parent)
    except _BROKEN:
        return None
    finally:
        new.unlink(missing_ok=True)
        clear(new)
    return Copied(kept, damaged)


async def _copy(old: Path, new: Path, identity: Identity) -> bool:
    """A copy as the old file is at one instant; whether it had to be made of what still stands there. CacheDamaged if
    it is none of ours."""
    new.unlink(missing_ok=True)
    clear(new)
    line = await Line.open(old, readonly=True)
    try:
        return await line.run(partial(_copy_all, new=new, identity=identity))
    finally:
        await line.close()


def _copy_all(db: sqlite3.Connection, new: Path, identity: Identity) -> bool:
    db.execute("BEGIN")  # from the first question on, nobody else writes to the file
    if check_header(db).account != identity.account or _shape(db) != _shape_now(identity):
        raise CacheDamaged("it is another account's, or of another shape")
    with closing(_draft(new)) as target:
        db.backup(target)
        if not checking.structure(target):
            return False
    new.unlink()
    with closing(_draft(new)) as target:
        target.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        lay_out(target, identity)
        target.execute("BEGIN")
        recover(db, target)
        target.execute("COMMIT")
    return True


def _draft(new: Path) -> sqlite3.Connection:
    """Until it is whole the copy has another name, so that nothing need be undone in it."""
    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    db = sqlite3.connect(new, isolation_level=None)
    _as_draft(db)
    return db


def _shape(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    return db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()


def _shape_now(identity: Identity) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        lay_out(db, identity)
        return _shape(db)


async def _prove(new: Path, identity: Identity) -> int:
    """Takes out of the copy what is not proven, and what belongs to the old cache alone; the items that are left."""
    line = await Line.open(new)
    try:
        await line.run(_as_draft)
        await line.run(lambda db: db.execute("BEGIN"))
        await line.run(_let_go_of_the_rest)
        after = 0
        while (last := await line.run(partial(_prove_items, after=after))) is not None:
            after = last
        after = 0
        while (last := await line.run(partial(_prove_contents, after=after))) is not None:
            after = last
        kept = await line.run(partial(_begin_anew, identity=identity))
        await line.run(lambda db: db.execute("COMMIT"))
    finally:
        await line.close()
    return kept


def _as_draft(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = OFF").fetchone()
    db.execute("PRAGMA synchronous = OFF")


def _let_go_of_the_rest(db: sqlite3.Connection) -> None:
    for table in ("outbox", "wanted", "seen", "skipped"):
        db.execute(f"DELETE FROM {table}")
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
    db.execute("DELETE FROM folder WHERE standing = 'local'")
    partly = "state <> 'done' OR sha256 IS NULL"
    db.execute(f"DELETE FROM chunk WHERE attachment IN (SELECT number FROM attachment WHERE {partly})")
    db.execute(WANTED_AGAIN + partly)


def _prove_items(db: sqlite3.Connection, after: int) -> int | None:
    """Deletes those of the next items whose checksum does not hold; the last one's number, None at the end."""
    found = read(db, "item.number > ? ORDER BY item.number LIMIT ?", (after, SLICE))
    bad = [number for number, item, told in found if item_sum(item) != told]
    db.execute("DELETE FROM item WHERE number IN (SELECT value FROM json_each(?))", (array(bad),))
    return found[-1][0] if found else None


def _prove_contents(db: sqlite3.Connection, after: int) -> int | None:
    """The same for contents: what is not as it was when it came is wanted again."""
    rows = db.execute(
        "SELECT number, received, sha256 FROM attachment WHERE state = 'done' AND number > ? ORDER BY number LIMIT ?",
        (after, SLICE),
    ).fetchall()
    size, last, bad = 0, None, []
    for number, received, told in rows:
        if size >= LARGE:
            break
        if not checking.holds(db, "chunk", number, received, told):
            bad.append(number)
        size, last = size + received, number
    numbers = array(bad)
    db.execute("DELETE FROM chunk WHERE attachment IN (SELECT value FROM json_each(?))", (numbers,))
    db.execute(WANTED_AGAIN + "number IN (SELECT value FROM json_each(?))", (numbers,))
    return last


def _begin_anew(db: sqlite3.Connection, identity: Identity) -> int:
    """What a new cache says of itself; how many items are in it."""
    (kept,) = db.execute("SELECT count(*) FROM item").fetchone()
    db.execute("DELETE FROM meta")
    facts = {"format": FORMAT, **identity_rows(identity), COPIED: str(kept)}
    db.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
    return int(kept)
