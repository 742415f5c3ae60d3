"""The double over real sockets: two hosts, ranges, broken connections, a whole rebuild."""

from __future__ import annotations

import base64
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from kerio_resync import rebuild, verify
from kerio_resync.events import Event
from kerio_resync.model import Attachment
from kerio_resync.server.jmap.mailbox import JmapMailbox
from tests.support.jmap_double.choices import LIKE_CYRUS, Choices
from tests.support.jmap_double.running import settings_of
from tests.support.jmap_double.server import Fault, JmapDouble
from tests.support.jmap_double.serving import serving
from tests.support.jmap_double.world import differences

BIG = bytes(range(256)) * 8_000  # two megabytes


@asynccontextmanager
async def opened(double: JmapDouble, folder: Path) -> AsyncIterator[JmapMailbox]:
    """Yield an open mailbox of the double, over sockets."""
    async with serving(double):
        mailbox = JmapMailbox(settings_of(double, folder))
        try:
            await mailbox.open()
            yield mailbox
        finally:
            await mailbox.close()


async def downloaded(
    mailbox: JmapMailbox, blob_id: str, size: int, offset: int = 0, role: Literal["attachment", "source"] = "attachment"
) -> tuple[bytes, list[int]]:
    """Return the bytes from `offset` on, and the offsets of the chunks."""
    data, offsets = b"", []
    attachment = Attachment("a", blob_id, "big.bin", "application/octet-stream", size=size, role=role)
    async for chunk in mailbox.download(attachment, offset=offset):
        data = data if chunk.offset else b""
        offsets.append(chunk.offset)
        data += chunk.data
    return data, offsets


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("fault", ["", "cut", "lost", "503"])
async def test_download_is_complete_whatever_breaks(tmp_path: Path, ranges: bool, fault: Any) -> None:
    double = JmapDouble(Choices(ranges=ranges))
    blob_id = double.store.add_blob(BIG)
    async with opened(double, tmp_path) as mailbox:
        if fault:
            double.faults.append(Fault(fault, "blobs"))
        data, offsets = await downloaded(mailbox, blob_id, len(BIG))
    assert data == BIG
    assert double.requests["/blobs"] == (2 if fault else 1)
    assert offsets.count(0) == (2 if fault == "cut" and not ranges else 1)


async def test_download_resumes_at_offset(tmp_path: Path) -> None:
    double = JmapDouble(Choices())
    blob_id = double.store.add_blob(BIG)
    async with opened(double, tmp_path) as mailbox:
        data, offsets = await downloaded(mailbox, blob_id, len(BIG), 1_000_000)
    assert offsets[0] == 1_000_000
    assert data == BIG[1_000_000:]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("fault", ["", "cut", "lost"])
async def test_download_of_source_is_compressed_and_complete(tmp_path: Path, ranges: bool, fault: Any) -> None:
    source = base64.encodebytes(random.Random(1).randbytes(1_500_000))
    double = JmapDouble(Choices(ranges=ranges, compresses=True))
    blob_id = double.store.add_blob(source)
    async with opened(double, tmp_path) as mailbox:
        if fault:
            double.faults.append(Fault(fault, "blobs"))
        data, _ = await downloaded(mailbox, blob_id, len(source), role="source")
        travelled = mailbox.wire_bytes
    assert data == source
    if not fault:
        assert travelled < 0.8 * len(source)
    elif fault == "cut":
        assert double.requests["/blobs"] == 2


async def test_download_of_attachment_is_not_compressed(tmp_path: Path) -> None:
    double = JmapDouble(Choices(compresses=True))
    blob_id = double.store.add_blob(BIG)
    async with opened(double, tmp_path) as mailbox:
        data, _ = await downloaded(mailbox, blob_id, len(BIG))
        assert mailbox.wire_bytes >= len(BIG)
    assert data == BIG


CASES = [
    Choices(),
    LIKE_CYRUS,
    Choices(token="a-bearer-token", well_known="here", blobs="urn:ietf:params:jmap:blob", digests=True, query_rows=4),
]


@pytest.mark.parametrize("choices", CASES, ids=["unlike", "like", "bearer"])
async def test_rebuild_and_verify_over_sockets(tmp_path: Path, choices: Choices) -> None:
    double = JmapDouble(choices)
    double.store.fill(40)
    events: list[Event] = []
    async with serving(double):
        settings = settings_of(double, tmp_path, protocol="auto")
        report = await rebuild(settings, events.append)
        assert (report.items["mail"], report.skipped, report.problems) == (40, (), ())
        assert differences(tmp_path, double.store) == []
        for _ in range(20):
            double.store.mutate("move")
            double.store.mutate("flag")
            double.store.mutate("copy")
        await rebuild(settings, events.append)
        assert differences(tmp_path, double.store) == []
        verdict = await verify(settings, events.append, deep=True)
        assert (verdict.count, verdict.differences) == (0, ())
    assert double.exceeded == 0
    assert double.most_objects <= choices.objects_in_get
    assert "secret of the double" not in repr(events)


async def test_second_rebuild_fetches_no_contents_again(tmp_path: Path) -> None:
    double = JmapDouble(LIKE_CYRUS)
    double.store.fill(20)
    async with serving(double):
        settings = settings_of(double, tmp_path)
        await rebuild(settings)
        fetched = double.calls["Blob/get"]
        double.store.mutate("flag", 10)
        double.store.mutate("move", 10)
        await rebuild(settings)
        assert differences(tmp_path, double.store) == []
    assert double.calls["Blob/get"] == fetched


async def test_rebuild_without_sources_keeps_attachments_by_themselves(tmp_path: Path) -> None:
    double = JmapDouble(LIKE_CYRUS)
    double.store.fill(20)
    async with serving(double):
        report = await rebuild(settings_of(double, tmp_path, sources="no"))
    assert report.items["mail"] == 20
    assert report.attachments > 0
    assert not double.calls["Blob/get"]
