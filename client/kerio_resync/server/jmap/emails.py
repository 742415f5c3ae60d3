"""Email and Mailbox objects (RFC 8621) as items and folders, without requests.

A mail's version is a hash of what may change, its keywords and its mailboxes, and of its blobId. Everything else of an
Email is immutable, so an Email in another version has the same contents, unless a server that was restored from a
backup gave its id to another mail: then it has another blobId. Ids are scoped (`Resource.scoped`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from kerio_resync.model import Attachment, Folder, Item, ItemPatch, ListedItem, Place, Role
from kerio_resync.server.json_codec import Canonical, parse_json

Scope = Callable[[str], str]  # from an id of the account to one that is unique among all accounts

LISTED: Final = ("id", "blobId", "mailboxIds", "keywords", "size", "receivedAt", "hasAttachment")
CHANGEABLE: Final = ("id", "blobId", "mailboxIds", "keywords")
WHOLE: Final = (
    "id", "blobId", "threadId", "mailboxIds", "keywords", "size", "receivedAt", "sentAt", "messageId", "inReplyTo",
    "references", "sender", "from", "to", "cc", "bcc", "replyTo", "subject", "hasAttachment", "textBody", "htmlBody",
    "attachments", "bodyValues",
)  # fmt: skip
PART: Final = ("partId", "blobId", "size", "name", "type", "charset", "disposition", "cid")
SOURCE_TYPE: Final = "message/rfc822"
_ROLES: Final[Mapping[str, Role]] = {
    "inbox": "inbox", "drafts": "drafts", "sent": "sent", "trash": "trash", "junk": "junk",
}  # fmt: skip


def folder_of(mailbox: Mapping[str, Any], scope: Scope, place: Place, owner: str, write: Canonical) -> Folder | None:
    """Return a Mailbox object as a folder, None if it has no usable id."""
    mailbox_id, parent_id, role = mailbox.get("id"), mailbox.get("parentId"), mailbox.get("role")
    if not isinstance(mailbox_id, str) or not mailbox_id:
        return None
    rights = _object(mailbox.get("myRights"))
    return Folder(
        id=scope(mailbox_id),
        parent_id=scope(parent_id) if isinstance(parent_id, str) and parent_id else "",
        name=clean(mailbox.get("name")),
        kind="mail",
        role=_ROLES.get(role.lower(), "none") if isinstance(role, str) and place == "own" else "none",
        place=place,
        owner=owner,
        readable=rights.get("mayReadItems") is not False,
        count=count(mailbox.get("totalEmails")),
        unread=count(mailbox.get("unreadEmails")),
        payload=write(mailbox),
    )


def row_of(email: Mapping[str, Any], scope: Scope) -> ListedItem:
    """Return the row of an Email with the properties LISTED."""
    return ListedItem(
        scope(email["id"]),
        version_of(email),
        count(email.get("size")),
        utc(email.get("receivedAt")),
        email.get("hasAttachment") is True,
        folder_ids(email, scope),
    )


def patch_of(email: Mapping[str, Any], scope: Scope, write: Canonical) -> ItemPatch:
    """Return the new flags and folders of an Email with the properties CHANGEABLE."""
    words = keywords(email)
    return ItemPatch(
        scope(email["id"]),
        folder_ids(email, scope),
        version_of(email),
        "$seen" in words,
        "$flagged" in words,
        "$answered" in words,
        "$draft" in words,
        write({name: email.get(name) for name in ("keywords", "mailboxIds")}),
        write({"blobId": email["blobId"]}) if "blobId" in email else b"{}",
    )


def item_of(email: Mapping[str, Any], scope: Scope, write: Canonical, *, sources: bool, data: bytes | None) -> Item:
    """Return the item of an Email with the properties WHOLE.

    `sources`: its source comes first among the attachments, and those are part of it. `data`: the source, if it is
    here. The payload is the Email without its body values, which are the columns `text` and `html`.
    """
    words = keywords(email)
    to, cc = people(email.get("to")), people(email.get("cc"))
    message_ids = email.get("messageId")
    contents = attachments(email, scope, in_source=sources)
    if sources:
        contents = (source_of(email, scope, data), *contents)
    values = _object(email.get("bodyValues"))
    return Item(
        scope(email["id"]),
        folder_ids(email, scope),
        "mail",
        version_of(email),
        title=clean(email.get("subject")),
        who=people(email.get("from")),
        recipients=f"{to}, {cc}" if to and cc else to or cc,
        date=utc(email.get("receivedAt")),
        size=count(email.get("size")),
        seen="$seen" in words,
        flagged="$flagged" in words,
        answered="$answered" in words,
        draft="$draft" in words,
        message_id=f"<{clean(message_ids[0])}>" if isinstance(message_ids, list) and message_ids else "",
        text=body_text(email.get("textBody"), values, "text/plain"),
        html=body_text(email.get("htmlBody"), values, "text/html"),
        payload=write({name: value for name, value in email.items() if name != "bodyValues"}),
        attachments=contents,
    )


def source_of(email: Mapping[str, Any], scope: Scope, data: bytes | None = None) -> Attachment:
    """Return the content that is an Email's source."""
    return Attachment(
        id=f"{scope(email['id'])}/source",
        url=scope(str(email.get("blobId") or "")),
        name="",
        content_type=SOURCE_TYPE,
        size=count(email.get("size")) or None,
        role="source",
        data=data,
    )


