from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kerio_resync.errors import FolderDenied, OutcomeUnknown, ProtocolError, ServerRefused, TransientServerError
from kerio_resync.model import WriteResult
from kerio_resync.server.json_codec import canonical_json
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.mailbox import KerioMailbox
from tests.support.scripted_server import ORIGIN, Scripted, answers, error, mail, opened


def told(*ids: str) -> dict[str, Any]:
    return {"result": [{"inputIndex": n, "id": one, "watermark": 7} for n, one in enumerate(ids)], "errors": []}


def test_create_is_not_repeated_and_does_not_send_the_mail() -> None:
    server = Scripted({"Mails.create": answers(told("m1"), httpx.ReadError("x"))})
    struct = b'{"subject":"s","send":true}'
    assert opened(server, lambda mailbox: mailbox.create("mail", "f", [struct])) == (WriteResult(0, "m1", "7"),)
    assert server.asked[-2] == ("Mails.create", {"mails": [{"subject": "s", "folderId": "f"}]})
    with pytest.raises(OutcomeUnknown):
        opened(server, lambda mailbox: mailbox.create("mail", "f", [struct]))


def test_create_with_malformed_reply_has_unknown_outcome() -> None:
    server = Scripted({"Mails.create": lambda params: httpx.Response(200, json={"jsonrpc": "2.0", "result": []})})
    with pytest.raises(OutcomeUnknown, match=r"Mails\.create"):
        opened(server, lambda mailbox: mailbox.create("mail", "f", [b'{"subject":"s"}']))
    assert server.calls["Mails.create"] == 1


def test_update_is_repeated_after_lost_reply() -> None:
    server = Scripted({"Mails.set": answers(httpx.ReadError("x"), told("m1"))})
    found = opened(server, lambda mailbox: mailbox.update("mail", [b'{"id":"m1","isSeen":true,"watermark":3}']))
    assert [(one.id, one.version) for one in found] == [("m1", "7")]
    assert server.asked[-2] == ("Mails.set", {"mails": [{"id": "m1", "isSeen": True}]})


def test_move_is_not_repeated_after_lost_reply() -> None:
    server = Scripted({"Notes.move": lambda params: httpx.ReadError("x")})
    with pytest.raises(OutcomeUnknown):
        opened(server, lambda mailbox: mailbox.move("note", ["n1"], "f2"))
    server = Scripted({"Notes.move": lambda params: told("n9")})
    assert [one.id for one in opened(server, lambda mailbox: mailbox.move("note", ["n1"], "f2"))] == ["n9"]
    assert server.asked[-2] == ("Notes.move", {"ids": ["n1"], "folder": "f2"})


def test_remove_counts_missing_item_as_removed() -> None:
    lines = [{"inputIndex": 0, "code": 1002, "message": ""}, {"inputIndex": 2, "code": 1003, "message": "no"}]
    server = Scripted({"Events.remove": answers(httpx.ReadError("x"), {"errors": lines})})
    found = opened(server, lambda mailbox: mailbox.remove("event", ["a", "b", "c"]))
    assert [type(one.error) for one in found] == [type(None), type(None), FolderDenied]


async def chunks(*data: bytes) -> AsyncIterator[bytes]:
    for one in data:
        yield one


UPLOAD = f"{ORIGIN}/webmail/api/jsonrpc/attachment-upload/"
UPLOADED = {"jsonrpc": "2.0", "id": None, "result": {"fileUpload": {"id": "u7", "name": "x"}}}


def test_upload_sends_form_to_documented_url() -> None:
    server = Scripted()
    route = server.router.post(UPLOAD).mock(
        side_effect=[httpx.ReadError("x"), httpx.Response(401, json=error(-32001)), httpx.Response(200, json=UPLOADED)]
    )

    async def work(mailbox: KerioMailbox) -> str:
        return await mailbox.upload('a"\r\nb ü.txt', "text/plain\r\nX: y", chunks(b"hel", b"lo\r\n"), 7)

    assert opened(server, work) == "u7"
    assert server.tokens == 2
    request = route.calls.last.request
    assert request.headers["x-token"] == "token-2"
    content_type, body = request.headers["content-type"], request.content
    boundary = content_type.split("boundary=")[1].encode()
    assert body.startswith(b"--" + boundary + b"\r\n")
    assert body.endswith(b"\r\n\r\nhello\r\n\r\n--" + boundary + b"--\r\n")
    assert 'filename="a%22%0D%0Ab ü.txt"\r\nContent-Description: a"  b ü.txt\r\n'.encode() in body
    assert b"\r\nX: y" not in body


