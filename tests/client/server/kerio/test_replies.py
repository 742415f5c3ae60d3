"""What is made of a reply whose words are cleaned of secrets first."""

from __future__ import annotations

import json

import pytest

from kerio_resync.errors import ItemGone
from kerio_resync.redaction import Redactor
from kerio_resync.server.kerio import wire
from kerio_resync.server.kerio.replies import parse_response

ERROR = {
    "inputIndex": 3,
    "code": 1002,
    "message": "%1 is not there",
    "data": {"messageParameters": {"positionalParameters": ["a secret of the simulation"], "plurality": 1}},
}


def redactor(*secrets: str) -> Redactor:
    kept = Redactor()
    kept.keep(*secrets)
    return kept


@pytest.mark.parametrize("member", [*sorted(wire.ERROR_MEMBERS), "a secret of the simulation"])
def test_an_error_is_understood_whatever_letters_the_password_shares_with_its_members(member: str) -> None:
    clean = redactor(member, member[:5]).value
    answer = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"errors": [ERROR]}}).encode()
    result, _ = parse_response("Mails.getById", 200, {}, answer, clean=clean)
    ((index, error),) = wire.item_errors("Mails.getById", result)
    assert index == 3
    assert isinstance(error, ItemGone)
    refusal = json.dumps({"jsonrpc": "2.0", "id": 1, "error": ERROR}).encode()
    with pytest.raises(ItemGone) as failed:
        parse_response("Mails.getById", 200, {}, refusal, clean=clean)
    assert "%1" not in failed.value.detail


def test_an_error_shows_no_secret_in_its_words_nor_in_other_members() -> None:
    told = {"code": 1000, "message": "no zq7kwv9x", "zq7kwv9x": {"code": "zq7kwv9x"}}
    answer = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"errors": [told]}}).encode()
    result, _ = parse_response("Mails.getById", 200, {}, answer, clean=redactor("zq7kwv9x").value)
    assert "7kwv" not in str(result)
    assert wire.item_errors("Mails.getById", result)[0][1].detail == "no …"
