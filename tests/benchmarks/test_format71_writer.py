"""The writer of files of format 7.1."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import format71_writer
from benchmarks.format71_files import IDENTITY, write
from benchmarks.format71_writer import Format71Writer
from kerio_resync.cache.format71.reader import Format71Reader
from kerio_resync.errors import CacheDamaged
from kerio_resync.server.json_codec import canonical_json
from kerio_resync.server.kerio.items import parse_items


def test_same_numbers_make_the_same_file_with_free_pages(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, 60, 20_000, holes=0.2)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with closing(sqlite3.connect(tmp_path / "a")) as db:
        free, pages = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count"))
        assert free > 0.05 * pages
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (0,)


def test_number_of_transactions_makes_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, items in (("one", 2000), ("several", 3)):
        monkeypatch.setattr(format71_writer, "ITEMS_PER_COMMIT", items)
        write(tmp_path / name, 20, 2000)
        with Format71Reader.open(tmp_path / name) as reader:
            found.append(list(reader.items("mail")))
    assert found[0] == found[1]
    assert len(found[0]) == 20


def test_file_whose_writing_failed_is_incomplete(tmp_path: Path) -> None:
    (item,), _ = parse_items("mail", [{"id": "m1", "folderId": "f1", "watermark": 1}], canonical_json)
    with pytest.raises(KeyError), Format71Writer(tmp_path / "old.db", IDENTITY) as writer:
        writer.item(item)  # its folder was not written
    with Format71Reader.open(tmp_path / "old.db") as reader, pytest.raises(CacheDamaged):
        reader.require_counts()
