"""Uploads as real clients send them, and the files that result."""

from __future__ import annotations

from random import Random
from typing import Any
from urllib.parse import unquote

import orjson
import pytest

from kerio_mockserver.api.errors import ApiError
from kerio_mockserver.api.uploads import parse_upload
from tests.support.mock_caller import Caller, Refused, logged_in, result

ADDRESS = "/webmail/api/jsonrpc/attachment-upload/"
JPEG = b"\xff\xd8\xff\xe0 a face"


def form(data: bytes, description: str | None = "file.bin", disposition: str = 'filename="file.bin"') -> bytes:
    described = f"Content-Description: {description}\r\n" if description is not None else ""
    return (
        f'--XX\r\nContent-Disposition: form-data; name="file"; {disposition}\r\n{described}'
        f"Content-Type: image/png\r\n\r\n"
    ).encode() + data + b"\r\n--XX--\r\n"  # fmt: skip


FORM = {"content-type": "multipart/form-data; boundary=XX"}


async def upload(caller: Caller, name: str, data: bytes, content_type: str = "text/plain") -> str:
    headers = {"content-type": content_type, "content-description": name}
    return str(result(await caller.send(data, ADDRESS, **headers))["fileUpload"]["id"])


@pytest.mark.parametrize("seed", range(20))
def test_parse_upload_keeps_every_byte_of_a_form(seed: int) -> None:
    data = Random(seed).randbytes(3000) + [b"", b"\r", b"\n", b"\r\n", b"--", b"\r\n--", b"\r\n--X"][seed % 7]
    other = b'--XX\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    assert parse_upload(FORM, other + form(data, "ř.bin", 'filename="ř.bin"')) == ("ř.bin", "image/png", data)


@pytest.mark.parametrize(
    ("description", "disposition", "name"),
    [
        ("a.png", "", "a.png"),
        ("a.png", 'filename="b.png"', "b.png"),
        ("a.png", "filename*=UTF-8''%C5%99.png", "ř.png"),
        ("Žluťoučký kůň.png", 'filename=""', "Žluťoučký kůň.png"),
    ],
)
def test_parse_upload_finds_the_name_in_a_form(description: str, disposition: str, name: str) -> None:
    assert parse_upload(FORM, form(b"x", description, disposition)) == (name, "image/png", b"x")


def test_parse_upload_takes_a_quoted_boundary() -> None:
    headers = {"content-type": 'multipart/form-data; charset=utf-8; boundary="XX"'}
    assert parse_upload(headers, form(b"x")) == ("file.bin", "image/png", b"x")


@pytest.mark.parametrize("description", [None, "", "  "])
def test_parse_upload_refuses_a_form_without_content_description(description: str | None) -> None:
    with pytest.raises(ApiError, match="missing") as refused:
        parse_upload(FORM, form(b"x", description))
    assert (refused.value.code, refused.value.parameters) == (-32602, ["Content-Description"])


@pytest.mark.parametrize(
    "body", [b"", b"--XX--", b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--XX--', form(b"x")[:-10]]
)
@pytest.mark.parametrize("headers", [FORM, {"content-type": "multipart/form-data"}])
def test_parse_upload_refuses_a_form_without_a_file(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(ApiError):
        parse_upload(headers, body)


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"content-description": "ř.bin"}, "ř.bin"),
        ({"x-filename": "%C5%99.bin"}, "ř.bin"),
        ({"content-disposition": 'attachment; filename="a b.txt"'}, "a b.txt"),
    ],
)
def test_parse_upload_takes_raw_bytes(headers: dict[str, str], name: str) -> None:
    assert parse_upload({"content-type": "text/plain", **headers}, b"x") == (name, "text/plain", b"x")


def test_parse_upload_refuses_raw_bytes_without_a_name() -> None:
    with pytest.raises(ApiError, match="missing"):
        parse_upload({"content-type": "text/plain"}, b"x")


@pytest.mark.parametrize("path", [ADDRESS, ADDRESS.removesuffix("/")])
async def test_upload_then_create_then_download(path: str) -> None:
    caller, box = await logged_in()
    reply = await caller.send(form(b"new content", "n.txt", 'filename="n.txt"'), path, **FORM)
    assert isinstance(reply.body, bytes)
    envelope = orjson.loads(reply.body)
    assert envelope.keys() == {"jsonrpc", "id", "result"}
    file = envelope["result"]["fileUpload"]
    assert (file.keys(), file["name"]) == ({"id", "name"}, "n.txt")
    mail = {"folderId": box.inbox, "subject": "with a file", "attachments": [{"id": file["id"]}]}
    (made,) = (await caller.call("Mails.create", mails=[mail]))["result"]
    (one,) = box.store.item(made["id"])["attachments"]
    assert (one["name"], one["size"]) == ("n.txt", 11)
    assert (await content(caller, one["url"])) == b"new content"


