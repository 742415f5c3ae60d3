"""How a struct's members become columns of format 7.1, and columns the struct again, exactly.

A member goes into its column only if it comes back the same from there; else it stays in PROPS. `split` and `joined`
are each other's inverse for any JSON object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Final

from kerio_resync.model import Kind

Struct = dict[str, Any]
Stored = str | int
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Column:
    """`put` gives what is stored for a value, None if it must stay in PROPS; `get` turns it back (ValueError)."""

    member: str
    name: str
    put: Callable[[Any], Stored | None]
    get: Callable[[Any], Any]


def put_text(value: Any) -> str | None:
    return value if type(value) is str and "\0" not in value and _encodable(value) else None


def get_text(stored: Any) -> str:
    if type(stored) is not str or "\0" in stored:
        raise ValueError("a text is invalid")
    return stored


def _encodable(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def put_int(value: Any) -> int | None:
    return value if type(value) is int and value in _INT64 else None


def get_int(stored: Any) -> int:
    if type(stored) is not int:
        raise ValueError("a number is invalid")
    return stored


@lru_cache(maxsize=1024)
def _zone(minutes: int) -> timezone:
    return timezone(timedelta(minutes=minutes))


LOCAL: Final = _zone(60)  # where the machine stood that a written file pretends to come from


def put_time(value: Any) -> str | None:
    """`20260301T093000Z` → `2026-03-01 10:30:00 +0100`; another offset than UTC stands as it is, with `!` after it;
    a whole day is a date alone, no time an empty text."""
    if type(value) is not str or not value.isascii():
        return None
    stored = _time_to_local(value)
    if stored is None:
        return None
    try:
        return stored if get_time(stored) == value else None
    except ValueError:
        return None


def _time_to_local(value: str) -> str | None:
    try:
        if not value:
            return ""
        if len(value) == 8:
            return f"{value[:4]}-{value[4:6]}-{value[6:]}"
        if value[-1] == "Z":
            moment = datetime(int(value[:4]), int(value[4:6]), int(value[6:8]),
                              int(value[9:11]), int(value[11:13]), int(value[13:15]), tzinfo=UTC)  # fmt: skip
            return f"{moment.astimezone(LOCAL):%Y-%m-%d %H:%M:%S %z}".rjust(25, "0")
        moment = datetime.strptime(value, "%Y%m%dT%H%M%S%z")
        return f"{moment:%Y-%m-%d %H:%M:%S %z}!"
    except (ValueError, OverflowError):
        return None


def get_time(stored: Any) -> str:
    """What the server said; ValueError if it is no such time."""
    text = get_text(stored)
    if not text:
        return ""
    digits = text[:4] + text[5:7] + text[8:10]
    if len(text) == 10 and digits.isdigit() and text[4] == text[7] == "-":
        return digits
    if len(text) not in (25, 26) or text[10] != " " or text[13] != ":" or text[16] != ":" or text[19] != " ":
        raise ValueError("a time is invalid")
    if text[20] not in "+-":
        raise ValueError("a time is invalid")
    if text[25:] == "!":
        return f"{digits}T{text[11:13]}{text[14:16]}{text[17:19]}{text[20:25]}"
    if text[23:] == "00":
        return f"{_hour(text[:13], text[20:])}{_within(text[13:20])}Z"
    return _in_utc(text[:19], text[20:])


@lru_cache(maxsize=4096)
def _hour(text: str, offset: str) -> str:
    """Mails that lie beside each other are often of the same hour."""
    return _in_utc(text + ":00:00", offset)[:11]


@lru_cache(maxsize=3600)
def _within(text: str) -> str:
    return _in_utc(f"2000-01-01 00{text[:6]}", "+0000")[11:15]


def _in_utc(text: str, offset: str) -> str:
    try:
        minutes = int(offset[1:3]) * 60 + int(offset[3:5])
        moment = datetime.fromisoformat(text) - timedelta(minutes=-minutes if offset[0] == "-" else minutes)
    except (ValueError, OverflowError):
        raise ValueError("a time is invalid") from None
    return moment.isoformat().replace("-", "").replace(":", "") + "Z"


_PERSON = ("name", "address", "contactId")


def _put_line(value: Any) -> str | None:
    if type(value) is not dict or len(value) not in (2, 3) or tuple(sorted(value)) not in _PERSON_KEYS:
        return None
    words = [value[name] for name in _PERSON[: len(value)]]
    for word in words:
        if put_text(word) is None or "\t" in word or "\n" in word:
            return None
    return "\t".join(words)


_PERSON_KEYS = (tuple(sorted(_PERSON)), tuple(sorted(_PERSON[:2])))


def put_person(value: Any) -> str | None:
    return _put_line(value)


def get_person(stored: Any) -> Struct:
    words = get_text(stored).split("\t")
    if len(words) == 3:
        return {"name": words[0], "address": words[1], "contactId": words[2]}
    if len(words) == 2:
        return {"name": words[0], "address": words[1]}
    raise ValueError("a person is invalid")


def put_people(value: Any) -> str | None:
    if type(value) is not list:
        return None
    lines = [_put_line(one) for one in value]
    return None if None in lines else "\n".join(line for line in lines if line is not None)


def get_people(stored: Any) -> list[Struct]:
    text = get_text(stored)
    return [get_person(line) for line in text.split("\n")] if text else []


def put_headers(value: Any) -> str | None:
    """`mhMessageID: <…>`, a line each."""
    if type(value) is not list:
        return None
    lines = []
    for one in value:
        if type(one) is not dict or len(one) != 2 or "type" not in one or "value" not in one:
            return None
        kind, text = put_text(one["type"]), put_text(one["value"])
        if not kind or text is None or "\n" in kind + text or ": " in kind:
            return None
        lines.append(f"{kind}: {text}")
    return "\n".join(lines)


def get_headers(stored: Any) -> list[Struct]:
    text = get_text(stored)
    found = []
    for line in text.split("\n") if text else ():
        kind, colon, value = line.partition(": ")
        if not colon:
            raise ValueError("a header is invalid")
        found.append({"type": kind, "value": value})
    return found


PRIORITIES: Final = ("Normal", "Low", "High")
PART_TYPES: Final = ("ctTextPlain", "ctTextHtml")
TRUTHS: Final = (
    "isSeen", "isAnswered", "isFlagged", "isForwarded", "isJunk", "isMDNSent", "showExternal", "requestDSN",
    "hasAttachment", "isDraft", "isReadOnly",
)  # fmt: skip
ALL_TRUTHS: Final = (1 << len(TRUTHS)) - 1


def put_priority(value: Any) -> int | None:
    return PRIORITIES.index(value) if value in PRIORITIES else None


def get_priority(stored: Any) -> str:
    return chosen(PRIORITIES, stored)


def chosen(words: tuple[str, ...], stored: Any) -> str:
    if type(stored) is not int or not 0 <= stored < len(words):
        raise ValueError("a choice is unknown")
    return words[stored]


def _columns(codec: tuple[Callable[[Any], Stored | None], Callable[[Any], Any]], pairs: str) -> tuple[Column, ...]:
    return tuple(Column(member, name, *codec) for member, name in (pair.split("=") for pair in pairs.split()))


TEXT = (put_text, get_text)
TIME = (put_time, get_time)
COLUMNS: Final[Mapping[Kind, tuple[Column, ...]]] = {
    "mail": (
        *_columns(TEXT, "subject=SUBJECT"),
        *_columns((put_person, get_person), "from=FROM_ sender=SENDER notificationTo=NOTIFY_TO"),
        *_columns((put_people, get_people), "to=TO_ cc=CC bcc=BCC replyTo=REPLY_TO"),
        *_columns(TIME, "sendDate=SENT receiveDate=RECEIVED modifiedDate=MODIFIED"),
        *_columns((put_int, get_int), "size=BYTES"),
        *_columns((put_priority, get_priority), "priority=PRIORITY"),
        *_columns((put_headers, get_headers), "headers=HEADERS"),
    ),
    "contact": (
        *_columns(TEXT, "commonName=COMMON_NAME firstName=FIRST_NAME surName=LAST_NAME companyName=COMPANY"),
        *_columns(TEXT, "comment=COMMENT"),
        *_columns(TIME, "birthDay=BIRTHDAY anniversary=ANNIVERSARY"),
    ),
    "event": (
        *_columns(TEXT, "summary=SUMMARY location=LOCATION description=DESCRIPTION"),
        *_columns(TIME, "start=STARTS end=ENDS"),
    ),
    "task": (
        *_columns(TEXT, "summary=SUMMARY location=LOCATION description=DESCRIPTION"),
        *_columns(TIME, "start=STARTS due=DUE end=ENDS"),
        *_columns((put_int, get_int), "done=DONE"),
    ),
    "note": (*_columns(TEXT, "text=TEXT"), *_columns(TIME, "createDate=CREATED modifyDate=MODIFIED")),
}


def implied(kind: Kind) -> tuple[str, ...]:
    """The members that a struct has unless PROPS names them under `-`."""
    return ("id", "folderId", "watermark", *(("displayableParts", "attachments") if kind == "mail" else ()))


def linked(files: Any) -> list[int]:
    """The places, in a mail's list of attachments, of those that have a content: they have an address."""
    if type(files) is not list:
        return []
    return [place for place, file in enumerate(files) if type(file) is dict and file.get("url")]


