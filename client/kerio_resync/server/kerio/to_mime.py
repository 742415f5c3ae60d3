"""Turns the stored struct of a mail into a message with MIME parts.

The API does not give a mail's source, so the message is composed anew: it shows the same subject, people, dates, texts,
inline images and attachments. Texts in plain and HTML that follow each other are taken for alternatives. An attachment
whose content id the HTML names becomes part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote

from kerio_resync.model import Attachment
from kerio_resync.server.json_codec import parse_json
from kerio_resync.server.kerio.times import iso
from kerio_resync.server.mime import AttachedPart, HeaderValue, MailMessage, Multipart, Part, Person, TextPart

SIGNATURE_LOST: Final = "the signature cannot be verified without the mail's source"
STATUS_LOST: Final = "that a receipt was sent"
_HEADERS: Final = {
    "mhMessageID": "Message-ID",
    "mhInReplayTo": "In-Reply-To",
    "mhResentMessageID": "Resent-Message-ID",
}
_PRIORITIES: Final = {"High": ("1 (Highest)", "high"), "Low": ("5 (Lowest)", "low")}
_CID: Final = re.compile(r"cid:([^\s\"'<>)]+)", re.IGNORECASE)
_PGP: Final = ["application/pgp-encrypted", "application/octet-stream"]
_SMIME: Final = ("application/pkcs7-mime", "application/x-pkcs7-mime")


def mail_message(payload: bytes, attachments: Sequence[Attachment]) -> MailMessage:
    """Return the message of a mail's struct. ValueError if it is not an object.

    `attachments`: those of the item, in their order; the struct's members that are invalid are left out.
    """
    struct, _ = parse_json(payload)
    if not isinstance(struct, dict):
        raise ValueError("not an object")
    received = _time(struct.get("receiveDate"))
    lost = [SIGNATURE_LOST] * (_member(struct, "signInfo", "isSigned") is True)
    lost += [STATUS_LOST] * (struct.get("isMDNSent") is True)
    return MailMessage(
        headers=tuple(_headers(struct)),
        body=_body(struct, attachments),
        received=received,
        forwarded=struct.get("isForwarded") is True,
        lost=tuple(lost),
    )


def _headers(struct: Mapping[str, Any]) -> Iterator[tuple[str, HeaderValue]]:
    if (sent := _time(struct.get("sendDate"))) is not None:
        yield "Date", sent
    author = _people([struct.get("from")])
    for name, people in (
        ("From", author),
        ("Sender", _people([struct.get("sender")])),
        ("Reply-To", _people(struct.get("replyTo"))),
        ("To", _people(struct.get("to"))),
        ("Cc", _people(struct.get("cc"))),
        ("Bcc", _people(struct.get("bcc"))),
    ):
        if people:
            yield name, people
    if subject := _text(struct.get("subject")):
        yield "Subject", subject
    for header in _objects(struct.get("headers")):
        known, value = _HEADERS.get(_text(header.get("type"))), _text(header.get("value"))
        if known and value:
            yield known, value
    if receipt := _people([struct.get("notificationTo")]):
        yield "Disposition-Notification-To", receipt
    if struct.get("requestDSN") is True and author:
        yield "Return-Receipt-To", author
    if (priority := _PRIORITIES.get(_text(struct.get("priority")))) is not None:
        yield "X-Priority", priority[0]
        yield "Importance", priority[1]
    if struct.get("isJunk") is True:
        yield "X-Spam-Flag", "YES"


def _body(struct: Mapping[str, Any], attachments: Sequence[Attachment]) -> Part:
    texts = [
        TextPart("html" if part.get("contentType") == "ctTextHtml" else "plain", content)
        for part in _objects(struct.get("displayableParts"))
        if isinstance(content := part.get("content"), str)
    ]
    named = {unquote(cid) for text in texts if text.subtype == "html" for cid in _CID.findall(text.text)}
    files = [_file(struct, ordinal, attachment, named) for ordinal, attachment in enumerate(attachments)]
    if not texts and [file.content_type for file in files] == _PGP:
        return Multipart("encrypted", tuple(files), (("protocol", _PGP[0]),))
    inline = tuple(file for file in files if file.inline)
    parts: list[Part] = []
    for text in texts:
        part: Part = text
        if text.subtype == "html" and inline:
            part, inline = Multipart("related", (text, *inline), (("type", "text/html"),)), ()
        before = parts[-1] if parts else None
        if text.subtype == "html" and isinstance(before, TextPart) and before.subtype == "plain":
            parts[-1] = Multipart("alternative", (before, part))
        else:
            parts.append(part)
    parts += [file for file in files if not file.inline]
    if len(parts) == 1:
        return parts[0]
    return Multipart("mixed", tuple(parts)) if parts else TextPart("plain", "")


def _file(struct: Mapping[str, Any], ordinal: int, attachment: Attachment, named: set[str]) -> AttachedPart:
    content_id = attachment.content_id.strip("<> ")
    parameters: tuple[tuple[str, str], ...] = ()
    if attachment.content_type in _SMIME:
        signed = _member(struct, "signInfo", "isSigned") is True
        parameters = (("smime-type", "signed-data" if signed else "enveloped-data"),)
    inline = content_id in named if content_id else False
    return AttachedPart(ordinal, attachment.content_type, attachment.name, content_id, inline, parameters)


def _people(values: Any) -> tuple[Person, ...]:
    people = (Person(_text(value.get("name")), _text(value.get("address"))) for value in _objects(values))
    return tuple(person for person in people if person.name or person.address)


def _objects(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _member(struct: Mapping[str, Any], name: str, inner: str) -> Any:
    value = struct.get(name)
    return value.get(inner) if isinstance(value, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _time(value: Any) -> datetime | None:
    text = iso(_text(value))
    return datetime.fromisoformat(text) if text and len(text) > 10 else None
