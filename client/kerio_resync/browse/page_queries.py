"""The SQL of our own pages.

Each statement gets the folder, item or text as a parameter.
"""

from __future__ import annotations

import re
from typing import Final

from kerio_resync.model import Kind

PAGE_ROWS: Final = 100

FOLDERS: Final = (
    "SELECT path, kind, role, items, unread, missing, number FROM folder_tree WHERE kind IS NOT NULL OR items"
)
FOLDER: Final = "SELECT path, kind FROM folder WHERE number = :folder"
_LIST_COLUMNS: Final = """
  item.number, item.kind, item.date, item.who, item.title, item.size, item.seen, item.flagged, item.recipients,
  EXISTS (SELECT 1 FROM attachment WHERE attachment.item = item.number AND attachment.role = 'attachment') AS attached
"""
# The subquery reads indexes only: rows are large.
FOLDER_ITEMS: Final = f"""
SELECT {_LIST_COLUMNS} FROM (
  SELECT item.number FROM item INDEXED BY item_by_date
  WHERE item.kind = :kind AND EXISTS (SELECT 1 FROM placement WHERE item = item.number AND folder = :folder)
  ORDER BY item.date DESC LIMIT :limit OFFSET :offset
) AS page JOIN item ON item.number = page.number ORDER BY item.date DESC
"""
FOLDER_KINDS: Final = """
SELECT DISTINCT kind FROM item WHERE number IN (SELECT item FROM placement WHERE folder = :folder LIMIT 1000)
"""
SEARCH: Final = f"""
SELECT {_LIST_COLUMNS}, found.part, (
    SELECT group_concat(path, ', ') FROM placement JOIN folder ON folder.number = placement.folder
    WHERE placement.item = item.number
  ) AS folders
FROM (
  SELECT rowid, rank, snippet(item_text, 2, :begin, :end, ' … ', 24) AS part FROM search.item_text
  WHERE item_text MATCH :words ORDER BY rank LIMIT :limit OFFSET :offset
) AS found JOIN item ON item.number = found.rowid ORDER BY found.rank
"""
SEARCH_COUNT: Final = "SELECT count(*) FROM search.item_text WHERE item_text MATCH :words"
ITEM: Final = """
SELECT number, id, kind, title, who, recipients, date, "end", size, seen, flagged, answered, draft, message_id, (
    SELECT group_concat(path, char(10)) FROM placement JOIN folder ON folder.number = placement.folder
    WHERE placement.item = item.number
  ) AS folders
FROM item WHERE number = :item
"""
TEXTS: Final = """
SELECT CAST(payload AS BLOB) AS payload, CAST(text AS BLOB) AS text, text_at, text_bytes,
  CAST(html AS BLOB) AS html, html_at, html_bytes
FROM item WHERE number = :item
"""
CONTENTS: Final = """
SELECT number, role, name, content_type, content_id, coalesce(size, received) AS size, received, state,
  reason
FROM attachment WHERE item = :item ORDER BY ordinal
"""
CONTENT: Final = """
SELECT number, role, name, content_type, received, state, reason FROM attachment WHERE number = :content
"""

_TERM: Final = re.compile(r'(-)?(?:(subject|from|to|text):)?(?:"([^"]*)"?|(\S+))', re.IGNORECASE)
_COLUMNS: Final = {"subject": "title", "from": "people", "to": "people", "text": "body"}


def view_of(kind: Kind) -> str:
    """Return an SQL query for an item of this kind in the view for users."""
    return f'SELECT * FROM "{kind}" WHERE number = :item LIMIT 1'


def match_expression(words: str) -> str:
    """Return the FTS5 expression for what a user has typed; "" if there is no word.

    Words and "phrases" all have to be there; `word*` is a prefix, `-word` has to be absent, and `subject:`, `from:`,
    `to:` and `text:` name a column. All else is text, so that no input is a syntax error.
    """
    wanted: list[str] = []
    unwanted: list[str] = []
    for minus, column, phrase, word in _TERM.findall(words.replace("\0", " ")):
        text = (phrase or word).strip()
        prefix = not phrase and text.endswith("*")
        if not any(character.isalnum() for character in text):
            continue
        term = '"' + text.rstrip("*").replace('"', '""') + '"' + "*" * prefix
        if column:
            term = f"{_COLUMNS[column.lower()]} : {term}"
        (unwanted if minus else wanted).append(term)
    if not wanted:
        return ""
    expression = " AND ".join(f"({term})" for term in wanted)
    return expression + "".join(f" NOT ({term})" for term in unwanted)
