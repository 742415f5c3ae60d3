from __future__ import annotations

from typing import Any

import pytest

from kerio_mockserver.api.errors import ApiError
from kerio_mockserver.api.query import arranged, flat, instant, matcher, read

MAIL = {
    "subject": "Nabídka ČÍSLO 7",
    "from": {"name": "Jiří", "address": "jiri@example.org"},
    "to": [{"name": "", "address": "a@x"}, {"name": "Bo", "address": "b@x"}],
    "size": 1000,
    "isSeen": False,
    "priority": "High",
    "receiveDate": "20260301T120000Z",
    "sendDate": "20260301T130000+0200",
}


@pytest.mark.parametrize(
    ("field", "comparator", "value", "found"),
    [
        ("subject", "Eq", "nabídka číslo 7", True),
        ("subject", "Eq", "nabídka", False),
        ("subject", "NotEq", "nabídka", True),
        ("subject", "Like", "číslo", True),
        ("subject", "Like", "9", False),
        ("subject", "LessThan", "o", True),
        ("subject", "GreaterEq", "o", False),
        ("from", "Like", "JIRI@", True),
        ("from", "Eq", "jiří", True),
        ("to", "Eq", "b@x", True),
        ("to", "Eq", "b@", False),
        ("to", "NotEq", "b@x", False),
        ("size", "Eq", "1000", True),
        ("size", "LessThan", "1001", True),
        ("size", "LessThan", "999", False),
        ("size", "GreaterThan", "1000", False),
        ("size", "GreaterEq", "1000", True),
        ("size", "LessEq", "1000", True),
        ("isSeen", "Eq", "false", True),
        ("isSeen", "Eq", "0", True),
        ("isSeen", "NotEq", "true", True),
        ("priority", "Eq", "High", True),
        ("priority", "GreaterThan", "Low", True),
        ("receiveDate", "GreaterEq", "20260301", True),
        ("receiveDate", "LessThan", "20260301", False),
        ("receiveDate", "Eq", "20260301T140000+0200", True),
        ("sendDate", "LessThan", "20260301T110001Z", True),
        ("QUICKSEARCH", "Like", "jiri", True),
        ("QUICKSEARCH", "Like", "nothing", False),
        ("FULLTEXT", "Like", "jiri", True),
        ("QUICKSEARCH", "Like", "ji*i*", True),
        ("QUICKSEARCH", "Like", "j%zz*", False),
        ("QUICKSEARCH", "Like", "*", True),
        ("FULLTEXT", "Eq", "nothing", False),
    ],
)
def test_matcher_compares_each_type(field: str, comparator: str, value: str, found: bool) -> None:
    query = read({"conditions": [{"fieldName": field, "comparator": comparator, "value": value}]}, "Mail", 10)
    assert matcher(query)(MAIL, {}) is found


@pytest.mark.parametrize(("combining", "found"), [("And", False), ("Or", True)])
def test_combining_joins_conditions(combining: str, found: bool) -> None:
    conditions = [
        {"fieldName": "size", "comparator": "Eq", "value": "1000"},
        {"fieldName": "isSeen", "comparator": "Eq", "value": "true"},
    ]
    assert matcher(read({"conditions": conditions, "combining": combining}, "Mail", 10))(MAIL, {}) is found


@pytest.mark.parametrize(
    "query",
    [
        {"conditions": [{"fieldName": "searchTime", "comparator": "Eq", "value": "20260301"}]},
        {"conditions": [{"fieldName": "subject", "comparator": "Eq", "value": str(n)} for n in range(101)]},
        {"conditions": [{"fieldName": "nonsense", "comparator": "Eq", "value": ""}]},
        {"orderBy": [{"columnName": "nonsense"}]},
        {"start": -1},
        {"limit": -2},
    ],
)
def test_read_refuses_invalid_queries(query: dict[str, Any]) -> None:
    with pytest.raises(ApiError):
        read(query, "Mail", 10)


@pytest.mark.parametrize(("field", "value"), [("size", "x"), ("isSeen", "maybe"), ("priority", "Urgent")])
def test_matcher_refuses_invalid_values(field: str, value: str) -> None:
    with pytest.raises(ApiError):
        matcher(read({"conditions": [{"fieldName": field, "comparator": "Eq", "value": value}]}, "Mail", 10))


