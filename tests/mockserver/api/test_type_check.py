from __future__ import annotations

from typing import Any

import pytest

from kerio_mockserver.api.account import PARAMS, REFUSED
from kerio_mockserver.api.call import METHODS as SERVED
from kerio_mockserver.api.errors import INVALID_PARAMS, ApiError
from kerio_mockserver.api.type_check import ENUMS, METHODS, STRUCTS, check, check_params, readable


def test_reference_table_is_complete() -> None:
    assert (len(METHODS), len(STRUCTS), len(ENUMS)) == (94, 49, 33)


def test_implemented_methods_are_documented() -> None:
    assert SERVED.keys() <= METHODS.keys() | PARAMS.keys()
    assert REFUSED.isdisjoint(SERVED.keys() | METHODS.keys())


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", ""),
        ("KId[]", ["a", "b"]),
        ("long", -1),
        ("Watermark", 2**63 - 1),
        ("uint64", 2**64 - 1),
        ("boolean", False),
        ("SortDirection", "Desc"),
        ("string[][]", [["a"], []]),
        ("SearchQuery", {}),
        ("SearchQuery", {"fields": ["id"], "limit": 5, "orderBy": [{"columnName": "id"}], "unknown": object()}),
        ("Mail", {"from": {"name": "a"}, "to": [{"address": "b"}], "attachments": [{"id": "x"}]}),
    ],
)
def test_check_accepts_valid_values(kind: str, value: Any) -> None:
    check(kind)(value, "x")


@pytest.mark.parametrize(
    ("kind", "value", "where"),
    [
        ("string", 1, "x"),
        ("string", None, "x"),
        ("KId[]", "a", "x"),
        ("KId[]", ["a", 1], "x[1]"),
        ("long", True, "x"),
        ("long", "1", "x"),
        ("long", 1.0, "x"),
        ("Watermark", 2**63, "x"),
        ("unsigned long", -1, "x"),
        ("boolean", 0, "x"),
        ("SortDirection", "desc", "x"),
        ("SortDirection", [], "x"),
        ("SearchQuery", [], "x"),
        ("SearchQuery", {"orderBy": [{"direction": "Up"}]}, "x.orderBy[0].direction"),
        ("Mail", {"to": [{"address": None}]}, "x.to[0].address"),
    ],
)
def test_check_refuses_invalid_values_naming_the_place(kind: str, value: Any, where: str) -> None:
    with pytest.raises(ApiError) as refused:
        check(kind)(value, "x")
    assert refused.value.code == INVALID_PARAMS
    assert refused.value.parameters[0] == where


def test_check_params_refuses_a_missing_parameter() -> None:
    with pytest.raises(ApiError, match="is missing"):
        check_params("Mails.get", {"folderIds": []})


@pytest.mark.parametrize("params", [{"ids": [], "query": {}}, {"folderIds": [], "query": {}}])
def test_events_get_takes_both_spellings(params: dict[str, Any]) -> None:
    check_params("Events.get", params)


@pytest.mark.parametrize("params", [{"id": "a"}, {"ids": ["a"]}])
def test_events_get_by_id_takes_both_spellings(params: dict[str, Any]) -> None:
    check_params("Events.getById", params)


def test_write_only_members_are_not_readable() -> None:
    assert "send" not in readable("Mail")
    assert readable("Mail")["to"] == "EMail[]"
    assert readable("NotePosition")["xOffset"] == "unsigned long"
