"""The views of a cache file, for users of `sqlite3`.

For example:

    SELECT date, sender, subject FROM mail WHERE date LIKE '2026-03%' AND has_attachment;
"""

from __future__ import annotations

from typing import Final

VIEWS: Final = """
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
"""
