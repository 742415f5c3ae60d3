"""Local changes as JMAP has them, and how to recognise what they became.

The struct of a creation is an Email object (RFC 8621, section 4.6) or, if its source was uploaded, the members of an
EmailImport: `blobId`, `keywords`, `receivedAt`. The struct of an update is a patch: members are paths such as
`keywords/$seen`. Only a draft's contents can be edited in JMAP, by creating another one, so an edit may set keywords
and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from typing import Any, Final

from kerio_resync.model import Attachment, Item, Kind
from kerio_resync.server.jmap import emails
from kerio_resync.server.json_codec import canonical_json, parse_json
from kerio_resync.server.mailbox import Upload

MAX_HEADER_BYTES: Final = 1 << 20
_LINE_END: Final = re.compile(rb"\r?\n")
_MESSAGE_ID: Final = re.compile(r"[^\s<>]+")
_FLAGS: Final[Mapping[str, str]] = {
    "seen": "$seen", "flagged": "$flagged", "answered": "$answered", "draft": "$draft",
}  # fmt: skip
_WRITTEN: Final = ("subject", "from", "to", "cc", "bcc")  # the members that people write, besides the text


class JmapDialect:
    """Implements `server.mailbox.Dialect`."""

    def flags_struct(self, kind: Kind, flags: bytes) -> bytes:
        """Return the patch that sets flags."""
        value = _parse(flags)
        return canonical_json(
            {f"keywords/{_FLAGS[name]}": value[name] is True or None for name in _FLAGS if name in value}
        )

    def from_source(self, struct: bytes, source: bytes, message_id: str) -> tuple[bytes, bytes]:
        """Return (struct, source) of the creation of a mail from its raw text.

        `struct` has flags. Line ends become those of RFC 5322, which servers require.
        """
        source = _LINE_END.sub(b"\r\n", source)
        headers = BytesHeaderParser().parsebytes(source[:MAX_HEADER_BYTES])
        value = _patched({}, _parse(self.flags_struct("mail", struct)))
        given = _MESSAGE_ID.search(str(headers["message-id"] or ""))
        if given is None:
            source = f"Message-ID: {message_id}\r\n".encode() + source
        value["messageId"] = [given[0] if given else message_id.strip("<> ")]
        if subject := _decoded(headers["subject"]):
            value["subject"] = subject
        return canonical_json(value), source

    def with_message_id(self, kind: Kind, struct: bytes, message_id: str) -> bytes:
        """Return a mail's struct with this Message-ID, unless it has one."""
        value = _parse(struct)
        if value.get("messageId"):
            return struct
        return canonical_json({**value, "messageId": [message_id.strip("<> ")]})

    def with_id(self, struct: bytes, item_id: str) -> bytes:
        """Return the patch with the id of the item that it changes."""
        return canonical_json({**_parse(struct), "id": item_id})

    def with_files(self, kind: Kind, struct: bytes, uploads: Sequence[Upload], current: Item | None = None) -> bytes:
        """Return the struct with uploaded files; one message/rfc822 is the mail itself."""
        if not uploads:
            return struct
        value = _parse(struct)
        if current is None and len(uploads) == 1 and uploads[0].content_type.lower() == emails.SOURCE_TYPE:
            return canonical_json({**value, "blobId": uploads[0].id})
        parts = [
            {
                "blobId": upload.id,
                "type": upload.content_type or "application/octet-stream",
                "name": upload.name,
                "cid": upload.content_id or None,
                "disposition": "attachment",
            }
            for upload in uploads
        ]
        return canonical_json({**value, "attachments": [*(value.get("attachments") or []), *parts]})

    def with_changes(self, current: Item, struct: bytes) -> Item:
        """Return the server's item with the members of the struct."""
        value = _patched(_parse(current.payload), _parse(struct))
        words = emails.keywords(value)
        return current._replace(
            payload=canonical_json(value),
            title=emails.clean(value.get("subject")),
            seen="$seen" in words,
            flagged="$flagged" in words,
            answered="$answered" in words,
            draft="$draft" in words,
        )

    def item_from_struct(self, kind: Kind, item_id: str, folder_id: str, struct: bytes) -> Item:
        """Return the item that a struct describes. Missing members are empty."""
        value = _patched({}, _parse(struct))
        value |= {"id": item_id, "mailboxIds": {folder_id: True}}
        value.setdefault("keywords", {})
        item = emails.item_of(value, str, canonical_json, sources=False, data=None)
        return item._replace(version="", folder_ids=(folder_id,) if folder_id else ())

    def fingerprint(self, item: Item) -> bytes:
        """Return the members that are needed to recognise the item elsewhere."""
        value = _parse(item.payload)
        names = ("messageId",) if item.message_id else (*_WRITTEN, "sentAt", "size")
        return canonical_json({name: value[name] for name in names if value.get(name)})

    def is_same_content(self, item: Item, current: Item) -> bool:
        """Return whether `current`, the server's, looks created from `item`."""
        if item.message_id and current.message_id:
            return item.message_id == current.message_id
        compared = _comparisons(item, current)
        return bool(compared) and all(compared)

    def resembles(self, item: Item, current: Item) -> bool:
        """Return whether `current` has something that a person wrote in `item`."""
        return any(_comparisons(item, current))

    def has_members(self, current: Item, struct: bytes) -> bool:
        """Return whether the item has what the struct would set, except files."""
        theirs, words = _parse(current.payload), emails.keywords(_parse(current.payload))
        for name, value in _parse(struct).items():
            member, slash, key = name.partition("/")
            if (
                name in ("id", "mailboxIds", "attachments", "blobId", "messageId", "receivedAt")
                or member == "mailboxIds"
            ):
                continue
            if member == "keywords" and slash:
                if (_unescaped(key).lower() in words) != (value is True):
                    return False
            elif name == "keywords":
                if emails.keywords({"keywords": value}) != words:
                    return False
            elif theirs.get(name) != value and (theirs.get(name) or value):
                return False
        return True

    def file_candidates(self, current: Item, name: str, size: int) -> tuple[Attachment, ...]:
        """Return the attachments that a file of this name and size may be."""
        return tuple(
            attachment
            for attachment in current.attachments
            if attachment.size == size and (attachment.role == "source" or attachment.name == name)
        )


