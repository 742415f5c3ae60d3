"""Items: from the server's structs to ours.

An item's `payload` is its documented struct exactly as it came; unknown members go to `extra`. A struct that cannot be
an item becomes `MalformedItem`, and does not affect the others. A sloppy member (null for a text, a number in quotes)
costs only the columns that it would have filled. A column is never guessed: an invalid date is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from kerio_resync.model import Item, Kind, ListedItem, MalformedItem
from kerio_resync.server.json_codec import Canonical, exact_json
from kerio_resync.server.kerio.item_columns import KINDS, Row, SloppyRow
from kerio_resync.server.kerio.times import iso
from kerio_resync.server.kerio.wire import adapter, require_size, require_text, split_unknown_members, version_of


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KNOWN: Mapping[Kind, frozenset[str]] = {
    "mail": _words(
        "id folderId watermark from sender to cc bcc sendDate receiveDate modifiedDate replyTo notificationTo subject"
        " priority size isSeen isAnswered isFlagged isForwarded isJunk isMDNSent showExternal requestDSN hasAttachment"
        " isDraft isReadOnly signInfo encryptInfo displayableParts attachments headers"
    ),
    "contact": _words(
        "id folderId watermark type commonName firstName middleName surName titleBefore titleAfter nickName"
        " phoneNumbers emailAddresses postalAddresses urls birthDay anniversary companyName departmentName profession"
        " managerName assistantName comment IMAddress photo categories isGalContact"
    ),
    "event": _words(
        "id folderId watermark access summary location description label categories start end travelMinutes freeBusy"
        " isPrivate isAllDay priority rule attendees reminder isCancelled"
    ),
    "task": _words(
        "id folderId watermark access summary location description status start due end done priority rule attendees"
        " reminder sortOrder isPrivate isCancelled"
    ),
    "note": _words("id folderId watermark color text position createDate modifyDate"),
}
LIGHT: Mapping[Kind, tuple[str, ...]] = {
    "mail": ("id", "folderId", "watermark", "size", "receiveDate", "hasAttachment"),
    "contact": ("id", "folderId", "watermark"),
    "event": ("id", "folderId", "watermark"),
    "task": ("id", "folderId", "watermark"),
    "note": ("id", "folderId", "watermark"),
}


def parse_items(
    kind: Kind, values: Sequence[Any], write: Canonical
) -> tuple[tuple[Item, ...], tuple[MalformedItem, ...]]:
    """Return the items of a list, and the malformed ones.

    Items are checked one by one only if the list as a whole is invalid.
    """
    list_type, item_type, columns = KINDS[kind]
    items: list[Item] = []
    malformed: list[MalformedItem] = []
    try:
        checked: Sequence[Any] = adapter(list_type).validate_python(values)
    except ValidationError:
        checked = [_checked(item_type, value) for value in values]
    known = _KNOWN[kind]
    for value, columned in zip(values, checked, strict=True):
        struct = columned
        if isinstance(struct, MalformedItem):
            malformed.append(struct)
            continue
        try:
            payload, extra = split_unknown_members(value, known, write)
        except ValueError as error:
            malformed.append(MalformedItem(struct["id"], str(error)[:100]))
            continue
        if write is exact_json:
            struct = _without_surrogates(struct)
        items.append(columns(struct, payload, extra))
    return tuple(items), tuple(malformed)


def _without_surrogates(value: Any, depth: int = 8) -> Any:
    """Remove lone surrogates, which no database stores; the payload keeps them.

    No column is nested deeper.
    """
    if isinstance(value, dict | list) and not depth:
        return None
    if isinstance(value, dict):
        return {name: _without_surrogates(member, depth - 1) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(member, depth - 1) for member in value]
    return require_text(value) if isinstance(value, str) else value


def parse_rows(values: Sequence[Any]) -> tuple[tuple[ListedItem, ...], tuple[MalformedItem, ...]]:
    """Return the rows of a listing, and the malformed ones."""
    try:
        checked: Sequence[Any] = adapter(list[Row]).validate_python(values)
    except ValidationError:
        checked = [_checked(SloppyRow, value) for value in values]
    rows: list[ListedItem] = []
    malformed: list[MalformedItem] = []
    for struct in checked:
        if isinstance(struct, MalformedItem):
            malformed.append(struct)
            continue
        get = struct.get
        date = iso(get("receiveDate", ""))
        rows.append(
            ListedItem(
                struct["id"],
                version_of(struct["watermark"]),
                require_size(get("size")),
                date,
                get("hasAttachment", False),
            )
        )
    return tuple(rows), tuple(malformed)


def parse_row(item: Item) -> ListedItem:
    """Return the row that a listing would have for the item."""
    return ListedItem(item.id, item.version, item.size, item.date, bool(item.attachments))


def _checked(shape: Any, value: Any) -> Any:
    """Return the columns of one item without invalid members.

    MalformedItem if its id or version is invalid.
    """
    single = adapter(shape)
    try:
        return single.validate_python(value)
    except ValidationError as error:
        wrong = {line["loc"][0] if line["loc"] else "" for line in error.errors(include_url=False)}
    if isinstance(value, dict) and not wrong & {"", "id", "watermark"}:
        # Leaves out single members, so that the valid ones keep their values.
        return single.validate_python({name: value[name] for name in value if name not in wrong})
    named = require_text(value.get("id"))[:500] if isinstance(value, dict) else ""
    return MalformedItem(named, f"invalid: {', '.join(sorted(str(name) or 'not an object' for name in wrong))}")
