"""A client that dies by SIGKILL, or by a power cut, at any instant of its work on the disk, again and again.

The server is in this process and outlives it; the mailbox changes on the way, and the profile holds changes made
offline. In the end the cache equals the server, each of those changes was made once or is still there, and next to
nothing was fetched twice. A power cut is a kill after which the profile is put back as it was after the last commit or
fsync (`tests/support/crash_process.py` keeps that copy). `KERIO_CRASHES`: how many deaths (15 if it isn't set).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kerio_mockserver.mailbox.store import NoSuchItem
from kerio_mockserver.messages import Reply, Request
from kerio_mockserver.testing import Server
from kerio_resync import Settings
from kerio_resync.cache.mutations import Action, LocalChange, LocalFile
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.outbox_rows import ALL_STATES
from kerio_resync.cache.store import Store
from kerio_resync.model import Identity, Kind
from simulation.world import differences
from tests.support.crashes import IN_FLIGHT, Nursery, new_server, nursery
from tests.support.offline_changes import TITLE, struct_of

CRASHES = int(os.environ.get("KERIO_CRASHES", "15"))
CHAIN = 5  # deaths in a row before a profile is let finish
RENAMES = ("rename begins:1", "rename done:1", "fsync begins:1", "rename begins:1", "rename done:1")
REPLAY = ("mark begins:2", "mark begins:2", "mark done:4", "mark done:1", "mark begins:3")  # asked for, not yet noted
CONTENTS = ("Mails.getById", "GET attachment", "Contacts.get", "Events.get", "Tasks.get", "Notes.get")


@dataclass
class Tally:
    deaths: int = 0
    instants: dict[str, int] = field(default_factory=dict)
    ratios: list[float] = field(default_factory=list)


class Diary:
    """Changes made offline, in a profile's old cache, and what the server was asked to do about them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.made: dict[str, tuple[Action, str]] = {}  # by uuid: what was to be done, and the title or the item
        self.asked: list[tuple[str, str]] = []
        for verb in ("create", "set", "move", "remove"):
            setattr(server.store, verb, self._heard(verb, getattr(server.store, verb)))

    def _heard(self, verb: str, work: Any) -> Any:
        def hear(*args: Any) -> Any:
            found = work(*args)
            name = str(args[0])
            if verb in ("create", "set"):
                name = str(args[1].get("id") or args[1].get(TITLE[args[0]], "")) or name
            self.asked.append((verb, name))
            return found

        return hear

    async def begin(self, profile: Path, identity: Identity) -> None:
        """Every kind of change, of items that stay unchanged on the server, and of items that churn may change."""
        profile.mkdir()
        # as if it had been made with this server, which has a port of its own
        store = await Store.create(profile / "cache.db", identity._replace(server=self.server.url))
        outbox, mailbox = Outbox(store), self.server.store
        folders = {
            each["subType"] if each["type"] == "FMail" else each["type"]: each["id"] for each in mailbox.folders()
        }
        file = LocalFile("plan.pdf", "application/pdf", random.Random(1).randbytes(300_000))
        kinds: dict[Kind, str] = {"mail": "FSubDrafts", "contact": "FContact", "event": "FCalendar", "note": "FNote"}
        for number, (kind, folder) in enumerate([*kinds.items(), *kinds.items()]):
            title = f"Offline {number}"
            struct, files = json.dumps(struct_of(kind, title)).encode(), (file,) if kind == "mail" else ()
            name = await outbox.add("create", kind, folder_id=folders[folder], struct=struct, files=files)
            self.made[name] = ("create", title)
        inbox = folders["FSubInbox"]
        actions: tuple[Action, ...] = ("edit", "flags", "move", "delete")
        for action, each in zip(actions * 2, mailbox.folder(inbox).ordered("id"), strict=False):
            version = str(mailbox.item(each)["watermark"])
            more: dict[str, Any] = {"item_id": each, "folder_id": inbox, "version": version}
            more |= {"target_id": folders["FSubSentItems"]} if action == "move" else {}
            edits: dict[Action, dict[str, Any]] = {"edit": {"subject": "Edited offline"}, "flags": {"flagged": True}}
            struct = json.dumps(edits.get(action, {})).encode()
            self.made[await outbox.add(action, "mail", struct=struct, **more)] = (action, each)
        await store.close()

    def done(self, name: str) -> bool:
        """Whether the server has it; AssertionError if it has it twice."""
        action, what = self.made[name]
        verb = {"edit": "set", "flags": "set", "delete": "remove"}.get(action, action)
        times = sum(each[0] == verb and each[1].split("\n")[0] == what for each in self.asked)
        assert times <= 1 or action != "create", f"{what} was made {times} times"
        return times > 0 or (action in ("move", "delete") and not self._is_there(what))

    def _is_there(self, item: str) -> bool:
        try:
            self.server.store.item(item)
        except NoSuchItem:
            return False
        return True

    async def check(self, profile: Path, *, settled: bool = False) -> None:
        """The outbox is what was sent and what is pending, nothing is lost; `settled`: and nothing is pending."""
        held = await changes(profile)
        for name, what in self.made.items():
            state = held[name].state if name in held else "gone"
            if state in ("sent", "gone"):
                assert self.done(name), (what, state)
            assert not settled or state in ("sent", "gone", "conflict"), (what, state, held[name].reason)
        assert held.keys() <= self.made.keys()


