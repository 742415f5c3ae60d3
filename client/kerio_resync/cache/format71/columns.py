"""Decodes the columns of format 7.1 into the members of the server's struct.

Each decoder raises ValueError, without quoting the value, if the column does not hold what its format allows. A column
that is NULL holds nothing: the member is in PROPS, or the server did not send it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import orjson

from kerio_resync.cache.format71.schema import KIND_BY_NUMBER
from kerio_resync.model import Folder, Kind, Place, Role

Struct = dict[str, Any]
PRIORITIES: Final = ("Normal", "Low", "High")
PART_TYPES: Final = ("ctTextPlain", "ctTextHtml")
FLAGS: Final = (
    "isSeen", "isAnswered", "isFlagged", "isForwarded", "isJunk", "isMDNSent", "showExternal", "requestDSN",
    "hasAttachment", "isDraft", "isReadOnly",
)  # fmt: skip
_ALL_FLAGS: Final = (1 << len(FLAGS)) - 1


class Column(NamedTuple):
    """A column, the member of the struct that it holds, and its decoder."""

    member: str
    name: str
    decode: Callable[[Any], Any]


def decode_text(stored: Any) -> str:
    """Return a text. SQLite may hold a value of any type in any column."""
    if type(stored) is not str or "\0" in stored:
        raise ValueError("a text is invalid")
    return stored


def decode_int(stored: Any) -> int:
    """Return an integer."""
    if type(stored) is not int:
        raise ValueError("a number is invalid")
    return stored


def decode_choice(words: tuple[str, ...], stored: Any) -> str:
    """Return the word that a number from 0 stands for."""
    number = decode_int(stored)
    if not 0 <= number < len(words):
        raise ValueError("a choice is unknown")
    return words[number]


def decode_priority(stored: Any) -> str:
    """Return a mail's priority."""
    return decode_choice(PRIORITIES, stored)


@lru_cache(maxsize=4096)  # the times of a mail are often the same
def decode_time(stored: Any) -> str:
    """Return a time as the server sent it.

    `2026-03-01 10:30:00 +0100` is `20260301T093000Z`.

    A `!` at the end keeps the offset instead of converting to UTC. A date alone is a whole day.
    """
    text = decode_text(stored)
    if not text:
        return ""
    digits = text[:4] + text[5:7] + text[8:10]
    if len(text) == 10 and digits.isdigit() and text[4] == text[7] == "-":
        return digits
    if len(text) not in (25, 26) or text[10] + text[13] + text[16] + text[19] != " :: " or text[20] not in "+-":
        raise ValueError("a time is invalid")
    if text[25:] == "!":
        return f"{digits}T{text[11:13]}{text[14:16]}{text[17:19]}{text[20:25]}"
    try:
        offset = timedelta(hours=int(text[21:23]), minutes=int(text[23:]))
        moment = datetime.fromisoformat(text[:19]) + (offset if text[20] == "-" else -offset)
    except (ValueError, OverflowError):
        raise ValueError("a time is invalid") from None
    return moment.isoformat().replace("-", "").replace(":", "") + "Z"


@lru_cache(maxsize=4096)  # few people write most of the mails
def _decode_line(line: str) -> Struct:
    words = line.split("\t")
    if len(words) not in (2, 3):
        raise ValueError("a person is invalid")
    return dict(zip(("name", "address", "contactId"), words, strict=False))


def decode_person(stored: Any) -> Struct:
    """Return a person from parts that are separated by tabs.

    These are the name, the address and, if the server sent it, the contact id.

    The dict may be shared: do not change it.
    """
    return _decode_line(decode_text(stored))


def decode_people(stored: Any) -> list[Struct]:
    """Return persons, one per line."""
    text = decode_text(stored)
    return [_decode_line(line) for line in text.split("\n")] if text else []


def decode_headers(stored: Any) -> list[Struct]:
    """Return headers such as `mhMessageID: <…>`, one per line."""
    headers = []
    text = decode_text(stored)
    for line in text.split("\n") if text else ():
        name, colon, value = line.partition(": ")
        if not colon:
            raise ValueError("a header is invalid")
        headers.append({"type": name, "value": value})
    return headers