def _decoded(header: Any) -> str:
    """Return a header's text; "" if it cannot be read."""
    try:
        return str(make_header(decode_header(header or ""))).strip()
    except (LookupError, ValueError):
        return ""


def _comparisons(item: Item, current: Item) -> list[bool]:
    """Compare each member that a person wrote in `item`."""
    ours, theirs = _parse(item.payload), _parse(current.payload)
    found = [_written(ours[name]) == _written(theirs.get(name)) for name in _WRITTEN if ours.get(name)]
    if item.text and current.text:
        found.append(_written(item.text) == _written(current.text))
    return found


def _written(value: Any) -> Any:
    """Return the part of a value that a person wrote."""
    if isinstance(value, list):
        return [_written(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _written(value[name]) for name in ("name", "email") if value.get(name)}
    return " ".join(value.split()) if isinstance(value, str) else value


def _patched(value: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the members of a patch (RFC 8620, 5.3); one level deep."""
    result = dict(value)
    for path, member in patch.items():
        name, slash, key = path.partition("/")
        if not slash:
            result[name] = member
            continue
        key = _unescaped(key)
        inner = dict(result[name]) if isinstance(result.get(name), dict) else {}
        if name == "keywords":  # in any case
            inner = {word: value for word, value in inner.items() if word.lower() != key.lower()}
        inner.pop(key, None)
        if member is not None:
            inner[key] = member
        result[name] = inner
    return result


def _unescaped(pointer: str) -> str:
    return pointer.replace("~1", "/").replace("~0", "~")


def _parse(struct: bytes) -> dict[str, Any]:
    value, _ = parse_json(struct)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value