async def changes(profile: Path) -> dict[str, LocalChange]:
    """Of all caches in a profile as it was left, however that was; looked at in a copy."""
    found: dict[str, LocalChange] = {}
    copy = profile.with_name(profile.name + ".looked-at")
    shutil.copytree(profile, copy)
    for path in sorted(copy.glob("cache.db*")):
        if path.suffix not in (".new",) and not path.name.endswith(("-journal", "-wal", "-shm")):
            store = await Store.open(path)
            for each in await Outbox(store).list(ALL_STATES):
                if each.uuid not in found or each.state not in ("pending", "sending"):
                    found[each.uuid] = each
            await store.close()
    shutil.rmtree(copy)
    return found


class Given:
    """Bytes of contents that a server gives, as they travel: in all, and in its largest reply."""

    def __init__(self, server: Server) -> None:
        self.total = self.largest = 0
        answer = server.core.handle

        async def count(request: Request) -> Reply:
            reply = await answer(request)
            if reply.rpc in CONTENTS:
                self.total += len(reply.body)
                self.largest = max(self.largest, len(reply.body))
            return reply

        server.core.handle = count  # type: ignore[method-assign]


async def undisturbed(nurse: Nursery, tmp_path: Path) -> tuple[int, dict[str, int], Identity]:
    """(bytes fetched, instants, whose cache) of a run that nothing happens to, and which has changes to send."""
    async with new_server() as server:
        await nurse.life(server, tmp_path / "first")
        store = await Store.open(tmp_path / "first" / "cache.db")
        identity = store.identity
        await store.close()
    async with new_server() as server:
        given, diary, profile = Given(server), Diary(server), tmp_path / "undisturbed"
        await diary.begin(profile, identity)
        code, out = await nurse.life(server, profile)
        assert code == 0
        assert not await differences(server.store, Settings(profile=profile))
        await diary.check(profile, settled=True)
        return given.total, json.loads(out)["instants"], identity


async def die_and_finish(
    nurse: Nursery, server: Server, diary: Diary, profile: Path, instants: Sequence[int | str], *, power: bool
) -> int:
    """Lives that end at those instants, then one that may finish; how many deaths there were."""
    copy = profile.with_name(profile.name + ".synced") if power else None
    deaths = 0
    for at in instants:
        code, _ = await nurse.life(server, profile, at, copy)
        deaths += code != 0
        if code == 0:
            break  # it was done before that instant came
        if copy is not None and (synced := last_copy(copy)).exists():
            shutil.rmtree(profile)
            shutil.copytree(synced, profile)
        await diary.check(profile)
    code, out = await nurse.life(server, profile)
    assert code == 0
    assert json.loads(out)["skipped"] == []
    assert not await differences(server.store, Settings(profile=profile))
    await diary.check(profile, settled=True)
    left = {path.name for path in profile.iterdir()}
    assert left <= {"cache.db", "kerio-resync.lock", "kerio-resync.holder"}, left
    return deaths


def last_copy(copy: Path) -> Path:
    """The copy, or, if death came while a new one took its place, that one."""
    new, old = (copy.with_name(copy.name + word) for word in (".new", ".old"))
    return new if old.exists() and not copy.exists() else copy


def broken(total: int, commits: int, seed: int) -> list[int | str]:
    """Breaks a run of `total` instants at CHAIN random places, one within a commit.

    Returns how many instants each life has.
    """
    rng = random.Random(seed)
    places = sorted(rng.sample(range(1, total), CHAIN))
    lives: list[int | str] = [there - here for here, there in pairwise([0, *places])]
    lives[rng.randrange(CHAIN)] = f"commit begins:{rng.randint(1, commits // 3)}+{rng.uniform(0.05, 3):.2f}"
    return lives


@pytest.mark.timeout(200 if CRASHES <= 25 else 24 * 3600)
async def test_death_at_any_instant_costs_nothing_but_what_was_in_flight(tmp_path: Path) -> None:
    began, tally = time.monotonic(), Tally()
    async with nursery(tmp_path) as nurse:
        base, tally.instants, identity = await undisturbed(nurse, tmp_path)
        total, commits = sum(tally.instants.values()), tally.instants["commit begins"]
        assert total > 100
        fixed: list[Sequence[int | str]] = [REPLAY, RENAMES] if CRASHES < 30 else [REPLAY, RENAMES, RENAMES, REPLAY]
        chains = [*fixed, *(broken(total, commits, seed) for seed in range(CRASHES // CHAIN - len(fixed)))]
        for number, chain in enumerate(chains):
            async with new_server() as server:
                profile, given, diary = tmp_path / str(number), Given(server), Diary(server)
                await diary.begin(profile, identity)
                deaths = await die_and_finish(nurse, server, diary, profile, chain, power=number % 2 == 1)
                tally.deaths += deaths
                tally.ratios.append(given.total / base)
                assert given.total <= 1.05 * base + deaths * IN_FLIGHT * given.largest
                shutil.rmtree(profile)
    assert tally.deaths >= CRASHES * 4 // 5
    print(
        f"\n{tally.deaths} deaths at {total} kinds of instants {tally.instants} in {time.monotonic() - began:,.0f} s;"
        f" fetched {min(tally.ratios):.2f} to {max(tally.ratios):.2f} of an undisturbed run; differences: 0;"
        " local changes lost or made twice: 0"
    )
