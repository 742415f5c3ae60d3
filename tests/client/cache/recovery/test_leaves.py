"""Rows read page by page are those that SQLite reads, and no damage makes more of it than fewer rows."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kerio_resync.cache.recovery import leaves
from kerio_resync.cache.recovery.leaves import rows
from kerio_resync.errors import CacheDamaged
from tests.support.cache import change
from tests.support.cache import rows as told

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 1, -1, 127, 128, -129, 2**15, 2**23, 2**31, 2**47]),
    st.floats(allow_nan=False),
    st.binary(max_size=3000),
    st.text(st.characters(codec="utf-8"), max_size=900),
)
NUMBERS = st.integers(-(2**63), 2**63 - 1)


def made(path: Path, given: dict[int, tuple[Any, ...]], page: int = 512) -> dict[int, tuple[Any, ...]]:
    """A file with these rows, and others in a second table whose columns are more; what SQLite says of the first."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA page_size = {page}")
        db.execute("CREATE TABLE one (a, b)")
        db.execute("CREATE TABLE two (a, b, c)")
        db.execute("CREATE INDEX by_b ON one (b)")
        db.executemany("INSERT INTO one (rowid, a, b) VALUES (?, ?, ?)", [(n, *row) for n, row in given.items()])
        db.executemany("INSERT INTO two VALUES (?, ?, ?)", [(n, "two", n) for n in range(200)])
        db.commit()
        return {row[0]: row[1:] for row in db.execute("SELECT rowid, a, b FROM one")}


def found(path: Path, **more: int) -> dict[int, tuple[Any, ...]]:
    return {number: values for number, values in rows(path, **more) if len(values) == 2}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(NUMBERS, st.tuples(VALUES, VALUES), max_size=12), st.sampled_from([512, 1024, 4096, 16384, 65536])
)
@example({n: (b"x" * n * 7, "y" * n) for n in range(300)}, 512)
@example({1: (b"x" * 200_000, None)}, 16384)
def test_what_is_read_is_what_sqlite_reads(tmp_path: Path, given: dict[int, tuple[Any, ...]], page: int) -> None:
    path = tmp_path / "a.db"
    assert made(path, given, page) == found(path)


MANY = {n: (f"row {n}", bytes([n % 256]) * n) for n in range(600)}


def spoil(path: Path, page: int, size: int = 512) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def test_rows_stand_without_the_pages_above_them(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    made(path, MANY)
    (root,) = told(path, "SELECT rootpage FROM sqlite_master WHERE name = 'one'")[0]
    assert isinstance(root, int)
    spoil(path, root)
    with pytest.raises(sqlite3.DatabaseError):
        told(path, "SELECT * FROM one")
    assert found(path) == MANY


def test_a_spoilt_page_costs_its_own_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    made(path, MANY)
    leaf = next(n for n in range(2, 500) if leaf_of(path, n))
    spoil(path, leaf)
    rest = found(path)
    assert len(MANY) - 30 < len(rest) < len(MANY)
    assert rest.items() <= MANY.items()


def leaf_of(path: Path, page: int) -> bool:
    """Whether that page is a table's leaf."""
    return path.read_bytes()[(page - 1) * 512] == 13


def test_rows_that_were_deleted_stay_so(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    made(path, MANY)
    change(path, "DELETE FROM one WHERE rowid < 400")
    assert found(path) == {number: row for number, row in MANY.items() if number >= 400}


@pytest.mark.parametrize("spoilt", [32, 36])
def test_without_the_list_of_free_pages_they_could_not_be_told_apart(tmp_path: Path, spoilt: int) -> None:
    path = tmp_path / "a.db"
    made(path, MANY)
    change(path, "DELETE FROM one WHERE rowid < 400")
    data = bytearray(path.read_bytes())
    data[spoilt : spoilt + 4] = b"\0\0\xff\xff"
    path.write_bytes(data)
    with pytest.raises(CacheDamaged, match="free pages"):
        found(path)


def test_a_list_of_free_pages_in_circles_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    made(path, MANY)
    change(path, "DELETE FROM one WHERE rowid < 400")
    data = bytearray(path.read_bytes())
    trunk = int.from_bytes(data[32:36], "big")
    data[(trunk - 1) * 512 : (trunk - 1) * 512 + 4] = data[32:36]
    path.write_bytes(data)
    with pytest.raises(CacheDamaged, match="free pages"):  # the second page of the list is out of reach now
        found(path)


@pytest.mark.parametrize(
    "head",
    [b"", b"text" * 50, lambda data: data[:16] + b"\0\3" + data[18:], lambda data: data[:20] + b"\xff" + data[21:]],
)
def test_without_a_head_nothing_is_read(tmp_path: Path, head: Any) -> None:
    path = tmp_path / "a.db"
    made(path, MANY)
    path.write_bytes(head(path.read_bytes()) if callable(head) else head)
    with pytest.raises(CacheDamaged, match="head of the file"):
        list(rows(path))


def test_a_table_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    made(path, MANY)
    (root,) = told(path, "SELECT rootpage FROM sqlite_master WHERE name = 'one'")[0]
    assert isinstance(root, int)
    assert found(path, without=root) == {}
    assert len([values for _, values in rows(path, without=root) if len(values) == 3]) == 200


def test_damage_anywhere_costs_rows_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    made(path, MANY)
    (root,) = told(path, "SELECT rootpage FROM sqlite_master WHERE name = 'two'")[0]
    assert isinstance(root, int)
    pristine, lost = path.read_bytes(), 0
    for seed in range(120):
        rng = Random(seed)
        data = bytearray(pristine)
        for _ in range(rng.randint(1, 40)):
            start, length = rng.randrange(len(data)), int(2 ** rng.uniform(0, 9))
            piece = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length))
            data[start : start + length] = piece[: len(data) - start]
        path.write_bytes(data)
        try:
            lost += len(MANY.items() - found(path, without=root).items()) > 0
        except CacheDamaged:
            lost += 1
    assert lost > 100


@pytest.mark.parametrize(
    "payload",
    [
        b"\x05\x01", b"\x02\x0a", b"\x02\x01", b"\x02\x02\x01", b"\x02\x0f\xff", b"\x02\x0e", b"\x02\x81\x00", b"",
        b"\x02\x01\x01\x01",
    ],
)  # fmt: skip
def test_what_is_no_record_is_none(payload: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        leaves._values(payload)


@pytest.mark.parametrize(("data", "number"), [(b"\x05", 5), (b"\x81\x00", 128), (b"\xff" * 9, 2**64 - 1)])
def test_numbers_of_varying_length(data: bytes, number: int) -> None:
    assert leaves._varint(data + b"\0", 0) == (number, len(data))
