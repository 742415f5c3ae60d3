"""The format 7.3.0 of the cache file: tables, columns, header.

One SQLite file holds the mailbox, the fetch queue and the changes made offline. Its header has `APPLICATION_ID` and
`USER_VERSION`, and `meta` names the format. Tables are STRICT, so that a wrong type is an error when it is written.
The checksum of an item covers its columns and the list of its attachments, that of a local change what was made
offline. A chunk has a CRC-32, a complete attachment a SHA-256. Folders and `meta` have no checksums. A mail's source,
if the server has sources, is a row of `attachment` with the role `source`.

Ids may be in any order, such as hashes. Each row that is inserted in that order writes a page of its own, so only the
unique indexes of ids are in it; other indexes follow row numbers, which grow.

A change of the tables needs a new version: see "Change the database format" in docs/database.md.

The views for users are in `views.py`. Times are ISO 8601 text in UTC, sizes are bytes, booleans are 0 or 1. Ids are the
server's; ids of what exists only here begin with `local:`. STRICT tables need SQLite 3.37.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import cache
from typing import Final

from kerio_resync.cache.schema_guard import Shape, quoted, require_tables, shape_of
from kerio_resync.cache.views import VIEWS
from kerio_resync.errors import BadSettings, CacheDamaged, OlderFormat, OtherFormat
from kerio_resync.model import Identity

FORMAT: Final = "7.3.0"
APPLICATION_ID: Final = 0x4B525343  # "KRSC"
USER_VERSION: Final = 70300
UPGRADABLE_VERSION: Final = 70200  # with the same application_id
_IDENTITY_KEYS: Final = ("format", "server", "account", "user", "address", "login", "protocol")
OLDEST_SQLITE: Final = (3, 37, 0)
PAGE_SIZE: Final = 16384
CHUNK_BYTES: Final = 256 * 1024
CONFLICTS_FOLDER_ID: Final = "local:conflicts"

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
  position  BLOB,                -- where the listing of its items resumes, opaque; NULL: at the start
  listed_rows INTEGER NOT NULL DEFAULT 0,  -- rows of that listing so far
  listed    INTEGER NOT NULL DEFAULT 0,  -- 1: the listing is complete
  standing  TEXT NOT NULL CHECK (standing IN ('server', 'local', 'unknown'))
                                 -- local: exists only here; unknown: a placeholder until the server lists it
) STRICT;

CREATE TABLE item (
  number     INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  kind       TEXT NOT NULL CHECK (kind IN ('mail', 'contact', 'event', 'task', 'note')),
  version    TEXT NOT NULL,      -- the item's version on the server, opaque
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
  checksum   BLOB NOT NULL,      -- SHA-256 of the row, its folders and its list of attachments (checksums.py)
  details    TEXT,               -- JSON object in neutral words, for the views; NULL for mails
  text       TEXT,               -- plain text of a mail, a comment, a description, a note, unless it is in payload
  text_at    INTEGER,            -- where it is in payload: first byte, from 1, of a JSON string without its quotes
  text_bytes INTEGER,
  html       TEXT,               -- of a mail; likewise
  html_at    INTEGER,
  html_bytes INTEGER,
  extra      TEXT,               -- members that the vendor's reference does not name
  payload    TEXT NOT NULL       -- what the server sent, canonical JSON
) STRICT;
CREATE INDEX item_by_kind ON item (kind, number, version, size);  -- rows are large: lookups and sums use this
CREATE INDEX item_by_date ON item (kind, date);
CREATE INDEX item_unread ON item (number, seen) WHERE seen = 0;

CREATE TABLE placement (         -- the folders of each item; it has at least one
  item   INTEGER NOT NULL REFERENCES item (number) ON DELETE CASCADE,
  folder INTEGER NOT NULL REFERENCES folder (number) ON DELETE CASCADE,
  PRIMARY KEY (item, folder)
) STRICT, WITHOUT ROWID;
CREATE INDEX placement_by_folder ON placement (folder, item);

CREATE TABLE attachment (
  number       INTEGER PRIMARY KEY,
  item         INTEGER NOT NULL REFERENCES item (number) ON DELETE CASCADE,
  ordinal      INTEGER NOT NULL, -- its place in the item, from 0
  role         TEXT NOT NULL,    -- attachment or source (of a mail), photo (of a contact)
  id           TEXT NOT NULL,
  url          TEXT NOT NULL,
  name         TEXT NOT NULL,
  content_type TEXT NOT NULL,
  content_id   TEXT NOT NULL,
  size         INTEGER,          -- the server's figure; NULL: none
  state        TEXT NOT NULL CHECK (state IN ('wanted', 'done', 'omitted', 'failed', 'source')),
                                 -- source: its bytes are part of the item's source
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
  size       INTEGER NOT NULL,   -- bytes of the content; if data is shorter, it is compressed (Zstandard)
  crc32      INTEGER NOT NULL,   -- of data
  data       BLOB NOT NULL,
  UNIQUE (attachment, "offset")
) STRICT;

CREATE TABLE wanted (            -- the fetch queue: items that are missing here, or newer on the server
  number         INTEGER PRIMARY KEY,
  id             TEXT NOT NULL UNIQUE,
  folder         INTEGER NOT NULL REFERENCES folder (number) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
  kind           TEXT NOT NULL,  -- (a reference that is checked at once would make SQLite copy each changed page)
  version        TEXT NOT NULL,  -- '' if unknown
  size           INTEGER NOT NULL,
  date           TEXT NOT NULL,  -- '' if unknown
  has_attachment INTEGER NOT NULL,
  rank           INTEGER NOT NULL,
  keep           INTEGER NOT NULL DEFAULT 0,  -- 1: it was moved; its attachments are stored and stay
  late           INTEGER NOT NULL DEFAULT 0   -- 1: the server has sent another version than this once
) STRICT;
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
  version   TEXT NOT NULL,       -- the version that was changed; '' for a creation
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
  sent_version TEXT NOT NULL DEFAULT ''  -- the item's version after the change was sent; '': unknown
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


def require_sqlite(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Raise BadSettings if SQLite does not have STRICT tables."""
    if version < OLDEST_SQLITE:
        have, need = (".".join(map(str, numbers)) for numbers in (version, OLDEST_SQLITE))
        raise BadSettings(f"this Python has SQLite {have}; {need} or newer is needed")