@lru_cache(maxsize=256)
def _decode_flags(flags: int) -> dict[str, bool]:
    if flags & ~(_ALL_FLAGS | _ALL_FLAGS << 16) or flags & ~(flags >> 16) & 0xFFFF:
        raise ValueError("the flags are invalid")
    return {member: bool(flags >> bit & 1) for bit, member in enumerate(FLAGS) if flags >> bit + 16 & 1}


def decode_flags(stored: Any) -> dict[str, bool]:
    """Return the flags of a mail that the server sent.

    The dict is shared: do not change it.
    """
    return _decode_flags(decode_int(stored))


def _columns(decode: Callable[[Any], Any], pairs: str) -> tuple[Column, ...]:
    return tuple(Column(member, name, decode) for member, name in (pair.split("=") for pair in pairs.split()))


COLUMNS: Final[Mapping[Kind, tuple[Column, ...]]] = {
    "mail": (
        *_columns(decode_text, "subject=SUBJECT"),
        *_columns(decode_person, "from=FROM_ sender=SENDER notificationTo=NOTIFY_TO"),
        *_columns(decode_people, "to=TO_ cc=CC bcc=BCC replyTo=REPLY_TO"),
        *_columns(decode_time, "sendDate=SENT receiveDate=RECEIVED modifiedDate=MODIFIED"),
        *_columns(decode_int, "size=BYTES"),
        *_columns(decode_priority, "priority=PRIORITY"),
        *_columns(decode_headers, "headers=HEADERS"),
    ),
    "contact": (
        *_columns(decode_text, "commonName=COMMON_NAME firstName=FIRST_NAME surName=LAST_NAME companyName=COMPANY"),
        *_columns(decode_text, "comment=COMMENT"),
        *_columns(decode_time, "birthDay=BIRTHDAY anniversary=ANNIVERSARY"),
    ),
    "event": (
        *_columns(decode_text, "summary=SUMMARY location=LOCATION description=DESCRIPTION"),
        *_columns(decode_time, "start=STARTS end=ENDS"),
    ),
    "task": (
        *_columns(decode_text, "summary=SUMMARY location=LOCATION description=DESCRIPTION"),
        *_columns(decode_time, "start=STARTS due=DUE end=ENDS"),
        *_columns(decode_int, "done=DONE"),
    ),
    "note": (*_columns(decode_text, "text=TEXT"), *_columns(decode_time, "createDate=CREATED modifyDate=MODIFIED")),
}


def decode_columns(kind: Kind, values: Iterable[Any]) -> Struct:
    """Return the members that the columns of a kind, in the order of COLUMNS, hold."""
    return {
        member: decode(stored)
        for (member, _, decode), stored in zip(COLUMNS[kind], values, strict=True)
        if stored is not None
    }


def linked_attachments(files: Any) -> list[int]:
    """Return the places of those attachments of a mail that have a URL.

    Only these may have a content.
    """
    if type(files) is not list:
        return []
    return [place for place, file in enumerate(files) if type(file) is dict and file.get("url")]


def decode_folder(row: Sequence[Any]) -> Folder:
    """Return a folder from its texts, its numbers and EXTRA."""
    folder_id, parent_id, name, role, place, owner, props = map(decode_text, row[:7])
    kind, rights, count, unread, size = map(decode_int, row[7:12])
    orjson.loads(props)
    extra = None if row[12] is None else decode_text(row[12]).encode()
    return Folder(
        folder_id, parent_id, name, KIND_BY_NUMBER[kind] if kind else None, cast(Role, role), cast(Place, place),
        owner, bool(rights), count, unread, size, props.encode(), extra,
    )  # fmt: skip


def decode_json_object(text: Any) -> Struct:
    """Return the members in PROPS or EXTRA."""
    if text is None:
        return {}
    try:
        value = orjson.loads(decode_text(text))
    except orjson.JSONDecodeError:
        value = json.loads(text)  # accepts lone surrogates, which servers have sent
    if type(value) is not dict:
        raise ValueError("members are not a JSON object")
    return value
