"""SearchQuery as pure functions: filter, order, and members to return.

A condition compares one member with a text: numbers as numbers, booleans as `true`/`false`/`1`/`0`, times as instants
(a whole day is its midnight UTC), enumerations by their place in the reference, texts without regard to case. `Like`
finds the text anywhere in the member, nested members included; `%` stands for any text. `QUICKSEARCH` and `FULLTEXT`,
which real clients use, are `Like` over the whole item, with `*` for `%`. Orders are stable: equal items are in order of
id, whose last part counts as a number.

Names in `fields` that the reference does not know are ignored, as real servers do: clients ask for members of other
versions. The cost of a query is bounded: repeated conditions and columns count once, and there are at most 100.

Open (chosen here): unknown members in `conditions` and `orderBy` are refused with -32602; no `combining` means `And`; a
limit under -1 and a negative start are refused with -32602.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kerio_mockserver.api.errors import INVALID_PARAMS, ApiError
from kerio_mockserver.api.type_check import ENUMS, readable

Struct = Mapping[str, Any]
Texts = dict[str, str]
"""What has been read of an item already: the text of each member that a condition looks through."""
Test = Callable[[Struct, Texts], bool]
WHOLE_ITEM = frozenset({"QUICKSEARCH", "FULLTEXT"})
SEARCH_TIME = "searchTime"
MAX_CONDITIONS = 100

_DEFAULTS = {"fields": [], "conditions": [], "combining": "And", "start": 0, "limit": -1, "orderBy": []}


@dataclass(frozen=True, slots=True)
class Order:
    """One column to sort by."""

    column: str
    descending: bool
    case_sensitive: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A checked SearchQuery.

    `fields` None means all members; `limit` is within the server's safety limit.
    """

    struct: str
    fields: tuple[str, ...] | None
    conditions: tuple[tuple[str, str, str], ...]  # (member, comparator, value)
    any_of: bool
    start: int
    limit: int
    order: tuple[Order, ...]

    @property
    def needs(self) -> frozenset[str]:
        """The members needed to filter and sort."""
        return frozenset(field for field, _, _ in self.conditions) | self.columns

    @property
    def columns(self) -> frozenset[str]:
        """The members needed to sort."""
        return frozenset(order.column for order in self.order)


def read(query: Mapping[str, Any], struct: str, safety_limit: int) -> Query:
    """Check and convert a SearchQuery for items of `struct`; raise ApiError -32602."""
    given = {**_DEFAULTS, **query}
    members = readable(struct)
    conditions = _conditions(given["conditions"], struct)
    columns: dict[str, Order] = {}
    for order in given["orderBy"]:
        column = order.get("columnName", "")
        _known(column, members)
        columns.setdefault(column, Order(column, order.get("direction") == "Desc", order.get("caseSensitive", False)))
    start, limit = given["start"], given["limit"]
    if start < 0 or limit < -1:
        raise ApiError(
            INVALID_PARAMS, "Invalid params: %1 is out of range.", "query.start" if start < 0 else "query.limit"
        )
    limit = safety_limit if limit == -1 else min(limit, safety_limit)
    whole = not given["fields"] or members.keys() <= set(given["fields"])
    fields = None if whole else tuple(name for name in dict.fromkeys(given["fields"]) if name in members)
    return Query(struct, fields, conditions, given["combining"] == "Or", start, limit, tuple(columns.values()))


def _conditions(given: Sequence[Mapping[str, str]], struct: str) -> tuple[tuple[str, str, str], ...]:
    """Return each condition once.

    Raise ApiError -32602 for unknown members or too many.
    """
    found = dict.fromkeys(
        (condition.get("fieldName", ""), condition.get("comparator") or "Eq", condition.get("value", ""))
        for condition in given
    )
    if len(found) > MAX_CONDITIONS:
        raise ApiError(INVALID_PARAMS, "Invalid params: %1 holds too many conditions.", "query.conditions")
    for field, comparator, _ in found:
        if struct == "Occurrence" and field == "end" and comparator != "LessThan":
            raise ApiError(INVALID_PARAMS, "Invalid params: %1 can only be compared by %2.", field, "LessThan")
        if field not in WHOLE_ITEM and not (struct == "Occurrence" and field == SEARCH_TIME):
            _known(field, readable(struct))
    return tuple(found)


def _known(field: str, members: Mapping[str, str]) -> None:
    if field not in members:
        raise ApiError(INVALID_PARAMS, "Invalid params: %1 is no member of the item.", field)


def matcher(query: Query) -> Test:
    """Return the test that tells whether an item matches.

    Raise ApiError -32602 for invalid values.

    The test keeps the texts that it searches in its second argument, so that each is built once per item.
    """
    tests = [_condition(query.struct, *condition) for condition in query.conditions]
    if not tests:
        return lambda item, texts: True
    if query.any_of:
        return lambda item, texts: any(test(item, texts) for test in tests)
    return lambda item, texts: all(test(item, texts) for test in tests)


