PRAGMA application_id = 1263686467;
PRAGMA user_version = 70200;
BEGIN TRANSACTION;
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
  size         INTEGER,          -- as the server told it; NULL: not told
  state        TEXT NOT NULL CHECK (state IN ('wanted', 'done', 'omitted', 'failed')),
  reason       TEXT NOT NULL DEFAULT '',  -- why it is omitted or failed
  etag         TEXT NOT NULL DEFAULT '',
  received     INTEGER NOT NULL DEFAULT 0,  -- bytes stored, without a gap, from the start
  sha256       BLOB,             -- of the whole content once it is done
  UNIQUE (item, ordinal)
) STRICT;
CREATE TABLE chunk (             -- an attachment's content, in pieces of at most 256 KiB
  attachment INTEGER NOT NULL REFERENCES attachment (number) ON DELETE CASCADE,
  "offset"   INTEGER NOT NULL,
  crc32      INTEGER NOT NULL,
  data       BLOB NOT NULL,
  UNIQUE (attachment, "offset")
) STRICT;
CREATE TABLE folder (
  number    INTEGER PRIMARY KEY, -- what items refer to
  id        TEXT NOT NULL UNIQUE,
  parent_id TEXT NOT NULL,
  name      TEXT NOT NULL,
  path      TEXT NOT NULL,       -- names from the top, joined by '/'; a '/' within a name is written '\/'
  kind      TEXT CHECK (kind IN ('mail', 'contact', 'event', 'task', 'note')),  -- NULL: holds no items
  role      TEXT NOT NULL,       -- none, inbox, drafts, sent, trash, junk, default, resources, people
  place     TEXT NOT NULL,       -- own, shared, public
  owner     TEXT NOT NULL,
  readable  INTEGER NOT NULL,
  count     INTEGER NOT NULL,    -- the server's figures when the folders were listed
  unread    INTEGER NOT NULL,
  size      INTEGER NOT NULL,
  payload   TEXT NOT NULL,       -- the server's struct, canonical JSON
  extra     TEXT,                -- members that the vendor's reference does not know
  rank      INTEGER NOT NULL,    -- lower is fetched earlier
  position  BLOB,                -- where the listing of its items stands; NULL: at the start
  listed    INTEGER NOT NULL DEFAULT 0,  -- 1: the listing is complete
  standing  TEXT NOT NULL CHECK (standing IN ('server', 'local', 'unknown'))
                                 -- local: exists here alone; unknown: named by an item, not yet by the server's list
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
  checksum   BLOB NOT NULL,      -- SHA-256 over all of this and the list of attachments (sums.py)
  extra      TEXT,               -- members that the vendor's reference does not know
  payload    TEXT NOT NULL       -- the server's struct, canonical JSON
) STRICT;
CREATE TABLE meta (              -- what the file is: format, server, account, user, address, sync_key, ...
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('account','account-1');
INSERT INTO "meta" VALUES('address','jane@example.com');
INSERT INTO "meta" VALUES('format','7.2.0');
INSERT INTO "meta" VALUES('login','jane');
INSERT INTO "meta" VALUES('protocol','kerio');
INSERT INTO "meta" VALUES('server','https://mail.example.com');
INSERT INTO "meta" VALUES('user','jane@example.com');
CREATE TABLE outbox (            -- changes made offline, in the order they were made; rows never go
  number    INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid      TEXT NOT NULL UNIQUE,  -- stays the same when the change is carried to another file
  action    TEXT NOT NULL CHECK (action IN ('create', 'edit', 'flags', 'move', 'delete')),
  kind      TEXT NOT NULL,
  item_id   TEXT NOT NULL,       -- '' for a creation
  folder_id TEXT NOT NULL,       -- where it is, or is to be created
  target_id TEXT NOT NULL,       -- where it is to be moved to, else ''
  watermark INTEGER NOT NULL,    -- the version that was changed; 0 for a creation
  made      TEXT NOT NULL,
  files     INTEGER NOT NULL,    -- how many rows of outbox_attachment belong to it
  checksum  BLOB NOT NULL,       -- SHA-256 over what is above (but number), the struct, and the files
  state     TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'conflict', 'refused', 'withdrawn')),
  attempt   TEXT NOT NULL DEFAULT '',  -- the token of the last attempt, recorded before the call
  attempts  INTEGER NOT NULL DEFAULT 0,
  reason    TEXT NOT NULL DEFAULT '',
  new_id    TEXT NOT NULL DEFAULT '',  -- the server's id of what was created or moved
  struct    TEXT NOT NULL        -- the members to create or set, JSON
) STRICT;
INSERT INTO "outbox" VALUES(1,'00000001-0000-4000-8000-000000000000','create','note','','notes','',0,'2026-01-01T00:00:00Z',1,X'828F960471FF46154A7C61FAB158F11750B39848F5C4A207FFD908DC0BFDA668','pending','',0,'','','{"text":"offline"}');
INSERT INTO "outbox" VALUES(2,'00000002-0000-4000-8000-000000000000','create','note','','notes','',0,'2026-01-02T00:00:00Z',0,X'8F1277BC95AE47AB25677755081741F90319B5D81690B0EE230FE9B465647D98','sending','11111111-1111-4111-8111-111111111111 {"known":["there-1"],"like":"{\"text\":\"offline\"}","alone":false,"key":"key-1"}',2,'','','{"text":"offline"}');
INSERT INTO "outbox" VALUES(3,'00000003-0000-4000-8000-000000000000','edit','note','note-3','notes','',4,'2026-01-03T00:00:00Z',0,X'18A8DCB1667E816A41DFCBE371CA81EBBD8B72519D83E88BFB14CA39A31B2E8B','sending','11111111-1111-4111-8111-111111111111',1,'','','{"text":"offline"}');
INSERT INTO "outbox" VALUES(4,'00000004-0000-4000-8000-000000000000','move','note','note-4','notes','other',4,'2026-01-04T00:00:00Z',0,X'FF9AEBAED4816A502063D7B7DB741A3E44D31081730B11AF071A5D888754936B','sent','11111111-1111-4111-8111-111111111111 {"known":["there-1"],"like":"{\"text\":\"offline\"}","alone":false,"key":"key-1"}',1,'version 17','note-4b','{"text":"offline"}');
INSERT INTO "outbox" VALUES(5,'00000005-0000-4000-8000-000000000000','edit','note','note-5','notes','',4,'2026-01-05T00:00:00Z',0,X'D55554E9A0DF75ED85E693360836BF13A0CF1AEE9B900234498D9A9B76FC50E2','refused','11111111-1111-4111-8111-111111111111',1,'quota of (code 7) things exceeded (code 4102)','','{"text":"offline"}');
INSERT INTO "outbox" VALUES(6,'00000006-0000-4000-8000-000000000000','edit','note','note-6','notes','',4,'2026-01-06T00:00:00Z',0,X'951CA4F246F7A3E32AAC3BDC35BE3129129B6D0490B8F87A6F0693D275EF124B','refused','11111111-1111-4111-8111-111111111111',1,'version 2 is not editable','','{"text":"offline"}');
INSERT INTO "outbox" VALUES(7,'00000007-0000-4000-8000-000000000000','delete','note','note-7','notes','',4,'2026-01-07T00:00:00Z',0,X'5563F202C2B46257552891F15A1606F98F45904D8308F057442968CB4BB99BD1','conflict','11111111-1111-4111-8111-111111111111',1,'note note-7 was to be deleted, but it is newer','','{"text":"offline"}');
INSERT INTO "outbox" VALUES(8,'00000008-0000-4000-8000-000000000000','flags','note','note-8','notes','',4,'2026-01-08T00:00:00Z',0,X'1C3B159FCF50A130169F084145B8BB86337D81CB2243078BDBD044AF7E545F91','withdrawn','',0,'','','{"text":"offline"}');
INSERT INTO "outbox" VALUES(9,'00000009-0000-4000-8000-000000000000','delete','note','note-9','notes','',4,'2026-01-09T00:00:00Z',0,X'8119D17F52A8F4B0EAEA30371037D7C8531B777670C5FB910DB0F8B7670B6B0E','sent','11111111-1111-4111-8111-111111111111',1,'','','{"text":"offline"}');
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
INSERT INTO "outbox_attachment" VALUES(1,1,0,'a.txt','text/plain','cid',12,X'8E56B639882EF91F67C597965DFB451CBD2E4B41D1A8CD9B01DD3241AA518796');
CREATE TABLE outbox_chunk (
  attachment INTEGER NOT NULL REFERENCES outbox_attachment (number) ON DELETE CASCADE,
  "offset"   INTEGER NOT NULL,
  crc32      INTEGER NOT NULL,
  data       BLOB NOT NULL,
  UNIQUE (attachment, "offset")
) STRICT;
INSERT INTO "outbox_chunk" VALUES(1,0,394944620,X'636F6E74656E74206F662061');
CREATE TABLE seen (              -- which stored items the last comparison with the server's list met
  item  INTEGER PRIMARY KEY,
  round INTEGER NOT NULL
) STRICT;
CREATE TABLE skipped (           -- what was left out, and why
  scope  TEXT NOT NULL,
  id     TEXT NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE wanted (            -- items that are on the server and not (or no longer rightly) here
  id             TEXT PRIMARY KEY,
  folder         INTEGER NOT NULL REFERENCES folder (number) ON DELETE CASCADE,
  kind           TEXT NOT NULL,
  watermark      INTEGER NOT NULL,
  size           INTEGER NOT NULL,
  date           TEXT NOT NULL,  -- '' if not told
  has_attachment INTEGER NOT NULL,
  rank           INTEGER NOT NULL,
  keep           INTEGER NOT NULL DEFAULT 0,  -- 1: it was moved; its contents are here and stay
  late           INTEGER NOT NULL DEFAULT 0   -- 1: was answered once with an older version than this
) STRICT, WITHOUT ROWID;
CREATE INDEX item_by_kind ON item (kind, id, watermark, folder, size);
CREATE INDEX item_by_folder ON item (folder, seen);
CREATE INDEX item_by_date ON item (kind, date);
CREATE INDEX attachment_wanted ON attachment (state, number, size) WHERE state = 'wanted';
CREATE INDEX wanted_in_order ON wanted (rank, date DESC, id);
CREATE INDEX wanted_by_folder ON wanted (folder);
CREATE TRIGGER seen_goes AFTER DELETE ON item BEGIN  -- no reference: its check would read every item that is met
  DELETE FROM seen WHERE item = old.number;
END;
CREATE INDEX outbox_by_state ON outbox (state, number);
CREATE VIEW folder_tree AS
SELECT path, kind, role, place,
  (SELECT count(*) FROM item WHERE item.folder = folder.number) AS items,
  (SELECT count(*) FROM item WHERE item.folder = folder.number AND item.seen = 0) AS unread,
  (SELECT count(*) FROM wanted WHERE wanted.folder = folder.number) AS missing,
  listed, id, number
FROM folder ORDER BY path;
CREATE VIEW mail AS
SELECT item.date, folder.path AS folder, item.who AS sender, item.recipients, item.title AS subject, item.size,
  EXISTS (SELECT 1 FROM attachment WHERE attachment.item = item.number) AS has_attachment,
  item.seen, item.flagged, item.answered, item.draft,
  coalesce(
    (SELECT json_extract(part.value, '$.content') FROM json_each(item.payload, '$.displayableParts') AS part
      WHERE json_extract(part.value, '$.contentType') = 'ctTextPlain' LIMIT 1),
    json_extract(item.payload, '$.displayableParts[0].content')) AS text,
  (SELECT json_extract(part.value, '$.content') FROM json_each(item.payload, '$.displayableParts') AS part
    WHERE json_extract(part.value, '$.contentType') = 'ctTextHtml' LIMIT 1) AS html,
  item.message_id, item.id, item.number
FROM item JOIN folder ON folder.number = item.folder WHERE item.kind = 'mail';
CREATE VIEW mail_attachment AS
SELECT item.date, folder.path AS folder, item.who AS sender, item.title AS subject,
  attachment.name, attachment.content_type, coalesce(attachment.size, attachment.received) AS size,
  attachment.state, attachment.received, attachment.reason,
  CASE WHEN attachment.sha256 IS NOT NULL THEN lower(hex(attachment.sha256)) END AS sha256,
  attachment.number, item.number AS mail
FROM attachment JOIN item ON item.number = attachment.item JOIN folder ON folder.number = item.folder
WHERE item.kind = 'mail';
CREATE VIEW contact AS
SELECT item.title AS name, json_extract(item.payload, '$.firstName') AS first_name,
  json_extract(item.payload, '$.surName') AS last_name, json_extract(item.payload, '$.companyName') AS company,
  item.who AS address,
  (SELECT group_concat(json_extract(one.value, '$.address'), ', ')
    FROM json_each(item.payload, '$.emailAddresses') AS one) AS addresses,
  (SELECT group_concat(json_extract(one.value, '$.number'), ', ')
    FROM json_each(item.payload, '$.phoneNumbers') AS one) AS phones,
  json_extract(item.payload, '$.birthDay') AS birthday, json_extract(item.payload, '$.comment') AS comment,
  EXISTS (SELECT 1 FROM attachment WHERE attachment.item = item.number) AS has_photo,
  folder.path AS folder, item.id, item.number
FROM item JOIN folder ON folder.number = item.folder WHERE item.kind = 'contact';
CREATE VIEW event AS
SELECT item.date AS starts, item."end" AS ends, item.title AS summary,
  json_extract(item.payload, '$.location') AS location, item.who AS organiser, item.recipients AS attendees,
  json_extract(item.payload, '$.isAllDay') AS all_day, json_extract(item.payload, '$.rule.isSet') AS recurring,
  json_extract(item.payload, '$.description') AS description, folder.path AS folder, item.id, item.number
FROM item JOIN folder ON folder.number = item.folder WHERE item.kind = 'event';
CREATE VIEW task AS
SELECT item.date AS due, item.title AS summary, json_extract(item.payload, '$.status') AS status,
  json_extract(item.payload, '$.done') AS done, json_extract(item.payload, '$.priority') AS priority,
  json_extract(item.payload, '$.description') AS description, folder.path AS folder, item.id, item.number
FROM item JOIN folder ON folder.number = item.folder WHERE item.kind = 'task';
CREATE VIEW note AS
SELECT item.date AS modified, item.title, json_extract(item.payload, '$.text') AS text,
  json_extract(item.payload, '$.color') AS color, folder.path AS folder, item.id, item.number
FROM item JOIN folder ON folder.number = item.folder WHERE item.kind = 'note';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outbox',9);
COMMIT;
