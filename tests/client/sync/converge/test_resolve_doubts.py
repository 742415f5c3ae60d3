from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cache.mutations import PutItems
from kerio_resync.errors import BadCredentials, ForeignReply, ProtocolError, ServerRefused
from kerio_resync.model import ContentChunk
from kerio_resync.sync.converge import resolve_doubts as module
from kerio_resync.sync.converge.resolve_doubts import can_download
from kerio_resync.sync.doubts import Control
from tests.support.cache import attachment, items, mail, whole
from tests.support.fake_mailbox import Mailbox, running

CONTENT = attachment("f")
STORED = (PutItems((mail("a"), mail("b", attached=(CONTENT,)))), *whole(1, b"12345"))
CONTROL = Control(CONTENT, hashlib.sha256(b"12345").digest(), 5)


async def test_find_control_returns_stored_content_that_server_still_lists(tmp_path: Path) -> None:
    async with running(tmp_path, Mailbox({"b": mail("b", attached=(CONTENT,))}), *STORED) as run:
        assert await module._find_control(run) == CONTROL


@pytest.mark.parametrize("now", [mail("b"), mail("b", attached=(attachment("f", 0),))], ids=["none", "empty"])
async def test_find_control_is_none_if_server_no_longer_lists_the_content(tmp_path: Path, now: Any) -> None:
    async with running(tmp_path, Mailbox({"b": now}), *STORED) as run:
        assert await module._find_control(run) is None


async def test_find_control_searches_bounded_number_of_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SEARCHED_SLICES", 1)
    mailbox = Mailbox({"a": mail("a")})
    async with running(tmp_path, mailbox, items("a")) as run:
        assert await module._find_control(run) is None
        assert mailbox.asked == []


@pytest.mark.parametrize(
    ("chunks", "same"),
    [
        ([ContentChunk(0, b"12345")], True),
        ([ContentChunk(0, b"12"), ContentChunk(2, b"345")], True),
        ([ContentChunk(0, b"xx"), ContentChunk(0, b"12345")], True),  # it began again
        ([ContentChunk(0, b"12")], False),
        ([ProtocolError("x")], False),
        ([ServerRefused("x")], False),
    ],
)
async def test_can_download_compares_content_of_control(chunks: list[Any], same: bool) -> None:
    assert await can_download(Mailbox(answers={"download": [chunks]}), CONTROL) is same  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [BadCredentials("x"), ForeignReply("x")])
async def test_can_download_raises_what_concerns_the_run(error: Exception) -> None:
    with pytest.raises(type(error)):
        await can_download(Mailbox(answers={"download": [[error]]}), CONTROL)  # type: ignore[arg-type]
