"""The tables of the database format 7.2.

See `cache/schema.py` for the current format.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Final

from kerio_resync.cache import schema
from kerio_resync.cache.header import read_header
from kerio_resync.cache.schema_guard import Shape, shape_of

FORMAT: Final = "7.2"
APPLICATION_ID: Final = schema.APPLICATION_ID
USER_VERSION: Final = schema.UPGRADABLE_VERSION

TABLES: Final = """
CREATE TABLE meta (              -- what the file is: format, server, account, user, address, sync_key, ...
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE folder (
  number    INTEGER PRIMARY KEY, -- referenced by items
  id        TEXT NOT NULL UNIQUE,
  parent_id TEXT NOT NULL,
  name      TEXT NOT NULL,
  path      TEXT NOT NULL,       -- names from the top, joined by '/'; a '/' within a name is written '\\/'
  kind      TEXT CHECK (kind IN ('mail', 'contact', 'event', 'task', 'note')),  -- NULL: it holds no items
  role      TEXT NOT NULL,       -- none, inbox, drafts, sent, trash, junk, default, resources, people
  place     TEXT NOT NULL,       -- own, shared, public
  owner     TEXT NOT NULL,
  readable  INTEGER NOT NULL,
  count     INTEGER NOT NULL,    -- the server's figures when it listed the folders
  unread    INTEGER NOT NULL,
  size      INTEGER NOT NULL,
  payload   TEXT NOT NULL,       -- the server's struct, canonical JSON
  extra     TEXT,                -- members that the vendor's reference does not name
  rank      INTEGER NOT NULL,    -- lower is fetched earlier
  position  BLOB,                -- where the listing of its items resumes; NULL: at the start
  listed    INTEGER NOT NULL DEFAULT 0,  -- 1: the listing is complete
  standing  TEXT NOT NULL CHECK (standing IN ('server', 'local', 'unknown'))
                                 -- local: exists only here; unknown: a placeholder until the server lists it
) STRICT;

CREATE TABLE item (
  number     INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  folder     INTEGER NOT NULL REFERENCES folder (number) ON DELETE CASCADE,
  kind       TEXT NOT NULL CHECK (kind IN ('mail', 'contact', 'event', 'task', 'note')),
  watermark  INTEGER NOT NULL,   -- the item's version on the server
  date       TEXT,               -- received, starts, due, modified
  "end"      TEXT,
  seen       INTEGER NOT NULL,
  flagged    INTEGER NOT NULL,
  answered   INTEGER NOT NULL,
  draft      INTEGER NOT NULL,
  size       INTEGER NOT NULL,
  title      TEXT NOT NULL,      -- subject, summary, name, a note's first line
  who        TEXT NOT NULL,      -- sender, organiser, a contact's first address
  recipients TEXT NOT NULL,
  message_id TEXT NOT NULL,
  checksum   BLOB NOT NULL,      -- SHA-256 of the row and the list of attachments (checksums.py)
  extra      TEXT,               -- members that the vendor's reference does not name
  payload    TEXT NOT NULL       -- the server's struct, canonical JSON
) STRICT;
CREATE INDEX item_by_kind ON item (kind, id, watermark, folder, size);
CREATE INDEX item_by_folder ON item (folder, seen);
CREATE INDEX item_by_date ON item (kind, date);

CREATE TABLE attachment (
  number       INTEGER PRIMARY KEY,
  item         INTEGER NOT NULL REFERENCES item (number) ON DELETE CASCADE,
  ordinal      INTEGER NOT NULL, -- its place in the item, from 0
  role         TEXT NOT NULL,    -- attachment (of a mail), photo (of a contact)
  id           TEXT NOT NULL,
  url          TEXT NOT NULL,
  name         TEXT NOT NULL,
  content_type TEXT NOT NULL,
  content_id   TEXT NOT NULL,
  size         INTEGER,          -- the server's figure; NULL: none
  state        TEXT NOT NULL CHECK (state IN ('wanted', 'done', 'omitted', 'failed')),
  reason       TEXT NOT NULL DEFAULT '',  -- why it is omitted or failed
  etag         TEXT NOT NULL DEFAULT '',
  received     INTEGER NOT NULL DEFAULT 0,  -- bytes stored from the start, without a gap
  sha256       BLOB,             -- of the complete attachment
  UNIQUE (item, ordinal)
) STRICT;
CREATE INDEX attachment_wanted ON attachment (state, number, size) WHERE state = 'wanted';

CREATE TABLE chunk (             -- the content of an attachment, at most 256 KiB each
  attachment INTEGER NOT NULL REFERENCES attachment (number) ON DELETE CASCADE,
  "offset"   INTEGER NOT NULL,
  crc32      INTEGER NOT NULL,
  data       BLOB NOT NULL,
  UNIQUE (attachment, "offset")
) STRICT;

CREATE TABLE wanted (            -- the fetch queue: items that are missing here, or newer on the server
  id             TEXT PRIMARY KEY,
  folder         INTEGER NOT NULL REFERENCES folder (number) ON DELETE CASCADE,
  kind           TEXT NOT NULL,
  watermark      INTEGER NOT NULL,
  size           INTEGER NOT NULL,
  date           TEXT NOT NULL,  -- '' if unknown
  has_attachment INTEGER NOT NULL,
  rank           INTEGER NOT NULL,
  keep           INTEGER NOT NULL DEFAULT 0,  -- 1: it was moved; its attachments are stored and stay
  late           INTEGER NOT NULL DEFAULT 0   -- 1: the server has sent an older version than this once
) STRICT, WITHOUT ROWID;
CREATE INDEX wanted_in_order ON wanted (rank, date DESC, id);
CREATE INDEX wanted_by_folder ON wanted (folder);

CREATE TABLE seen (              -- the stored items that the server's list had, by comparison
  item  INTEGER PRIMARY KEY,
  round INTEGER NOT NULL
) STRICT;
CREATE TRIGGER seen_goes AFTER DELETE ON item BEGIN  -- no reference: checking it would read each item
  DELETE FROM seen WHERE item = old.number;
END;

CREATE TABLE skipped (           -- what is left out, and why
  scope  TEXT NOT NULL,
  id     TEXT NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (            -- changes made offline, in their order; rows are never deleted
  number    INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid      TEXT NOT NULL UNIQUE,  -- stays the same in every file
  action    TEXT NOT NULL CHECK (action IN ('create', 'edit', 'flags', 'move', 'delete')),
  kind      TEXT NOT NULL,
  item_id   TEXT NOT NULL,       -- '' for a creation
  folder_id TEXT NOT NULL,       -- where the item is, or is to be created
  target_id TEXT NOT NULL,       -- the target of a move, else ''
  watermark INTEGER NOT NULL,    -- the version that was changed; 0 for a creation
  made      TEXT NOT NULL,
  files     INTEGER NOT NULL,    -- the number of its rows in outbox_attachment
  checksum  BLOB NOT NULL,       -- SHA-256 of the columns above (without number), struct and files
  state     TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'conflict', 'refused', 'withdrawn')),
  attempt   TEXT NOT NULL DEFAULT '',  -- JSON: recorded before the last call, to find out later what it did
  attempts  INTEGER NOT NULL DEFAULT 0,
  reason    TEXT NOT NULL DEFAULT '',  -- why it is refused or in conflict
  new_id    TEXT NOT NULL DEFAULT '',  -- the server's id of what was created or moved
  struct    TEXT NOT NULL,       -- the members to create or set, JSON
  code      INTEGER NOT NULL DEFAULT 0,  -- the server's error code of a refusal; 0: none
  version   INTEGER NOT NULL DEFAULT 0   -- the item's watermark after the change was sent; 0: unknown
) STRICT;
CREATE INDEX outbox_by_state ON outbox (state, number);

