from __future__ import annotations

import sqlite3

import pytest

from kerio_resync.cache.bulk_sql import insert_many, json_array, select_in


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 1000])
def test_insert_many_needs_few_statements(db: sqlite3.Connection, count: int) -> None:
    db.execute("CREATE TABLE t (a PRIMARY KEY, b)")
    told: list[str] = []
    db.set_trace_callback(told.append)
    insert_many(db, "INSERT INTO t (a, b)", "(?, ?)", [(n, n * n) for n in range(count)], "ON CONFLICT DO NOTHING")
    assert len(told) <= count // 128 + 7
    assert db.execute("SELECT count(*), coalesce(sum(b), 0) FROM t").fetchone() == (
        count,
        sum(n * n for n in range(count)),
    )


def test_insert_many_keeps_below_the_limit_of_variables(db: sqlite3.Connection) -> None:
    names = [f"c{n}" for n in range(500)]
    db.execute(f"CREATE TABLE t ({', '.join(names)})")
    insert_many(db, "INSERT INTO t", f"({', '.join('?' * 500)})", [tuple(range(500))] * 200)
    assert db.execute("SELECT count(*) FROM t").fetchone() == (200,)


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 5000])
def test_select_in_takes_any_number_of_ids(db: sqlite3.Connection, count: int) -> None:
    db.execute("CREATE TABLE t (id)")
    insert_many(db, "INSERT INTO t", "(?)", [(str(n),) for n in range(count + 1)])
    sql = "SELECT id FROM t WHERE id <> ? AND id IN (...) AND id <> ?"
    found = select_in(db, sql, [str(n) for n in range(count)], before=("x",), after=("y",))
    assert sorted(int(row[0]) for row in found) == list(range(count))


def test_select_in_tells_similar_ids_apart(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (id)")
    ids = ["a", "a\0b", "a\0", "ü", "\0", '"', "🎉", "[1]"]
    insert_many(db, "INSERT INTO t", "(?)", [(each,) for each in ids])
    assert [select_in(db, "SELECT id FROM t WHERE id IN (...)", [each]) for each in ids] == [[(each,)] for each in ids]


def test_json_array_is_read_by_json_each(db: sqlite3.Connection) -> None:
    assert db.execute("SELECT sum(value) FROM json_each(?)", (json_array(range(10)),)).fetchone() == (45,)
