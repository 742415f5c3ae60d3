from __future__ import annotations

from pathlib import Path

import pytest

from kerio_resync.errors import FolderDenied, ItemGone, ProtocolError, TooLarge
from kerio_resync.model import ListedItem
from kerio_resync.sync.converge.contradictions import find_contradictions
from tests.support.cache import items, mail
from tests.support.fake_mailbox import Mailbox, running


@pytest.mark.parametrize("error", [TooLarge("x"), ProtocolError("x"), FolderDenied("x"), ItemGone("x")])
async def test_find_contradictions_ignores_items_that_cannot_be_read(tmp_path: Path, error: Exception) -> None:
    mailbox = Mailbox({"a": mail("a")}, answers={"by_ids": [error]})
    async with running(tmp_path, mailbox, items("a")) as run:
        assert not await find_contradictions(run, "work", "mail", [ListedItem("a", "1")], only_elsewhere=True)
        assert run.announced.notices == []


@pytest.mark.parametrize(("folder", "says"), [("work", "'Work' too; it says"), ("inbox", "another version")])
async def test_find_contradictions_reports_each_once(tmp_path: Path, folder: str, says: str) -> None:
    async with running(tmp_path, Mailbox({"a": mail("a")}), items("a")) as run:
        for _ in range(2):
            found = await find_contradictions(run, folder, "mail", [ListedItem("a", "7")], only_elsewhere=False)
            assert found == {"a"}
        assert len(run.announced.notices) == 1
        assert says in run.announced.notices[0]


async def test_find_contradictions_skips_item_that_cache_has_in_other_version(tmp_path: Path) -> None:
    async with running(tmp_path, Mailbox({"a": mail("a", "2")}), items("a")) as run:
        assert not await find_contradictions(run, "work", "mail", [ListedItem("a", "7")], only_elsewhere=False)
