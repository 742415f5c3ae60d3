"""Rates in text form, and errors of conditions as sentences.

Rates are bytes per second inside the mock; a text such as "20 Mbit/s" or "2.5 MB/s" is accepted. Units are decimal
(1 Mbit is 1,000,000 bits), as link rates are sold.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

_RATE = re.compile(r"\s*(?P<figure>\d+(?:\.\d+)?)\s*(?P<scale>[kKMG]?)(?P<unit>bit|B)(?:/s|ps)?\s*")
_SCALES = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}


class ConditionsError(ValueError):
    """Invalid conditions.

    The text names each invalid member and the reason, one per line.
    """


def parse_rate(value: Any) -> Any:
    """Return bytes per second from "10 Mbit/s", "1.25 MB/s" and the like.

    Other values unchanged.
    """
    if not isinstance(value, str):
        return value
    found = _RATE.fullmatch(value)
    if found is None:
        raise ValueError('a rate is bytes a second, or text such as "20 Mbit/s" or "2.5 MB/s"')
    return float(found["figure"]) * _SCALES[found["scale"]] / (8 if found["unit"] == "bit" else 1)


def explain(error: ValidationError) -> str:
    """Return one line per invalid member: `link.rtt_s: must be at least 0 (got -1)`."""
    lines = []
    for trouble in error.errors(include_url=False):
        where = ".".join(str(part) for part in trouble["loc"]) or "conditions"
        text = trouble["msg"].removeprefix("Value error, ")
        if trouble["type"] == "extra_forbidden":
            text = "there is no such member"
        got = trouble["input"]
        shown = f" (got {got!r})" if isinstance(got, str | int | float | bool) or got is None else ""
        lines.append(f"{where}: {text[:1].lower()}{text[1:]}{shown}")
    return "\n".join(lines)


def with_example(example: dict[str, Any], **rule: Any) -> ConfigDict:
    """Return the configuration of a value whose JSON schema has an example.

    `rule` has keywords of the schema that say which members belong together.
    """
    return ConfigDict(json_schema_extra={"examples": [example], **rule})


class Value(BaseModel):
    """An immutable value from outside; unknown members, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


_RATE_PATTERN = f"^{re.sub(r'[?]P<[a-z]+>', '', _RATE.pattern)}$"  # without names of groups, which dialects differ in
_RATE_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1e12},
        {"type": "string", "pattern": _RATE_PATTERN, "examples": ["20 Mbit/s", "2.5 MB/s"]},
    ]
}
Rate = Annotated[float, BeforeValidator(parse_rate), Field(gt=0, le=1e12), WithJsonSchema(_RATE_SCHEMA)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
