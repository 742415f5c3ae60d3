"""The JSON schema of the conditions agrees with what the server accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.conditions.presets import PRESETS
from kerio_mockserver.conditions.values import ConditionsError

SCHEMA = Conditions.model_json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def test_schema_is_a_valid_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_schema_accepts_every_preset(preset: str) -> None:
    VALIDATOR.validate(PRESETS[preset].as_json())


VALUES: list[dict[str, Any]] = [
    {},
    {"link": {"down_bytes_s": "20 Mbit/s", "up_bytes_s": 5e5}},
    {"link": {"down_bytes_s": "20 horses"}},
    {"link": {"down_bytes_s": 0}},
    {"link": {"rtt_s": 61}},
    {"link": {"breaks": [{"kind": "reset", "at": 5}]}},
    {"link": {"breaks": [{"kind": "reset"}]}},
    {"link": {"breaks": [{"kind": "reset", "at": 5, "mean_bytes": 7}]}},
    {"link": {"breaks": [{"kind": "explode", "at": 5}]}},
    {"load": {"workers": 0}},
    {"load": {"status": 500}},
    {"load": {"users": {"per_second": 40}}},
    {"load": {"retry_after_s": None, "places": None}},
    {"faults": [{"kind": "cut", "nth": 5}, {"kind": "cut", "every": 5, "nth": None}]},
    {"faults": [{"kind": "cut", "nth": 5, "every": 5}]},
    {"faults": [{}]},
    {"faults": {"kind": "cut"}},
    {"churn": {"weights": {"arrive": 1}}},
    {"churn": {"weights": {"explode": 1}}},
    {"churn": {"script": [{"action": "arrive", "times": 0}]}},
    {"quirks": {"compression": ["gzip", "lzma"]}},
    {"quirks": {"session_s": 0}},
    {"quirks": None},
    {"nonsense": 1},
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_schema_and_server_accept_the_same(value: dict[str, Any]) -> None:
    try:
        Conditions.parse(value)
        accepted = True
    except ConditionsError:
        accepted = False
    assert VALIDATOR.is_valid(value) is accepted


def values_of(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "Conditions", SCHEMA
    yield from schema["$defs"].items()


@pytest.mark.parametrize(("name", "value"), list(values_of(SCHEMA)))
def test_every_member_is_described_and_every_example_valid(name: str, value: dict[str, Any]) -> None:
    assert [member for member, about in value["properties"].items() if not about.get("description")] == []
    for example in value.get("examples", []):
        Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}).validate(example)
