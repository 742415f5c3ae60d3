from __future__ import annotations

import io
import zipfile
from typing import Any

import orjson
import pytest

from kerio_mockserver.api import downloads
from kerio_mockserver.api.downloads import disposition, parse_range, safe_name, unique_name
from kerio_mockserver.api.state import Archives
from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.messages import Reply
from tests.support.mock_caller import PDF, Caller, Mailbox, Refused, logged_in


def attachments(box: Mailbox) -> list[dict[str, Any]]:
    item: list[dict[str, Any]] = box.store.item(box.store.folder(box.inbox).ordered("id")[2])["attachments"]
    return item


def content(reply: Reply) -> bytes:
    return reply.body if isinstance(reply.body, bytes) else reply.body.read(0, len(reply.body))


async def ready() -> tuple[Caller, Mailbox, str]:
    """A caller, and the path of an attachment as a server sees it."""
    from urllib.parse import unquote

    caller, box = await logged_in()
    return caller, box, unquote(attachments(box)[0]["url"])


async def test_download_returns_the_whole_file() -> None:
    caller, _, path = await ready()
    reply = await caller.get(path)
    assert (reply.status, content(reply)) == (200, PDF)
    assert reply.headers["Content-Type"] == "application/pdf"
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert reply.headers["Content-Disposition"].endswith("filename*=UTF-8''p%C5%99%C3%ADloha.pdf")
    assert reply.rpc == "GET attachment"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("bytes=0-9", (0, 10)),
        ("bytes=5-", (5, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=99-99", (99, 100)),
        ("bytes=100-", (0, 0)),
        ("bytes=-0", (0, 0)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
    ],
)
def test_parse_range_returns_start_and_stop(header: str, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == expected


async def test_download_answers_ranges() -> None:
    caller, _, path = await ready()
    reply = await caller.get(path, range="bytes=10-19")
    assert (reply.status, content(reply)) == (206, PDF[10:20])
    assert reply.headers["Content-Range"] == f"bytes 10-19/{len(PDF)}"
    beyond = await caller.get(path, range=f"bytes={len(PDF)}-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(PDF)}")


async def test_if_range_and_if_none_match() -> None:
    caller, _, path = await ready()
    etag = (await caller.get(path)).headers["ETag"]
    assert (await caller.get(path, range="bytes=1-", if_range=etag)).status == 206
    assert (await caller.get(path, range="bytes=1-", if_range='"other"')).status == 200
    assert (await caller.get(path, if_none_match=f'"x", {etag}')).status == 304


async def test_download_without_ranges_and_etags_if_switched_off() -> None:
    caller, _, path = await ready()
    caller.core.change(Conditions.parse({"quirks": {"ranges": False, "etags": False}}))
    reply = await caller.get(path, range="bytes=10-19")
    assert (reply.status, content(reply)) == (200, PDF)
    assert not {"ETag", "Accept-Ranges"} & reply.headers.keys()


async def test_download_of_unknown_address_answers_404() -> None:
    caller, box, path = await ready()
    guid = box.inbox.rsplit("/", 1)[1]
    for bad in (f"{guid}/999/2/x", f"{guid}/3/99/x", "no/3/2/x", f"{guid}/x/2/x", guid, ""):
        reply = await caller.get(f"/webmail/api/download/attachment/{bad}")
        assert reply.status == 404
    assert (await caller.get("/webmail/api/download/archive/no/x.zip")).status == 404
    assert caller.core.stats.errors["HTTP 404"] == 7
    assert (await caller.get(path.rsplit("/", 1)[0] + "/any name")).status == 200


async def test_download_without_session_answers_401() -> None:
    caller, _, path = await ready()
    caller.core.sessions.close_all()
    reply = await caller.get(path)
    assert reply.status == 401
    assert orjson.loads(content(reply))["error"]["code"] == -32001


async def test_download_returns_a_photo() -> None:
    caller, box, _ = await ready()
    photo = box.store.item(box.store.folder(box.contacts).ordered("id")[0])["photo"]
    assert content(await caller.get(photo["url"])) == b"PNG"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("a\r\nSet-Cookie: x", "a__Set-Cookie: x"),
        ("a\\b\x00\x7f\x85\ud800", "a_b____"),
        ("", "attachment"),
        ("..", "attachment"),
        (" . ", "attachment"),
    ],
)
def test_safe_name_removes_folders_and_control_characters(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_disposition_is_safe_with_any_name() -> None:
    said = disposition('a"; b=\\\r\nX: ü€.pdf')
    assert said.isascii()
    assert "\n" not in said
    assert said.startswith("attachment; filename=\"a_; b=___X: __.pdf\"; filename*=UTF-8''a%22%3B")


def test_export_makes_names_unique() -> None:
    assert unique_name("a.txt", {"a.txt", "a (2).txt"}) == "a (3).txt"
    assert unique_name("a", {"a"}) == "a (2)"
    assert unique_name(".x", {".x"}) == ".x (2)"


async def test_export_packs_attachments_into_one_archive() -> None:
    caller, box, _ = await ready()
    both = [one["id"] for one in attachments(box)]
    told = (await caller.call("Mails.exportAttachments", attachmentIds=[*both, both[0]]))["fileDownload"]
    reply = await caller.get(told["url"])
    data = content(reply)
    assert (reply.status, len(data), reply.headers["Content-Type"]) == (200, told["length"], "application/zip")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["příloha.pdf", "two.txt", "příloha (2).pdf"]
        assert archive.read("příloha.pdf") == PDF
    with pytest.raises(Refused) as refused:
        await caller.call("Mails.exportAttachments", attachmentIds=["no"])
    assert refused.value.code == 1002


async def test_export_refuses_more_than_an_archive_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    caller, box, _ = await ready()
    one = next(one["id"] for one in attachments(box))
    monkeypatch.setattr(downloads, "MAX_EXPORT_BYTES", 3 * len(PDF))
    monkeypatch.setattr(downloads, "MAX_EXPORT_FILES", 5)
    await caller.call("Mails.exportAttachments", attachmentIds=[one] * 3)
    for count, code in ((4, 1000), (6, -32602)):
        with pytest.raises(Refused) as refused:
            await caller.call("Mails.exportAttachments", attachmentIds=[one] * count)
        assert refused.value.code == code


def test_archives_drop_the_oldest() -> None:
    archives = Archives(limit=2)
    keys = [archives.put(bytes([n])) for n in range(3)]
    assert archives.get(keys[2]) == b"\2"
    with pytest.raises(KeyError):
        archives.get(keys[0])
