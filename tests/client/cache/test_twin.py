"""Any sequence of facts, against a twin made of dictionaries: what the cache tells must be what the twin holds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerio_resync.cache import queries
from kerio_resync.cache.compression import decompress
from kerio_resync.cache.integrity import check
from kerio_resync.cache.mutations import (
    ApplyChanges,
    DeleteItems,
    EnqueueItems,
    FinishAttachment,
    Mutation,
    OmitAttachment,
    PutAttachmentBytes,
    PutItems,
    PutPage,
    PutWholeAttachment,
    RestartAttachment,
    SetFolders,
    SkipEntry,
    UnskipEntry,
)
from kerio_resync.cache.write.folders import UNKNOWN_FOLDER_REASON
from kerio_resync.cache.write.items import read_item_row
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Attachment, Folder, Item, ItemPatch, ListedItem
from tests.support.cache import mail, open_tables, put
from tests.support.cases import EXAMPLES

FOLDERS = {each: Folder(each, "", each, "mail") for each in ("inbox", "work", "new")}
RANKS = {"inbox": 0, "work": 10}
FLAGS = ("seen", "flagged", "answered", "draft")
ids = st.sampled_from(["a", "a\0", "b"])
folder_ids = st.sampled_from(sorted(FOLDERS))
versions = st.sampled_from(["9", "10", "x"])
places = st.lists(folder_ids, min_size=1, max_size=3, unique=True).map(tuple)
rows = st.builds(
    ListedItem, ids, st.sampled_from(["9", "10", "x", ""]), st.sampled_from([0, 7, 8]),
    st.sampled_from([None, "2026-03-01", "2026-03-02"]), st.just(False), st.one_of(st.just(()), places),
)  # fmt: skip
CONTENT = b"aaaaaaaaaa" * 50
attached = st.lists(
    st.builds(
        lambda name, size, role, data, in_source: Attachment(
            f"id-{name}", "/u", name, "t", "", size, role, None if in_source else data, in_source
        ),
        st.sampled_from("xy"), st.integers(3, 4), st.sampled_from(["attachment", "source"]),
        st.sampled_from([None, None, CONTENT, b""]), st.sampled_from([False, False, True]),
    ),
    max_size=3,
).map(tuple)  # fmt: skip
mails = st.builds(lambda id_, v, f, a: mail(id_, v, f, title=f"{v}", attached=a), ids, versions, places, attached)
patches = st.builds(
    ItemPatch, ids, places, versions, st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from([b"{}", b'{"subject":"patched"}', b'{"new":[1]}']), st.sampled_from([b"{}", b'{"subject":"9"}']),
)  # fmt: skip
numbers = st.integers(1, 5)
facts: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(
        PutItems, st.lists(mails, max_size=3).map(tuple), st.booleans(), st.frozensets(ids, max_size=3)
    ),
    st.builds(
        PutPage, places, st.lists(rows, max_size=3).map(tuple), st.lists(mails, max_size=2).map(tuple), st.booleans(),
        st.sampled_from([None, b"", b"p"]), st.integers(0, 9), st.booleans(),
    ),
    st.builds(EnqueueItems, folder_ids, st.just("mail"), st.lists(rows, max_size=3).map(tuple)),
    st.builds(DeleteItems, st.lists(ids, max_size=2).map(tuple)),
    st.builds(
        ApplyChanges, st.just("key"), st.lists(ids, max_size=1).map(tuple),
        st.lists(st.tuples(folder_ids, st.just("mail"), rows), max_size=2).map(tuple),
        st.lists(st.tuples(ids, ids, folder_ids).filter(lambda each: each[0] != each[1]), max_size=2).map(tuple),
        st.lists(patches, max_size=3).map(tuple),
    ),
    st.builds(
        PutAttachmentBytes, numbers, st.sampled_from([0, 1, 2, 3, 4, 60]),
        st.one_of(st.binary(max_size=4), st.just(CONTENT)),
    ),
    st.builds(PutWholeAttachment, numbers, st.sampled_from([b"", b"abc", CONTENT]), st.just(bytes(32))),
    st.builds(lambda n, size: FinishAttachment(n, bytes(32), size), numbers, st.integers(0, 4)),
    st.builds(RestartAttachment, numbers),
    st.builds(OmitAttachment, numbers, st.sampled_from(["policy", "gone"])),
    st.builds(SkipEntry, st.sampled_from(["item", "attachment"]), ids, st.just("why")),
    st.builds(UnskipEntry, st.just("item"), ids),
    st.builds(lambda some: SetFolders(tuple(FOLDERS[each] for each in some), RANKS), st.sets(folder_ids)),
)  # fmt: skip


@dataclass
class Content:
    of: Attachment
    number: int
    state: str = "wanted"
    data: bytes = b""
    pieces: dict[int, int] = field(default_factory=dict)  # offset → length, as they were written

    def clear(self, state: str) -> None:
        self.state, self.data = state, b""
        self.pieces.clear()


@dataclass
class Twin:
    folders: set[str] = field(default_factory=lambda: {"inbox", "work"})
    unknown: set[str] = field(default_factory=set)
    items: dict[str, tuple[Item, list[Content]]] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=lambda: dict(RANKS))
    wanted: dict[str, list[Any]] = field(default_factory=dict)  # folder, version, size, date, keep, late
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)
    last: int = 0

    def put(self, fact: Mutation) -> None:
        getattr(self, type(fact).__name__)(fact)

    def name(self, folder: str) -> None:
        if folder not in self.folders:
            self.unknown.add(folder)

    def find(self, number: int) -> Content | None:
        return next((each for _, many in self.items.values() for each in many if each.number == number), None)

    def SetFolders(self, fact: SetFolders) -> None:
        told = {each.id for each in fact.folders}
        for each in told:
            if self.skipped.get(("folder", each)) == UNKNOWN_FOLDER_REASON:
                del self.skipped["folder", each]
        for each in self.unknown - told:
            self.skipped["folder", each] = UNKNOWN_FOLDER_REASON
        gone = (self.folders | self.unknown) - told
        for key, (item, many) in list(self.items.items()):
            if left := tuple(each for each in item.folder_ids if each not in gone):
                self.items[key] = (item._replace(folder_ids=left), many)
            else:
                del self.items[key]
        self.wanted = {key: row for key, row in self.wanted.items() if row[0] not in gone}
        self.folders, self.unknown = told, set()

    def PutItems(self, fact: PutItems) -> None:
        last = {each.id: each for each in fact.items}
        for each in last.values():
            self.item(each, fact.omit_attachments, each.id in fact.keep_contents)
        for each in last.values():
            row = self.wanted.get(each.id)
            if row and (row[1] in (each.version, "") or row[5]):
                del self.wanted[each.id]
            elif row:
                row[5] = True
            self.skipped.pop(("item", each.id), None)

    def item(self, item: Item, omit: bool, by_id: bool) -> None:
        _, here = self.items.get(item.id, (None, []))
        by_place = bool(self.wanted.get(item.id, [None] * 6)[4])
        free = [(at, each) for at, each in enumerate(here) if each.state == "done"]
        now: list[Content] = []
        for place, each in enumerate(item.attachments):
            found = next((one for one in free if fits(one, place, each, by_id, by_place)), None)
            if each.in_source:
                now.append(Content(each, 0, "source"))
            elif found:
                free.remove(found)
                now.append(Content(each, found[1].number, "done", found[1].data, found[1].pieces))
            elif each.data is not None:
                now.append(Content(each, 0, "done", each.data, {0: len(each.data)}))
            else:
                now.append(Content(each, 0, "omitted" if omit and each.role != "source" else "wanted"))
        for one in now:
            if not one.number:
                self.last += 1
                one.number = self.last
        for folder in item.folder_ids:
            self.name(folder)
        self.items[item.id] = (item, now)

    def want(self, folder: str, row: ListedItem, keep: bool = False) -> None:
        folder, old = self.folder_of(folder, row), self.wanted.get(row.id, ["", "", 0, "", False, False])
        self.wanted[row.id] = [
            folder, row.version or old[1], row.size or old[2], row.date or old[3], keep or old[4], False
        ]  # fmt: skip

    def folder_of(self, folder: str, row: ListedItem) -> str:
        if len(row.folder_ids) == 1:
            folder = row.folder_ids[0]
        elif row.folder_ids:
            for each in row.folder_ids:
                self.name(each)
            folder = min(row.folder_ids, key=lambda each: self.ranks.get(each, 100) if each in self.folders else 100)
        self.name(folder)
        return folder

    def EnqueueItems(self, fact: EnqueueItems) -> None:
        for row in last_rows(fact.rows):
            self.want(fact.folder_id, row)

    def PutPage(self, fact: PutPage) -> None:
        if fact.items:
            self.PutItems(PutItems(fact.items, fact.omit_attachments))
        for folder in fact.folder_ids:
            self.name(folder)
        for row in last_rows(fact.rows):
            here = self.items.get(row.id)
            if row.id not in self.wanted and not (here and here[0].version == row.version):
                self.want(fact.folder_ids[0], row)

    def DeleteItems(self, fact: DeleteItems) -> None:
        for each in fact.ids:
            self.items.pop(each, None)
            self.wanted.pop(each, None)

    def ApplyChanges(self, fact: ApplyChanges) -> None:
        self.DeleteItems(DeleteItems(fact.deleted))
        for old, new, folder in fact.moved:
            self.move(old, new, folder)
        for patch in {each.id: each for each in fact.patched}.values():
            self.patch(patch)
        for folder, row in {row.id: (folder, row) for folder, _, row in fact.queued}.values():
            self.want(folder, row)

    def patch(self, patch: ItemPatch) -> None:
        stored = self.items.get(patch.id)
        if stored and not json.loads(patch.same).items() <= json.loads(stored[0].payload).items():
            stored = None  # another item has the id now
        if stored:
            item, many = stored
            payload = json.loads(item.payload) | json.loads(patch.members)
            flags = {name: getattr(patch, name) for name in ("folder_ids", "version", *FLAGS)}
            text = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
            item = item._replace(payload=item.payload if patch.members == b"{}" else text, **flags)
            self.items[patch.id] = (item, many)
            for folder in patch.folder_ids:
                self.name(folder)
        if not stored or patch.id in self.wanted:
            self.want("", ListedItem(patch.id, patch.version, folder_ids=patch.folder_ids))

    def move(self, old: str, new: str, folder: str) -> None:
        self.name(folder)
        fresh = new in self.items
        stored = self.items.pop(old, None)
        row = self.wanted.pop(old, None)
        if stored and not fresh:
            item = stored[0]._replace(id=new, folder_ids=(folder,))
            self.items[new] = (item, stored[1])
            self.want(folder, ListedItem(new, "", item.size, item.date), keep=True)
        elif row:
            self.want(folder, ListedItem(new, "", row[2], row[3]))
        elif not fresh and folder in self.folders:
            self.want(folder, ListedItem(new, ""))

    def PutAttachmentBytes(self, fact: PutAttachmentBytes) -> None:
        one = self.find(fact.attachment)
        if one is None or one.state in ("done", "source") or fact.offset > len(one.data) or not fact.data:
            return
        start, end = fact.offset, fact.offset + len(fact.data)
        if end <= len(one.data) and one.data[start:end] == fact.data and one.pieces.get(start, 0) == len(fact.data):
            return
        one.data = one.data[:start] + fact.data
        one.pieces = {at: min(size, start - at) for at, size in one.pieces.items() if at < start}
        one.pieces[start] = len(fact.data)

    def PutWholeAttachment(self, fact: PutWholeAttachment) -> None:
        one = self.find(fact.attachment)
        if one and one.state not in ("done", "source"):
            one.state, one.data, one.pieces = "done", fact.data, {0: len(fact.data)}

    def FinishAttachment(self, fact: FinishAttachment) -> None:
        one = self.find(fact.attachment)
        if one and one.state != "source":
            if len(one.data) == fact.size:
                one.state = "done"
            else:
                one.clear("wanted")

    def RestartAttachment(self, fact: RestartAttachment) -> None:
        one = self.find(fact.attachment)
        if one and one.state != "source":
            one.clear("wanted")

    def OmitAttachment(self, fact: OmitAttachment) -> None:
        one = self.find(fact.attachment)
        if one and one.state != "source":
            one.clear("omitted" if fact.reason == "policy" else "failed")

    def SkipEntry(self, fact: SkipEntry) -> None:
        self.skipped[fact.scope, fact.id] = fact.reason
        if fact.scope == "item":
            self.wanted.pop(fact.id, None)

    def UnskipEntry(self, fact: UnskipEntry) -> None:
        self.skipped.pop((fact.scope, fact.id), None)


def fits(held: tuple[int, Content], place: int, new: Attachment, by_id: bool, by_place: bool) -> bool:
    at, old = held[0], held[1].of
    same = (old.name, old.size, old.role) == (new.name, new.size, new.role)
    return (by_id and (old.id, old.size, old.role) == (new.id, new.size, new.role)) or (
        by_place and at == place and same
    )


def last_rows(some: tuple[ListedItem, ...]) -> list[ListedItem]:
    return list({row.id: row for row in some}.values())


def agree(cache: WriteSession, twin: Twin) -> None:
    stored = queries.items(cache.db, ("", ""), 99)
    assert [each.id for each in stored] == sorted(twin.items)
    for each in stored:
        item, many = twin.items[each.id]
        folders = tuple(sorted(item.folder_ids))
        assert (each.payload, each.folder_ids, each.version) == (item.payload, folders, item.version)
        ((_, read, _),) = read_item_row(cache.db, "item.id = ?", (each.id,))
        contents = tuple(content._replace(data=None) for content in item.attachments)
        assert read == item._replace(folder_ids=folders, attachments=contents)
        assert [(one.key, one.id, one.state) for one in each.attachments] == [
            (one.number, one.of.id, one.state) for one in many
        ]
        for one in many:
            rows = cache.db.execute(
                'SELECT data, size FROM chunk WHERE attachment = ? ORDER BY "offset"', (one.number,)
            )
            assert b"".join(decompress(*row) for row in rows) == one.data
            assert check.content_matches_checksum(cache.db, "chunk", one.number, len(one.data), None)
    wanted = queries.queued_items(cache.db, 99, None)
    assert {row.id: [row.folder_id, row.version, row.size, row.date or "", row.keep_contents] for row in wanted} == {
        key: row[:5] for key, row in twin.wanted.items()
    }
    newest = sorted(wanted, key=lambda row: row.id)
    newest = sorted(newest, key=lambda row: row.date or "", reverse=True)
    assert list(wanted) == sorted(newest, key=lambda row: row.rank)
    failed = {
        ("attachment", one.of.id, "gone") for _, many in twin.items.values() for one in many if one.state == "failed"
    }
    assert {(row.scope, row.id, row.reason) for row in queries.skipped(cache.db)} == failed | {
        (*key, reason) for key, reason in twin.skipped.items()
    }
    assert {row.folder.id for row in queries.folders(cache.db)} == twin.folders


X, Y = (Attachment(f"id-{name}", "/u", name, "t", "", 3) for name in "xy")
START: tuple[Mutation, ...] = (
    PutItems((mail("a", attached=(X, Y)), mail("b", folder="work", attached=(X,)))),
    *(PutAttachmentBytes(each, 0, b"abc") for each in (1, 2, 3)),
    *(FinishAttachment(each, bytes(32), 3) for each in (1, 3)),
)


def play(told: list[Mutation]) -> None:
    with open_tables() as cache:
        compare(cache, Twin(), told)


def compare(cache: WriteSession, twin: Twin, told: list[Mutation]) -> None:
    put(cache, SetFolders((FOLDERS["inbox"], FOLDERS["work"]), RANKS))
    for each in (*START, *told):
        put(cache, each)
        twin.put(each)
        agree(cache, twin)
    told_of = (each.line for each in check.check_items(cache.db, 0)[0])
    broken = [line for line in told_of if "attachment" not in line]  # their sums are made up
    assert broken == []
    assert cache.db.execute("PRAGMA foreign_key_check").fetchall() == []


@settings(max_examples=2 * EXAMPLES)
@given(st.lists(facts, max_size=25))
def test_mutations_have_same_effect_as_model(told: list[Mutation]) -> None:
    play(told)


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
@settings(max_examples=5000)
@given(st.lists(facts, max_size=60))
def test_mutations_have_same_effect_as_model_in_long_runs(told: list[Mutation]) -> None:
    play(told)


@given(st.lists(facts, max_size=12))
def test_last_mutation_applied_twice_changes_nothing(told: list[Mutation]) -> None:
    """But for what stays wanted once: the second telling of an older version ends that."""
    with open_tables() as cache:
        put(cache, *told)
        if told and not isinstance(told[-1], (PutItems, PutPage, ApplyChanges)):
            before = list(cache.db.iterdump())
            put(cache, told[-1])
            assert list(cache.db.iterdump()) == before
