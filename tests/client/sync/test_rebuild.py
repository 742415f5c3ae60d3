"""A rebuild's edges: what it refuses, what ends it, and what it says in the end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import ApplyChanges, PutItems, PutPage, RestartAttachment, SkipEntry
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.store import Store
from kerio_resync.errors import (
    BadCredentials,
    BadSettings,
    CacheDamaged,
    NotEnoughSpace,
    OutcomeUnknown,
    ProtocolError,
    Unreachable,
)
from kerio_resync.events import Event, Listener, Notice, Progress, Skipped
from kerio_resync.model import Quota, WriteResult
from kerio_resync.settings import Settings
from kerio_resync.sync.rebuild import rebuild
from kerio_resync.sync.report import Report
from kerio_resync.sync.setup import most_severe
from tests.support.cache import FOLDERS, attachment, filled, items, mail, names, whole
from tests.support.fake_mailbox import Mailbox

THERE = tuple(replace(each, count=2) if each.id == "inbox" else each for each in FOLDERS.folders)
LISTED = tuple(PutPage((each.id,), done=True) for each in THERE if each.kind)


class Writable(Mailbox):
    async def find(self, item: Any, *, renamed: bool = False) -> tuple[str, ...]:
        return ()

    async def create(self, kind: Any, folder_id: str, structs: Any) -> tuple[WriteResult, ...]:
        return (self._answer("create", WriteResult(0, "N", "9")),)


def holding(*ids: str, **answers: list[Any]) -> Mailbox:
    return Writable({each: mail(each) for each in ids}, there=THERE, answers=answers)


def settings(folder: Path, **more: Any) -> Settings:
    values = {"profile": folder, "server": "https://mail.example.com", "user": "jan", "page_size": 4}
    return Settings.model_validate(values | more)


async def run(folder: Path, mailbox: Mailbox, **more: Any) -> Report:
    return await rebuild(settings(folder, **more), mailbox=mailbox)  # type: ignore[arg-type]


async def test_all_of_it(tmp_path: Path) -> None:
    mailbox = holding("a", "b")
    report = await run(tmp_path / "p", mailbox)
    assert (report.items["mail"], report.resumed, report.unfinished, report.skipped) == (2, False, False, ())
    assert "cache.db" in names(tmp_path / "p")
    assert mailbox.asked[-1] == "close"


@pytest.mark.parametrize("less", ["server", "user"])
async def test_somebody_has_to_be_named(tmp_path: Path, less: str) -> None:
    with pytest.raises(BadSettings, match="--server URL and --user NAME"):
        await run(tmp_path, holding(), **{less: ""})


async def test_a_profile_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSettings, match="is not a folder"):
        await run(tmp_path / "file", holding())


def test_of_several_errors_the_one_that_waiting_does_not_help() -> None:
    inner = ExceptionGroup("", [OutcomeUnknown("b"), BadCredentials("c")])
    group: BaseExceptionGroup[Exception] = ExceptionGroup("", [Unreachable("a"), inner])
    assert str(most_severe(group)) == "c"


def test_single_error_returns_the_group_if_one_error_is_not_ours() -> None:
    group = ExceptionGroup("", [Unreachable("a"), ExceptionGroup("", [KeyError("b")])])
    assert most_severe(group) is group


@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "in a group"])
async def test_rebuild_sets_a_damaged_file_aside_however_the_damage_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouped: bool
) -> None:
    error: Exception = CacheDamaged("x")

    async def damaged(*_: object) -> None:
        raise ExceptionGroup("", [ExceptionGroup("", [error])]) if grouped else error

    monkeypatch.setattr("kerio_resync.sync.rebuild._build", damaged)
    with pytest.raises(CacheDamaged, match=r"^x$"):
        await run(tmp_path, holding())
    assert not settings(tmp_path).next_cache.exists()


async def test_an_error_of_a_worker_comes_out_as_itself(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"^gone$"):
        await run(tmp_path, holding("a", by_ids=[Unreachable("gone")]))
    report = await run(tmp_path, holding("a"))
    assert (report.items["mail"], report.resumed) == (1, True)


async def test_what_was_left_out_is_asked_for_again(tmp_path: Path) -> None:
    left_out = SkipEntry("item", "a", "large"), SkipEntry("folder", "w", "?")
    await (await filled(tmp_path / "cache.db.next", ApplyChanges("k"), *left_out)).close()
    report = await run(tmp_path, holding("a"))
    assert (report.items["mail"], report.skipped, report.resumed) == (1, (), True)


async def test_the_quota_tells_where_folders_do_not(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughSpace) as caught:
        await run(tmp_path, holding("a", quota=[Quota(0, 1 << 60)]))
    assert caught.value.needed > 1 << 60


async def test_contents_that_are_here_are_counted_once(tmp_path: Path) -> None:
    """A mail's size is that of its attachments too: neither the display nor the room takes both."""
    attached = mail("a", attached=(attachment("x", 900_000),))._replace(size=1_000_000)
    await (await filled(tmp_path / "cache.db", PutItems((attached,)), *whole(1, bytes(900_000)))).close()
    store = await Store.open(tmp_path / "cache.db")
    assert (await store.read(queries.totals)).bytes_here == 1_000_000
    await store.apply(RestartAttachment(1))
    assert (await store.read(queries.totals)).bytes_here == 100_000
    await store.close()


