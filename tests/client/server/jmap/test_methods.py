"""Requests and replies: which of our errors each becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kerio_resync.errors import (
    BadCredentials,
    FolderDenied,
    ForeignReply,
    ItemGone,
    KeyExpired,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    ServerRefused,
    TooLarge,
    Unreachable,
)
from kerio_resync.redaction import Redactor
from kerio_resync.server.jmap.methods import AnchorGone, Call, InvalidArguments, decode, encode, names_of, result_of

CALLS = (Call("Email/query", {"accountId": "a"}), Call("Email/get", {"accountId": "a"}))
PROBLEM = "urn:ietf:params:jmap:error:"


def decoded(responses: Any, status: int = 200, **how: Any) -> list[dict[str, Any]]:
    body = responses if isinstance(responses, bytes) else json.dumps({"methodResponses": responses}).encode()
    how.setdefault("redactor", Redactor())
    return decode(CALLS, status, how.pop("headers", {}), body, **how)[0]


def test_encode_numbers_calls_and_refers_to_them() -> None:
    body = json.loads(encode([CALLS[0], Call("Email/get", {"#ids": result_of(0, CALLS[0], "/ids")})], ["u"]))
    assert body == {
        "using": ["u"],
        "methodCalls": [
            ["Email/query", {"accountId": "a"}, "c0"],
            ["Email/get", {"#ids": {"resultOf": "c0", "name": "Email/query", "path": "/ids"}}, "c1"],
        ],
    }
    assert names_of([*CALLS, CALLS[0]]) == "Email/query, Email/get"


def test_decode_returns_first_answer_of_each_call_in_order() -> None:
    found = decoded([["Email/get", {"n": 2}, "c1"], ["Email/query", {"n": 1}, "c0"], ["Email/get", {"n": 3}, "c1"]])
    assert found == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("later", ["resultReference", "invalidResultReference"])
def test_decode_raises_first_error_of_a_chain(later: str) -> None:
    with pytest.raises(AnchorGone):
        decoded([["error", {"type": "anchorNotFound"}, "c0"], ["error", {"type": later}, "c1"]])


@pytest.mark.parametrize(
    ("method", "kind", "error"),
    [
        ("Email/get", "serverUnavailable", Overloaded),
        ("Email/get", "serverFail", ProtocolError),
        ("Email/changes", "cannotCalculateChanges", KeyExpired),
        ("Email/changes", "invalidArguments", KeyExpired),
        ("Email/query", "invalidArguments", InvalidArguments),
        ("Email/get", "requestTooLarge", TooLarge),
        ("Email/get", "accountNotFound", FolderDenied),
        ("Email/get", "forbidden", FolderDenied),
        ("Email/copy", "notFound", ItemGone),
        ("Email/get", "unknownMethod", ServerRefused),
        ("Email/get", "", ServerRefused),
    ],
)
def test_decode_maps_error_of_method(method: str, kind: str, error: type[Exception]) -> None:
    answer = {"methodResponses": [["error", {"type": kind, "description": "so it is"}, "c0"]]}
    with pytest.raises(error, match="so it is"):
        decode([Call(method, {})], 200, {}, json.dumps(answer).encode(), redactor=Redactor())


@pytest.mark.parametrize(
    ("status", "members", "error"),
    [
        (400, {"type": f"{PROBLEM}limit", "limit": "maxObjectsInGet"}, TooLarge),
        (400, {"type": f"{PROBLEM}limit", "limit": "maxConcurrentRequests"}, Overloaded),
        (429, {"type": f"{PROBLEM}limit", "limit": "rate"}, Overloaded),
        (400, {"type": f"{PROBLEM}notJSON"}, Unreachable),
        (400, {"type": f"{PROBLEM}unknownCapability"}, ServerRefused),
        (401, {}, BadCredentials),
        (503, {}, Overloaded),
        (413, {}, TooLarge),
        (500, {}, ForeignReply),
        (200, {"of": "another service"}, ForeignReply),
    ],
)
def test_decode_maps_error_of_request(status: int, members: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        decoded(json.dumps(members).encode(), status)


def test_decode_keeps_time_that_server_asks_for() -> None:
    body = json.dumps({"type": f"{PROBLEM}limit", "limit": "x"}).encode()
    with pytest.raises(Overloaded) as caught:
        decoded(body, 400, headers={"retry-after": "7"})
    assert (caught.value.retry_after, caught.value.pauses_all) == (7.0, True)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"methodResponses": [', OutcomeUnknown),
        (b'{"methodResponses": [}', ProtocolError),
        (b"<html>", ForeignReply),
        (b"", ForeignReply),
        (b'{"methodResponses": [["Email/query", 1, "c0"]]}', ProtocolError),
        (b'{"methodResponses": [["Email/query", {}, "c0"]]}', ProtocolError),
        (b'{"methodResponses": [["Email/set", {}, "c0"], ["Email/get", {}, "c1"]]}', ProtocolError),
    ],
)
def test_decode_refuses_reply(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decoded(body)


def test_decode_shows_no_secret() -> None:
    redactor = Redactor()
    redactor.keep("my-secret-password")
    answer = [["error", {"type": "forbidden", "description": "no my-secret-password here"}, "c0"]]
    with pytest.raises(FolderDenied) as caught:
        decoded(answer, redactor=redactor)
    assert "secret" not in str(caught.value)
