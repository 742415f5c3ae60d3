"""Format 7.1: whatever goes in comes out the same, and what is damaged is noticed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.legacy import IDENTITY, write
from kerio_resync.cache.format71.columns import COLUMNS, get_time, joined, put_time, split, truths
from kerio_resync.cache.format71.reader import Old
from kerio_resync.cache.format71.schema import LINE
from kerio_resync.cache.format71.writing import Writer
from kerio_resync.cache.mutations import AddChange, LocalChange, LocalFile
from kerio_resync.errors import CacheDamaged, CacheInUse, DiskTrouble
from kerio_resync.model import KINDS, Folder, Item, Kind
from kerio_resync.server.kerio.items import parse_items
from kerio_resync.server.kerio.wire import canonical_json

FOLDER = Folder("f1", "root", "Inbox", "mail", "inbox", count=7, payload=b'{"id":"f1"}', extra=b'{"new":1}')


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("20260301T093000Z", "2026-03-01 10:30:00 +0100"),
        ("20251231T233000Z", "2026-01-01 00:30:00 +0100"),
        ("20200806T180000-0700", "2020-08-06 18:00:00 -0700!"),
        ("20200806T180000+0100", "2020-08-06 18:00:00 +0100!"),
        ("20251217", "2025-12-17"),
        ("", ""),
    ],
)
def test_times_are_local_and_come_back(said: str, stored: str) -> None:
    assert put_time(said) == stored
    assert get_time(stored) == said


@pytest.mark.parametrize(
    "odd", ["tomorrow", "20260230T000000Z", "00010101T000000Z", "99991231T235959Z", "2026", 7, None, "20251217Z"]
)
def test_what_is_no_time_stays_as_it_is(odd: object) -> None:
    stored = put_time(odd)
    assert stored is None or get_time(stored) == odd


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("2026-03-01 00:30:59 +0100", "20260228T233059Z"),
        ("2026-02-28 23:30:59 -0800", "20260301T073059Z"),
        ("2026-03-01 10:30:00 +0530", "20260301T050000Z"),
    ],
)
def test_times_of_any_offset_are_read(stored: str, said: str) -> None:
    assert get_time(stored) == said


@pytest.mark.parametrize(
    "stored",
    [
        "2026-03-01 10:3x:59 +0100", "2026-03-01 10:60:59 +0100", "2026-03-0a 10:30:59 +0100",
        "2026-02-30 10:30:59 +0100", "2026-03-01 10:30:59 +01x0", "2026-03-01 10:30:59 *0100",
        "0001-01-01 00:30:00 +0100",
    ],
)  # fmt: skip
def test_what_is_no_stored_time_is_said_without_quoting_it(stored: str) -> None:
    with pytest.raises(ValueError, match=r"^a time is invalid$"):
        get_time(stored)


words = st.text(st.characters(codec="utf-8") | st.sampled_from("\0\t\n\x1f"), max_size=8) | st.just("lone \udc80")
people = st.lists(
    st.fixed_dictionaries({"name": words, "address": words}, optional={"contactId": words, "more": words}), max_size=3
)
values = (
    words | st.integers() | st.booleans() | st.none() | people
    | st.sampled_from(["20260301T093000Z", "20251217", "High", "ctTextHtml"])
    | st.lists(st.fixed_dictionaries({"type": words, "value": words}), max_size=2)
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_any_struct_comes_back_from_its_columns(kind: Kind, data: st.DataObject) -> None:
    names = [column.member for column in COLUMNS[kind]] + ["isSeen", "isDraft", "other"]
    struct = data.draw(st.dictionaries(st.sampled_from(names), values))
    stored, rest = split(kind, struct)
    row = tuple(stored[column.name] for column in COLUMNS[kind])
    back = joined(COLUMNS[kind], row, json.loads(json.dumps(rest)))
    if kind == "mail":
        back.update(truths(stored["FLAGS"]))
    assert back == struct


def mail(number: int, **members: Any) -> dict[str, Any]:
    return {
        "id": f"m{number}", "folderId": "f1", "watermark": number, "subject": "Grüße", "isSeen": True,
        "receiveDate": "20260301T093000Z",
        "displayableParts": [{"id": "1", "contentType": "ctTextPlain", "content": "a"}],
        "attachments": [], **members,
    }  # fmt: skip


def attached(place: int, **members: Any) -> dict[str, Any]:
    return {
        "id": f"a{place}",
        "url": f"/u/{place}",
        "name": "n",
        "contentType": "t",
        "contentId": "",
        "size": 1,
        **members,
    }


ODD = [
    mail(1),
    mail(2, subject=None, unheardOf={"a": [1]}, isSeen="perhaps"),
    mail(3, displayableParts=[{"id": "1", "contentType": "ctNew", "content": "x", "more": 1}]),
    mail(4, attachments=[attached(0), attached(1, url=""), attached(2)]),
    mail(5, attachments=[attached(0, more=True), attached(1, url=""), attached(2, size=None)]),
    {"id": "m6", "watermark": 6, "subject": "nothing else"},
    mail(7, displayableParts=[{"id": "1", "contentType": "ctTextHtml", "content": "a\0b"}, {}]),
    mail(9, subject="lone \udc80", headers=[{"type": "mhMessageID", "value": "<9@x>"}]),
    mail(12, to={"name": "not a list"}, headers="none", **{"from": ["not", "a", "person"]}),
    mail(10, headers=[{"type": "mhMessageID"}]),
    mail(11, headers=[{"type": "a: b", "value": "c"}]),
    mail(8, **{"from": {"name": "A\tB", "address": "a@b"}, "to": [{"name": "x", "address": "y", "contactId": "z"}]}),
]


def made(structs: list[dict[str, Any]], kind: Kind = "mail") -> list[Item]:
    items, malformed = parse_items(kind, structs, canonical_json)
    assert not malformed
    return list(items)


def test_odd_items_come_back_exactly(tmp_path: Path) -> None:
    items = made(ODD)
    contents = {4: {0: b"x" * (LINE * 2 + 5), 1: b""}, 5: {0: b"p", 1: b"q" * LINE}}
    with Writer(tmp_path / "old.db", IDENTITY) as writer:
        writer.folder(FOLDER)
        for number, item in enumerate(items, 1):
            home = item if item.folder_id else _in_f1(item)
            writer.item(home, {place: [data] for place, data in contents.get(number, {}).items()})
    with Old(tmp_path / "old.db") as old:
        assert old.folders() == (FOLDER,)
        assert old.identity == IDENTITY
        back = list(old.items("mail"))
        assert made([one.struct for one in back]) == items
        for number, one in enumerate(back, 1):
            held = {run.place: b"".join(old.content(run)) for run in one.contents}
            assert held == contents.get(number, {})


def _in_f1(item: Item) -> Item:
    return item._replace(folder_id="f1")


@pytest.mark.parametrize("kind", KINDS)
def test_a_synthetic_database_has_items_of_every_kind(kind: Kind, tmp_path: Path) -> None:
    write(tmp_path / "old.db", 100, 5000)
    with Old(tmp_path / "old.db") as old:
        items = list(old.items(kind))
        assert len(items) == (100 if kind == "mail" else 2)
        assert [one.number for one in old.items(kind, items[0].number)] == [one.number for one in items[1:]]
        assert old.info["VERSION"] == "7.1"


def test_pending_changes_come_back(tmp_path: Path) -> None:
    changes = [
        AddChange(
            LocalChange("u1", "create", "mail", folder_id="f1", made="2026-03-01T09:30:00Z", struct=b'{"subject":"x"}'),
            (LocalFile("a", "t", b"1" * 70000, "c"), LocalFile("b", "t", b"")),
        ),
        AddChange(LocalChange("u2", "move", "note", item_id="n1", folder_id="f1", target_id="f2", watermark=5)),
    ]  # fmt: skip
    with Writer(tmp_path / "old.db", IDENTITY) as writer:
        for change in changes:
            writer.pending(change)
    with Old(tmp_path / "old.db") as old:
        assert list(old.pending()) == changes


def test_the_file_has_holes_and_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, 60, 20_000, holes=0.2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    db = sqlite3.connect(tmp_path / "a")
    assert db.execute("PRAGMA freelist_count").fetchone()[0] > 0.05 * db.execute("PRAGMA page_count").fetchone()[0]
    assert db.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    db.close()


def test_one_reader_at_a_time(tmp_path: Path) -> None:
    write(tmp_path / "old.db", 1, 100)
    with Old(tmp_path / "old.db"), pytest.raises(CacheInUse):
        Old(tmp_path / "old.db")


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM MAIL_BODIES WHERE ID = (SELECT max(ID) FROM MAIL_BODIES)",
        "DELETE FROM ATTACHMENTS WHERE ID = (SELECT min(ID) FROM ATTACHMENTS)",
        "DELETE FROM CONTENT_LINES WHERE ID = (SELECT FIRST_LINE FROM ATTACHMENTS LIMIT 1)",
        "UPDATE CONTENT_LINES SET DATA = 'AAAA' WHERE ID = (SELECT FIRST_LINE FROM ATTACHMENTS LIMIT 1)",
        "UPDATE CONTENT_LINES SET DATA = '!' || substr(DATA, 2)",
        "UPDATE MAIL_BODIES SET TEXT = TEXT || 'x'",
        "UPDATE MAIL_HEADERS SET FLAGS = -1",
        "UPDATE MAIL_HEADERS SET RECEIVED = '2026-13-01 00:00:00 +0100'",
        "UPDATE MAIL_HEADERS SET TO_ = 'nobody'",
        "UPDATE MAIL_HEADERS SET FOLDER = 99",
        "UPDATE MAIL_HEADERS SET PROPS = '[]'",
        "UPDATE MAIL_HEADERS SET SUBJECT = CAST(x'ff' AS TEXT) WHERE ID = 3",
        "INSERT INTO MAIL_BODIES VALUES (99 * 65536, '1', 0, 1, 'x')",
        "DELETE FROM MAIL_HEADERS WHERE ID = 3",
        "INSERT INTO CONTACT_PHOTOS VALUES (65536 + 7, 1, 1, 1)",
        "UPDATE MAIL_BODIES SET TYPE = 7",
        "UPDATE MAIL_HEADERS SET SUBJECT = x'41'",
        "UPDATE MAIL_HEADERS SET WATERMARK = 'x'",
        "UPDATE MAIL_HEADERS SET PRIORITY = 7",
        "UPDATE MAIL_HEADERS SET HEADERS = 'no colon'",
        "UPDATE MAIL_HEADERS SET RECEIVED = '2026-03-01 10:30:00 *0100'",
        "UPDATE MAIL_HEADERS SET RECEIVED = 'some day'",
        "UPDATE ATTACHMENTS SET ID = ID + 9 WHERE ID = (SELECT max(ID) FROM ATTACHMENTS)",
        "UPDATE ATTACHMENTS SET LINES = -1 WHERE LINES IS NOT NULL",
        "UPDATE PENDING SET CHARS = CHARS + 1",
        "UPDATE PENDING SET FILES = FILES + 1",
        "UPDATE PENDING_FILES SET ID = ID + 1",
        "DELETE FROM PENDING WHERE ID = 2",
        "DELETE FROM INFO WHERE NAME = 'COUNT_PENDING'",
    ],
)
def test_what_does_not_fit_is_damage(harm: str, tmp_path: Path) -> None:
    write(tmp_path / "old.db", 20, 20_000)
    db = sqlite3.connect(tmp_path / "old.db")
    db.execute(harm)
    db.commit()
    db.close()
    with pytest.raises(CacheDamaged):
        read_all(tmp_path / "old.db")


def test_what_is_no_file_of_that_format_is_said(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble):
        Old(tmp_path / "missing")
    sqlite3.connect(tmp_path / "empty").close()
    with pytest.raises(CacheDamaged, match=r"is not of format 7\.1"):
        Old(tmp_path / "empty")
    with Writer(tmp_path / "nameless", IDENTITY):
        pass
    db = sqlite3.connect(tmp_path / "nameless")
    with db:
        db.execute("DELETE FROM INFO WHERE NAME = 'ACCOUNT'")
    db.close()
    with Old(tmp_path / "nameless") as old, pytest.raises(CacheDamaged, match="does not say ACCOUNT"):
        assert old.identity


def test_who_only_looks_lets_others_look(tmp_path: Path) -> None:
    write(tmp_path / "old.db", 1, 100)
    with Old(tmp_path / "old.db", exclusive=False) as one, Old(tmp_path / "old.db", exclusive=False) as other:
        assert one.identity == other.identity == IDENTITY


def test_a_contact_has_its_photo(tmp_path: Path) -> None:
    (contact,) = made([{"id": "c", "folderId": "f1", "watermark": 1, "photo": {"id": "p", "url": "/p"}}], "contact")
    with Writer(tmp_path / "old.db", IDENTITY) as writer:
        writer.folder(FOLDER)
        writer.item(contact, {0: [b"a pho", b"to"]})
    with Old(tmp_path / "old.db") as old:
        (back,) = old.items("contact")
        assert [(run.place, b"".join(old.content(run))) for run in back.contents] == [(0, b"a photo")]
        assert made([back.struct], "contact") == [contact]
    db = sqlite3.connect(tmp_path / "old.db")
    with db:
        db.execute("DELETE FROM CONTACT_PHOTOS")
    db.close()
    with Old(tmp_path / "old.db") as old, pytest.raises(CacheDamaged, match="a photo is missing"):
        list(old.items("contact"))


def test_many_items_take_several_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in (("one", 2000), ("several", 3)):
        monkeypatch.setattr("kerio_resync.cache.format71.writing._COMMIT", rows)
        write(tmp_path / name, 20, 2000)
    found = []
    for name in ("one", "several"):
        with Old(tmp_path / name) as old:
            found.append(list(old.items("mail")))
    assert found[0] == found[1]
    assert len(found[0]) == 20


def test_a_file_whose_writing_failed_is_let_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Writer(tmp_path / "old.db", IDENTITY) as writer:
        writer.item(made([mail(1)])[0])  # its folder was not written
    with Old(tmp_path / "old.db") as old, pytest.raises(CacheDamaged):
        old.folders()  # nobody takes it for a whole one


def read_all(path: Path) -> None:
    with Old(path) as old:
        old.folders()
        for kind in KINDS:
            for one in old.items(kind):
                for run in one.contents:
                    list(old.content(run))
        list(old.pending())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_garbage_in_the_file_never_raises_anything_else(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.unlink(missing_ok=True)
    write(path, 10, 10_000)
    random = Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(3):
        at = random.randrange(len(data) - 64)
        data[at : at + 64] = random.randbytes(64)
    path.write_bytes(data)
    with suppress(CacheDamaged):
        read_all(path)
