"""SearchQuery as pure functions: which items, in which order, which of their members.

A condition compares one member with a text: numbers as numbers, booleans as `true`/`false`/`1`/`0`, times as instants
(a whole day is its midnight UTC), enumerations by their place in the reference, texts without regard to case; `Like`
finds the text anywhere in the member, nested members included. `QUICKSEARCH`, which real clients use, is `Like` over
the whole item. An order is steady: ties fall back to the item's id, whose last part counts as a number.

Open (chosen here): members that the reference does not name are refused with -32602, in `fields`, `conditions` and
`orderBy` alike; no `combining` means `And`; a limit under -1 and a negative start are refused with -32602.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kerio_mockserver.api.errors import INVALID_PARAMS, Refusal
from kerio_mockserver.api.reference import ENUMS, readable

Struct = Mapping[str, Any]
Matcher = Callable[[Struct], bool]
QUICKSEARCH = "QUICKSEARCH"

_DEFAULTS = {"fields": [], "conditions": [], "combining": "And", "start": 0, "limit": -1, "orderBy": []}


@dataclass(frozen=True, slots=True)
class Order:
    column: str
    descending: bool
    case_sensitive: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A checked SearchQuery. `fields` None: all members. `limit` already within the server's safety limit."""

    struct: str
    fields: tuple[str, ...] | None
    conditions: tuple[tuple[str, str, str], ...]  # (member, comparator, value)
    any_of: bool
    start: int
    limit: int
    order: tuple[Order, ...]

    @property
    def needs(self) -> frozenset[str]:
        """Members that must be known to select and to order."""
        return frozenset(field for field, _, _ in self.conditions) | {one.column for one in self.order}


def read(query: Mapping[str, Any], struct: str, safety_limit: int) -> Query:
    """A SearchQuery that has its documented types, for the items of `struct`. Refusal -32602."""
    given = {**_DEFAULTS, **query}
    members = readable(struct)
    for field in given["fields"]:
        _known(field, members)
    conditions = tuple(
        (one.get("fieldName", ""), one.get("comparator", "Eq"), one.get("value", "")) for one in given["conditions"]
    )
    for field, _, _ in conditions:
        if field != QUICKSEARCH:
            _known(field, members)
    order = tuple(
        Order(one.get("columnName", ""), one.get("direction", "Asc") == "Desc", one.get("caseSensitive", False))
        for one in given["orderBy"]
    )
    for one in order:
        _known(one.column, members)
    start, limit = given["start"], given["limit"]
    if start < 0 or limit < -1:
        raise Refusal(
            INVALID_PARAMS, "Invalid params: %1 is out of range.", "query.start" if start < 0 else "query.limit"
        )
    limit = safety_limit if limit == -1 else min(limit, safety_limit)
    whole = not given["fields"] or members.keys() <= set(given["fields"])
    fields = None if whole else tuple(dict.fromkeys(given["fields"]))
    return Query(struct, fields, conditions, given["combining"] == "Or", start, limit, order)


def _known(field: str, members: Mapping[str, str]) -> None:
    if field not in members:
        raise Refusal(INVALID_PARAMS, "Invalid params: %1 is no member of the item.", field)


def matcher(query: Query) -> Matcher:
    """Whether an item is among those asked for. Refusal -32602 for a value that its member can't have."""
    tests = [_condition(query.struct, *condition) for condition in query.conditions]
    if not tests:
        return lambda item: True
    if query.any_of:
        return lambda item: any(test(item) for test in tests)
    return lambda item: all(test(item) for test in tests)


def arranged(items: Iterable[tuple[str, Struct]], query: Query) -> list[str]:
    """The ids of (id, item) in the order asked for; what comes first among equals stays first."""
    pairs = list(items)
    for one in reversed(query.order):
        key = _sort_key(readable(query.struct)[one.column], one.case_sensitive)
        pairs.sort(key=lambda pair, key=key, column=one.column: key(pair[1].get(column)), reverse=one.descending)  # type: ignore[misc]
    return [item_id for item_id, _ in pairs]


