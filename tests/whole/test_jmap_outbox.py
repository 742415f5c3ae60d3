"""Changes made offline reach a JMAP server, each once, beside what others changed meanwhile."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kerio_resync.cache.mutations import Action, LocalChange, LocalFile
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.outbox_rows import ALL_STATES
from kerio_resync.cache.store import Store
from kerio_resync.server.jmap.emails import version_of
from simulation import virtual_time
from tests.support.jmap_double.choices import LIKE_CYRUS, Choices
from tests.support.jmap_double.server import Fault
from tests.support.jmap_double.store import Mail
from tests.support.jmap_double.world import JmapWorld

T = TypeVar("T")
BOTH = pytest.mark.parametrize("choices", [Choices(), LIKE_CYRUS], ids=["unlike", "like"])
SOURCE = b"From: jane@example.com\r\nSubject: made offline\r\nMessage-ID: <offline@here>\r\n\r\nahoj\r\n"


def rebuilt(folder: Path, choices: Choices, mails: int = 25) -> JmapWorld:
    world = JmapWorld(folder, choices, mails=mails)
    assert world.run() == "done"
    return world


def open_cache(world: JmapWorld, work: Callable[[Store], Awaitable[T]]) -> T:
    """Return what `work` makes of the cache."""

    async def run() -> T:
        store = await Store.open(world.profile / "cache.db")
        try:
            return await work(store)
        finally:
            await store.close()

    return virtual_time.run(run())


def add(world: JmapWorld, action: Action, *, files: tuple[LocalFile, ...] = (), **more: Any) -> str:
    """Record a change of the version that the server has now; return its uuid."""
    if mail := world.double.store.mails.get(more.get("item_id", "")):
        more["version"] = version_of(
            {
                "blobId": mail.blob_id,
                "mailboxIds": dict.fromkeys(mail.mailboxes, True),
                "keywords": dict.fromkeys(mail.keywords, True),
            }
        )
    more["struct"] = json.dumps(more.get("struct", {})).encode()
    return open_cache(world, lambda store: Outbox(store).add(action, "mail", files=files, **more))


def outbox(world: JmapWorld) -> dict[str, LocalChange]:
    return {each.uuid: each for each in open_cache(world, lambda store: Outbox(store).list(ALL_STATES))}


def all_sent(world: JmapWorld) -> bool:
    assert world.report is not None
    return {one.state for one in outbox(world).values()} <= {"sent"} and not world.report.conflicts


def some(world: JmapWorld, count: int) -> list[Mail]:
    return list(world.double.store.mails.values())[:count]


@BOTH
def test_ten_flags_reach_mails_that_others_flagged_meanwhile(tmp_path: Path, choices: Choices) -> None:
    world = rebuilt(tmp_path, choices)
    mails = some(world, 10)
    for mail in mails:
        world.double.store.change(mail.id, keywords={"$seen", "theirs"})
    world.run()
    for mail in mails:
        add(world, "flags", item_id=mail.id, struct={"flagged": True, "seen": False})
        world.double.store.change(mail.id, keywords={"$seen", "$answered", "theirs"})
    assert world.run() == "done"
    assert all_sent(world)
    assert [mail.keywords for mail in mails] == [{"$answered", "$flagged", "theirs"}] * 10
    assert world.differences() == []


@BOTH
def test_moves_leave_the_other_folders_of_a_mail(tmp_path: Path, choices: Choices) -> None:
    world = rebuilt(tmp_path, choices)
    first, second, third = list(world.double.store.mailboxes)[:3]
    (mail,) = some(world, 1)
    world.double.store.change(mail.id, mailboxes={first, second})
    world.run()
    add(world, "move", item_id=mail.id, folder_id=first, target_id=third)
    world.double.store.change(mail.id, keywords={"theirs"})
    assert world.run() == "done"
    assert all_sent(world)
    assert (mail.mailboxes, mail.keywords) == ({second, third}, {"theirs"})
    assert world.differences() == []


@BOTH
def test_deletion_of_a_mail_that_others_flagged_is_a_conflict(tmp_path: Path, choices: Choices) -> None:
    world = rebuilt(tmp_path, choices)
    kept, gone = some(world, 2)
    add(world, "delete", item_id=kept.id)
    add(world, "delete", item_id=gone.id)
    world.double.store.change(kept.id, keywords={"important"})
    assert world.run() == "done"
    assert kept.id in world.double.store.mails
    assert gone.id not in world.double.store.mails
    assert sorted(one.state for one in outbox(world).values()) == ["conflict", "sent"]


@BOTH
@pytest.mark.parametrize("kind", ["lost", "cut", "refused", "503", "serverFail", "html"])
def test_mail_is_created_once_whatever_happens_to_the_answer(tmp_path: Path, choices: Choices, kind: Any) -> None:
    world = rebuilt(tmp_path, choices, 5)
    inbox = next(iter(world.double.store.mailboxes))
    file = LocalFile("a.eml", "message/rfc822", SOURCE)
    add(world, "create", folder_id=inbox, struct={"seen": True}, files=(file,))
    world.double.faults.append(Fault(kind, "Email/import"))
    for _ in range(3):
        world.run()
    made = [mail for mail in world.double.store.mails.values() if mail.source == SOURCE]
    assert [(mail.mailboxes, mail.keywords) for mail in made] == [({inbox}, {"$seen"})]
    assert all_sent(world)
    assert world.differences() == []


@BOTH
@pytest.mark.parametrize("kind", ["lost", "refused", "429"])
def test_flags_moves_and_deletions_survive_lost_answers(tmp_path: Path, choices: Choices, kind: Any) -> None:
    world = rebuilt(tmp_path, choices)
    flagged, moved, gone = some(world, 3)
    here, there = min(moved.mailboxes), next(one for one in world.double.store.mailboxes if one not in moved.mailboxes)
    others = moved.mailboxes - {here}
    add(world, "flags", item_id=flagged.id, struct={"flagged": True})
    add(world, "move", item_id=moved.id, folder_id=here, target_id=there)
    add(world, "delete", item_id=gone.id)
    world.double.faults += [Fault(kind, "Email/set", nth) for nth in (1, 1, 1)]
    for _ in range(2):
        world.run()
    assert all_sent(world)
    assert "$flagged" in flagged.keywords
    assert moved.mailboxes == {there, *others}
    assert gone.id not in world.double.store.mails
    assert world.differences() == []
