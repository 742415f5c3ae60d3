"""The goldens against the reference, and the mock server against the goldens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from kerio_mockserver.api.type_check import METHODS, check_params
from tests.support.mock_caller import Caller, Mailbox, Refused, conforms, logged_in
from tests.support.mock_caller import result as outcome

GOLDENS = {
    path.stem: orjson.loads(path.read_bytes())
    for path in sorted((Path(__file__).parent.parent / "contract").glob("*.json"))
}
_FOLDERS = {
    "00000000-0000-4000-8000-000000000001": "root",
    "1c0f7f3e-92a1-4a77-8e4e-2f9c3f6a1b10": "inbox",
    "5b1de1ae-6f0e-4a5f-9d2b-7c80a9b0c111": "archive",
    "c0ffee00-1111-4222-8333-444455556666": "contacts",
    "ca1e0000-2222-4333-8444-555566667777": "calendar",
    "7a5c0000-3333-4444-8555-666677778888": "tasks",
    "0073e000-4444-4555-8666-777788889999": "notes",
    "b0b00000-6666-4777-8888-9999aaaabbbb": "shared_inbox",
}


def wrongs(golden: dict[str, Any], result: Any) -> list[str]:
    """What is wrong with a result, as the reference documents the method's."""
    documented = METHODS[golden["method"]]["result"]
    wrong = [f"{name} is not documented" for name in result if name not in documented]
    for name, kind in documented.items():
        if name in result:
            wrong += conforms(result[name], kind, name, partial=golden.get("partial", False))
        else:
            wrong.append(f"{name} is missing")
    return wrong


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_is_documented(name: str) -> None:
    golden = GOLDENS[name]
    assert golden["method"] == name
    for params in [golden["params"], *golden["also"]]:
        check_params(name, params)
    assert golden["params"].keys() == METHODS[name]["params"].keys()
    assert wrongs(golden, golden["result"]) == []
    for refusal in golden["refusals"]:
        assert refusal["when"]
        assert refusal["error"].keys() == {"code", "message", "data"}
        assert refusal["error"]["data"]["messageParameters"].keys() == {"positionalParameters", "plurality"}


@pytest.mark.parametrize("name", GOLDENS)
async def test_mock_takes_the_request_and_answers_in_shape(name: str) -> None:
    golden = GOLDENS[name]
    for params in [golden["params"], *golden["also"]]:
        caller, box = await logged_in()
        caller.core.generation = 1
        result = await caller.call(name, **(await _here(caller, box, params)))
        assert (
            wrongs({**golden, "partial": golden.get("partial") or bool(params.get("query", {}).get("fields"))}, result)
            == []
        )
        for member in ("list", "result"):
            if golden["result"].get(member) and member in result and not name.startswith("Changes."):
                assert result[member], f"{name} should have found something"


async def test_mock_refuses_as_the_goldens_say() -> None:
    seen = {refusal["error"]["code"] for golden in GOLDENS.values() for refusal in golden["refusals"]}
    caller, box = await logged_in()
    told: dict[int, dict[str, Any]] = {}
    for method, params in (
        ("Session.login", {"userName": "jane", "password": "wrong", "application": {}}),
        ("Mails.get", {"folderIds": [box.inbox]}),
        ("Mails.get", {"folderIds": [box.inbox + "x"], "query": {}}),
        ("Events.getById", {"id": box.calendar}),
    ):
        with pytest.raises(Refused) as refused:
            await caller.call(method, **params)
        told[refused.value.code] = refused.value.error
    caller.core.sessions.close_all()
    with pytest.raises(Refused) as refused:
        await caller.call("Folders.get")
    told[refused.value.code] = refused.value.error
    assert told.keys() == {1000, -32602, 4104, 1002, -32001}
    assert told.keys() <= seen
    for error in told.values():
        assert error.keys() == {"code", "message", "data"}
        assert error["data"]["messageParameters"].keys() == {"positionalParameters", "plurality"}


async def _here(caller: Caller, box: Mailbox, params: Any) -> Any:
    """The request, with the ids of the made-up mailbox replaced by those of this one."""
    text = orjson.dumps(params).decode()
    for guid, folder in _FOLDERS.items():
        text = text.replace(guid, getattr(box, folder).rsplit("/", 1)[1])
    here = orjson.loads(text)
    if "lastSyncKey" in here:
        key = (await caller.call("Changes.getSyncKey"))["syncKey"]
        here["lastSyncKey"] = key if isinstance(here["lastSyncKey"], dict) else key["watermark"]
    if "lastAsyncKey" in here:
        here["lastAsyncKey"] = (await caller.call("Changes.getAccountSyncKey", mailboxId=box.shared))["asyncKey"]
    if "attachmentIds" in here:
        third = (await caller.call("Mails.getById", ids=[box.store.folder(box.inbox).ordered("id")[2]]))["result"][0]
        here["attachmentIds"] = [one["id"] for one in third["attachments"]]
    return here


# what is not in the reference, but seen


SEEN = {
    path.stem: orjson.loads(path.read_bytes())
    for path in sorted((Path(__file__).parent.parent / "contract" / "seen").glob("*.json"))
}
UPLOADS = SEEN.pop("uploads")


def unlike(found: Any, golden: Any, where: str = "result") -> list[str]:
    """What of a result has other members or types than the golden one; lists may be shorter or longer."""
    if isinstance(golden, dict) and isinstance(found, dict):
        named = [f"{where}.{name}" for name in found.keys() ^ golden.keys()]
        return named + [wrong for name in found.keys() & golden for wrong in unlike(found[name], golden[name], name)]
    if isinstance(golden, list) and isinstance(found, list):
        return [wrong for one in found for wrong in (unlike(one, golden[0], where) if golden else ())]
    return [] if type(found) is type(golden) else [f"{where} is a {type(found).__name__}"]


@pytest.mark.parametrize("name", SEEN)
async def test_mock_takes_the_seen_request_and_answers_in_shape(name: str) -> None:
    golden = SEEN[name]
    assert golden["method"] == name
    for params in [golden["params"], *golden["also"]]:
        caller, box = await logged_in()
        box.store.set("event", {"id": box.store.folder(box.calendar).ordered("id")[0], "reminder": REMINDER})
        result = await caller.call(name, **params)
        assert unlike(result, golden["result"]) == []
        for member in golden["result"]:
            assert bool(result[member]) == bool(golden["result"][member])


REMINDER = {"isSet": True, "type": "ReminderRelative", "minutesBeforeStart": 15}


async def test_mock_takes_uploads_as_seen() -> None:
    caller, box = await logged_in()
    for request in UPLOADS["requests"]:
        headers = {name.lower(): value for name, value in request["headers"].items()}
        reply = await caller.send(request["body"].encode(), UPLOADS["address"], **headers)
        assert isinstance(reply.body, bytes)
        told = orjson.loads(reply.body)
        assert unlike(told, UPLOADS["reply"]) == []
        assert told["result"]["fileUpload"]["name"] == UPLOADS["reply"]["result"]["fileUpload"]["name"]
        kept = box.store.blob(told["result"]["fileUpload"]["id"])
        assert (kept.blob.read(0, 9), kept.content_type) == (b"ahoj", "text/plain")
    for request in UPLOADS["refused"]:
        headers = {name.lower(): value for name, value in request["headers"].items()}
        with pytest.raises(Refused) as refused:
            outcome(await caller.send(request["body"].encode(), UPLOADS["address"], **headers))
        assert refused.value.code == -32602
    for address in UPLOADS["no_addresses"]:
        assert (await caller.send(b"x", address)).status == 404