def instant(text: str) -> str:
    """A UtcDateTime as text that sorts: `20260301T093000Z`. Empty stays empty; what is no time stays as it is."""
    if len(text) == 16 and text[-1] == "Z":
        return text
    if len(text) == 8 and text.isdigit():
        return text + "T000000Z"
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%S%z").astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, OverflowError):
        return text


def flat(value: Any) -> str:
    """All text in a member, nested members included, without regard to case."""
    if isinstance(value, str):
        return value.casefold()
    if isinstance(value, Mapping):
        return "\n".join(flat(one) for one in value.values())
    if isinstance(value, Sequence):
        return "\n".join(flat(one) for one in value)
    return str(value).casefold()


def _condition(struct: str, field: str, comparator: str, value: str) -> Matcher:
    if field == QUICKSEARCH:
        wanted = value.casefold()
        return lambda item: wanted in flat(item)
    if comparator == "Like":
        wanted = value.casefold()
        return lambda item: wanted in flat(item.get(field, ""))
    kind = readable(struct)[field]
    key = _sort_key(kind, case_sensitive=False)
    right = key(_value(kind, value, field))
    compare = _COMPARE[comparator]
    if kind.endswith("[]") or _is_struct(kind):
        return _any_text(field, comparator, value.casefold())
    return lambda item: compare(key(item.get(field)), right)


def _any_text(field: str, comparator: str, wanted: str) -> Matcher:
    """Lists and structures have no order: `Eq` if any text in them is equal; the others as texts go."""
    if comparator == "Eq":
        return lambda item: wanted in flat(item.get(field, "")).split("\n")
    if comparator == "NotEq":
        return lambda item: wanted not in flat(item.get(field, "")).split("\n")
    compare = _COMPARE[comparator]
    return lambda item: compare(flat(item.get(field, "")), wanted)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": lambda left, right: left == right,
    "NotEq": lambda left, right: left != right,
    "LessThan": lambda left, right: left < right,
    "GreaterThan": lambda left, right: left > right,
    "LessEq": lambda left, right: left <= right,
    "GreaterEq": lambda left, right: left >= right,
}

_NUMBERS = frozenset({"long", "int64", "Watermark", "unsigned long", "uint64"})
_TEXTS = frozenset({"string", "KId", "jsonstring", "UtcTime", "UtcDateTime"})


def _is_struct(kind: str) -> bool:
    return kind not in _NUMBERS and kind not in _TEXTS and kind not in ENUMS and kind != "boolean"


def _value(kind: str, value: str, field: str) -> Any:
    """The text of a condition as the member's type."""
    if kind == "boolean":
        if value.casefold() not in {"true", "false", "1", "0"}:
            raise Refusal(INVALID_PARAMS, "Invalid params: %1 is compared with no boolean.", field)
        return value.casefold() in {"true", "1"}
    if kind in _NUMBERS:
        try:
            return int(value)
        except ValueError as error:
            raise Refusal(INVALID_PARAMS, "Invalid params: %1 is compared with no number.", field) from error
    if kind in ENUMS and value not in ENUMS[kind]:
        raise Refusal(INVALID_PARAMS, "Invalid params: %1 is compared with no value of its enumeration.", field)
    return value


def _sort_key(kind: str, case_sensitive: bool) -> Callable[[Any], Any]:
    if kind == "boolean" or kind in _NUMBERS:
        return lambda value: value or 0
    if kind == "UtcDateTime":
        return lambda value: instant(value or "")
    if kind in ENUMS:
        places = {name: place for place, name in enumerate(ENUMS[kind])}
        return lambda value: places.get(value, -1)
    if kind == "KId":
        return lambda value: _by_number(value or "")
    if kind in _TEXTS:
        return (lambda value: value or "") if case_sensitive else (lambda value: (value or "").casefold())
    return lambda value: flat(value if value is not None else "")


def _by_number(item_id: str) -> tuple[str, int, str]:
    """Ids sort by their folder, then by number as numbers do."""
    head, _, last = item_id.rpartition("/")
    return (head, int(last), "") if last.isdecimal() else (head, 0, last)
