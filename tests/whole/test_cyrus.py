"""The rebuild from a real JMAP server, compared with what an IMAP client reads there.

Each test prints what it compared; `pytest -m cyrus -rP` shows it.
"""

from __future__ import annotations

import imaplib
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from benchmarks.rivals import imap_mailbox
from benchmarks.rivals.cyrus import PASSWORD, Cyrus, missing, running
from benchmarks.rivals.imap_mailbox import INBOX, Mail, attached_source, check, quoted, sample_mailbox
from kerio_resync.cache.mutations import LocalFile
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.store import Store
from tests.support import imap_reader
from tests.support.programs import Done, kerio_resync, start

pytestmark = pytest.mark.cyrus

T = TypeVar("T")
MAILS, ATTACHED = 146, 4
COPIES = 20


sample = cache(sample_mailbox)


class Scene:
    """A filled server, a connection to it by IMAP, and a profile."""

    def __init__(self, server: Cyrus, imap: imaplib.IMAP4, profile: Path) -> None:
        self.server, self.imap, self.profile = server, imap, profile

    def fill(self, mails: int = MAILS, attached: int = ATTACHED) -> None:
        """Fills the mailbox; some mails are in several folders, or several times in one."""
        made = sample(mails, attached)
        imap_mailbox.fill(self.imap, made)
        self.select(INBOX)
        check(self.imap.copy(f"1:{COPIES}", quoted("Work")))
        again = [mail for mail in made if mail.folder == INBOX][:3]
        for mail, flags in zip(again, ((r"\Seen",), (r"\Flagged", r"\Answered"), ()), strict=True):
            imap_mailbox.append(self.imap, INBOX, [mail._replace(flags=flags)])

    def select(self, folder: str) -> None:
        check(self.imap.select(quoted(folder)))

    async def run(self, command: str, *options: str, code: int = 0) -> Done:
        done = await kerio_resync("--profile", self.profile, command, *options, password=PASSWORD)
        assert done.code == code, done.err + done.out
        return done

    async def rebuild(self, *options: str, code: int = 0) -> dict[str, Any]:
        """The summary of a rebuild."""
        done = await self.run("rebuild", *self.arguments, "--json", *options, code=code)
        found: dict[str, Any] = done.events[-1]["summary"]
        return found

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("--protocol", "jmap", "--server", self.server.url, "--user", self.server.user)

    async def check(self, what: str) -> None:
        """The cache equals the server; prints how many mails were compared."""
        assert await imap_reader.differences(self.imap, self.profile) == []
        mails = imap_reader.by_imap(self.imap)
        print(
            f"{what}: {len(mails)} mails in {sum(len(mail.folders) for mail in mails.values())} places,"
            f" {sum(mail.size for mail in mails.values()) / 1e6:.1f} MB; differences: 0"
        )

    async def cached(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """What `work` returns with the cache open."""
        store = await Store.open(self.profile / "cache.db")
        try:
            return await work(store)
        finally:
            await store.close()

    def meddle(self, seed: int) -> Counter[str]:
        """Another client changes flags, moves, copies and expunges; how much of each."""
        rng, did = random.Random(seed), Counter[str]()
        folders = [name for name in imap_reader.folder_names(self.imap) if name not in ("Drafts", "Trash")]
        for folder in folders:
            self.select(folder)
            (uids,) = check(self.imap.uid("SEARCH", "ALL"))
            assert isinstance(uids, bytes)
            for uid in rng.sample(uids.split(), len(uids.split()) // 4):
                did[self._meddle_with(uid.decode(), folders, rng)] += 1
            check(self.imap.expunge())
        for number in range(5):
            source = b"Subject: arrived %d %d\r\n\r\ntext\r\n" % (seed, number)
            imap_mailbox.append(self.imap, rng.choice(folders), [Mail("", (), 1_800_000_000 + number, source)])
            did["arrived"] += 1
        return did

    def _meddle_with(self, uid: str, folders: list[str], rng: random.Random) -> str:
        target = quoted(rng.choice(folders))
        match rng.choice(("flag", "read", "unread", "answer", "move", "copy", "expunge")):
            case "flag":
                check(self.imap.uid("STORE", uid, "+FLAGS", r"(\Flagged)"))
                return "flags"
            case "read":
                check(self.imap.uid("STORE", uid, "+FLAGS", r"(\Seen)"))
                return "flags"
            case "unread":
                check(self.imap.uid("STORE", uid, "-FLAGS", r"(\Seen \Flagged)"))
                return "flags"
            case "answer":
                check(self.imap.uid("STORE", uid, "+FLAGS", r"(\Answered)"))
                return "flags"
            case "move":
                check(self.imap.uid("MOVE", uid, target))
                return "moved"
            case "copy":
                check(self.imap.uid("COPY", uid, target))
                return "copied"
        check(self.imap.uid("STORE", uid, "+FLAGS", r"(\Deleted)"))
        return "expunged"


@pytest.fixture(scope="module")
def server() -> Iterator[Cyrus]:
    if reason := missing():
        pytest.skip(reason)
    with running() as server:
        yield server


@pytest.fixture
def scene(server: Cyrus, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """The mailbox of a user who has no other test's mail."""
    server.user = f"user{request.session.items.index(request.node)}"
    server.add_user(server.user)
    with server.imap() as imap:
        yield Scene(server, imap, tmp_path / "profile")


async def test_rebuild_equals_what_imap_reads(scene: Scene) -> None:
    scene.fill()
    summary = await scene.rebuild()
    assert summary["skipped"] == []
    assert summary["items"]["mail"] == len(imap_reader.by_imap(scene.imap)) == MAILS + ATTACHED
    await scene.check("fresh rebuild")
    await scene.run("verify")
    await scene.run("verify", "--deep")


async def test_rebuild_finds_out_the_protocol(scene: Scene) -> None:
    scene.fill(20, 1)
    await scene.run("rebuild", "--server", scene.server.url, "--user", scene.server.user)
    await scene.check("protocol found out")
    await scene.run("rebuild")  # address, user and protocol are remembered
    await scene.check("protocol remembered")


async def test_rebuild_refuses_wrong_password(scene: Scene) -> None:
    done = await kerio_resync("--profile", scene.profile, "rebuild", *scene.arguments, password="wrong")
    assert done.code == 5
    assert "Traceback" not in done.err


async def test_second_rebuild_follows_another_client(scene: Scene) -> None:
    scene.fill()
    first = await scene.rebuild()
    for seed in (1, 2):
        did = scene.meddle(seed)
        assert min(did[what] for what in ("flags", "moved", "copied", "expunged", "arrived")) > 2
        second = await scene.rebuild()
        await scene.check(f"rebuild over an old cache after {dict(did)}")
        assert second["salvaged"] > 90
        assert second["plain_bytes"] < first["plain_bytes"] / 10  # what is known is not fetched again


async def test_second_rebuild_follows_renamed_and_deleted_folders(scene: Scene) -> None:
    scene.fill(80, 1)
    await scene.rebuild()
    check(scene.imap.rename(quoted("Work/Projects"), quoted("Lists/Výkazy & co")))
    check(scene.imap.delete(quoted("Lists/exmh")))  # Cyrus refuses to delete a folder with a special use
    check(scene.imap.create(quoted("Work/New")))
    scene.select(INBOX)
    check(scene.imap.copy("1:3", quoted("Work/New")))
    await scene.rebuild()
    await scene.check("rebuild over an old cache after a folder was renamed, deleted and created")
    with closing(sqlite3.connect(scene.profile / "cache.db")) as db:
        paths = {path for (path,) in db.execute("SELECT path FROM folder WHERE standing = 'server' AND kind = 'mail'")}
    assert paths == {"Inbox", *imap_reader.folder_names(scene.imap)} - {"INBOX"}


@pytest.mark.soak
async def test_partial_rebuild_brings_folder_up_to_date(scene: Scene) -> None:
    scene.fill()
    await scene.rebuild()
    did = scene.meddle(3)
    await scene.rebuild("--folder", "Inbox")
    theirs, ours = imap_reader.by_imap(scene.imap), await imap_reader.in_cache(scene.profile)
    there = {key: mail for key, mail in theirs.items() if "Inbox" in mail.folders}
    assert {key for key, mail in ours.items() if "Inbox" in mail.folders} == there.keys()
    assert [key for key, mail in there.items() if replace_folders(ours[key]) != replace_folders(mail)] == []
    print(f"--folder Inbox after {dict(did)}: {len(there)} mails; differences: 0")
    await scene.rebuild()
    await scene.check("rebuild after that")


def replace_folders(mail: imap_reader.Mail) -> tuple[bool, bool, bool, bool, int]:
    return mail.seen, mail.flagged, mail.answered, mail.draft, mail.size


async def killed(scene: Scene, moment: str) -> bool:
    """Whether a rebuild was killed when it reported a phase, or the part of the items that it has."""
    process = await start("--profile", scene.profile, "rebuild", *scene.arguments, "--json", password=PASSWORD)
    assert process.stdout is not None
    async for line in process.stdout:
        event = json.loads(line)
        is_there = event.get("phase") == moment
        if event["event"] == "progress" and moment.endswith("%"):
            is_there = event["items_done"] * 100 >= event["items_total"] * int(moment[:-1]) > 0
        if is_there and process.returncode is None:
            process.kill()
    assert await process.wait() in (0, -9)
    return process.returncode == -9


async def test_expired_key_leads_to_a_comparison_of_everything(scene: Scene) -> None:
    """The build that is resumed, and the cache that is verified, know a state that the server has forgotten."""
    scene.fill()
    assert await killed(scene, "40%")
    state = scene.server.call("Email/get", ids=[])[1]["state"]
    first = scene.meddle(4)
    scene.server.expire()
    assert scene.server.call("Email/changes", sinceState=state)[1]["type"] == "cannotCalculateChanges"
    await scene.rebuild()
    await scene.check(f"resumed with an expired key after {dict(first)}")
    second = scene.meddle(5)
    scene.server.expire()
    await scene.run("verify", code=9)
    await scene.run("verify", "--repair")
    await scene.check(f"verify --repair with an expired key after {dict(second)}")
    third = scene.meddle(6)
    scene.server.expire()
    await scene.rebuild("--folder", "Inbox", "--folder", "Work")
    await scene.rebuild()
    await scene.check(f"rebuild with an expired key after {dict(third)}")


@pytest.mark.soak
async def test_kills_of_a_fresh_build_lose_nothing(scene: Scene) -> None:
    scene.fill()
    kills = sum([await killed(scene, moment) for moment in ("session", "folders", "10%", "60%", "verify")])
    await scene.rebuild()
    await scene.check(f"a fresh build after {kills} kills")
    assert kills >= 3


async def test_kills_with_local_changes_lose_and_double_nothing(scene: Scene) -> None:
    """Another client changes flags between the kills."""
    scene.fill()
    await scene.rebuild()
    offline = Offline.of(scene)
    await offline.flag(5)
    await offline.create(3)
    await offline.move(3, "Archive & old")
    kills = 0
    for number, moment in enumerate(("rescue", "fetch", "verify", "swap", "replay", "replay"), 1):
        kills += await killed(scene, moment)
        scene.select("Lists/ilug")
        check(scene.imap.store(f"{number}", "+FLAGS", r"(\Flagged \Answered)"))
    summary = await scene.rebuild()
    assert (summary["outbox_pending"], summary["outbox_refused"], summary["conflicts"]) == (0, 0, 0)
    offline.check()
    await scene.check(f"after {kills} kills")
    assert kills >= 3


@pytest.mark.parametrize("later", [pytest.param(False, marks=pytest.mark.soak), True], ids=["idle", "later-changes"])
async def test_rebuild_after_server_was_restored_from_backup(scene: Scene, later: bool) -> None:
    """The server's state is older than that of the cache, or has passed it with other changes."""
    scene.fill(80, 1)
    server = scene.server
    server.stop()
    server.save("backup")
    server.start()
    with server.imap() as imap:
        scene.imap = imap
        lost = scene.meddle(7)
        await scene.rebuild()
    server.stop()
    server.restore("backup")
    server.start()
    with server.imap() as imap:
        scene.imap = imap
        for seed in (8, 9) if later else ():
            scene.meddle(seed)
        await scene.rebuild()
        await scene.check(f"a restored server that lost {dict(lost)}{', and has as many others' * later}")
        await scene.run("verify")


class Offline:
    """Changes made offline, and what they are to become."""

    def __init__(self, scene: Scene, items: list[tuple[str, str, str]], folders: dict[str, str]) -> None:
        self.scene, self._items, self._folders = scene, items, folders
        self.flagged: set[str] = set()
        self.moved: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.created: list[bytes] = []

    @classmethod
    def of(cls, scene: Scene) -> Offline:
        """Of mails that are in one folder, neither flagged nor drafts."""
        with closing(sqlite3.connect(scene.profile / "cache.db")) as db:
            items = db.execute(
                "SELECT item.id, max(folder.id), version FROM item JOIN placement ON item = item.number"
                " JOIN folder ON folder.number = folder WHERE NOT flagged AND NOT draft"
                " GROUP BY item.number HAVING count(*) = 1 ORDER BY item.id"
            ).fetchall()
            return cls(scene, items, dict(db.execute("SELECT path, id FROM folder")))

    async def _add(self, action: Any, **more: Any) -> None:
        await self.scene.cached(lambda store: Outbox(store).add(action, "mail", **more))

    def _next(self) -> dict[str, Any]:
        item, folder, version = self._items.pop()
        return {"item_id": item, "folder_id": folder, "version": version}

    async def flag(self, count: int) -> list[str]:
        made = []
        for _ in range(count):
            one = self._next()
            await self._add("flags", struct=json.dumps({"flagged": True}).encode(), **one)
            made.append(one["item_id"])
        self.flagged.update(made)
        return made

    async def move(self, count: int, target: str) -> None:
        for _ in range(count):
            one = self._next()
            await self._add("move", target_id=self._folders[target], **one)
            self.moved[one["item_id"]] = target

    async def delete(self, count: int) -> None:
        for _ in range(count):
            one = self._next()
            await self._add("delete", **one)
            self.deleted.add(one["item_id"])

    async def create(self, count: int) -> None:
        for _ in range(count):
            source = attached_source(100 + len(self.created))
            file = LocalFile("mail.eml", "message/rfc822", source)
            await self._add("create", folder_id=self._folders["Drafts"], files=[file])
            self.created.append(source)

    def check(self) -> None:
        """The server has each of them, once."""
        mails = {f"M{key[:24]}": mail for key, mail in imap_reader.by_imap(self.scene.imap).items()}
        assert [item for item in self.flagged if not mails[item].flagged] == []
        assert [item for item, target in self.moved.items() if mails[item].folders != {target}] == []
        assert self.deleted & mails.keys() == set()
        drafts = Counter(imap_reader.sources(self.scene.imap, "Drafts"))
        assert [drafts[source] for source in self.created] == [1] * len(self.created)


def meanwhile(imap: imaplib.IMAP4, items: list[str]) -> None:
    """Another client changes flags of the same mails: the same flag, others, several."""
    changes = (
        ("+FLAGS", r"(\Flagged)"), ("+FLAGS", r"(\Seen)"), ("-FLAGS", r"(\Seen)"), ("+FLAGS", r"(\Answered)"),
        ("+FLAGS", r"(\Flagged \Seen $Forwarded)"),
    )  # fmt: skip
    places = imap_reader.places(imap)
    for number, item in enumerate(items):
        folder, uid = places[item]
        check(imap.select(quoted(folder)))
        check(imap.uid("STORE", uid, *changes[number % len(changes)]))


async def test_flags_set_offline_and_by_others_are_no_conflict(scene: Scene) -> None:
    scene.fill()
    await scene.rebuild()
    offline = Offline.of(scene)
    items = await offline.flag(10)
    meanwhile(scene.imap, items)
    expected = imap_reader.by_imap(scene.imap)
    summary = await scene.rebuild()
    assert (summary["outbox_sent"], summary["conflicts"], summary["outbox_refused"]) == (10, 0, 0)
    offline.check()
    for key, mail in imap_reader.by_imap(scene.imap).items():
        was = expected[key]
        assert mail == (imap_reader.flagged(was) if f"M{key[:24]}" in items else was)
    await scene.check("10 flags set offline, and others by another client meanwhile")
    state = scene.server.call("Email/get", ids=[])[1]["state"]
    assert (await scene.rebuild())["outbox_sent"] == 0
    assert scene.server.call("Email/get", ids=[])[1]["state"] == state  # nothing was sent again


async def test_moves_deletions_and_creations_reach_the_server_once(scene: Scene) -> None:
    scene.fill()
    await scene.rebuild()
    before = imap_reader.by_imap(scene.imap)
    offline = Offline.of(scene)
    await offline.move(5, "Archive & old")
    await offline.delete(5)
    await offline.create(5)
    summary = await scene.rebuild()
    assert (summary["outbox_sent"], summary["conflicts"], summary["outbox_refused"]) == (15, 0, 0)
    offline.check()
    assert len(imap_reader.by_imap(scene.imap)) == len(before) - 5 + 5
    await scene.check("5 moves, 5 deletions and 5 creations made offline")
    assert (await scene.rebuild())["outbox_sent"] == 0
    offline.check()


async def test_conflicts_are_those_that_another_client_caused(scene: Scene) -> None:
    """Deleted there and flagged here is a conflict; moved there and flagged here is none."""
    scene.fill(80, 1)
    await scene.rebuild()
    offline = Offline.of(scene)
    items = await offline.flag(6)
    places = imap_reader.places(scene.imap)
    for item in items[:3]:
        scene.select(places[item][0])
        check(scene.imap.uid("STORE", places[item][1], "+FLAGS", r"(\Deleted)"))
        check(scene.imap.expunge())
    for item in items[3:]:
        scene.select(places[item][0])
        check(scene.imap.uid("MOVE", places[item][1], quoted("Archive & old")))
    summary = await scene.rebuild()
    assert (summary["outbox_sent"], summary["conflicts"], summary["outbox_refused"]) == (3, 3, 0)
    offline.flagged = set(items[3:])
    offline.check()
    await scene.check("6 flags set offline, of which 3 mails were deleted meanwhile: 3 conflicts")


async def test_shared_rebuild_adds_the_folders_that_another_user_shares(scene: Scene) -> None:
    scene.fill(10, 1)
    owner = f"owner-of-{scene.server.user}"
    scene.server.add_user(owner)
    with scene.server.imap(owner) as imap:
        check(imap.create("Private"))
        for folder, subject in ((INBOX, "shared"), ("Private", "private")):
            sources = [b"Subject: %s %d\r\n\r\ntext\r\n" % (subject.encode(), number) for number in range(3)]
            imap_mailbox.append(imap, folder, [Mail(folder, (), 1_800_000_000, source) for source in sources])
        check(imap.setacl(INBOX, scene.server.user, "lrs"))
        both = len(imap_reader.by_imap(scene.imap))  # IMAP shows shared folders, too
        assert (await scene.rebuild())["items"]["mail"] == both - 3
        assert (await scene.rebuild("--shared"))["items"]["mail"] == both
        assert shared_mails(scene, owner) == {f"shared {number}": False for number in range(3)}
        check(imap.select(INBOX))
        check(imap.store("1:2", "+FLAGS", r"(\Flagged)"))
        await scene.rebuild("--shared")
        assert sorted(shared_mails(scene, owner).values()) == [False, True, True]
        await scene.run("verify", "--deep")
    print("3 mails shared by another user, of which 2 were flagged later; differences: 0")


def shared_mails(scene: Scene, owner: str) -> dict[str, bool]:
    """The subjects of the mails in shared folders, with whether they are flagged."""
    with closing(sqlite3.connect(f"file:{scene.profile / 'cache.db'}?mode=ro", uri=True)) as db:
        found = db.execute(
            "SELECT title, flagged, owner FROM item JOIN placement ON placement.item = item.number"
            " JOIN folder ON folder.number = placement.folder WHERE place = 'shared'"
        ).fetchall()
    assert {row[2] for row in found} == {owner}
    return {title: bool(flagged) for title, flagged, _ in found}
