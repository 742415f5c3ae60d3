"""The tables of the database format 7.1.

A file has `PRAGMA user_version` 70100 and no `application_id`. How it stores a mailbox:

- There is a table per kind of item. A mail's text, its attachments and their contents have tables of their own.
- A row that belongs to another row has the number (`slot`) 65,536 × the owner's number + its place, from 0.
- A content is a run of LINES lines from FIRST_LINE, BYTES bytes in all. A line has 65,536 bytes in base64, the last one
  may have fewer.
- Times are local, with the offset: `2026-03-01 10:30:00 +0100` (see `columns.decode_time`).
- FLAGS has the boolean members of a mail as bits. The same bits 16 places higher say whether the server sent them.
- PROPS has, as JSON, the documented members that have no column or don't fit into it (it is NULL then). Its member `-`
  names the members that every struct has, but that the server left out. EXTRA has the undocumented members.
- There are counts and lengths instead of checksums. Auto-vacuum is off: deleted rows leave free pages.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from kerio_resync.model import Kind

FORMAT: Final = "7.1"
APPLICATION_ID: Final = 0
USER_VERSION: Final = 70100
PAGE_SIZE: Final = 4096
LINE_BYTES: Final = 65536  # of content in a line
SLOTS: Final = 65536  # rows of another table that one row may own

TABLES: Final = """
CREATE TABLE INFO (            -- VERSION, SERVER, ACCOUNT, USER, ADDRESS, SYNCKEY, and a COUNT_ for each table
  NAME  TEXT NOT NULL,
  VALUE TEXT NOT NULL
);
CREATE TABLE FOLDERS (
  ID     INTEGER PRIMARY KEY,
  KID    TEXT NOT NULL,        -- the server's id
  PARENT TEXT NOT NULL,        -- the parent's KID
  NAME   TEXT NOT NULL,
  KIND   INTEGER NOT NULL,     -- 0 none, 1 mail, 2 contacts, 3 calendar, 4 tasks, 5 notes
  ROLE   TEXT NOT NULL,
  PLACE  TEXT NOT NULL,
  OWNER  TEXT NOT NULL,
  RIGHTS INTEGER NOT NULL,     -- 1: may be read
  ITEMS  INTEGER NOT NULL,     -- the server's figures
  UNREAD INTEGER NOT NULL,
  BYTES  INTEGER NOT NULL,
  PROPS  TEXT NOT NULL,        -- the whole struct
  EXTRA  TEXT
);
CREATE TABLE MAIL_HEADERS (
  ID INTEGER PRIMARY KEY, KID TEXT NOT NULL, FOLDER INTEGER NOT NULL, WATERMARK INTEGER NOT NULL,
  SUBJECT TEXT, FROM_ TEXT, SENDER TEXT, TO_ TEXT, CC TEXT, BCC TEXT, REPLY_TO TEXT, NOTIFY_TO TEXT,
  SENT TEXT, RECEIVED TEXT, MODIFIED TEXT, BYTES INTEGER, PRIORITY INTEGER, FLAGS INTEGER NOT NULL,
  HEADERS TEXT, PARTS INTEGER, FILES INTEGER, PROPS TEXT, EXTRA TEXT  -- PARTS, FILES: how many rows below
);
CREATE TABLE MAIL_BODIES (     -- ID: slot of the mail
  ID INTEGER PRIMARY KEY, PART TEXT NOT NULL, TYPE INTEGER NOT NULL, CHARS INTEGER NOT NULL, TEXT TEXT NOT NULL
);
CREATE TABLE ATTACHMENTS (     -- ID: slot of the mail, also of one whose list is in PROPS
  ID INTEGER PRIMARY KEY, KID TEXT, URL TEXT, NAME TEXT, TYPE TEXT, CID TEXT, SIZE INTEGER,
  BYTES INTEGER, FIRST_LINE INTEGER, LINES INTEGER  -- NULL: the content is not here
);
CREATE TABLE CONTACT_PHOTOS (  -- ID: slot of the contact
  ID INTEGER PRIMARY KEY, BYTES INTEGER NOT NULL, FIRST_LINE INTEGER NOT NULL, LINES INTEGER NOT NULL
);
CREATE TABLE CONTENT_LINES (   -- one after the other, those of a content together
  ID INTEGER PRIMARY KEY, DATA TEXT NOT NULL
);
CREATE TABLE CONTACTS (
  ID INTEGER PRIMARY KEY, KID TEXT NOT NULL, FOLDER INTEGER NOT NULL, WATERMARK INTEGER NOT NULL,
  COMMON_NAME TEXT, FIRST_NAME TEXT, LAST_NAME TEXT, COMPANY TEXT, COMMENT TEXT, BIRTHDAY TEXT, ANNIVERSARY TEXT,
  PHOTOS INTEGER NOT NULL, PROPS TEXT, EXTRA TEXT
);
CREATE TABLE EVENTS (
  ID INTEGER PRIMARY KEY, KID TEXT NOT NULL, FOLDER INTEGER NOT NULL, WATERMARK INTEGER NOT NULL,
  SUMMARY TEXT, LOCATION TEXT, DESCRIPTION TEXT, STARTS TEXT, ENDS TEXT, PROPS TEXT, EXTRA TEXT
);
CREATE TABLE TASKS (
  ID INTEGER PRIMARY KEY, KID TEXT NOT NULL, FOLDER INTEGER NOT NULL, WATERMARK INTEGER NOT NULL,
  SUMMARY TEXT, LOCATION TEXT, DESCRIPTION TEXT, STARTS TEXT, DUE TEXT, ENDS TEXT, DONE INTEGER, PROPS TEXT, EXTRA TEXT
);
CREATE TABLE NOTES (
  ID INTEGER PRIMARY KEY, KID TEXT NOT NULL, FOLDER INTEGER NOT NULL, WATERMARK INTEGER NOT NULL,
  TEXT TEXT, CREATED TEXT, MODIFIED TEXT, PROPS TEXT, EXTRA TEXT
);
CREATE TABLE PENDING (         -- changes made offline and not yet sent, in their order
  ID INTEGER PRIMARY KEY, GUID TEXT NOT NULL, ACTION INTEGER NOT NULL,  -- 1 create, 2 edit, 3 flags, 4 move, 5 delete
  KIND INTEGER NOT NULL, KID TEXT NOT NULL, FOLDER TEXT NOT NULL, TARGET TEXT NOT NULL, WATERMARK INTEGER NOT NULL,
  MADE TEXT NOT NULL, FILES INTEGER NOT NULL, CHARS INTEGER NOT NULL, STRUCT TEXT NOT NULL  -- CHARS: of STRUCT
);
CREATE TABLE PENDING_FILES (   -- ID: slot of the change
  ID INTEGER PRIMARY KEY, NAME TEXT NOT NULL, TYPE TEXT NOT NULL, CID TEXT NOT NULL,
  BYTES INTEGER NOT NULL, FIRST_LINE INTEGER NOT NULL, LINES INTEGER NOT NULL
);
"""

KIND_NUMBERS: Final[dict[Kind, int]] = {"mail": 1, "contact": 2, "event": 3, "task": 4, "note": 5}
KIND_BY_NUMBER: Final = {number: kind for kind, number in KIND_NUMBERS.items()}
ACTIONS: Final = ("create", "edit", "flags", "move", "delete")  # from 1
TABLE_BY_KIND: Final[dict[Kind, str]] = {
    "mail": "MAIL_HEADERS", "contact": "CONTACTS", "event": "EVENTS", "task": "TASKS", "note": "NOTES",
}  # fmt: skip
COUNTED_TABLES: Final = (
    "FOLDERS", "MAIL_HEADERS", "MAIL_BODIES", "ATTACHMENTS", "CONTACT_PHOTOS", "CONTACTS", "EVENTS", "TASKS", "NOTES",
    "PENDING", "PENDING_FILES", "CONTENT_LINES",
)  # fmt: skip
TABLE_NAMES: Final = ("INFO", *COUNTED_TABLES)
CONTENT_TABLES: Final = ("ATTACHMENTS", "CONTACT_PHOTOS", "PENDING_FILES")  # their rows have contents
OWNED_ROWS: Final = {  # how many rows of a table belong to rows of another
    "MAIL_BODIES": "SELECT sum(PARTS) FROM MAIL_HEADERS",
    "ATTACHMENTS": "SELECT sum(FILES) FROM MAIL_HEADERS",
    "CONTACT_PHOTOS": "SELECT sum(PHOTOS) FROM CONTACTS",
    "PENDING_FILES": "SELECT sum(FILES) FROM PENDING",
}


def slot_range(owner: int) -> tuple[int, int]:
    """Return the first and the last number that rows owned by row `owner` may have."""
    return owner * SLOTS, owner * SLOTS + SLOTS - 1


def is_format71(db: sqlite3.Connection) -> bool:
    """Tell whether the open file is of format 7.1."""
    marks = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    return marks == [APPLICATION_ID, USER_VERSION]