async def test_attachments_that_an_earlier_run_left_wanted_are_counted_once(tmp_path: Path) -> None:
    half = mail("a")._replace(attachments=(attachment("x", 5), attachment("y", 5)))
    await (await filled(tmp_path / "cache.db.next", ApplyChanges("k"), PutItems((half,)), *whole(1, b"12345"))).close()
    heard: list[Event] = []
    await rebuild(settings(tmp_path), heard.append, mailbox=holding("a"))  # type: ignore[arg-type]
    told = [(each.attachments_done, each.attachments_total) for each in heard if isinstance(each, Progress)]
    assert told[0] == (1, 2)


def damage(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO chunk VALUES (99999, 0, 1, 0, x'00')")


async def test_a_half_built_file_that_is_damaged_is_let_go_of(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db.next", items("a"))).close()
    damage(tmp_path / "cache.db.next")
    report = await run(tmp_path, holding("a"))
    assert (report.items["mail"], report.resumed) == (1, False)
    assert "cache.db.next.dropped-1" not in names(tmp_path)


async def test_a_live_cache_that_is_damaged_stays(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", items("a"), *LISTED, ApplyChanges("k"))).close()
    damage(tmp_path / "cache.db")
    with pytest.raises(CacheDamaged):
        await run(tmp_path, holding("a"), folders=("Inbox",))
    assert "cache.db" in names(tmp_path)


async def with_a_change(tmp_path: Path) -> None:
    store = await filled(tmp_path / "cache.db", items("a"), *LISTED, ApplyChanges("k"))
    await Outbox(store).add("create", "mail", folder_id="work", struct=b'{"subject":"new"}')
    await store.close()


async def test_changes_are_sent_and_fetched(tmp_path: Path) -> None:
    await with_a_change(tmp_path)
    mailbox = holding("a", "b", by_ids=[])
    mailbox.items["N"] = mail("N", "9", folder="work")
    report = await run(tmp_path, mailbox, folders=("Inbox",))
    assert (report.outbox_sent, report.unfinished, report.items["mail"]) == (1, False, 3)


async def test_a_server_in_trouble_when_they_are_sent(tmp_path: Path) -> None:
    await with_a_change(tmp_path)
    report = await run(tmp_path, holding("a", create=[Unreachable("down")]))
    assert (report.outbox_sent, report.outbox_pending, report.unfinished) == (0, 1, True)


async def test_a_server_in_trouble_when_they_have_been_sent(tmp_path: Path) -> None:
    await with_a_change(tmp_path)
    mailbox = holding("a")
    ask = mailbox.changes

    async def fails_then(key: str) -> Any:
        if "create" in mailbox.asked:
            raise Unreachable("down")
        return await ask(key)

    mailbox.changes = fails_then  # type: ignore[method-assign]
    report = await run(tmp_path, mailbox)
    assert (report.outbox_sent, report.outbox_pending, report.unfinished) == (1, 0, True)
    assert "could not be downloaded (down)" in report.problems[-1]


async def test_a_change_that_builds_on_nothing_is_not_asked_for(tmp_path: Path) -> None:
    store = await filled(tmp_path / "cache.db", items("a"))
    await Outbox(store).add("edit", "mail", item_id="local:nobody", struct=b'{"subject":"new"}')
    await store.close()
    report = await run(tmp_path, holding("a"))
    assert (report.outbox_refused, report.unfinished) == (1, False)


async def test_contents_that_could_not_be_had_are_tried_once_more(tmp_path: Path) -> None:
    mailbox = holding("a")
    mailbox.items["a"] = mail("a", attached=(attachment("x"),))
    mailbox.answers["download"] = [ProtocolError("html", scope="item")]
    report = await run(tmp_path, mailbox)
    assert (report.attachments, report.skipped) == (1, ())
    store = await Store.open(tmp_path / "cache.db")
    assert b"".join([each async for each in store.content(1)]) == b"12345"
    await store.close()


async def test_what_the_mailbox_leaves_out_is_reported_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no row in the database: the server named nothing that one could be made of."""
    heard: list[Event] = []

    async def mailbox(settings: Settings, listen: Listener) -> Mailbox:
        listen(Notice("hello"))
        listen(Skipped("folder", "shared", "the server does not name it"))
        return holding("a")

    monkeypatch.setattr("kerio_resync.sync.rebuild.open_mailbox", mailbox)
    report = await rebuild(settings(tmp_path), heard.append)
    assert report.as_json()["skipped"] == [["folder", "shared", "the server does not name it"]]
    assert any(isinstance(each, Skipped) for each in heard)