CREATE TABLE outbox_attachment (
  number       INTEGER PRIMARY KEY,
  change       INTEGER NOT NULL REFERENCES outbox (number) ON DELETE CASCADE,
  ordinal      INTEGER NOT NULL,
  name         TEXT NOT NULL,
  content_type TEXT NOT NULL,
  content_id   TEXT NOT NULL,
  size         INTEGER NOT NULL,
  sha256       BLOB NOT NULL,
  UNIQUE (change, ordinal)
) STRICT;

CREATE TABLE outbox_chunk (
  attachment INTEGER NOT NULL REFERENCES outbox_attachment (number) ON DELETE CASCADE,
  "offset"   INTEGER NOT NULL,
  crc32      INTEGER NOT NULL,
  data       BLOB NOT NULL,
  UNIQUE (attachment, "offset")
) STRICT;
"""
ADDED_COLUMNS: Final = ", code INTEGER NOT NULL DEFAULT 0, version INTEGER NOT NULL DEFAULT 0"  # early files lack them
TABLE_NAMES: Final = (
    "meta", "folder", "item", "attachment", "chunk", "wanted", "seen", "skipped",
    "outbox", "outbox_attachment", "outbox_chunk",
)  # fmt: skip


def is_format72(db: sqlite3.Connection) -> bool:
    """Tell whether the open file is of format 7.2."""
    marks = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    return marks == [APPLICATION_ID, USER_VERSION]


def has_format72(path: Path) -> bool:
    """Tell whether the header of a file has the marks of format 7.2. OSError."""
    header = read_header(path)
    return (header.mark, header.version) == (APPLICATION_ID, USER_VERSION)


@cache
def shapes() -> tuple[Shape, ...]:
    """Return the definitions that a file may have: those of late and early files."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(TABLES)
        late = shape_of(db)
    return late, frozenset((kind, name, table, sql.replace(ADDED_COLUMNS, "")) for kind, name, table, sql in late)