def attachments(email: Mapping[str, Any], scope: Scope, *, in_source: bool) -> tuple[Attachment, ...]:
    """Return the attachments that the server found in the mail, in its order.

    Pictures and other parts that are shown between texts come first.
    """
    shown = {
        str(part.get("partId")): part
        for member in ("textBody", "htmlBody")
        for part in _objects(email.get(member))
        if not str(part.get("type") or "text/").lower().startswith("text/")
    }
    found: dict[str, Attachment] = {}
    for part in (*shown.values(), *_objects(email.get("attachments"))):
        blob = part.get("blobId")
        if not isinstance(blob, str) or not blob:
            continue
        attachment = Attachment(
            id=f"{scope(email['id'])}/{part.get('partId') or blob}",
            url=scope(blob),
            name=clean(part.get("name")),
            content_type=clean(part.get("type")),
            content_id=clean(part.get("cid")).strip("<>"),
            size=part["size"] if type(part.get("size")) is int else None,
            in_source=in_source,
        )
        found.setdefault(attachment.id, attachment)
    return tuple(found.values())


def folder_ids(email: Mapping[str, Any], scope: Scope) -> tuple[str, ...]:
    """Return the ids of the folders that an Email is in, sorted."""
    return tuple(sorted(scope(str(name)) for name, value in _object(email.get("mailboxIds")).items() if value is True))


def keywords(email: Mapping[str, Any]) -> frozenset[str]:
    """Return an Email's keywords, in lower case as in RFC 8621."""
    return frozenset(str(name).lower() for name, value in _object(email.get("keywords")).items() if value is True)


def is_forwarded(payload: bytes) -> bool:
    """Return whether the Email in an item's payload has the keyword `$forwarded`."""
    if b"$forwarded" not in payload.lower():  # most mails; parsing takes longer
        return False
    return "$forwarded" in keywords(_object(parse_json(payload)[0]))


def version_of(email: Mapping[str, Any]) -> str:
    """Return the version of an Email, "" if the server left out what it depends on."""
    if not isinstance(email.get("mailboxIds"), dict) or not isinstance(email.get("keywords"), dict):
        return ""
    blob = str(email.get("blobId", ""))
    parts = ("\0".join(sorted(keywords(email))), "\0".join(folder_ids(email, str)), blob)
    return hashlib.blake2b("\1".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def utc(value: Any) -> str | None:
    """Return a JMAP Date as `2026-03-01T09:30:00Z`; None if it is not one."""
    if not isinstance(value, str):
        return None
    if len(value) == 20 and value[19] == "Z":
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return None
        return value
    try:
        when = datetime.fromisoformat(value)
        return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if when.tzinfo else None
    except (ValueError, OverflowError):
        return None


def people(addresses: Any) -> str:
    """Return EmailAddress objects as one line: `Anna <anna@example.com>, …`."""
    lines = []
    for address in _objects(addresses):
        mail, name = clean(address.get("email")), clean(address.get("name"))
        if mail or name:
            lines.append(f"{name} <{mail}>" if name and mail else mail or name)
    return ", ".join(lines)


def body_text(parts: Any, values: Mapping[str, Any], content_type: str) -> str | None:
    """Return the decoded text of the parts of a type, joined; None without any."""
    texts = []
    for part in _objects(parts):
        value = _object(values.get(str(part.get("partId"))))
        if part.get("type") == content_type and isinstance(text := value.get("value"), str):
            texts.append(clean(text))
    return "\n".join(texts) if texts else None


def clean(value: Any) -> str:
    """Return a text of the server without NUL; "" if it is not a text."""
    if not isinstance(value, str):
        return ""
    return value.replace("\0", "") if "\0" in value else value


def count(value: Any) -> int:
    """Return a size or a number of items of the server, 0 if it is not one."""
    return value if type(value) is int and 0 < value < 2**53 else 0


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []
