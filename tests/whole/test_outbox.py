"""Changes made offline reach the server, each once, or stay in the outbox with a reason; none is lost or doubled."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kerio_mockserver.conditions.model import Action as ChurnAction
from kerio_mockserver.messages import Reply, Request
from kerio_resync.cache.mutations import Action, LocalChange, LocalFile
from kerio_resync.cache.outbox import Outbox
from kerio_resync.errors import Unreachable
from kerio_resync.events import Event, PhaseChanged
from kerio_resync.model import Kind
from simulation.world import World
from tests.support import offline_changes as offline
from tests.support.offline_changes import KINDS, TITLE, Diary, Meddler

SERVICE: dict[Kind, str] = {
    "mail": "Mails", "contact": "Contacts", "event": "Events", "task": "Tasks", "note": "Notes"
}  # fmt: skip
VERB: dict[Action, str] = {"create": "create", "edit": "set", "move": "move", "delete": "remove", "flags": "set"}
HAPPENINGS: tuple[str | int, ...] = ("lost", "unheard", "died", "died unheard", 1003, 4102, 1000)
CHURN: tuple[ChurnAction, ...] = (
    "arrive", "read", "flag", "move", "delete", "edit-draft", "contact", "event", "note"
)  # fmt: skip
ITEMS: list[tuple[Kind, Action]] = [(kind, action) for kind in KINDS for action in ("create", "edit", "move", "delete")]
FLAGS: list[tuple[Kind, Action]] = [("mail", "flags")]
STEP = 1 if "KERIO_SIMULATIONS" in os.environ else 4  # requests between two kills
STEP_OF_CASES = 1 if "KERIO_SIMULATIONS" in os.environ else 3  # each kind and each action; a run for each
CODES = (1004, 4102, -1003, 1000)  # tried by the soak
GROUPS = pytest.mark.parametrize("cases", [ITEMS, FLAGS], ids=["items", "flags"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return offline.small_world(tmp_path / "profile")


@dataclass
class Deed:
    """One change made offline of an item on the server (or of none, if it creates one)."""

    world: World
    kind: Kind
    action: Action
    item_id: str = ""
    target: str = ""
    version: str = ""
    uuid: str = ""

    def prepare(self) -> None:
        """What is on the server before the connection goes."""
        folder = offline.folder_of(self.world, self.kind)
        if self.action == "move":
            self.target = offline.new_folder(self.world, self.kind)
        if self.action != "create":
            struct = {**offline.struct_of(self.kind, self.old), "folderId": folder}
            self.item_id, watermark = self.world.store.create(self.kind, struct)
            self.version = str(watermark)

    def do(self) -> None:
        self.uuid = offline.add(
            self.world, self.action, self.kind, item_id=self.item_id, version=self.version,
            folder_id=offline.folder_of(self.world, self.kind), target_id=self.target, struct=self.struct,
        )  # fmt: skip

    @property
    def old(self) -> str:
        return f"Old {self.action}"

    @property
    def new(self) -> str:
        return f"New {self.action}"

    @property
    def struct(self) -> dict[str, Any]:
        match self.action:
            case "create":
                return offline.struct_of(self.kind, self.new)
            case "edit":
                return {TITLE[self.kind]: self.new}
            case "flags":
                return {"flagged": True}
        return {}

    @property
    def method(self) -> str:
        return f"{SERVICE[self.kind]}.{VERB[self.action]}"

    def on_server(self) -> tuple[list[str], list[str]]:
        return tuple(offline.titled(self.world, self.kind, title) for title in (self.old, self.new))  # type: ignore[return-value]

    def done(self) -> bool:
        """Whether the server has it, once."""
        old, new = self.on_server()
        match self.action:
            case "create":
                return len(new) == 1
            case "edit":
                return (old, new) == ([], [self.item_id])
            case "move":
                return [self.world.store.item(each)["folderId"] for each in old] == [self.target]
            case "delete":
                return not old
        return bool(self.world.store.item(self.item_id)["isFlagged"])

    def untouched(self) -> bool:
        """Whether the server has what it had."""
        flagged = self.action == "flags" and self.world.store.item(self.item_id)["isFlagged"]
        return self.on_server() == ([self.item_id] if self.item_id else [], []) and not flagged


class Scene:
    """Changes made offline, and a meddler in the connection when it is back."""

    def __init__(self, world: World, cases: list[tuple[Kind, Action]]) -> None:
        self.world = world
        self.deeds = [Deed(world, kind, action) for kind, action in cases]
        for each in self.deeds:
            each.prepare()
        assert world.run() == "done"
        for each in self.deeds:
            each.do()
        self.meddler = Meddler(world)

    def plan(self, happening: str | int) -> None:
        self.meddler.plan = {each.method: happening for each in self.deeds}

    def states(self) -> set[str]:
        """Of the changes that are still kept."""
        held = offline.outbox(self.world)
        return {held[each.uuid].state for each in self.deeds if each.uuid in held}

    def run(self) -> tuple[int, int, int, int, bool]:
        """Runs the client to its end: sent, pending, refused, conflicts, unfinished. The cache equals the server."""
        assert self.world.run() == "done"
        assert self.world.differences() == []
        report = self.world.report
        assert report is not None
        return (
            report.outbox_sent, report.outbox_pending, report.outbox_refused, report.conflicts, report.unfinished
        )  # fmt: skip


# What happens to the call of each change, and how often it is made: creations and moves, then all other changes, which
# are repeated at once because that does no harm.
OUTCOMES = {
    "executed": ("", 1, 1),
    "reply lost": ("lost", 1, 2),
    "request lost": ("unheard", 2, 2),
    "killed after execution": ("died", 1, 1),
    "killed before execution": ("died unheard", 2, 2),
}


@pytest.mark.parametrize(("happening", "calls", "idempotent_calls"), OUTCOMES.values(), ids=OUTCOMES)
@GROUPS
def test_each_change_is_executed_once_whatever_happens_to_its_call(
    world: World, cases: list[tuple[Kind, Action]], happening: str, calls: int, idempotent_calls: int
) -> None:
    is_killed = happening.startswith("died")
    scene = Scene(world, cases[::STEP_OF_CASES] if is_killed else cases)
    assert all(deed.untouched() for deed in scene.deeds)
    if happening:
        scene.plan(happening)
    for deed in scene.deeds if is_killed else ():
        assert world.run() == "killed"
        assert offline.outbox(world)[deed.uuid].state == "sending"
        assert deed.done() == (happening == "died")
    assert scene.run() == (1 if is_killed else len(scene.deeds), 0, 0, 0, False)
    assert [deed for deed in scene.deeds if not deed.done()] == []
    assert scene.states() == {"sent"}
    made = scene.meddler.made()
    for deed in scene.deeds:
        assert made.count(deed.method) == (calls if deed.action in ("create", "move") else idempotent_calls)
    assert list(dict.fromkeys(made)) == [deed.method for deed in scene.deeds]  # in the order of the changes
    assert scene.run() == (0, 0, 0, 0, False)
    assert scene.meddler.made() == made


@pytest.mark.parametrize("meanwhile", ["written on", "moved", "both"])
def test_created_mail_is_found_after_edit_and_move(world: World, meanwhile: str) -> None:
    """The client died before it heard of it; then the mail was given another subject, or put elsewhere."""
    scene = Scene(world, [("mail", "create")])
    scene.plan("died")
    assert world.run() == "killed"
    (there,) = scene.deeds[0].on_server()[1]
    if meanwhile != "moved":
        world.store.set("mail", {"id": there, "subject": "Theirs now"})
    if meanwhile != "written on":
        world.store.move(there, offline.new_folder(world, "mail"))
    assert scene.run() == (1, 0, 0, 0, False)
    assert scene.meddler.made() == ["Mails.create"]
    assert scene.states() == {"sent"}
    assert len(offline.titled(world, "mail", "Theirs now" if meanwhile != "moved" else scene.deeds[0].new)) == 1


@pytest.mark.parametrize("change", ["newer", "gone"])
@GROUPS
def test_conflict_keeps_item_of_server(world: World, cases: list[tuple[Kind, Action]], change: str) -> None:
    scene = Scene(world, [each for each in cases if each[1] != "create"])
    for each in scene.deeds:
        if change == "gone":
            world.store.remove(each.item_id)
        else:
            world.store.set(each.kind, {"id": each.item_id, TITLE[each.kind]: f"{each.old}, theirs"})
    peaceful = [each for each in scene.deeds if (change, each.action) in (("newer", "move"), ("gone", "delete"))]
    quarrels = [each for each in scene.deeds if each not in peaceful]
    assert scene.run() == (len(peaceful), 0, 0, len(quarrels), False)
    assert [each for each in peaceful if not each.done()] == []
    made = [each.method for each in peaceful if change == "newer"]
    assert scene.meddler.made() == made
    for _ in range(2):
        held, notes = offline.outbox(world), offline.local_notes(world)
        assert notes.keys() == {each.uuid for each in quarrels}
        for each in quarrels:
            assert each.on_server() == ([each.item_id] if change == "newer" else [], [])
            expect_conflict(each, held[each.uuid], notes[each.uuid])
        assert scene.run() == (0, 0, 0, 0, False)  # they stay, and are not tried again
        assert scene.meddler.made() == made


def expect_conflict(deed: Deed, change: LocalChange, note: str) -> None:
    """The note names both items; the local one is what the change wanted it to be."""
    assert (change.state, change.reason) == ("conflict", note)
    for part in (deed.item_id, f"local:{deed.uuid}", f"version {deed.version}", change.made):
        assert part in note
    mine = offline.cached(deed.world, f"local:{deed.uuid}")
    assert mine is not None
    assert (mine.kind, mine.folder_id) == (deed.kind, "local:conflicts")
    if deed.action == "edit":
        assert mine.title == deed.new
    if deed.action == "flags":
        assert mine.flagged


@pytest.mark.parametrize("change", ["theirs", "ours"])
def test_edit_that_server_has_already_is_no_conflict(world: World, change: str) -> None:
    scene = Scene(world, [("event", "edit")])
    (deed,) = scene.deeds
    if change == "theirs":
        world.store.set("event", {"id": deed.item_id, "summary": deed.new})
    else:
        scene.plan("died")
        assert world.run() == "killed"
    world.store.set("event", {"id": deed.item_id, "location": "There"})
    calls = len(scene.meddler.made())
    assert scene.run() == (1, 0, 0, 0, False)
    assert len(scene.meddler.made()) == calls
    assert world.store.item(deed.item_id)["location"] == "There"


@pytest.mark.parametrize("code", [1003, -32602, 4104, *(pytest.param(code, marks=pytest.mark.soak) for code in CODES)])
@GROUPS
def test_refused_change_stays_with_reason(world: World, cases: list[tuple[Kind, Action]], code: int) -> None:
    if code == 4104:  # no such folder: then what is in it is deleted
        cases = [each for each in cases if each[1] != "delete"]
    scene = Scene(world, cases)
    scene.plan(code)
    assert scene.run() == (0, 0, len(cases), 0, False)
    held, report = offline.outbox(world), world.report
    assert report is not None
    for each in scene.deeds:
        assert each.untouched()
        reason = held[each.uuid].reason
        assert (held[each.uuid].state, reason) == ("refused", f"{'Not so' if code < 0 else 'Not now'}. (code {code})")
        assert any(each.uuid in line and reason in line for line in report.problems)
    if abs(code) in (1003, 1004, 4102):  # an administrator may have changed that meanwhile
        assert scene.run() == (len(cases), 0, 0, 0, False)
        assert [each for each in scene.deeds if not each.done()] == []
    else:
        assert scene.run() == (0, 0, len(cases), 0, False)
        assert [each for each in scene.deeds if not each.untouched()] == []


# what builds on what


def test_later_changes_follow_earlier_ones(world: World) -> None:
    """Created, edited twice, moved, edited again and flagged, all offline; of an item on the server the same."""
    home, target = offline.folder_of(world, "mail"), offline.new_folder(world, "mail")
    item_id, watermark = world.store.create("mail", {**offline.struct_of("mail", "Old"), "folderId": home})
    assert world.run() == "done"
    made = offline.add(world, "create", "mail", folder_id=home, struct=offline.struct_of("mail", "Draft"))
    for name, version in ((f"local:{made}", ""), (item_id, str(watermark))):
        more: dict[str, Any] = {"item_id": name, "folder_id": home, "version": version}
        offline.add(world, "edit", "mail", struct={"subject": "Second"}, **more)
        offline.add(world, "edit", "mail", struct={"priority": "High"}, **more)
        offline.add(world, "move", "mail", target_id=target, **more)
        offline.add(world, "edit", "mail", struct={"subject": "Third"}, **more)
        offline.add(world, "flags", "mail", struct={"flagged": True}, **more)
    meddler = Meddler(world)
    deaths = 0
    for method in ("Mails.create", "Mails.set", "Mails.set", "Mails.move", "Mails.set", "Mails.create", "Mails.set"):
        meddler.plan[method] = "died"
        deaths += world.run() == "killed"
    meddler.plan.clear()
    assert deaths >= 5
    assert world.run() == "done"
    assert world.report is not None
    assert (world.report.outbox_pending, world.report.outbox_refused, world.report.conflicts) == (0, 0, 0)
    found = offline.titled(world, "mail", "Third")
    assert len(found) == 2
    for each in map(world.store.item, found):
        assert (each["folderId"], each["priority"], each["isFlagged"]) == (target, "High", True)
    assert meddler.made("create", "move") == ["Mails.create", "Mails.move", "Mails.move"]
    assert world.differences() == []


def test_change_of_refused_creation_is_sent_with_it(world: World) -> None:
    home = offline.folder_of(world, "note")
    assert world.run() == "done"
    made = offline.add(world, "create", "note", folder_id=home, struct={"text": "One"})
    offline.add(world, "edit", "note", item_id=f"local:{made}", folder_id=home, struct={"text": "Two"})
    other = offline.add(world, "create", "note", folder_id=home, struct={"text": "Three"})
    world.store.quota_items = 1
    assert world.run() == "done"
    assert world.report is not None
    assert (world.report.outbox_sent, world.report.outbox_refused) == (0, 3)
    assert [each.state for each in offline.outbox(world).values()] == ["refused"] * 3
    world.store.quota_items = 0
    assert world.run() == "done"
    assert [len(offline.titled(world, "note", text)) for text in ("One", "Two", "Three")] == [0, 1, 1]
    assert offline.outbox(world)[other].state == "sent"
    assert world.differences() == []


def test_change_of_withdrawn_creation_is_refused(world: World) -> None:
    assert world.run() == "done"
    withdrawn = offline.add(world, "create", "note", folder_id=offline.folder_of(world, "note"), struct={"text": "A"})
    offline.open_cache(world, lambda store: Outbox(store).mark_withdrawn(withdrawn))
    orphan = offline.add(world, "edit", "note", item_id=f"local:{withdrawn}", struct={"text": "B"})
    odd = offline.add(world, "edit", "note", item_id=f"local:{orphan}", struct={"text": "C"})
    assert world.run() == "done"
    held = offline.outbox(world)
    assert {held[each].state for each in (orphan, odd)} == {"refused"}
    assert offline.titled(world, "note", "A") == []


def test_move_takes_newer_version_but_later_edit_conflicts(world: World) -> None:
    target, home = offline.new_folder(world, "task"), offline.folder_of(world, "task")
    item_id, watermark = world.store.create("task", {**offline.struct_of("task", "Old"), "folderId": home})
    assert world.run() == "done"
    more: dict[str, Any] = {"item_id": item_id, "folder_id": home, "version": str(watermark)}
    offline.add(world, "move", "task", target_id=target, **more)
    edit = offline.add(world, "edit", "task", struct={"summary": "Mine"}, **more)
    world.store.set("task", {"id": item_id, "summary": "Theirs"})
    meddler = Meddler(world)
    meddler.plan["Tasks.move"] = "died"
    assert world.run() == "killed"
    assert world.run() == "done"
    (there,) = offline.titled(world, "task", "Theirs")
    assert world.store.item(there)["folderId"] == target
    assert offline.outbox(world)[edit].state == "conflict"


# what is alike


@pytest.mark.parametrize("kind", KINDS)
def test_identical_creations_are_sent_once_each(world: World, kind: Kind) -> None:
    """One such item is there, two were made offline, and another person makes one meanwhile: four in the end."""
    home = offline.folder_of(world, kind)
    struct = offline.struct_of(kind, "Same")
    world.store.create(kind, {**struct, "folderId": home})
    assert world.run() == "done"
    for _ in range(2):
        offline.add(world, "create", kind, folder_id=home, struct=struct)
    world.store.create(kind, {**struct, "folderId": home})
    meddler = Meddler(world)
    for happening in ("died unheard", "died", "died unheard", "died"):
        meddler.plan[f"{SERVICE[kind]}.create"] = happening
        assert world.run() == "killed"
    assert world.run() == "done"
    assert len(offline.titled(world, kind, "Same")) == 4
    assert world.differences() == []


def test_creation_is_sent_once_if_server_assigns_message_ids(world: World) -> None:
    home = offline.folder_of(world, "mail")
    assert world.run() == "done"
    for _ in range(2):
        offline.add(world, "create", "mail", folder_id=home, struct=offline.struct_of("mail", "Same"))
    create = world.store.create
    world.store.create = lambda kind, struct: create(kind, {**struct, "headers": []})  # type: ignore[method-assign]
    meddler = Meddler(world)
    for happening in ("died", "died"):
        meddler.plan["Mails.create"] = happening
        assert world.run() == "killed"
    assert world.run() == "done"
    assert len(offline.titled(world, "mail", "Same")) == 2


# files

PLAN = LocalFile("plan ü.pdf", "application/pdf", bytes(range(256)) * 1500, "cid-1")
PHOTO = LocalFile("me.jpg", "image/jpeg", b"\xff\xd8" + bytes(5000))


def digests(*files: LocalFile) -> list[str]:
    return [hashlib.sha256(each.data).hexdigest() for each in files]


@pytest.mark.parametrize("happening", ["", "lost", "unheard", "died", "died unheard"])
def test_files_are_sent_with_their_change(world: World, happening: str) -> None:
    """A draft with two files; a file more for a mail that has one; a photo for a contact, new and changed."""
    drafts, people = offline.folder_of(world, "mail"), offline.folder_of(world, "contact")
    there = world.store.upload("there.txt", "text/plain", b"there")
    mail, seen = world.store.create(
        "mail", {**offline.struct_of("mail", "Old"), "folderId": drafts, "attachments": [{"id": there}]}
    )
    first = world.store.upload("first.jpg", "image/jpeg", b"first")
    contact, met = world.store.create("contact", {"commonName": "Old", "folderId": people, "photo": {"id": first}})
    assert world.run() == "done"
    offline.add(world, "create", "mail", folder_id=drafts, struct=offline.struct_of("mail", "New"), files=(PLAN, PHOTO))
    offline.add(world, "edit", "mail", item_id=mail, folder_id=drafts, version=str(seen), files=(PLAN,))
    offline.add(world, "create", "contact", folder_id=people, struct={"commonName": "New"}, files=(PHOTO,))
    offline.add(world, "edit", "contact", item_id=contact, folder_id=people, version=str(met), files=(PHOTO,))
    if happening:
        meddler = Meddler(world)
        meddler.plan = {f"{each}.{verb}": happening for each in ("Mails", "Contacts") for verb in ("create", "set")}
    while world.run() == "killed":
        assert happening.startswith("died")
    (new_mail,), (new_contact,) = offline.titled(world, "mail", "New"), offline.titled(world, "contact", "New")
    assert [each[1] for each in offline.contents(world, new_mail)] == digests(PLAN, PHOTO)
    assert [each[0] for each in offline.contents(world, new_mail)] == [PLAN.name, PHOTO.name]
    assert [each[0] for each in offline.contents(world, mail)] == ["there.txt", PLAN.name]
    assert offline.contents(world, mail)[1][1] == digests(PLAN)[0]
    for each in (new_contact, contact):
        assert [digest for _, digest in offline.contents(world, each)] == digests(PHOTO)
    assert world.differences() == []  # which compares the contents in the cache too
    assert {each.state for each in offline.outbox(world).values()} == {"sent"}


def test_conflict_keeps_files(world: World) -> None:
    drafts = offline.folder_of(world, "mail")
    mail, seen = world.store.create("mail", {**offline.struct_of("mail", "Old"), "folderId": drafts})
    assert world.run() == "done"
    lost = offline.add(world, "edit", "mail", item_id=mail, folder_id=drafts, version=str(seen), files=(PLAN, PHOTO))
    world.store.set("mail", {"id": mail, "subject": "Theirs"})
    for _ in range(2):
        assert world.run() == "done"
        mine = offline.cached(world, f"local:{lost}")
        assert mine is not None
        assert [(each.name, each.size) for each in mine.attachments] == [
            (each.name, len(each.data)) for each in (PLAN, PHOTO)
        ]
    assert offline.contents(world, mail) == []


# trouble


def test_unreachable_server_leaves_rest_pending(world: World) -> None:
    home = offline.folder_of(world, "note")
    assert world.run() == "done"
    names = [offline.add(world, "create", "note", folder_id=home, struct={"text": f"Number {text}"}) for text in "123"]
    meddler = Meddler(world)
    answer, down = world.server.handle, False

    async def sometimes(request: Request) -> Reply:
        nonlocal down
        down = down or len(meddler.made()) == 1
        if down:
            raise Unreachable("no server answers")
        return await answer(request)

    world.server.handle = sometimes  # type: ignore[method-assign]
    assert world.run(retry_timeout=20) == "done"  # the rebuild is; what is in the outbox isn't
    assert world.report is not None
    assert (world.report.outbox_sent, world.report.outbox_pending, world.report.unfinished) == (1, 2, True)
    assert [offline.outbox(world)[each].state for each in names] == ["sent", "pending", "pending"]
    assert any("no server answers" in each for each in world.report.problems)
    world.server.handle = answer  # type: ignore[method-assign]
    assert world.run() == "done"
    assert [len(offline.titled(world, "note", f"Number {text}")) for text in "123"] == [1, 1, 1]
    assert world.differences() == []


@pytest.mark.parametrize("kind", ["note", "mail"])
def test_internal_error_of_one_change_does_not_stop_others(world: World, kind: Kind) -> None:
    """An internal error each time, and the change is not found on the server. Dependent changes wait."""
    home = offline.folder_of(world, kind)
    assert world.run() == "done"
    bad = offline.add(world, "create", kind, folder_id=home, struct=offline.struct_of(kind, "Bad"))
    after = offline.add(world, "edit", kind, item_id=f"local:{bad}", struct={TITLE[kind]: "Worse"})
    good = offline.add(world, "create", kind, folder_id=home, struct=offline.struct_of(kind, "Good"))
    create = world.store.create

    def stumble(what: Any, struct: Any) -> tuple[str, int]:
        if struct.get(TITLE[kind], "").startswith("Bad"):
            raise RuntimeError("a bug of the server")
        return create(what, struct)

    world.store.create = stumble  # type: ignore[assignment, method-assign]
    assert world.run() == "done"
    assert world.report is not None
    assert (world.report.outbox_sent, world.report.outbox_pending, world.report.unfinished) == (1, 2, True)
    held = offline.outbox(world)
    assert [held[each].state for each in (bad, after, good)] == ["sending", "pending", "sent"]
    world.store.create = create  # type: ignore[method-assign]
    assert world.run() == "done"
    assert [len(offline.titled(world, kind, title)) for title in ("Bad", "Worse", "Good")] == [0, 1, 1]
    assert world.differences() == []


def dies_in_replay(world: World, meddler: Meddler, happening: str, nth: int) -> bool:
    """Whether the client got to the `nth` request of its replay; then it died there."""
    meddler.deadly = None

    def listen(event: Event) -> None:
        if isinstance(event, PhaseChanged):
            meddler.deadly = (happening, nth) if event.phase == "replay" else None

    return world.run(listen) == "killed"


def test_client_killed_at_every_request_loses_nothing(world: World) -> None:
    """Nothing is lost or sent twice if the client dies at a request, before or after the server has executed it.

    By default one of the two is tried at every second request; the soak tries both at each.
    """
    home, target = offline.folder_of(world, "note"), offline.new_folder(world, "note")
    drafts = offline.folder_of(world, "mail")
    meddler = Meddler(world)
    assert world.run() == "done"
    rounds = 0
    for start, happening in enumerate(("died", "died unheard"), 1):
        for nth in range(start, 100, STEP):
            rounds += 1
            new, edited = f"New {rounds}.", f"Edited {rounds}."
            note, seen = world.store.create("note", {"folderId": home, "text": f"Old {rounds}."})
            more: dict[str, Any] = {"item_id": note, "folder_id": home, "version": str(seen)}
            names = {
                offline.add(world, "create", "mail", folder_id=drafts, struct={"subject": new}, files=(PHOTO,)),
                offline.add(world, "move", "note", target_id=target, **more),
                offline.add(world, "edit", "note", struct={"text": edited}, **more),
            }
            died = dies_in_replay(world, meddler, happening, nth)
            held = offline.outbox(world)
            assert names <= held.keys()
            assert {held[each].state for each in names} <= {"sent", "pending", "sending"}
            assert world.run() == "done"
            assert world.report is not None
            assert (world.report.outbox_pending, world.report.conflicts, world.report.outbox_refused) == (0, 0, 0)
            (mail,) = offline.titled(world, "mail", new)
            assert [digest for _, digest in offline.contents(world, mail)] == digests(PHOTO)
            (note,) = offline.titled(world, "note", edited)
            assert world.store.item(note)["folderId"] == target
            assert offline.titled(world, "note", f"Old {rounds}.") == []
            if not died:
                break
    assert rounds >= 16 // STEP
    assert world.differences() == []


# all at once


def muddle(profile: Path, seed: int) -> Counter[str]:
    """Makes random changes until all are settled; returns how they ended, counted.

    Meanwhile others change the mailbox, replies get lost, calls are refused, and the client dies.
    """
    rng = random.Random(seed)
    world = offline.small_world(profile)
    diary, meddler = Diary(world), Meddler(world)
    assert world.run() == "done"
    for _ in range(rng.randint(1, 4)):
        for _ in range(rng.randint(1, 5)):
            kind = rng.choice(KINDS)
            action = rng.choice([action for each, action in ITEMS + FLAGS if each == kind])
            diary.act(kind, action, rng.randrange(40))
        for _ in range(rng.randint(0, 3)):
            happening = rng.choice(HAPPENINGS)
            meddler.plan[rng.choice([deed_of(*case) for case in ITEMS])] = happening
        meddler.deadly = (rng.choice(["died", "died unheard", "unheard"]), rng.randint(1, 90))
        if rng.random() < 0.5:
            meddler.deadly = (meddler.deadly[0], rng.randint(30, 60))
        for _ in range(rng.randint(0, 6)):
            world.at.setdefault(rng.randint(1, 70), []).append(partial(world.mutate, rng.choice(CHURN)))
        assert world.run() in ("done", "killed")
        diary.check()
    world.heal()
    meddler.plan.clear()
    meddler.deadly = None
    assert world.run() == "done"
    assert world.differences() == []
    diary.check(settled=True)
    held = offline.outbox(world)
    return Counter(held[each].state if each in held else "sent" for each in diary.done)


def deed_of(kind: Kind, action: Action) -> str:
    return f"{SERVICE[kind]}.{VERB[action]}"


@pytest.mark.parametrize("seed", range(int(os.environ.get("KERIO_SIMULATIONS", "40")) // 20))
def test_random_faults_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    assert muddle(tmp_path / "profile", seed).total() > 0


def test_sync_key_that_expires_during_replay_is_renewed(world: World) -> None:
    """What went meanwhile is noticed by comparing, though the comparison before the swap met it."""
    scene = Scene(world, [("note", "delete")])
    (task, *_) = offline.titled(world, "task", "")

    def listen(event: Event) -> None:
        if isinstance(event, PhaseChanged) and event.phase == "replay":
            world.store.remove(task)
            world.expire_keys()

    assert world.run(listen) == "done"
    assert [each for each in scene.deeds if not each.done()] == []
    assert world.differences() == []


def test_unreachable_server_after_replay_is_reported(world: World) -> None:
    scene = Scene(world, [("note", "create")])
    answer = world.server.handle

    async def until_sent(request: Request) -> Reply:
        if scene.meddler.made() and b"Changes.get" in request.body:
            raise Unreachable("no server answers")
        return await answer(request)

    world.server.handle = until_sent  # type: ignore[method-assign]
    assert world.run(retry_timeout=20) == "done"
    report = world.report
    assert report is not None
    assert (report.outbox_sent, report.outbox_pending, report.unfinished) == (1, 0, True)
    assert "no server answers" in report.problems[-1]
    world.server.handle = answer  # type: ignore[method-assign]
    assert scene.run() == (0, 0, 0, 0, False)
    assert scene.deeds[0].done()


def test_partial_rebuild_sends_changes(world: World) -> None:
    scene = Scene(world, ITEMS)
    assert world.run(folders=("Inbox",)) == "done"
    assert [each for each in scene.deeds if not each.done()] == []
    assert world.differences() == []


def test_item_deleted_between_look_and_call_is_conflict(world: World) -> None:
    """Looked at, it was there; asked for, it is gone: deleted by another person in between."""
    scene = Scene(world, [(kind, action) for kind, action in ITEMS + FLAGS if action not in ("create", "delete")])
    answer = world.server.handle
    left = {each.method: each for each in reversed(scene.deeds)}

    async def too_late(request: Request) -> Reply:
        method = json.loads(request.body)["method"] if request.path.endswith("/jsonrpc/") else ""
        if method in left:
            world.store.remove(left.pop(method).item_id)
        return await answer(request)

    world.server.handle = too_late  # type: ignore[method-assign]
    flagged = 1  # the second call of Mails.set finds its mail
    assert scene.run() == (flagged, 0, 0, len(scene.deeds) - flagged, False)
    assert offline.local_notes(world).keys() == {each.uuid for each in scene.deeds if each.action != "flags"}