FOREIGN_REPLIES = [
    httpx.Response(200, json={"result": {"fileUpload": {}}}),
    httpx.Response(200, json={"result": {"fileUpload": {"id": 7}}}),
    httpx.Response(200, json={"fileUpload": {"id": "u7"}}),  # not in an envelope
    httpx.Response(200, json={"result": "u7"}),
    httpx.Response(200, json=["u7"]),
    httpx.Response(200, html="<html>"),
    httpx.Response(200, content=b""),
    httpx.Response(302, headers={"Location": "/login"}),
    httpx.Response(400, html="<html>"),
    httpx.Response(403, html="<html>"),
    httpx.Response(404, html="<html>"),
    httpx.Response(405, html="<html>"),
    httpx.Response(511, html="<html>"),
]


@pytest.mark.parametrize("reply", FOREIGN_REPLIES)
def test_upload_takes_foreign_reply_for_no_refusal(reply: httpx.Response) -> None:
    server = Scripted()
    server.router.post(UPLOAD).mock(return_value=reply)
    with pytest.raises((ProtocolError, TransientServerError)):
        opened(server, lambda mailbox: mailbox.upload("x", "", chunks(b"x"), 1))


@pytest.mark.parametrize("code", [-32602, 1000, 1003, 4102])
def test_upload_raises_refusal_of_server(code: int) -> None:
    server = Scripted()
    server.router.post(UPLOAD).mock(return_value=httpx.Response(500, json=error(code)))
    with pytest.raises(ServerRefused):
        opened(server, lambda mailbox: mailbox.upload("x", "", chunks(b"x"), 1))


def test_upload_refuses_file_of_other_length() -> None:
    with pytest.raises(ProtocolError, match="length"):
        opened(Scripted(), lambda mailbox: mailbox.upload("x", "", chunks(b"x"), 2))


def test_find_compares_content() -> None:
    there = [mail(1, subject="s", to=[{"address": "a"}]), mail(2, subject="s", to=[{"address": "b"}]), {"id": None}]
    server = Scripted({"Mails.get": lambda params: {"list": there, "totalItems": 3}})
    ours = parse_items("mail", [mail(0, subject="s", to=[{"address": "b", "name": ""}])], canonical_json)[0][0]
    assert opened(server, lambda mailbox: mailbox.find(ours)) == ("m2",)
    query = server.asked[-2][1]["query"]
    assert query["conditions"] == [{"fieldName": "subject", "comparator": "Eq", "value": "s"}]


def test_find_renamed_compares_message_id_only() -> None:
    """The server cannot search for Message-IDs."""
    headers = [{"type": "mhMessageID", "value": "<ours>"}]
    there = [mail(1, subject="s"), mail(2, subject="theirs", headers=headers)]
    server = Scripted({"Mails.get": lambda params: {"list": there, "totalItems": 2}})
    ours = parse_items("mail", [mail(0, subject="s", headers=headers)], canonical_json)[0][0]
    assert opened(server, lambda mailbox: mailbox.find(ours, renamed=True)) == ("m2",)
    assert server.asked[-2][1]["query"]["conditions"] == []


def paged(items: list[dict[str, Any]], total: int | None = None) -> Any:
    """Return an answer of at most 40 items, with a total that may be wrong."""

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        start = params["query"]["start"]
        return {"list": items[start : start + 40], "totalItems": len(items) if total is None else total}

    return answer


def created_mail() -> Any:
    return parse_items("mail", [mail(0, subject="s", to=[{"address": "b", "name": ""}])], canonical_json)[0][0]


def test_find_reads_every_page() -> None:
    there = [mail(n, subject="s", to=[{"address": "b" if n in (1, 95) else "a"}]) for n in range(100)]
    server = Scripted({"Mails.get": paged(there)})
    assert opened(server, lambda mailbox: mailbox.find(created_mail())) == ("m1", "m95")
    starts = [params["query"]["start"] for name, params in server.asked if name == "Mails.get"]
    assert starts == [0, 30, 60]
    assert "displayableParts" in server.asked[-2][1]["query"]["fields"]


def test_find_repeats_list_shorter_than_its_total() -> None:
    there = [mail(n, subject="s", to=[{"address": "b"}]) for n in range(3)]
    server = Scripted({"Mails.get": answers({"list": there[:2], "totalItems": 3}, {"list": there, "totalItems": 3})})
    assert opened(server, lambda mailbox: mailbox.find(created_mail())) == ("m0", "m1", "m2")


def test_find_stops_after_repeats_and_after_20000_items() -> None:
    server = Scripted({"Mails.get": paged([mail(1, subject="s", to=[{"address": "b"}])], total=999_999)})
    assert opened(server, lambda mailbox: mailbox.find(created_mail())) == ("m1",)
    endless = Scripted({"Mails.get": lambda params: {"list": [mail(1)] * 100, "totalItems": 10**9}})
    with pytest.raises(ProtocolError, match="20,000"):
        opened(endless, lambda mailbox: mailbox.find(created_mail()))
