"""Checks of the documented types: parameters of calls and members of replies.

The table (`reference.json`, 94 methods, 49 structs, 33 enumerations) is data; `check` compiles a type once into a
function. A struct may lack members (their defaults apply) and may have unknown ones (they are ignored); a member that
is present must have its type, except for an enumeration's empty text. Anything else is refused with -32602, naming the
place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NoReturn

import orjson

from kerio_mockserver.api.errors import INVALID_PARAMS, ApiError

Check = Callable[[Any, str], None]

_TABLE: dict[str, Any] = orjson.loads(files("kerio_mockserver.api").joinpath("reference.json").read_bytes())
METHODS: dict[str, dict[str, dict[str, str]]] = _TABLE["methods"]
STRUCTS: dict[str, dict[str, str]] = _TABLE["structs"]
ENUMS: dict[str, list[str]] = _TABLE["enums"]

_TEXT = frozenset({"string", "KId", "UtcDateTime", "UtcTime", "jsonstring"})
_SIGNED = frozenset({"long", "int64", "Watermark"})
_UNSIGNED = frozenset({"unsigned long", "uint64"})
_ALIASES = {
    "Events.get": {"ids": "folderIds"},
    "Events.getById": {"id": "ids"},
}
"""Parameters for which real clients use another spelling; both are taken."""


def check_params(method: str, params: dict[str, Any], documented: Mapping[str, str] | None = None) -> None:
    """Raise ApiError -32602 if parameters violate the reference, or `documented`.

    Parameters that it does not name (such as `token`) pass.
    """
    spellings = _ALIASES.get(method, {})
    for name, type_name in (METHODS[method]["params"] if documented is None else documented).items():
        other = spellings.get(name)
        if name in params:
            check(type_name)(params[name], name)
        elif other is not None and other in params:
            check("KId[]")(params[other], other)
        else:
            raise ApiError(INVALID_PARAMS, "Invalid params: %1 is missing.", name)


@cache
def check(type_name: str) -> Check:
    """Return the check of one documented type, such as `KId[]` or `SearchQuery`."""
    if type_name.endswith("[]"):
        return _list_of(check(type_name[:-2]))
    if type_name in _TEXT:
        return _text
    if type_name in _SIGNED:
        return _integer(-(2**63), 2**63 - 1)
    if type_name in _UNSIGNED:
        return _integer(0, 2**64 - 1)
    if type_name == "boolean":
        return _boolean
    if type_name in ENUMS:
        return _one_of(type_name)
    return _struct(type_name)


@cache
def readable(struct: str) -> dict[str, str]:
    """Return the members of a reply with their types: all but the write-only ones."""
    return {name: kind.rsplit(" ", 1)[0] for name, kind in STRUCTS[struct].items() if not kind.endswith(" wo")}


def _refuse(where: str, wanted: str) -> NoReturn:
    raise ApiError(INVALID_PARAMS, "Invalid params: %1 must be %2.", where, wanted)


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        _refuse(where, "a string")


def _boolean(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        _refuse(where, "a boolean")


def _integer(low: int, high: int) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            _refuse(where, "an integer")

    return checked


def _one_of(enum: str) -> Check:
    values = frozenset(ENUMS[enum])

    def checked(value: Any, where: str) -> None:
        if not isinstance(value, str) or (value and value not in values):  # "" means not set
            _refuse(where, f"a value of {enum}")

    return checked


def _list_of(inner: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, list):
            _refuse(where, "a list")
        for index, element in enumerate(value):
            inner(element, f"{where}[{index}]")

    return checked


def _struct(name: str) -> Check:
    members: dict[str, Check] | None = None

    def checked(value: Any, where: str) -> None:
        nonlocal members
        if not isinstance(value, dict):
            _refuse(where, f"a structure {name}")
        if members is None:  # compiled on first use, since a struct may contain its own type
            members = {key: check(kind.rsplit(" ", 1)[0]) for key, kind in STRUCTS.get(name, {}).items()}
        for key, given in value.items():
            member = members.get(key)
            if member is not None:
                member(given, f"{where}.{key}")

    return checked
