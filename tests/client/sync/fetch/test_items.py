"""Fetching items: what is too large, unanswered, gone, malformed, or still in the old cache."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import EnqueueItems
from kerio_resync.errors import FolderDenied, ItemGone, ProtocolError, TooLarge
from kerio_resync.model import ItemBatch, ListedItem, MalformedItem
from kerio_resync.sync.converge.resolve_doubts import resolve_doubts
from kerio_resync.sync.fetch.items import MAX_CONSECUTIVE_FAILURES, item_worker
from simulation import virtual_time
from tests.support.cache import mail
from tests.support.fake_mailbox import Mailbox, running

NAMES = ("a", "b", "c", "d")


def want(*names: str) -> EnqueueItems:
    return EnqueueItems("inbox", "mail", tuple(ListedItem(each, "1", 10) for each in names))


async def outcome(folder: Path, mailbox: Mailbox, *names: str) -> tuple[set[str], dict[str, str]]:
    """(ids stored, what was left out and why), nothing being wanted any more."""
    async with running(folder, mailbox, want(*names)) as run:
        await item_worker(run)
        assert await run.store.read(queries.queued_items, 9) == ()
        skipped = {each.id: each.reason for each in await run.store.read(queries.skipped)}
        return set(await run.store.read(queries.versions, names)), skipped


def holding(*names: str) -> Mailbox:
    return Mailbox({each: mail(each) for each in names})


async def test_all_at_once(tmp_path: Path) -> None:
    mailbox = holding(*NAMES)
    assert await outcome(tmp_path, mailbox, *NAMES) == (set(NAMES), {})
    assert mailbox.asked == ["by_ids"]


@pytest.mark.parametrize("error", [TooLarge("large"), ProtocolError("broken"), FolderDenied("no"), ItemGone("gone")])
async def test_a_batch_that_fails_is_halved(tmp_path: Path, error: Exception) -> None:
    mailbox = holding(*NAMES)
    mailbox.answers["by_ids"] = [error, error]
    assert await outcome(tmp_path, mailbox, *NAMES) == (set(NAMES), {})
    assert len(mailbox.asked) == 2 + 2 + 1


async def test_one_that_fails_alone_is_named(tmp_path: Path) -> None:
    mailbox = holding(*NAMES)
    mailbox.answers["by_ids"] = [TooLarge("large")] * 3
    assert await outcome(tmp_path, mailbox, *NAMES) == ({"b", "c", "d"}, {"a": "large"})


async def test_one_whose_answer_is_that_it_is_gone_is_forgotten(tmp_path: Path) -> None:
    mailbox = holding("a")
    mailbox.answers["by_ids"] = [ItemGone("gone")]
    assert await outcome(tmp_path, mailbox, "a") == (set(), {})


async def test_one_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    assert await outcome(tmp_path, holding("a"), "a", "b") == ({"a"}, {})


async def test_malformed_ones_are_named_and_strangers_ignored(tmp_path: Path) -> None:
    mailbox = Mailbox()
    broken = (MalformedItem("b", "no date"), MalformedItem("?", "who is that"))
    mailbox.answers["by_ids"] = [ItemBatch((mail("a"), mail("a"), mail("z")), gone=("y",), malformed=broken)]
    assert await outcome(tmp_path, mailbox, "a", "b") == ({"a"}, {"b": "no date"})


async def test_those_that_are_not_answered_for_are_asked_for_alone(tmp_path: Path) -> None:
    mailbox = holding("a", "b", "c")
    mailbox.answers["by_ids"] = [ItemBatch((mail("a"),)), ItemBatch((mail("b"),)), ItemBatch(())]
    async with running(tmp_path, mailbox, want("a", "b", "c")) as run:
        await item_worker(run)
        assert set(await run.store.read(queries.versions, ["a", "b", "c"])) == {"a", "b"}
        assert [row.id for row in await run.store.read(queries.queued_items, 9)] == ["c"]  # set aside
        assert await run.store.read(queries.skipped) == ()


@pytest.mark.parametrize("times", [1, 4, 9])
def test_one_whose_reply_makes_no_sense_is_tried_again_before_it_is_named(times: int, tmp_path: Path) -> None:
    mailbox = holding("a", "b")
    error = ProtocolError("broken")
    mailbox.answers["by_ids"] = [error, error, ItemBatch((mail("b"),)), *[error] * (times - 1)]

    async def go() -> tuple[set[str], dict[str, str], float]:
        async with running(tmp_path, mailbox, want("a", "b")) as run:
            await item_worker(run)
            await resolve_doubts(run)
            skipped = {row.id: row.reason for row in await run.store.read(queries.skipped)}
            assert await run.store.read(queries.queued_items, 9) == ()
            seconds = asyncio.get_running_loop().time()
            return set(await run.store.read(queries.versions, ["a", "b"])), skipped, seconds

    stored, skipped, seconds = virtual_time.run(go())
    assert (stored, skipped) == (({"a", "b"}, {}) if times < 9 else ({"b"}, {"a": "broken"}))
    assert seconds <= 100


async def test_a_server_that_makes_no_sense_at_all_ends_the_run(tmp_path: Path) -> None:
    names = [str(each) for each in range(2 * MAX_CONSECUTIVE_FAILURES)]
    mailbox = holding(*names)
    mailbox.answers["by_ids"] = [ProtocolError("?")] * 999
    with pytest.raises(ProtocolError):
        await outcome(tmp_path, mailbox, *names)


async def test_attachments_of_some_folders_are_left_out(tmp_path: Path) -> None:
    mailbox = Mailbox({"a": mail("a"), "b": mail("b")._replace(folder_ids=("work",))})
    wants = (want("a"), EnqueueItems("work", "mail", (ListedItem("b", "1"),)))
    async with running(tmp_path, mailbox, *wants, attachments="inbox") as run:
        left_out = [each for each in ("inbox", "work", "people", "no folder") if run.omits_attachments([each])]
        assert left_out == ["work"]
        await item_worker(run)
        assert set(await run.store.read(queries.versions, ["a", "b"])) == {"a", "b"}