def arranged(items: Iterable[tuple[str, Struct]], query: Query) -> list[str]:
    """Return the ids of (id, item) pairs in the query's order; the sort is stable."""
    pairs = list(items)
    for order in reversed(query.order):
        key = _sort_key(readable(query.struct)[order.column], order.case_sensitive)
        pairs.sort(key=lambda pair, key=key, column=order.column: key(pair[1].get(column)), reverse=order.descending)  # type: ignore[misc]
    return [item_id for item_id, _ in pairs]


def instant(text: str) -> str:
    """Return a UtcDateTime as text that sorts, such as `20260301T093000Z`."""
    if len(text) == 16 and text[-1] == "Z":
        return text
    if len(text) == 8 and text.isdigit():
        return text + "T000000Z"
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%S%z").astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, OverflowError):
        return text


def flat(value: Any) -> str:
    """Return all text in a member, nested members included, in folded case."""
    if isinstance(value, str):
        return value.casefold()
    if isinstance(value, Mapping):
        return "\n".join(flat(member) for member in value.values())
    if isinstance(value, Sequence):
        return "\n".join(flat(element) for element in value)
    return str(value).casefold()


def _condition(struct: str, field: str, comparator: str, value: str) -> Test:
    wanted = value.casefold()
    if field in WHOLE_ITEM or comparator == "Like":
        pieces = [piece for piece in (wanted.replace("*", "%") if field in WHOLE_ITEM else wanted).split("%") if piece]
        return lambda item, texts: _in_order(pieces, _text(item, field, texts))
    if field == SEARCH_TIME:
        return _during(comparator, instant(value))
    kind = readable(struct)[field]
    compare = _COMPARE[comparator]
    if kind.endswith("[]") or _is_struct(kind):
        return _any_text(field, comparator, wanted)
    key = _sort_key(kind, case_sensitive=False)
    right = key(_value(kind, value, field))
    return lambda item, texts: compare(key(item.get(field)), right)


def _in_order(pieces: Sequence[str], text: str) -> bool:
    """Return whether the text contains all pieces in order, with any text between."""
    at = 0
    for piece in pieces:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _text(item: Struct, field: str, texts: Texts) -> str:
    """Return all text of a member, or of the whole item."""
    found = texts.get(field)
    if found is None:
        found = texts[field] = flat(item if field in WHOLE_ITEM else item.get(field, ""))
    return found


def _during(comparator: str, wanted: str) -> Test:
    """Return whether an occurrence takes place at an instant of the condition."""

    def test(item: Struct, texts: Texts) -> bool:
        start, end = instant(item["start"]), ends(item)
        match comparator:
            case "Eq":
                return start <= wanted < end or start == wanted
            case "NotEq":
                return not (start <= wanted < end or start == wanted)
            case "LessThan":
                return start < wanted
            case "LessEq":
                return start <= wanted
            case "GreaterThan":
                return end > wanted
        return end > wanted or start >= wanted

    return test


def ends(item: Struct) -> str:
    """Return when an event is over; the last of whole days belongs to it."""
    if item.get("isAllDay") and len(item["end"]) == 8:
        return instant(f"{item['end']}T235959Z")
    return instant(item["end"])


def _any_text(field: str, comparator: str, wanted: str) -> Test:
    """Compare lists and structs: `Eq` if any text in them is equal, others as texts."""
    if comparator == "Eq":
        return lambda item, texts: wanted in _text(item, field, texts).split("\n")
    if comparator == "NotEq":
        return lambda item, texts: wanted not in _text(item, field, texts).split("\n")
    compare = _COMPARE[comparator]
    return lambda item, texts: compare(_text(item, field, texts), wanted)


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
    """Return the value of a condition in the member's type."""
    if kind == "boolean":
        if value.casefold() not in {"true", "false", "1", "0"}:
            raise ApiError(INVALID_PARAMS, "Invalid params: %1 is compared with no boolean.", field)
        return value.casefold() in {"true", "1"}
    if kind in _NUMBERS:
        try:
            return int(value)
        except ValueError as error:
            raise ApiError(INVALID_PARAMS, "Invalid params: %1 is compared with no number.", field) from error
    if kind in ENUMS and value not in ENUMS[kind]:
        raise ApiError(INVALID_PARAMS, "Invalid params: %1 is compared with no value of its enumeration.", field)
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
    """Return a sort key for ids: by folder, then by number."""
    head, _, last = item_id.rpartition("/")
    return (head, int(last), "") if last.isdecimal() else (head, 0, last)