def split(kind: Kind, struct: Struct) -> tuple[dict[str, Stored | None], Struct]:
    """(columns by name, what is left for PROPS)."""
    rest = dict(struct)
    columns: dict[str, Stored | None] = {}
    for column in COLUMNS[kind]:
        stored = column.put(rest[column.member]) if column.member in rest else None
        columns[column.name] = stored
        if stored is not None:
            del rest[column.member]
    if kind == "mail":
        columns["FLAGS"] = _put_flags(rest)
    return columns, rest


def _put_flags(rest: Struct) -> int:
    flags = 0
    for bit, member in enumerate(TRUTHS):
        if type(rest.get(member)) is bool:
            flags |= (1 << bit) * rest.pop(member) | 1 << bit + 16
    return flags


@lru_cache(maxsize=256)
def _truths(flags: int) -> tuple[tuple[str, bool], ...]:
    if flags & ~(ALL_TRUTHS | ALL_TRUTHS << 16) or flags & ~(flags >> 16) & 0xFFFF:
        raise ValueError("the flags are invalid")
    return tuple((member, bool(flags >> bit & 1)) for bit, member in enumerate(TRUTHS) if flags >> bit + 16 & 1)


def truths(flags: Any) -> tuple[tuple[str, bool], ...]:
    """(member, its truth) of a mail's FLAGS."""
    return _truths(get_int(flags))


def joined(columns: tuple[Column, ...], row: tuple[Any, ...], props: Struct) -> Struct:
    """The struct of `row` (the values of `columns`, in their order) and PROPS; ValueError if a value is none."""
    for column, stored in zip(columns, row, strict=True):
        if stored is not None:
            props.setdefault(column.member, column.get(stored))
    return props
