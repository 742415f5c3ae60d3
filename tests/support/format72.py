"""Files of format 7.2.

`tests/data/cache-7.2.sql` is the dump of a file that the last version with this format made: items of every kind, in
two folders and in one that the server has not named yet, a moved item, contents in every state, a queue, an outbox with
every action and every state, and two items in "Conflicts". `tests/data/cache-7.2-early.sql` is one of an early version,
whose outbox has no columns for code and version.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from kerio_resync.cache.schema import PAGE_SIZE
from kerio_resync.model import Identity

LATE, EARLY = "cache-7.2.sql", "cache-7.2-early.sql"
OWNER = Identity(
    "https://mail.example.com", "keriodb://user/example.com/jane", "jane", "jane@example.com", "jane@example.com"
)
EARLY_OWNER = Identity("https://mail.example.com", "account-1", "jane@example.com", "jane@example.com", "jane")
RECORD = '{"known":["there-1"],"like":"{\\"text\\":\\"offline\\"}","alone":false,"key":"key-1"}'
EARLY_OUTCOMES = {  # by number: state, attempt, attempts, reason, code, sent_version, new_id
    1: ("pending", "", 0, "", 0, "", ""),
    2: ("sending", RECORD, 2, "", 0, "", ""),
    3: ("sending", "", 1, "", 0, "", ""),
    4: ("sent", RECORD, 1, "", 0, "17", "note-4b"),
    5: ("refused", "", 1, "quota of (code 7) things exceeded (code 4102)", 4102, "", ""),
    6: ("refused", "", 1, "version 2 is not editable", 0, "", ""),
    7: ("conflict", "", 1, "note note-7 was to be deleted, but it is newer", 0, "", ""),
    8: ("withdrawn", "", 0, "", 0, "", ""),
    9: ("sent", "", 1, "", 0, "", ""),
}
LATE_OUTCOMES = {
    1: ("pending", "", 0, "", 0, "", ""),
    2: ("sending", RECORD, 1, "", 0, "", ""),
    3: ("pending", "", 0, "", 0, "", ""),
    4: ("pending", "", 0, "", 0, "", ""),
    5: ("sent", RECORD, 1, "", 0, "44", "mail-2b"),
    6: ("sent", "", 1, "", 0, "", ""),
    7: ("refused", "", 1, "No room. (code 4102)", 4102, "", ""),
    8: ("conflict", "", 0, "the server has version 15", 0, "", ""),
    9: ("withdrawn", "", 0, "", 0, "", ""),
    10: ("pending", "", 0, "", 0, "", ""),
    11: ("sent", RECORD, 1, "", 0, "45", "note-45"),
    12: ("pending", "", 0, "", 0, "", ""),
}


def load(dump: str, path: Path, harm: str = "") -> Path:
    """Make a file from a dump, and run `harm` on it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        db.executescript((Path(__file__).parents[1] / "data" / dump).read_text())
        db.executescript(f"PRAGMA foreign_keys = 0; PRAGMA ignore_check_constraints = 1; {harm}")
    return path


def owned_by(owner: Identity) -> str:
    """Return a statement for `load` that makes the file one of `owner`."""
    return "".join(f"UPDATE meta SET value = '{value}' WHERE key = '{key}';" for key, value in owner._asdict().items())
