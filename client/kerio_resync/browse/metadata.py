"""What datasette shows about the cache: titles, descriptions, and canned queries."""

from __future__ import annotations

from typing import Any, Final

DATABASE: Final = "cache"

_ID: Final = {"id": "The server's id", "number": "The row number here"}
_FOLDER: Final = "Names from the top, joined by '/'"
_TABLES: Final[dict[str, tuple[str, str, dict[str, str]]]] = {
    "mail": (
        "Mails",
        "One row for each mail and folder. A click on its number shows the mail.",
        {
            "date": "When it was received, UTC", "folder": _FOLDER, "sender": "Name and address", "subject": "Subject",
            "recipients": "To, Cc and Bcc", "size": "Bytes, with attachments", "has_attachment": "1: it has some",
            "seen": "1: read", "flagged": "1: marked", "answered": "1: answered", "draft": "1: a draft",
            "text": "The plain text", "html": "The HTML text", "message_id": "The header Message-ID", **_ID,
        },
    ),
    "mail_attachment": (
        "Attachments of mails",
        "A click on its number downloads one, a click on the mail shows the mail.",
        {
            "name": "File name", "content_type": "Media type as the mail states it", "size": "Bytes",
            "state": "done: stored; wanted: still to be fetched; source: part of the mail's source; omitted, failed",
            "received": "Bytes stored", "reason": "Why it is not stored", "sha256": "Checksum of the complete file",
            "number": "The row number here", "mail": "The number of the mail",
        },
    ),
    "contact": ("Contacts", "One row for each contact and folder.", {"folder": _FOLDER, **_ID}),
    "event": (
        "Events", "One row for each event and folder.",
        {"starts": "UTC", "ends": "UTC", "recurring": "1: a series", "folder": _FOLDER, **_ID},
    ),
    "task": ("Tasks", "One row for each task and folder.",
             {"due": "UTC", "done": "Per cent", "folder": _FOLDER, **_ID}),
    "note": ("Notes", "One row for each note and folder.", {"modified": "UTC", "folder": _FOLDER, **_ID}),
    "folder_tree": (
        "Folders with counts", "",
        {
            "path": _FOLDER, "items": "Items stored here", "unread": "Of those, not read",
            "missing": "Items still to be fetched", "listed": "1: the list of its items is complete", **_ID,
        },
    ),
    "meta": ("What this file is", "Format, server, account, and how far the synchronisation is.", {}),
    "folder": (
        "Folders as the server lists them", "",
        {
            "path": _FOLDER, "count": "Items on the server when it was listed", "size": "Bytes on the server",
            "payload": "What the server sent, JSON", "rank": "Lower is fetched earlier",
            "standing": "server; local: exists only here; unknown: a placeholder",
        },
    ),
    "item": (
        "Items of all kinds", "The views mail, contact, event, task and note show them in plain columns.",
        {
            "version": "The item's version on the server", "title": "Subject, summary, name",
            "who": "Sender, organiser, first address", "checksum": "SHA-256 of the row",
            "details": "JSON, for the views",
            "text_at": "Where the text is in payload: its first byte, from 1", "text_bytes": "Bytes of it there",
            "payload": "What the server sent, JSON", **_ID,
        },
    ),
    "placement": ("Which item is in which folder", "", {}),
    "attachment": ("Attachments, photos and sources", "", {"role": "attachment, source of a mail, photo of a contact"}),
    "chunk": (
        "Contents of attachments", "At most 256 KiB each.",
        {"size": "Bytes of the content; data that is shorter is compressed (Zstandard)"},
    ),
    "wanted": ("The fetch queue", "Items that are missing here, or newer on the server.", {}),
    "seen": ("Items met by the last comparison with the server", "", {}),
    "skipped": ("What is left out, and why", "", {}),
    "outbox": ("Changes made offline", "", {"state": "pending, sending, sent, conflict, refused or withdrawn"}),
    "outbox_attachment": ("Attachments of changes made offline", "", {}),
    "outbox_chunk": ("Contents of those attachments", "", {}),
}  # fmt: skip

# Mails are listed from the table: the view has their texts, and a mail in two folders twice.
_LISTED: Final = "date, who AS sender, title AS subject, size, number AS mail"
QUERIES: Final[dict[str, tuple[str, str, str]]] = {
    "newest": (
        "Newest mails", "The 100 mails received last.",
        f"SELECT {_LISTED} FROM item WHERE kind = 'mail' ORDER BY date DESC LIMIT 100",
    ),
    "largest": (
        "Largest mails", "The 100 mails that take the most room.",
        f"SELECT {_LISTED} FROM item WHERE number IN"
        " (SELECT number FROM item WHERE kind = 'mail' ORDER BY size DESC LIMIT 100) ORDER BY size DESC",
    ),
    "unread": (
        "Unread mails", "The newest 1,000.",
        f"SELECT {_LISTED} FROM item WHERE kind = 'mail' AND seen = 0 ORDER BY date DESC LIMIT 1000",
    ),
    "with_attachments": (
        "Mails with attachments", "The newest 1,000, with the number of attachments and their names.",
        "SELECT date, who AS sender, title AS subject, files.count AS attachments, files.bytes, files.names,"
        " number AS mail FROM item JOIN (SELECT item, count(*) AS count, sum(coalesce(size, received)) AS bytes,"
        " group_concat(name, ', ') AS names FROM attachment WHERE role = 'attachment' GROUP BY item) AS files"
        " ON files.item = item.number WHERE kind = 'mail' ORDER BY date DESC LIMIT 1000",
    ),
    "by_month": (
        "Mails by month", "How many, how large, and how many are unread.",
        "SELECT substr(date, 1, 7) AS month, count(*) AS mails, sum(size) AS bytes, sum(seen = 0) AS unread"
        " FROM item WHERE kind = 'mail' GROUP BY month ORDER BY month DESC",
    ),
    "per_sender": (
        "Mails per sender", "The 200 senders of the most mails.",
        "SELECT who AS sender, count(*) AS mails, sum(size) AS bytes, min(date) AS first, max(date) AS last"
        " FROM item WHERE kind = 'mail' GROUP BY who ORDER BY mails DESC LIMIT 200",
    ),
    "from_a_sender": (
        "Mails of a sender", "Whose name or address has these letters.",
        f"SELECT {_LISTED} FROM item WHERE kind = 'mail' AND who LIKE '%' || :sender || '%'"
        " ORDER BY date DESC LIMIT 1000",
    ),
    "attachment_types": (
        "Attachments by type", "",
        "SELECT content_type, count(*) AS files, sum(coalesce(size, received)) AS bytes FROM attachment"
        " WHERE role = 'attachment' GROUP BY content_type ORDER BY bytes DESC",
    ),
}  # fmt: skip


def metadata(title: str) -> dict[str, Any]:
    """Return datasette's metadata for the cache. `title`: whose mailbox it is."""
    tables = {
        name: {"title": heading, "description": text, "columns": columns}
        for name, (heading, text, columns) in _TABLES.items()
    }
    tables["item"] |= {"label_column": "title"}
    tables["folder"] |= {"label_column": "path"}
    queries = {
        name: {"title": heading, "description": text, "sql": sql, "hide_sql": True}
        for name, (heading, text, sql) in QUERIES.items()
    }
    return {
        "title": title,
        "databases": {DATABASE: {"title": title, "tables": tables, "queries": queries}},
    }
