"""Changes made offline against servers as they really are: one address for uploads, Message-IDs kept or assigned."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerio_mockserver.conditions.model import Quirks
from kerio_mockserver.messages import Reply, Request
from kerio_resync.cache.mutations import LocalFile
from kerio_resync.errors import ResyncError
from kerio_resync.model import Kind
from simulation.world import World
from tests.support import offline_changes as offline
from tests.support.cases import EXAMPLES, covering
from tests.support.offline_changes import Meddler

UPLOAD = "/webmail/api/jsonrpc/attachment-upload/"
MESSAGE_IDS = ("kept", "assigned")
MODES = pytest.mark.parametrize("message_id", MESSAGE_IDS)
PLAN = LocalFile("plán (1).pdf", "application/pdf", bytes(range(256)) * 300, "cid-1")
NOTE = LocalFile("a.txt", "text/plain", b"hello\r\n")
PHOTO = LocalFile("me.jpg", "image/jpeg", b"\xff\xd8\xff" + bytes(5000))


def world_with(profile: Path, message_id: str) -> World:
    world = offline.small_world(profile)
    quirks = Quirks.model_validate({"message_id": message_id})
    world.server.change(world.server.conditions.model_copy(update={"quirks": quirks}))
    return world


def digests(*files: LocalFile) -> list[str]:
    return [hashlib.sha256(each.data).hexdigest() for each in files]


def states(world: World) -> Counter[str]:
    return Counter(each.state for each in offline.outbox(world).values())


@pytest.mark.parametrize(
    ("happening", "message_id"), covering(["", "lost", "unheard", "died", "died unheard"], MESSAGE_IDS, 1)
)
def test_drafts_with_files_and_a_photo_arrive_once(tmp_path: Path, message_id: str, happening: str) -> None:
    world = world_with(tmp_path / "profile", message_id)
    drafts, people = offline.folder_of(world, "mail"), offline.folder_of(world, "contact")
    assert world.run() == "done"
    struct = offline.struct_of("mail", "New")
    offline.add(world, "create", "mail", folder_id=drafts, struct=struct, files=(PLAN, NOTE))
    offline.add(world, "create", "mail", folder_id=drafts, struct=struct, files=(NOTE,))
    offline.add(world, "create", "contact", folder_id=people, struct={"commonName": "New"}, files=(PHOTO,))
    meddler = Meddler(world)
    for method in ("Mails.create", "Mails.create", "Contacts.create") if happening else ():
        meddler.plan[method] = happening
        ending = world.run()
        assert ending == ("killed" if happening.startswith("died") else "done")
    assert world.run() == "done"
    mails = sorted(offline.contents(world, each) for each in offline.titled(world, "mail", "New"))
    assert mails == sorted(
        [list(zip((PLAN.name, NOTE.name), digests(PLAN, NOTE), strict=True)), [(NOTE.name, digests(NOTE)[0])]]
    )
    (contact,) = offline.titled(world, "contact", "New")
    assert [digest for _, digest in offline.contents(world, contact)] == digests(PHOTO)
    assert set(states(world)) <= {"sent"}  # those of earlier runs are not kept
    assert world.differences() == []
    headers = {
        each["value"]
        for mail in offline.titled(world, "mail", "New")
        for each in world.store.item(mail)["headers"]
        if each["type"] == "mhMessageID"
    }
    assert all(each.endswith("outbox.kerio-resync.invalid>") for each in headers) == (message_id == "kept")


MEANWHILE = ("", "written on", "moved", "both", "moved twice")
RECOGNISED = [
    *(("mail", meanwhile, message_id) for meanwhile in (*MEANWHILE, "read") for message_id in MESSAGE_IDS),
    *((kind, meanwhile, "kept") for kind in ("contact", "event", "task") for meanwhile in MEANWHILE),
    *(("note", meanwhile, "kept") for meanwhile in ("", "moved", "moved twice")),  # of another text nothing is left
]


@pytest.mark.parametrize(("kind", "meanwhile", "message_id"), RECOGNISED)
def test_what_was_created_is_known_again_whatever_happened_to_it(
    tmp_path: Path, message_id: str, kind: Kind, meanwhile: str
) -> None:
    """The client died before it heard of it; another one had the item in hands."""
    world = world_with(tmp_path / "profile", message_id)
    home = offline.folder_of(world, kind)
    other = offline.new_folder(world, kind)
    assert world.run() == "done"
    before = len(offline.titled(world, kind, ""))
    offline.add(world, "create", kind, folder_id=home, struct=offline.struct_of(kind, "Mine"))
    meddler = Meddler(world)
    create = {"mail": "Mails", "contact": "Contacts", "event": "Events", "task": "Tasks", "note": "Notes"}[kind]
    meddler.plan[f"{create}.create"] = "died"
    assert world.run() == "killed"
    (there,) = offline.titled(world, kind, "Mine")
    if meanwhile in ("written on", "both"):
        world.store.set(kind, {"id": there, offline.TITLE[kind]: "Theirs"})
    if meanwhile in ("moved", "both", "moved twice"):
        there = world.store.move(there, other)[0]
    if meanwhile == "moved twice":
        world.store.move(there, home)
    if meanwhile == "read":
        world.store.set(kind, {"id": there, "isSeen": True})
    assert world.run() == "done"
    assert len(offline.titled(world, kind, "")) == before + 1
    assert states(world) == {"sent": 1}
    assert world.differences() == []


@MODES
def test_others_that_are_made_meanwhile_are_not_taken_for_ours(tmp_path: Path, message_id: str) -> None:
    """The request never arrived; somebody else began a draft, and wrote on it."""
    world = world_with(tmp_path / "profile", message_id)
    home = offline.folder_of(world, "mail")
    assert world.run() == "done"
    offline.add(world, "create", "mail", folder_id=home, struct=offline.struct_of("mail", "Mine"))
    meddler = Meddler(world)
    meddler.plan["Mails.create"] = "died unheard"
    assert world.run() == "killed"
    for number in range(2):
        other = {"subject": f"Theirs {number}", "displayableParts": [{"contentType": "ctTextPlain", "content": "Yo"}]}
        made, _ = world.store.create("mail", {**other, "folderId": home})
        world.store.set("mail", {"id": made, "subject": f"Theirs {number}, again"})
    assert world.run() == "done"
    assert len(offline.titled(world, "mail", "Mine")) == 1
    assert len(offline.titled(world, "mail", "Theirs")) == 2
    assert world.differences() == []


PAGE = {"Content-Type": "text/html"}
FOREIGN = {
    "page": Reply(200, PAGE, b"<html>Welcome</html>"),
    "redirect": Reply(302, {"Location": "/login"}),
    "forbidden": Reply(403, PAGE, b"<html>no</html>"),
    "not found": Reply(404, PAGE, b"<html>no</html>"),
    "not allowed": Reply(405, PAGE, b""),
    "portal": Reply(511, PAGE, b"<html>log in</html>"),
    "empty": Reply(200, {}, b""),
    "bare": Reply(200, {"Content-Type": "application/json"}, b'{"fileUpload": {"id": "x"}}'),
    "no id": Reply(200, {"Content-Type": "application/json"}, b'{"jsonrpc": "2.0", "result": {"fileUpload": {}}}'),
    "array": Reply(200, {"Content-Type": "application/json"}, b"[]"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_upload_answered_by_somebody_else_keeps_the_draft_pending(tmp_path: Path, kind: str) -> None:
    world = world_with(tmp_path / "profile", "kept")
    drafts = offline.folder_of(world, "mail")
    assert world.run() == "done"
    offline.add(world, "create", "mail", folder_id=drafts, struct=offline.struct_of("mail", "New"), files=(PLAN, NOTE))
    answer = world.server.handle
    uploads = 0

    async def meddling(request: Request) -> Reply:
        nonlocal uploads
        if request.path == UPLOAD:
            uploads += 1
            if uploads > 1:  # the first file is there already: an orphan, if the draft is given up
                return FOREIGN[kind]
        return await answer(request)

    world.server.handle = meddling  # type: ignore[method-assign]
    ending = world.run(retry_timeout=60)
    assert ending == "done" or isinstance(ending, ResyncError)
    assert states(world) == {"pending": 1}
    assert offline.titled(world, "mail", "New") == []
    world.server.handle = answer  # type: ignore[method-assign]
    assert world.run() == "done"
    (mail,) = offline.titled(world, "mail", "New")
    assert [digest for _, digest in offline.contents(world, mail)] == digests(PLAN, NOTE)
    assert states(world) == {"sent": 1}


def test_photo_that_the_server_refuses_is_named_and_kept(tmp_path: Path) -> None:
    world = world_with(tmp_path / "profile", "kept")
    people = offline.folder_of(world, "contact")
    assert world.run() == "done"
    png = LocalFile("me.png", "image/png", b"\x89PNG" + bytes(100))
    change = offline.add(world, "create", "contact", folder_id=people, struct={"commonName": "New"}, files=(png,))
    assert world.run() == "done"
    assert offline.titled(world, "contact", "New") == []
    held = offline.outbox(world)[change]
    assert held.state == "refused"
    assert "JPEG" in held.reason


def test_edit_of_a_whole_struct_does_not_move_a_mail_back(tmp_path: Path) -> None:
    """The struct was read before somebody moved the mail; it names the folder of then."""
    world = world_with(tmp_path / "profile", "kept")
    home, target = offline.folder_of(world, "mail"), offline.new_folder(world, "mail")
    item_id, watermark = world.store.create("mail", {**offline.struct_of("mail", "Old"), "folderId": home})
    assert world.run() == "done"
    more: dict[str, Any] = {"item_id": item_id, "folder_id": home, "version": str(watermark)}
    offline.add(world, "move", "mail", target_id=target, **more)
    struct = world.store.item(item_id)
    offline.add(world, "edit", "mail", struct={**struct, "subject": "New"}, **more)
    assert world.run() == "done"
    (there,) = offline.titled(world, "mail", "New")
    assert world.store.item(there)["folderId"] == target
    assert states(world) == {"sent": 2}


def test_completed_task_is_no_conflict_with_itself(tmp_path: Path) -> None:
    """The server sets what follows from the status; the client died before it heard."""
    world = world_with(tmp_path / "profile", "kept")
    home = offline.folder_of(world, "task")
    item_id, watermark = world.store.create("task", {**offline.struct_of("task", "Old"), "folderId": home})
    assert world.run() == "done"
    offline.add(
        world, "edit", "task", item_id=item_id, folder_id=home, version=str(watermark),
        struct={"status": "tsCompleted", "done": 40},
    )  # fmt: skip
    Meddler(world).plan["Tasks.set"] = "died"
    assert world.run() == "killed"
    assert world.run() == "done"
    assert states(world) == {"sent": 1}


HAPPENINGS = st.lists(
    st.tuples(st.sampled_from(["lost", "unheard", "died", "died unheard"]), st.integers(1, 60)), max_size=4
)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["mail", "contact", "note"]), st.integers(0, 1), st.booleans()), min_size=1, max_size=4
)


@given(message_id=st.sampled_from(["kept", "assigned"]), changes=CHANGES, happenings=HAPPENINGS)
@settings(max_examples=max(5, EXAMPLES // 5))
def test_no_creation_is_lost_or_doubled_whatever_fails_when(
    message_id: str, changes: list[tuple[Kind, int, bool]], happenings: list[tuple[str, int]]
) -> None:
    """Items alike among them; each run fails at some request, the last one does not."""
    with tempfile.TemporaryDirectory() as folder:
        world = world_with(Path(folder) / "profile", message_id)
        assert world.run() == "done"
        expected: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
        for kind, number, with_file in changes:
            title = f"Mine {number}"
            files = (PHOTO if kind == "contact" else NOTE,) if with_file and kind != "note" else ()
            home = offline.folder_of(world, kind)
            offline.add(world, "create", kind, folder_id=home, struct=offline.struct_of(kind, title), files=files)
            expected[kind, title, tuple(digests(*files))] += 1
        meddler = Meddler(world)
        for happening in happenings:
            meddler.deadly = happening
            world.run()
        meddler.deadly = None
        assert world.run() == "done"
        found = Counter(
            (kind, f"Mine {number}", tuple(digest for _, digest in offline.contents(world, each)))
            for kind in ("mail", "contact", "note")
            for number in range(2)
            for each in offline.titled(world, kind, f"Mine {number}")
        )
        assert found == expected
        assert set(states(world)) <= {"sent"}
        assert world.differences() == []