@pytest.mark.parametrize(("given", "limit"), [(None, 10), (-1, 10), (0, 0), (7, 7), (11, 10)])
def test_limit_stays_within_the_safety_limit(given: int | None, limit: int) -> None:
    assert read({} if given is None else {"limit": given}, "Mail", 10).limit == limit


def test_fields_select_members() -> None:
    assert read({}, "Mail", 10).fields is None
    assert read({"fields": ["size", "id", "size"]}, "Mail", 10).fields == ("size", "id")


def test_read_ignores_unknown_fields() -> None:
    assert read({"fields": ["lastModificationTime", "id", "send", "descriptionHtml"]}, "Mail", 10).fields == ("id",)
    assert read({"fields": ["nonsense"]}, "Mail", 10).fields == ()


def test_read_counts_repeated_conditions_and_columns_once() -> None:
    condition = {"fieldName": "QUICKSEARCH", "comparator": "Like", "value": "zzzz"}
    query = read({"conditions": [condition] * 3000, "orderBy": [{"columnName": "subject"}] * 3000}, "Mail", 10)
    assert (len(query.conditions), len(query.order)) == (1, 1)


def test_end_of_an_occurrence_is_only_compared_by_less_than() -> None:
    def condition(comparator: str) -> dict[str, Any]:
        return {"conditions": [{"fieldName": "end", "comparator": comparator, "value": "20260301"}]}

    assert read(condition("LessThan"), "Occurrence", 10).conditions
    for comparator in ("Eq", "NotEq", "GreaterThan", "LessEq", "GreaterEq", "Like"):
        with pytest.raises(ApiError, match="LessThan"):
            read(condition(comparator), "Occurrence", 10)
        assert read(condition(comparator), "Event", 10).conditions


@pytest.mark.parametrize(
    ("comparator", "value", "found"),
    [
        ("Eq", "20260301T090000Z", True),
        ("Eq", "20260301T100000Z", False),
        ("NotEq", "20260301T100000Z", True),
        ("LessThan", "20260301T090000Z", False),
        ("LessEq", "20260301T090000Z", True),
        ("GreaterThan", "20260301T095959Z", True),
        ("GreaterThan", "20260301T110000+0100", False),
        ("GreaterEq", "20260301", True),
        ("GreaterEq", "20260302", False),
    ],
)
def test_search_time_is_any_instant_of_an_occurrence(comparator: str, value: str, found: bool) -> None:
    query = read(
        {"conditions": [{"fieldName": "searchTime", "comparator": comparator, "value": value}]}, "Occurrence", 10
    )
    assert matcher(query)({"start": "20260301T090000Z", "end": "20260301T100000Z"}, {}) is found


ROWS: list[tuple[str, dict[str, Any]]] = [
    ("1", {"subject": "b", "size": 2, "isSeen": True}),
    ("2", {"subject": "B", "size": 1, "isSeen": False}),
    ("3", {"subject": "a", "size": 2, "isSeen": False}),
]


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        ([], "123"),
        ([("subject", "Asc", False)], "312"),
        ([("subject", "Asc", True)], "231"),
        ([("subject", "Desc", False)], "123"),
        ([("size", "Asc", False)], "213"),
        ([("size", "Desc", False), ("subject", "Asc", False)], "312"),
        ([("isSeen", "Asc", False), ("size", "Desc", False)], "321"),
    ],
)
def test_arranged_sorts_stably(order: list[tuple[str, str, bool]], ids: str) -> None:
    columns = [{"columnName": name, "direction": way, "caseSensitive": case} for name, way, case in order]
    assert "".join(arranged(ROWS, read({"orderBy": columns}, "Mail", 10))) == ids


@pytest.mark.parametrize(
    ("text", "sorts_as"),
    [
        ("", ""),
        ("20260301", "20260301T000000Z"),
        ("20260301T093000Z", "20260301T093000Z"),
        ("20260301T093000-0700", "20260301T163000Z"),
        ("nonsense", "nonsense"),
        ("00010101T000000+1200", "00010101T000000+1200"),
    ],
)
def test_instant_sorts_times_of_any_form(text: str, sorts_as: str) -> None:
    assert instant(text) == sorts_as


def test_flat_returns_all_text_of_a_member() -> None:
    assert flat({"a": ["X", {"b": "Y"}], "c": 3}) == "x\ny\n3"
