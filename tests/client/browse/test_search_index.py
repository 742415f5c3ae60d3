"""The search index: what it has, how it follows the cache, and how a damaged one is replaced."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kerio_resync.browse.page_queries import match_expression
from kerio_resync.browse.safe_html import to_text
from kerio_resync.cache import search_index
from kerio_resync.cache.mutations import DeleteItems, PutItems
from kerio_resync.cache.store import Store
from kerio_resync.errors import BadSettings, CacheDamaged, CacheInUse
from tests.support.browsing import indexed, make_cache, some_mails
from tests.support.cache import change, mail


@pytest.fixture
async def cache(tmp_path: Path) -> Path:
    return await make_cache(tmp_path / "profile", *some_mails())


def found(index: Path, words: str) -> list[int]:
    with closing(sqlite3.connect(index)) as db:
        sql = "SELECT rowid FROM item_text WHERE item_text MATCH ? ORDER BY rowid"
        return [row[0] for row in db.execute(sql, (match_expression(words),))]


async def apply(cache: Path, *facts: PutItems | DeleteItems) -> None:
    store = await Store.open(cache)
    for each in facts:
        await store.apply(each)
    await store.flush()
    await store.close()


async def test_update_index_finds_titles_people_and_texts(cache: Path) -> None:
    index = indexed(cache)
    assert index.name == "cache.db.search"
    assert index.stat().st_mode & 0o777 == 0o600
    assert found(index, "budget") == [1]
    assert found(index, "quarterly") == [1]
    assert found(index, "grüße brunn") == [2]
    assert found(index, "world") == [3]
    assert found(index, "alert") == []
    assert found(index, "friend") == [4]
    assert found(index, "from:ann") == [1, 2, 3, 4]


async def test_update_index_changes_only_what_has_changed(cache: Path) -> None:
    told: list[tuple[int, int]] = []
    indexed(cache, told)
    assert told == [(4, 4)]
    told.clear()
    index = indexed(cache, told)
    assert told == []
    await apply(cache, DeleteItems(("2",)), PutItems((mail("1", 2, text="new words"), mail("5", text="fifth"))))
    indexed(cache, told)
    assert told == [(2, 2)]
    assert found(index, "quarterly") == []
    assert found(index, "words") == [1]
    assert found(index, "fifth") != []
    assert found(index, "brunn") == []


async def test_update_index_follows_a_cache_whose_rows_have_other_numbers(cache: Path, tmp_path: Path) -> None:
    index = indexed(cache)
    other = await make_cache(tmp_path / "other", PutItems(tuple(mail(str(n), text=f"text{n}") for n in (3, 2, 1))))
    other.replace(cache)
    indexed(cache)
    with closing(sqlite3.connect(cache)) as db:
        number = db.execute("SELECT number FROM item WHERE id = '3'").fetchone()[0]
    assert found(index, "text3") == [number]
    assert found(index, "friend") == []


async def test_update_index_resumes_after_an_interruption(tmp_path: Path) -> None:
    items = tuple(mail(str(n), text=f"text{n}") for n in range(250))
    cache = await make_cache(tmp_path / "profile", PutItems(items))
    search_index.update_index(cache, to_text, lambda done, total: False)
    told: list[tuple[int, int]] = []
    indexed(cache, told)
    assert told == [(100, 150), (150, 150)]


@pytest.mark.parametrize("where", ["header", "middle", "empty", "foreign", "cut"])
async def test_update_index_replaces_a_damaged_file(cache: Path, where: str) -> None:
    index = indexed(cache)
    data = bytearray(index.read_bytes())
    match where:
        case "header":
            data[:16] = b"x" * 16
        case "middle":
            data[4096:] = bytes(len(data) - 4096)
        case "empty":
            data.clear()
        case "foreign":
            index.unlink()
            change(index, "CREATE TABLE notes (text)")
            data[:] = index.read_bytes()
        case "cut":
            del data[len(data) // 2 :]
    index.write_bytes(data)
    indexed(cache)
    assert found(index, "quarterly") == [1]
    assert index.stat().st_mode & 0o777 == 0o600


async def test_update_index_names_the_cache_if_that_is_damaged(cache: Path) -> None:
    data = bytearray(cache.read_bytes())
    data[3 * 16384 :] = b"\xff" * (len(data) - 3 * 16384)
    cache.write_bytes(data)
    with pytest.raises(CacheDamaged, match=r"cache\.db(?!\.search)"):
        indexed(cache)


async def test_update_index_refuses_a_link(cache: Path) -> None:
    (cache.parent / "cache.db.search").symlink_to(cache)
    with pytest.raises(BadSettings, match="symbolic link"):
        indexed(cache)


async def test_update_index_says_that_another_process_writes_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = indexed(cache)
    monkeypatch.setattr(search_index, "BUSY_TIMEOUT_SECONDS", 0.1)
    with closing(sqlite3.connect(index, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CacheInUse):
            indexed(cache)
    assert found(index, "quarterly") == [1]


@pytest.mark.parametrize(
    ("typed", "expression"),
    [
        ("one two", '("one") AND ("two")'),
        ('"one two"', '("one two")'),
        ("-one two", '("two") NOT ("one")'),
        ("inv*", '("inv"*)'),
        ("subject:plan from:ann text:x", '(title : "plan") AND (people : "ann") AND (body : "x")'),
        ('a" OR NEAR(', '("a""") AND ("OR") AND ("NEAR(")'),
        ("- * \" ' ()", ""),
        ("-only", ""),
    ],
)
def test_match_expression_is_what_was_typed(typed: str, expression: str) -> None:
    assert match_expression(typed) == expression


@pytest.mark.parametrize("typed", ['a" OR NEAR(', "title:", "^a", "a AND", "{x} : y", 'subject:"', "a\0b", "co:x*"])
async def test_match_expression_is_never_a_syntax_error(cache: Path, typed: str) -> None:
    index = indexed(cache)
    if match_expression(typed):
        found(index, typed)
