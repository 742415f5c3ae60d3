"""The reader of format 7.1: every item, content and change comes back as it was written; damage is noticed."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.format71_files import IDENTITY, write
from benchmarks.format71_writer import Format71Writer
from kerio_resync.cache.format71.reader import ContentExtent, Format71Reader
from kerio_resync.cache.format71.schema import LINE_BYTES
from kerio_resync.cache.mutations import AddChange, LocalChange, LocalFile
from kerio_resync.cache.schema import CHUNK_BYTES
from kerio_resync.errors import CacheDamaged, CacheInUse, DiskTrouble
from kerio_resync.model import KINDS, Folder, Item, Kind
from kerio_resync.server.json_codec import canonical_json
from kerio_resync.server.kerio.items import parse_items

FOLDER = Folder("f1", "root", "Inbox", "mail", "inbox", count=7, payload=b'{"id":"f1"}', extra=b'{"new":1}')


def mail(number: int, **members: Any) -> dict[str, Any]:
    return {
        "id": f"m{number}", "folderId": "f1", "watermark": number, "subject": "Grüße", "isSeen": True,
        "receiveDate": "20260301T093000Z",
        "displayableParts": [{"id": "1", "contentType": "ctTextPlain", "content": "a"}],
        "attachments": [], **members,
    }  # fmt: skip


def attached(place: int, **members: Any) -> dict[str, Any]:
    head = {"id": f"a{place}", "url": f"/u/{place}", "name": "n", "contentType": "t", "contentId": "", "size": 1}
    return head | members


UNUSUAL = [
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


def parsed(structs: list[dict[str, Any]], kind: Kind = "mail") -> list[Item]:
    items, malformed = parse_items(kind, structs, canonical_json)
    assert not malformed
    return list(items)


def read_content(reader: Format71Reader, extent: ContentExtent) -> bytes:
    return b"".join(map(bytes, reader.content(extent)))


def test_unusual_items_come_back_exactly(tmp_path: Path) -> None:
    items = parsed(UNUSUAL)
    contents = {4: {0: b"x" * (LINE_BYTES * 2 + 5), 1: b""}, 5: {0: b"p", 1: b"q" * LINE_BYTES}}
    with Format71Writer(tmp_path / "old.db", IDENTITY) as writer:
        writer.folder(FOLDER)
        for number, item in enumerate(items, 1):
            stored = item if item.folder_id else item._replace(folder_ids=("f1",))
            writer.item(stored, {place: [data] for place, data in contents.get(number, {}).items()})
    with Format71Reader.open(tmp_path / "old.db") as reader:
        reader.require_counts()
        assert reader.folders() == (FOLDER,)
        assert reader.identity == IDENTITY
        found = list(reader.items("mail"))
        assert parsed([item.struct for item in found]) == items
        for number, old in enumerate(found, 1):
            by_ordinal = {extent.ordinal: read_content(reader, extent) for extent in old.contents}
            assert by_ordinal == contents.get(number, {})


@pytest.mark.parametrize("kind", KINDS)
def test_items_of_every_kind_are_read_from_any_number_on(kind: Kind, tmp_path: Path) -> None:
    write(tmp_path / "old.db", 100, 5000)
    with Format71Reader.open(tmp_path / "old.db") as reader:
        items = list(reader.items(kind))
        assert len(items) == (100 if kind == "mail" else 2)
        assert [item.number for item in reader.items(kind, items[0].number)] == [item.number for item in items[1:]]
        assert reader.info["VERSION"] == "7.1"


SIZES = (0, 1, LINE_BYTES, LINE_BYTES + 1, 4 * LINE_BYTES - 1, 4 * LINE_BYTES, 4 * LINE_BYTES + 1, 9 * LINE_BYTES)


def put_lines(path: Path, lines: list[bytes], first: int = 1000) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        rows = [(first + place, base64.b64encode(line).decode()) for place, line in enumerate(lines)]
        db.executemany("INSERT INTO CONTENT_LINES VALUES (?, ?)", rows)


@pytest.mark.parametrize("size", SIZES)
def test_content_of_any_size_is_read_in_bounded_pieces(size: int, tmp_path: Path) -> None:
    write(tmp_path / "old.db", 1, 100)
    data = Random(size).randbytes(size)
    lines = [data[start : start + LINE_BYTES] for start in range(0, size, LINE_BYTES)]
    put_lines(tmp_path / "old.db", lines)
    with Format71Reader.open(tmp_path / "old.db") as reader:
        pieces = [bytes(piece) for piece in reader.content(ContentExtent(0, size, 1000, len(lines)))]
    assert b"".join(pieces) == data
    assert all(len(piece) <= CHUNK_BYTES for piece in pieces)


@pytest.mark.parametrize(
    ("lines", "extent"),
    [
        ([LINE_BYTES, LINE_BYTES], ContentExtent(0, 3 * LINE_BYTES, 1000, 3)),  # a line is missing
        ([LINE_BYTES, LINE_BYTES], ContentExtent(0, 2 * LINE_BYTES, 999, 3)),
        ([LINE_BYTES, LINE_BYTES], ContentExtent(0, LINE_BYTES, 1000, 2)),  # longer than it says
        ([LINE_BYTES, 5], ContentExtent(0, LINE_BYTES + 6, 1000, 2)),
        ([LINE_BYTES + 3], ContentExtent(0, LINE_BYTES + 3, 1000, 1)),
        ([LINE_BYTES, 9, LINE_BYTES], ContentExtent(0, 2 * LINE_BYTES + 9, 1000, 3)),  # a short line in between
        ([LINE_BYTES], ContentExtent(0, LINE_BYTES, 1000, -1)),
        ([], ContentExtent(0, 5, 2**63 - 1, 2**40)),
    ],
)
def test_content_with_invalid_lines_is_damage(lines: list[int], extent: ContentExtent, tmp_path: Path) -> None:
    write(tmp_path / "old.db", 1, 100)
    put_lines(tmp_path / "old.db", [bytes(length) for length in lines])
    with Format71Reader.open(tmp_path / "old.db") as reader, pytest.raises(CacheDamaged):
        read_content(reader, extent)


def test_pending_changes_come_back(tmp_path: Path) -> None:
    changes = [
        AddChange(
            LocalChange("u1", "create", "mail", folder_id="f1", made="2026-03-01T09:30:00Z", struct=b'{"subject":"x"}'),
            (LocalFile("a", "t", b"1" * 70000, "c"), LocalFile("b", "t", b"")),
        ),
        AddChange(LocalChange("u2", "move", "note", item_id="n1", folder_id="f1", target_id="f2", version="5")),
    ]
    with Format71Writer(tmp_path / "old.db", IDENTITY) as writer:
        for change in changes:
            writer.pending(change)
    with Format71Reader.open(tmp_path / "old.db") as reader:
        assert list(reader.pending()) == changes


def test_open_refuses_a_second_reader(tmp_path: Path) -> None:
    write(tmp_path / "old.db", 1, 100)
    with Format71Reader.open(tmp_path / "old.db"), pytest.raises(CacheInUse):
        Format71Reader.open(tmp_path / "old.db")


def test_open_reads_a_file_that_the_migration_has_locked(tmp_path: Path) -> None:
    write(tmp_path / "old.db", 3, 100)
    with (
        Format71Reader.open(tmp_path / "old.db") as first,
        Format71Reader.open(tmp_path / "old.db", locked_elsewhere=True) as second,
    ):
        assert second.identity == first.identity
        assert list(second.items("mail", 0)) == list(first.items("mail", 0))


def test_close_releases_the_lock_while_a_content_is_being_read(tmp_path: Path) -> None:
    write(tmp_path / "old.db", 1, 100)
    put_lines(tmp_path / "old.db", [bytes(LINE_BYTES)] * 9)
    reader = Format71Reader.open(tmp_path / "old.db")
    pieces = reader.content(ContentExtent(0, 9 * LINE_BYTES, 1000, 9))
    next(pieces)
    items = reader.items("mail")
    next(items)
    reader.close()
    Format71Reader.open(tmp_path / "old.db").close()


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
        "INSERT INTO MAIL_BODIES VALUES (99 * 65536, '1', 0, 1, 'x');"
        "UPDATE INFO SET VALUE = VALUE + 1 WHERE NAME = 'COUNT_MAIL_BODIES'",
        "UPDATE MAIL_HEADERS SET PARTS = 'x'",
        "UPDATE MAIL_HEADERS SET PROPS = '{\"-\":7}'",
        "UPDATE FOLDERS SET KID = x'41'",
        "UPDATE FOLDERS SET PROPS = '{'",
        "DELETE FROM FOLDERS WHERE ID = 8",
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
def test_row_that_does_not_fit_its_table_is_damage(harm: str, tmp_path: Path) -> None:
    write(tmp_path / "old.db", 20, 20_000)
    with closing(sqlite3.connect(tmp_path / "old.db")) as db:
        db.executescript(harm)
    with pytest.raises(CacheDamaged):
        read_all(tmp_path / "old.db")


def test_open_refuses_what_is_not_format_71(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble):
        Format71Reader.open(tmp_path / "missing")
    sqlite3.connect(tmp_path / "empty").close()
    with pytest.raises(CacheDamaged, match=r"is not of format 7\.1"):
        Format71Reader.open(tmp_path / "empty")


def test_identity_without_account_is_damage(tmp_path: Path) -> None:
    with Format71Writer(tmp_path / "old.db", IDENTITY):
        pass
    with closing(sqlite3.connect(tmp_path / "old.db")) as db, db:
        db.execute("DELETE FROM INFO WHERE NAME = 'ACCOUNT'")
    with Format71Reader.open(tmp_path / "old.db") as reader, pytest.raises(CacheDamaged, match="INFO has no ACCOUNT"):
        assert reader.identity


def test_contact_has_its_photo(tmp_path: Path) -> None:
    struct = {"id": "c", "folderId": "f1", "watermark": 1, "photo": {"id": "p", "url": "/p"}}
    (contact,) = parsed([struct], "contact")
    with Format71Writer(tmp_path / "old.db", IDENTITY) as writer:
        writer.folder(FOLDER)
        writer.item(contact, {0: [b"a pho", b"to"]})
    with Format71Reader.open(tmp_path / "old.db") as reader:
        (item,) = reader.items("contact")
        assert [(extent.ordinal, read_content(reader, extent)) for extent in item.contents] == [(0, b"a photo")]
        assert parsed([item.struct], "contact") == [contact]
    with closing(sqlite3.connect(tmp_path / "old.db")) as db, db:
        db.execute("DELETE FROM CONTACT_PHOTOS")
    with Format71Reader.open(tmp_path / "old.db") as reader, pytest.raises(CacheDamaged, match="is missing"):
        list(reader.items("contact"))


def read_all(path: Path) -> None:
    with Format71Reader.open(path) as reader:
        reader.folders()
        for kind in KINDS:
            for item in reader.items(kind):
                for extent in item.contents:
                    read_content(reader, extent)
        list(reader.pending())
        reader.require_counts()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_random_damage_raises_nothing_but_cache_damaged(seed: int, tmp_path: Path) -> None:
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
