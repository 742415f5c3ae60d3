"""The properties of an Email that its source determines, read with the standard library."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import datetime
from email.headerregistry import AddressHeader, DateHeader
from email.message import EmailMessage
from functools import lru_cache
from typing import Any

_HEADERS = ("from", "sender", "to", "cc", "bcc", "reply-to")


@lru_cache(maxsize=4096)
def parsed(source: bytes) -> tuple[dict[str, Any], dict[str, str], dict[str, bytes]]:
    """Return properties, the texts of parts by part id, and the contents of all parts."""
    message = email.message_from_bytes(source, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    properties: dict[str, Any] = {
        "subject": str(message["subject"]) if message["subject"] is not None else None,
        "messageId": _ids(message["message-id"]),
        "inReplyTo": _ids(message["in-reply-to"]),
        "references": _ids(message["references"]),
        "sentAt": _date(message),
    }
    for name in _HEADERS:
        header = message[name]
        properties["replyTo" if name == "reply-to" else name] = (
            [{"name": one.display_name or None, "email": one.addr_spec} for one in header.addresses]
            if isinstance(header, AddressHeader)
            else None
        )
    parts: list[dict[str, Any]] = []
    texts: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    for number, part in enumerate(one for one in message.walk() if not one.is_multipart()):
        part_id, data = str(number + 1), part.get_payload(decode=True)
        assert isinstance(data, bytes)
        contents[part_id] = data
        kind = part.get_content_type()
        if kind.startswith("text/") and not part.is_attachment():
            texts[part_id] = data.decode(part.get_content_charset("utf-8"), "replace").replace("\r\n", "\n")
        parts.append(
            {
                "partId": part_id, "size": len(data), "type": kind, "name": part.get_filename(),
                "charset": part.get_content_charset(), "disposition": part.get_content_disposition(),
                "cid": (part["content-id"] or "").strip("<>") or None,
            }
        )  # fmt: skip
    plain = [one for one in parts if one["partId"] in texts and one["type"] == "text/plain"]
    html = [one for one in parts if one["partId"] in texts and one["type"] == "text/html"]
    properties["textBody"], properties["htmlBody"] = plain or html, html or plain
    properties["attachments"] = [one for one in parts if one["partId"] not in texts]
    properties["hasAttachment"] = bool(properties["attachments"])
    properties["preview"] = next(iter(texts.values()), "")[:50]
    return properties, texts, contents


def _ids(header: Any) -> list[str] | None:
    return re.findall(r"<([^>]+)>", str(header)) or None if header is not None else None


def _date(message: EmailMessage) -> str | None:
    header = message["date"]
    when = header.datetime if isinstance(header, DateHeader) else None
    return when.isoformat() if isinstance(when, datetime) else None