def create_schema(db: sqlite3.Connection, identity: Identity) -> None:
    """Make an empty file a cache of `identity`, in one transaction.

    The page size of the file has to be set before.
    """
    values = {"format": FORMAT, **identity_rows(identity)}
    db.execute("BEGIN EXCLUSIVE")
    try:
        for statement in _statements(TABLES + VIEWS):
            db.execute(statement)
        db.executemany("INSERT INTO meta VALUES (?, ?)", sorted(values.items()))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {USER_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some errors of SQLite have already rolled back
            db.execute("ROLLBACK")
        raise


def replace_views(db: sqlite3.Connection) -> None:
    """Give a file that may have other views those of this version."""
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall():
        db.execute(f"DROP VIEW {quoted(name)}")
    for statement in _statements(VIEWS):
        db.execute(statement)


def check_header(db: sqlite3.Connection) -> Identity:
    """Return the owner of an open cache file.

    OtherFormat if it has another format; CacheDamaged if it is not a cache.
    """
    mark = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if mark != APPLICATION_ID or version != USER_VERSION:
        raise other_format(mark, version)
    require_tables(db, ("meta",))
    found = dict(
        db.execute(f"SELECT key, value FROM meta WHERE key IN ({', '.join('?' * len(_IDENTITY_KEYS))})", _IDENTITY_KEYS)
    )
    if found.get("format") != FORMAT:
        raise CacheDamaged(f"its header has format {FORMAT}, but it names {found.get('format', 'none')}")
    return identity_from(found)


def other_format(mark: int, version: int) -> CacheDamaged:
    """Return the error for a file with the header of another format."""
    if mark not in (0, APPLICATION_ID):
        return OtherFormat("it is a database of another program")
    if not version:
        return CacheDamaged("the file is not a cache of this program")
    name = f"{version // 10000}.{version // 100 % 100}.{version % 100}"
    age = "newer" if version > USER_VERSION else "older"
    error = OlderFormat if version == UPGRADABLE_VERSION else OtherFormat
    return error(f"it is of the {age} format {name}, and this version reads {FORMAT}")


def identity_from(found: Mapping[str, str]) -> Identity:
    """Return the identity that `identity_rows` has written. CacheDamaged.

    Older caches have neither login name nor protocol.
    """
    try:
        needed = {name: found[name] for name in ("server", "account", "user", "address")}
    except KeyError as missing:
        raise CacheDamaged(f"it does not name its {missing.args[0]}") from missing
    if not needed["server"] or not needed["account"]:
        raise CacheDamaged("it does not name its server and account")
    return Identity(**needed, login=found.get("login", ""), protocol=found.get("protocol", "kerio"))


@cache
def shapes(*, views: bool = False) -> tuple[Shape, ...]:
    """Return the definitions that a file of this format may have."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        create_schema(db, Identity("", "", "", ""))
        return (shape_of(db, views=views),)


def identity_rows(identity: Identity) -> dict[str, str]:
    """Return the rows of `meta` that name the owner of a file."""
    return identity._asdict()


def _statements(script: str) -> list[str]:
    """Return the statements of a script with their comments.

    SQLite stores comments, and `.schema` shows them.
    """
    found, rest = [], ""
    for piece in script.split(";"):
        rest += piece + ";"
        if sqlite3.complete_statement(rest):
            found.append(rest.strip().rstrip(";"))
            rest = ""
    return found
