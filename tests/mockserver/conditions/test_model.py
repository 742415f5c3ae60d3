"""Conditions come in as JSON, are refused with reasons, and are changed by patches."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kerio_mockserver.conditions.model import Conditions, merge
from kerio_mockserver.conditions.presets import ABOUT, PRESETS
from kerio_mockserver.conditions.values import ConditionsError


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_survive_json(name: str) -> None:
    conditions = PRESETS[name]
    assert Conditions.parse(orjson.dumps(conditions.as_json())) == conditions
    assert ABOUT[name].endswith(".")


def test_presets_have_their_documented_names() -> None:
    promised = "lan office-dsl home-cable mobile-3g mobile-4g satellite hotel-wifi monday-morning server-queues"
    assert {*promised.split(), "server-dying", "flaky", "reindexing"} <= PRESETS.keys()
    load = PRESETS["monday-morning"].load
    assert load is not None
    assert load.users is not None
    assert (load.workers, load.users.per_second) == (8, 40)
    queues = PRESETS["server-queues"].load
    assert queues is not None
    assert queues.places is None


def test_conditions_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Conditions().link = None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"{", "conditions: not valid JSON"),
        (b"[]", "conditions: an object is needed"),
        ({"lnik": {}}, "lnik: there is no such member"),
        ({"link": {"rtt_s": -1}}, "link.rtt_s: input should be greater than or equal to 0 (got -1)"),
        (
            {"link": {"down_bytes_s": "fast"}},
            'link.down_bytes_s: a rate is bytes a second, or text such as "20 Mbit/s"',
        ),
        ({"link": {"down_bytes_s": 0}}, "link.down_bytes_s: input should be greater than 0 (got 0)"),
        ({"load": {"workers": 0}}, "load.workers: input should be greater than or equal to 1 (got 0)"),
        ({"faults": [{"kind": "bang"}]}, "faults.0.kind: input should be 'reset-before-head'"),
        ({"faults": [{"kind": "cut", "nth": 1, "every": 2}]}, "faults.0: `nth` and `every` exclude each other"),
        ({"churn": {"weights": {"arrive": 0}}}, "churn: at least one of the `weights` must be above 0"),
        ({"churn": {"script": [{"action": "explode"}]}}, "churn.script.0.action: input should be 'arrive'"),
        ({"load": {"call_s": 1e999}}, "load.call_s: "),
        ({"link": {"x": object()}}, "conditions: "),
    ],
)
def test_errors_name_member_and_reason(value: Any, text: str) -> None:
    with pytest.raises(ConditionsError) as caught:
        Conditions.parse(value)
    assert text in str(caught.value)


def test_patch_changes_what_it_names() -> None:
    before = PRESETS["satellite"]
    assert before.link is not None
    after = before.patched({"link": {"rtt_s": 0.1, "down_bytes_s": "8 Mbit/s"}, "faults": [{"kind": "html", "nth": 3}]})
    assert after.link is not None
    assert (after.link.rtt_s, after.link.down_bytes_s, after.link.up_bytes_s) == (0.1, 1e6, before.link.up_bytes_s)
    assert after.faults[0].nth == 3
    assert after.patched({"link": None}).link is None
    assert after.patched({"link": {"rtt_s": None}}).link.rtt_s == 0.0  # type: ignore[union-attr]  # it is there
    assert before.patched({}) == before


def test_invalid_patch_changes_nothing() -> None:
    before = PRESETS["lan"]
    with pytest.raises(ConditionsError, match=r"link\.colour"):
        before.patched({"link": {"colour": "red"}})
    assert before == PRESETS["lan"]


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_follows_rfc_7396(target: Any, patch: Any, merged: Any) -> None:
    assert merge(target, patch) == merged


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab0", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["link", "load", "rtt_s", "x"]), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["link", "load", "faults", "churn", "quirks", "x"]), _JSON))
def test_parse_refuses_any_invalid_value(value: dict[str, Any]) -> None:
    with contextlib.suppress(ConditionsError):
        assert Conditions.parse(value).as_json()


def test_conditions_accept_the_former_names_of_members() -> None:
    former = {"manners": {"ranges": False}, "load": {"spells": [{"seconds": 1}], "holds": [{"seconds": 2}]}}
    conditions = Conditions.parse(former)
    assert conditions == Conditions().patched(former)
    assert conditions.load is not None
    assert (conditions.quirks.ranges, conditions.load.refusal_windows[0].seconds) == (False, 1.0)
    assert conditions.load.locks[0].seconds == 2.0
