"""Mails by id: with their sources where the server offers that, and whatever a reply lacks."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from kerio_resync.errors import DownloadRefused, ProtocolError, TooLarge
from kerio_resync.model import Item, ItemBatch
from kerio_resync.server.jmap import contents
from kerio_resync.server.jmap.mailbox import JmapMailbox
from kerio_resync.server.memory_budget import HeldReservations
from tests.support.jmap_double.choices import LIKE_CYRUS, Choices
from tests.support.jmap_double.running import list_all, opened
from tests.support.jmap_double.server import Fault, JmapDouble
from tests.support.jmap_double.store import Store

RFC_9404 = Choices(blobs="urn:ietf:params:jmap:blob", digests=True, objects_in_get=50)


def filled(choices: Choices, mails: int = 12) -> JmapDouble:
    double = JmapDouble(choices)
    double.store.fill(mails)
    return double


def fetched(double: JmapDouble, ids: list[str] | None = None, **settings: Any) -> ItemBatch:
    async def work(mailbox: JmapMailbox) -> ItemBatch:
        wanted = list(double.store.mails) if ids is None else ids
        sizes = {one: len(double.store.mails[one].source) for one in wanted if one in double.store.mails}
        with HeldReservations() as held:
            return await mailbox.items_by_id("mail", wanted, sizes=sizes, held=held)

    return opened(double, work, **settings)


def sources(batch: ItemBatch) -> dict[str, bytes | None]:
    return {item.id: item.attachments[0].data for item in batch.items}


def genuine(store: Store) -> dict[str, bytes | None]:
    return {mail.id: mail.source for mail in store.mails.values()}


@pytest.mark.parametrize("choices", [LIKE_CYRUS, RFC_9404])
def test_items_by_id_brings_small_sources_in_one_request(choices: Choices) -> None:
    double = filled(choices)
    batch = fetched(double)
    assert sources(batch) == genuine(double.store)
    assert double.requests["/api"] == 1
    assert batch.plain_bytes > 0
    assert not batch.malformed
    assert not batch.gone


def test_items_by_id_brings_source_that_is_not_utf_8() -> None:
    double = filled(LIKE_CYRUS, 0)
    double.store.deliver(b"Subject: x\r\n\r\n\xff\xfe binary", {next(iter(double.store.mailboxes))})
    assert sources(fetched(double)) == genuine(double.store)


def test_items_by_id_leaves_large_sources_to_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "INLINE_BYTES", 1_000)
    double = filled(LIKE_CYRUS)
    found = sources(fetched(double))
    assert {one: data is None for one, data in found.items()} == {
        mail.id: len(mail.source) > 1_000 for mail in double.store.mails.values()
    }
    assert set(map(type, found.values())) == {bytes, type(None)}


def test_items_by_id_keeps_to_bytes_and_objects_per_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "REQUEST_BYTES", 5_000)
    double = filled(RFC_9404, 60)
    assert len(fetched(double).items) == 60
    assert double.most_objects <= 50
    assert double.requests["/api"] >= sum(len(mail.source) for mail in double.store.mails.values()) // 5_000


def test_items_by_id_without_sources_has_attachments_to_download() -> None:
    double = filled(RFC_9404)
    items = fetched(double, sources="no").items
    assert "Blob/get" not in double.calls
    attached = [attachment for item in items for attachment in item.attachments]
    assert attached
    assert not any(one.role == "source" or one.in_source or one.data is not None for one in attached)


def test_items_by_id_names_those_that_are_gone() -> None:
    double = filled(LIKE_CYRUS)
    gone, *others = double.store.mails
    double.store.destroy(gone)
    batch = fetched(double, [gone, *others])
    assert batch.gone == (gone,)
    assert {item.id for item in batch.items} == set(others)


def test_items_by_id_names_those_that_the_server_leaves_out() -> None:
    double = filled(LIKE_CYRUS)
    lost = next(iter(double.store.mails))

    def without(result: dict[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
        return {**result, "list": [one for one in result["list"] if one["id"] != lost]}

    double.alter("Email/get", without)
    batch = fetched(double)
    assert [(one.id, one.unanswered) for one in batch.malformed] == [(lost, True)]
    assert len(batch.items) == len(double.store.mails) - 1
    assert double.requests["/api"] == 1 + contents.MAX_REFETCHES


def test_items_by_id_names_email_without_mailboxes() -> None:
    double = filled(LIKE_CYRUS, 1)
    double.alter(
        "Email/get", lambda result, _: {**result, "list": [{**one, "mailboxIds": None} for one in result["list"]]}
    )
    batch = fetched(double)
    assert [one.id for one in batch.malformed] == list(double.store.mails)


@pytest.mark.parametrize(
    "members",
    [
        {"data:asText": "short"},
        {"isTruncated": True},
        {"isEncodingProblem": True},
        {"data:asText": None, "data:asBase64": "%%%"},
        {"data:asText": None},
        {"size": 1},
        {"digest:sha-256": base64.b64encode(hashlib.sha256(b"other").digest()).decode()},
        {"id": "Bother"},
    ],
)
def test_items_by_id_distrusts_blob_that_contradicts_itself(members: dict[str, Any]) -> None:
    double = filled(RFC_9404, 3)
    double.alter("Blob/get", lambda result, _: {**result, "list": [{**one, **members} for one in result["list"]]})
    assert set(sources(fetched(double)).values()) == {None}


def test_items_by_id_lets_caller_request_fewer() -> None:
    double = filled(Choices(objects_in_get=50, whole_objects_in_get=5))
    with pytest.raises(TooLarge):
        fetched(double)
    with pytest.raises(TooLarge):
        fetched(double, ["M" + "x" * 200_000])  # larger than the server's requests may be: it is not sent


def test_items_by_id_raises_failure_that_stays() -> None:
    double = filled(LIKE_CYRUS)
    double.faults += [Fault("serverFail", "Email/get") for _ in range(9)]
    with pytest.raises(ProtocolError):
        fetched(double)


def test_items_by_id_waits_out_failures_that_pass() -> None:
    double = filled(LIKE_CYRUS)
    for kind in ("serverUnavailable", "lost", "refused", "cut", "html", "429", "503", "serverFail"):
        double.faults.append(Fault(kind, "Email/get", retry_after="2" if kind == "503" else ""))
    assert len(fetched(double).items) == 12


def test_items_of_other_accounts_have_ids_of_their_own() -> None:
    double = filled(LIKE_CYRUS, 3)
    other = double.share("b", "bob@example.com")
    other.fill(3, 2)

    async def work(mailbox: JmapMailbox) -> list[Item]:
        rows = await list_all(mailbox)
        batch = await mailbox.items_by_id("mail", list(rows), sizes={row.id: row.size for row in rows.values()})
        for item in batch.items:
            chunks = [chunk.data async for chunk in mailbox.download(item.attachments[0])]
            assert b"".join(chunks) == item.attachments[0].data
        return list(batch.items)

    items = opened(double, work)
    assert {item.id for item in items} == set(double.store.mails) | {f"b/{one}" for one in other.mails}
    assert all(folder.startswith("b/") == item.id.startswith("b/") for item in items for folder in item.folder_ids)


def test_payload_is_email_as_sent() -> None:
    double = filled(LIKE_CYRUS, 1)
    (item,) = fetched(double).items
    payload = json.loads(item.payload)
    assert payload["id"] == item.id
    assert "bodyValues" not in payload
    assert item.text is not None
    assert item.text.startswith("Dobrý den")


def test_download_of_deleted_blob_is_refused() -> None:
    double = filled(LIKE_CYRUS, 1)
    (item,) = fetched(double).items
    double.store.blobs.clear()

    async def work(mailbox: JmapMailbox) -> None:
        with pytest.raises(DownloadRefused, match="404"):
            await anext(mailbox.download(item.attachments[0]))

    opened(double, work)