@pytest.mark.parametrize("path", ["/webmail/api/upload", "/webmail/api/upload/", "/webmail/api/attachment-upload/"])
async def test_upload_has_no_other_address(path: str) -> None:
    caller, _ = await logged_in()
    assert (await caller.send(form(b"x"), path, **FORM)).status == 404


async def test_upload_needs_a_session_and_its_token() -> None:
    caller, _ = await logged_in()
    with pytest.raises(Refused) as refused:
        result(await caller.send(form(b"x"), ADDRESS, **{**FORM, "x-token": "other"}))
    assert refused.value.code == -32001
    caller.token = ""
    with pytest.raises(Refused) as refused:
        result(await caller.send(form(b"x"), ADDRESS, **FORM))
    assert refused.value.code == -32001


async def test_upload_is_only_posted() -> None:
    caller, _ = await logged_in()
    reply = await caller.get(ADDRESS)
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")


async def test_upload_refuses_what_is_too_large_instead_of_cutting_it() -> None:
    caller, box = await logged_in(max_request=1_000)
    reply = await caller.send(b"x" * 1_001, ADDRESS, **{"content-type": "text/plain", "content-description": "x"})
    assert reply.status == 413
    assert not box.store._uploads


@pytest.mark.parametrize("by", ["id", "id is the address", "address"])
async def test_photo_is_named_by_its_upload(by: str) -> None:
    caller, box = await logged_in()
    uploaded = await upload(caller, "face ü.jpg", JPEG, "image/jpeg")
    address = f"/webmail/api/download/attachment/tmp/{uploaded}/face%20%C3%BC.jpg"
    assert await content(caller, address) == JPEG
    photo = {"id": {"id": uploaded, "id is the address": address}.get(by, ""), "url": address if by != "id" else ""}
    contact = {"folderId": box.contacts, "commonName": "Eva", "photo": photo}
    (made,) = (await caller.call("Contacts.create", contacts=[contact]))["result"]
    there = box.store.item(made["id"])["photo"]
    assert "/tmp/" not in there["url"]
    assert await content(caller, there["url"]) == JPEG
    # set again as it was read, it stays; emptied, it goes
    await caller.call("Contacts.set", contacts=[{"id": made["id"], "nickName": "E", "photo": there}])
    assert box.store.item(made["id"])["photo"] == there
    await caller.call("Contacts.set", contacts=[{"id": made["id"], "photo": {"id": "", "url": ""}}])
    assert box.store.item(made["id"])["photo"] == {"id": "", "url": ""}


@pytest.mark.parametrize(
    ("data", "content_type"), [(b"\x89PNG", "image/png"), (JPEG + bytes(256 * 1024), "image/jpeg"), (b"GIF", "")]
)
async def test_photo_is_refused_unless_a_small_jpeg(data: bytes, content_type: str) -> None:
    caller, box = await logged_in()
    uploaded = await upload(caller, "p", data, content_type or "application/octet-stream")
    before = len(box.store.folder(box.contacts))
    contact: dict[str, Any] = {"folderId": box.contacts, "commonName": "Eva", "photo": {"id": uploaded}}
    errors = (await caller.call("Contacts.create", contacts=[contact]))["errors"]
    assert [one["code"] for one in errors] == [-32602]
    assert len(box.store.folder(box.contacts)) == before


async def test_unknown_uploads_are_not_found() -> None:
    caller, box = await logged_in()
    uploaded = await upload(caller, "a.txt", b"a")
    assert (await caller.get(f"/webmail/api/download/attachment/tmp/{uploaded}0/a.txt")).status == 404
    assert (await caller.get("/webmail/api/download/attachment/tmp/")).status == 404
    mail = {"folderId": box.inbox, "attachments": [{"id": "0" * 32}]}
    assert [one["code"] for one in (await caller.call("Mails.create", mails=[mail]))["errors"]] == [1002]


async def content(caller: Caller, path: str) -> bytes:
    reply = await caller.get(unquote(path))
    assert reply.status == 200
    return bytes(reply.body.read(0, len(reply.body)) if not isinstance(reply.body, bytes) else reply.body)
