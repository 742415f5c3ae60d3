"""The views of a cache file, for users of `sqlite3`.

For example:

    SELECT date, sender, subject FROM mail WHERE date LIKE '2026-03%' AND has_attachment;

They read columns only, never members of the payload, whose form depends on the server: of a long text, a column says
where it is in the payload (`shared_text`). An item that is in several folders has a
row for each of them, with the same `number`.
"""

from __future__ import annotations

from typing import Final

from kerio_resync.cache.shared_text import text_sql

_TEXT: Final = text_sql("text")

VIEWS: Final = f"""
CREATE VIEW folder_tree AS
SELECT path, kind, role, place,
  (SELECT count(*) FROM placement WHERE placement.folder = folder.number) AS items,
  coalesce(unread.items, 0) AS unread,
  (SELECT count(*) FROM wanted WHERE wanted.folder = folder.number) AS missing,
  listed, id, number
FROM folder LEFT JOIN (
  SELECT placement.folder, count(*) AS items
  FROM item INDEXED BY item_unread CROSS JOIN placement ON placement.item = item.number
  WHERE item.seen = 0 GROUP BY placement.folder
) AS unread ON unread.folder = folder.number
ORDER BY path;

CREATE VIEW mail AS
SELECT item.date, folder.path AS folder, item.who AS sender, item.recipients, item.title AS subject, item.size,
  EXISTS (SELECT 1 FROM attachment WHERE attachment.item = item.number AND attachment.role <> 'source')
    AS has_attachment,
  item.seen, item.flagged, item.answered, item.draft,
  {_TEXT} AS text,
  {text_sql("html")} AS html,
  item.message_id, item.id, item.number
FROM item JOIN placement ON placement.item = item.number JOIN folder ON folder.number = placement.folder
WHERE item.kind = 'mail';

CREATE VIEW mail_attachment AS
SELECT item.date, folder.path AS folder, item.who AS sender, item.title AS subject,
  attachment.name, attachment.content_type, coalesce(attachment.size, attachment.received) AS size,
  attachment.state, attachment.received, attachment.reason,
  CASE WHEN attachment.sha256 IS NOT NULL THEN lower(hex(attachment.sha256)) END AS sha256,
  attachment.number, item.number AS mail
FROM attachment JOIN item ON item.number = attachment.item
  JOIN placement ON placement.item = item.number JOIN folder ON folder.number = placement.folder
WHERE item.kind = 'mail' AND attachment.role <> 'source';

CREATE VIEW contact AS
SELECT item.title AS name, json_extract(item.details, '$.first_name') AS first_name,
  json_extract(item.details, '$.last_name') AS last_name, json_extract(item.details, '$.company') AS company,
  item.who AS address, json_extract(item.details, '$.addresses') AS addresses,
  json_extract(item.details, '$.phones') AS phones, json_extract(item.details, '$.birthday') AS birthday,
  {_TEXT} AS comment,
  EXISTS (SELECT 1 FROM attachment WHERE attachment.item = item.number) AS has_photo,
  folder.path AS folder, item.id, item.number
FROM item JOIN placement ON placement.item = item.number JOIN folder ON folder.number = placement.folder
WHERE item.kind = 'contact';

CREATE VIEW event AS
SELECT item.date AS starts, item."end" AS ends, item.title AS summary,
  json_extract(item.details, '$.location') AS location, item.who AS organiser, item.recipients AS attendees,
  json_extract(item.details, '$.all_day') AS all_day, json_extract(item.details, '$.recurring') AS recurring,
  {_TEXT} AS description,
  folder.path AS folder, item.id, item.number
FROM item JOIN placement ON placement.item = item.number JOIN folder ON folder.number = placement.folder
WHERE item.kind = 'event';

CREATE VIEW task AS
SELECT item.date AS due, item.title AS summary, json_extract(item.details, '$.status') AS status,
  json_extract(item.details, '$.done') AS done, json_extract(item.details, '$.priority') AS priority,
  {_TEXT} AS description,
  folder.path AS folder, item.id, item.number
FROM item JOIN placement ON placement.item = item.number JOIN folder ON folder.number = placement.folder
WHERE item.kind = 'task';

CREATE VIEW note AS
SELECT item.date AS modified, item.title,
  {_TEXT} AS text, json_extract(item.details, '$.color') AS color,
  folder.path AS folder, item.id, item.number
FROM item JOIN placement ON placement.item = item.number JOIN folder ON folder.number = placement.folder
WHERE item.kind = 'note';
"""
