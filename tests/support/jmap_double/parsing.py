"""The properties of an Email that its source determines, read with the standard library."""

from __future__ import annotations

import email
import re
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from functools import lru_cache
from typing import Any

_HEADERS = {"from": "from", "sender": "sender", "to": "to", "cc": "cc", "bcc": "bcc", "replyTo": "reply-to"}


@lru_cache(maxsize=4096)
def parsed(source: bytes) -> tuple[dict[str, Any], dict[str, str], dict[str, bytes]]:
    """Return properties, the texts of parts by part id, and the contents of all parts."""
    message = email.message_from_bytes(source)
    date = _text(message, "date")
    properties: dict[str, Any] = {
        "subject": _text(message, "subject"),
        "messageId": _ids(message, "message-id"),
        "inReplyTo": _ids(message, "in-reply-to"),
        "references": _ids(message, "references"),
        "sentAt": parsedate_to_datetime(date).isoformat() if date else None,
        **{name: _people(message, header) for name, header in _HEADERS.items()},
    }
    parts: list[dict[str, Any]] = []
    texts: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    for number, part in enumerate(one for one in message.walk() if not one.is_multipart()):
        part_id, data = str(number + 1), part.get_payload(decode=True)
        assert isinstance(data, bytes)
        contents[part_id] = data
        kind = part.get_content_type()
        if kind.startswith("text/") and part.get_content_disposition() != "attachment":
            texts[part_id] = data.decode(str(part.get_content_charset("utf-8")), "replace").replace("\r\n", "\n")
        parts.append(
            {
                "partId": part_id, "size": len(data), "type": kind, "name": part.get_filename(),
                "charset": part.get_content_charset(), "disposition": part.get_content_disposition(),
                "cid": (_text(part, "content-id") or "").strip("<>") or None,
            }
        )  # fmt: skip
    plain = [one for one in parts if one["partId"] in texts and one["type"] == "text/plain"]
    html = [one for one in parts if one["partId"] in texts and one["type"] == "text/html"]
    properties["textBody"], properties["htmlBody"] = plain or html, html or plain
    properties["attachments"] = [one for one in parts if one["partId"] not in texts]
    properties["hasAttachment"] = bool(properties["attachments"])
    properties["preview"] = next(iter(texts.values()), "")[:50]
    return properties, texts, contents


def _text(message: Message, name: str) -> str | None:
    value = message[name]
    return str(make_header(decode_header(value))) if value is not None else None


def _ids(message: Message, name: str) -> list[str] | None:
    return re.findall(r"<([^>]+)>", str(message[name] or "")) or None


def _people(message: Message, name: str) -> list[dict[str, Any]] | None:
    header = _text(message, name)
    return [{"name": who or None, "email": where} for who, where in getaddresses([header])] if header else None
