"""The client's parser and the written contract: each golden reply, fed through the real calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kerio_resync.errors import ResyncError, ServerRefused, TransientServerError
from kerio_resync.model import Folder, Kind
from kerio_resync.server.json_codec import parse_json
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.server.kerio.outgoing_structs import with_files
from kerio_resync.server.kerio.replies import parse_response
from kerio_resync.server.mailbox import Upload
from tests.support.scripted_server import ORIGIN, Scripted, answers, opened

HERE = Path(__file__).parents[2] / "contract"
GOLDEN = {path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("*.json"))}
KINDS: dict[str, Kind] = {"Mails": "mail", "Contacts": "contact", "Events": "event", "Tasks": "task", "Notes": "note"}


def reply(name: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": GOLDEN[name]["result"]}).encode()


def test_there_is_a_contract() -> None:
    assert {"Mails.getById", "Changes.get", "Folders.get", "Session.login"} <= GOLDEN.keys()


@pytest.mark.parametrize("name", GOLDEN)
def test_every_reply_is_one(name: str) -> None:
    result, canonical = parse_response(name, 200, {}, reply(name))
    assert parse_json(canonical(result))[0] == GOLDEN[name]["result"]


@pytest.mark.parametrize(("name", "n"), [(name, n) for name in GOLDEN for n in range(len(GOLDEN[name]["refusals"]))])
@pytest.mark.parametrize("status", [200, 500])
def test_every_refusal_is_one_of_ours(name: str, n: int, status: int) -> None:
    refused = GOLDEN[name]["refusals"][n]["error"]
    with pytest.raises(ResyncError) as caught:
        parse_response(name, status, {}, json.dumps({"jsonrpc": "2.0", "id": 1, "error": refused}).encode())
    assert isinstance(caught.value, ServerRefused | TransientServerError)
    assert "%1" not in caught.value.detail or not refused["data"]["messageParameters"]["positionalParameters"]


@pytest.mark.parametrize("name", [name for name in GOLDEN if name.split(".")[0] in KINDS and ".get" in name])
def test_every_item_is_one_and_keeps_all_its_members(name: str) -> None:
    result = GOLDEN[name]["result"]
    found = result.get("list", result.get("result", []))
    values = found if isinstance(found, list) else [found]
    kind = KINDS[name.split(".")[0]]
    _, canonical = parse_json(reply(name))
    items, malformed = parse_items(kind, values, canonical)
    assert not malformed
    assert [parse_json(item.payload)[0] for item in items] == values
    assert [item.extra for item in items] == [None] * len(items)
    assert all(item.id and item.version for item in items)


def server() -> Scripted:
    return Scripted({name: answers(GOLDEN[name]["result"]) for name in GOLDEN if name != "Session.login"})


def asked(server: Scripted, name: str) -> dict[str, Any]:
    return next(params for method, params in server.asked if method == name)


def fits(params: Any, golden: Any) -> bool:
    """Whether two requests have the same members, and values of the same types."""
    if isinstance(golden, dict):
        return (
            isinstance(params, dict)
            and params.keys() == golden.keys()
            and all(fits(params[k], golden[k]) for k in golden)
        )
    if isinstance(golden, list):
        return isinstance(params, list) and (not params or not golden or fits(params[0], golden[0]))
    return type(params) is type(golden)


def test_the_calls_are_made_as_the_contract_has_them() -> None:
    scripted = server()

    async def work(mailbox: KerioMailbox) -> None:
        folders = await mailbox.folders(shared=True, public=True)
        assert {folder.kind for folder in folders} >= {"mail", "contact", "event"}
        for kind in KINDS.values():
            folder = next((one for one in folders if one.kind == kind), Folder("f", "", "x", kind))
            (listing,) = mailbox.listings([folder])
            page = await anext(mailbox.list_items(listing, whole=True))
            assert page.items
            await mailbox.items_by_id(kind, [page.items[0].id])
        assert (await mailbox.quota()).items
        changes = await mailbox.changes(await mailbox.sync_key())
        assert {one.type for one in changes.changes} >= {"created", "moved", "deleted", "flags", "modified"}

    opened(scripted, work)
    for name in ("Session.login", "Session.whoAmI", "Changes.get", "Changes.getSyncKey", "Folders.getShared"):
        assert fits(asked(scripted, name), GOLDEN[name]["params"]), name
    for service in KINDS:
        for method in (f"{service}.get", f"{service}.getById"):
            golden = [GOLDEN[method]["params"], *GOLDEN[method]["also"]]
            assert any(fits(asked(scripted, method), one) for one in golden), method


SEEN = json.loads((HERE / "seen" / "uploads.json").read_text())


def test_upload_is_sent_and_read_as_seen() -> None:
    scripted = Scripted()
    route = scripted.router.post(f"{ORIGIN}{SEEN['address']}").mock(
        return_value=httpx.Response(200, json=SEEN["reply"])
    )

    async def chunks() -> AsyncIterator[bytes]:
        yield b"ahoj"

    name = SEEN["reply"]["result"]["fileUpload"]["name"]
    found = opened(scripted, lambda mailbox: mailbox.upload(name, "text/plain", chunks(), 4))
    assert found == SEEN["reply"]["result"]["fileUpload"]["id"]
    request = route.calls.last.request
    boundary = request.headers["content-type"].split("boundary=")[1]
    golden = SEEN["requests"][0]
    assert request.content.decode() == golden["body"].replace("----XX", boundary)
    assert {"x-token", "cookie"} <= request.headers.keys()


def test_photo_is_named_as_seen() -> None:
    upload = Upload(SEEN["photo"]["id"], "tvář.jpg", "image/jpeg", "")
    assert json.loads(with_files("contact", b"{}", [upload]))["photo"] == SEEN["photo"]
