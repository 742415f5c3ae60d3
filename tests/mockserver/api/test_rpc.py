from __future__ import annotations

from typing import Any

import orjson
import pytest

from kerio_mockserver.api.call import METHODS as SERVED
from kerio_mockserver.api.type_check import METHODS
from kerio_mockserver.server import MockServer
from tests.support.mock_caller import Caller, Refused, envelope, logged_in, small

BAD = [
    (b"", -32700, 500),
    (b"{", -32700, 500),
    (b"\xff", -32700, 500),
    (b'{"a":' * 2000, -32700, 500),
    (b"[]", -32600, 500),
    (b'[{"jsonrpc":"2.0","id":1,"method":"Folders.get"}]', -32600, 500),
    (b"1", -32600, 500),
    (b'{"id":1,"method":"Folders.get"}', -32600, 500),
    (b'{"jsonrpc":"1.0","id":1,"method":"Folders.get"}', -32600, 500),
    (b'{"jsonrpc":"2.0","id":1}', -32600, 500),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600, 500),
    (b'{"jsonrpc":"2.0","id":1,"method":"Nonsense.get"}', -32601, 404),
    (b'{"jsonrpc":"2.0","id":1,"method":"Folders.get","params":[]}', -32602, 500),
    (b'{"jsonrpc":"2.0","id":1,"method":"Mails.get","params":{}}', -32602, 500),
]


@pytest.mark.parametrize("style", ["documented", "always_200"])
@pytest.mark.parametrize(("body", "code", "status"), BAD)
async def test_invalid_calls_get_the_documented_error(body: bytes, code: int, status: int, style: str) -> None:
    from kerio_mockserver.conditions.model import Conditions

    caller, _ = await logged_in(conditions=Conditions.parse({"quirks": {"http_errors": style}}))
    reply = await caller.send(body)
    assert isinstance(reply.body, bytes)
    said = orjson.loads(reply.body)
    assert said["error"]["code"] == code
    assert said["error"]["data"]["messageParameters"].keys() == {"positionalParameters", "plurality"}
    assert reply.status == (status if style == "documented" else 200)
    assert reply.headers["Content-Type"].startswith("application/json")
    assert caller.core.stats.internal_errors == []


@pytest.mark.parametrize("path", ["/webmail/api/jsonrpc", "/webmail/api/jsonrpc/"])
@pytest.mark.parametrize(
    "media", ["application/json", "application/json-rpc; charset=UTF-8", "ApiApplication/json-rpc"]
)
async def test_media_type_and_trailing_slash_are_ignored(path: str, media: str) -> None:
    caller, _ = await logged_in()
    assert (await caller.send(envelope("Folders.get"), path, **{"content-type": media})).status == 200


@pytest.mark.parametrize("params", [None, {}, {"token": "x"}])
async def test_params_may_be_absent_and_token_is_tolerated(params: object) -> None:
    caller, _ = await logged_in()
    body = {"jsonrpc": "2.0", "id": "seven", "method": "Session.whoAmI", "token": "x"}
    reply = await caller.send(orjson.dumps(body if params is None else body | {"params": params}))
    assert isinstance(reply.body, bytes)
    said = orjson.loads(reply.body)
    assert said["id"] == "seven"
    assert said["result"]["userDetails"]["loginName"] == "jane@example.com"


async def test_documented_methods_without_implementation_answer_1003() -> None:
    caller, _ = await logged_in()
    params = {"SearchQuery": {}, "boolean": False, "long": 0, "PersonalContact": {}, "UserInfo": {}}
    for name in METHODS.keys() - SERVED.keys():
        given = {
            key: [] if kind.endswith("[]") else params.get(kind, {} if kind[0].isupper() and kind != "KId" else "")
            for key, kind in METHODS[name]["params"].items()
        }
        with pytest.raises(Refused) as refused:
            await caller.call(name, **given)
        assert refused.value.code == 1003, name


async def test_exception_answers_32603_and_is_counted() -> None:
    box = small()
    caller, _ = await logged_in(box)
    box.store.quota = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(Refused) as refused:
        await caller.call("Session.getQuotaInformation")
    assert (refused.value.code, refused.value.status) == (-32603, 500)
    assert [one.split(" at ")[0] for one in caller.core.stats.internal_errors] == ["ZeroDivisionError"]
    assert caller.core.stats.in_flight == 0


async def test_every_method_without_a_session_is_refused() -> None:
    caller = Caller(MockServer(small().store))
    for name in METHODS.keys() - {"Session.login"}:
        with pytest.raises(Refused) as refused:
            await caller.call(name)
        assert (refused.value.code, refused.value.status) == (-32001, 500)


async def test_other_paths_answer_404_and_verbs_405() -> None:
    caller, _ = await logged_in()
    assert (await caller.get("/")).status == 404
    assert (await caller.get("/webmail/api/jsonrpc/")).status == 405
    assert (await caller.send(b"", "/webmail/api/download/attachment/a/1/1/x")).status == 405


async def test_too_large_request_is_refused() -> None:
    caller, _ = await logged_in(max_request=1000)
    reply = await caller.send(b" " * 1001)
    assert isinstance(reply.body, bytes)
    assert (reply.status, orjson.loads(reply.body)["error"]["code"]) == (413, 413)


async def test_null_and_empty_enumeration_mean_not_set() -> None:
    """Clients with fixed structs send them for what they do not set."""
    caller, box = await logged_in()
    event = {
        "folderId": box.calendar, "summary": "Bare", "start": "20260303T090000Z", "end": "20260303T093000Z",
        "categories": None, "attendees": None, "label": "", "freeBusy": "", "access": "",
        "rule": {"isSet": False, "frequency": "", "preciseBy": {"byDay": None}},
    }  # fmt: skip
    answer = await caller.call("Events.create", events=[event])
    assert answer["errors"] == []
    there = box.store.item(answer["result"][0]["id"])
    assert (there["categories"], there["label"], there["rule"]["frequency"]) == ([], "None", "Daily")
    query = {"fields": None, "conditions": None, "combining": "", "orderBy": None, "limit": -1}
    assert (await caller.call("Events.get", ids=[box.calendar], query=query))["totalItems"] == 2
    missing: dict[str, Any]
    for missing in ({"ids": None, "query": {}}, {"ids": [box.calendar], "query": None}):
        with pytest.raises(Refused) as refused:
            await caller.call("Events.get", **missing)
        assert refused.value.code == -32602
