"""What goes over, batch by batch: the same from a process of its own as from here, whatever becomes of the process."""

from __future__ import annotations

import io
import pickle
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.legacy import write
from kerio_resync.cache.format71.reader import Old
from kerio_resync.cache.format71.target import Mark
from kerio_resync.errors import CacheDamaged
from kerio_resync.upgrade.migration import batches as batching
from kerio_resync.upgrade.migration.batches import Batch, Start, batches

CHARS = "UPDATE MAIL_BODIES SET CHARS = CHARS + 1 WHERE ID = (SELECT max(ID) FROM MAIL_BODIES)"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("old") / "cache.db"
    write(found, 150, 9_000)
    return found


def start(source: Old, mark: Mark | None = None, item: int = 1, attachment: int = 1) -> Start:
    return Start(mark or Mark(), item, attachment, {each.id: place for place, each in enumerate(source.folders(), 1)})


def all_of(path: Path, *, apart: bool) -> list[Batch]:
    with Old(path) as source:
        return list(batches(source, path, start(source), apart=apart))


def test_a_process_of_its_own_makes_the_same(path: Path) -> None:
    here = all_of(path, apart=False)
    assert len(here) > 4
    assert sum(len(each.items) for each in here) == here[-1].mark.items == 162
    assert all_of(path, apart=True) == here


def test_from_the_middle_on_it_is_the_rest(path: Path) -> None:
    here = all_of(path, apart=False)
    items, attachments = (sum(len(getattr(each, name)) for each in here[:2]) for name in ("items", "attachments"))
    with Old(path) as source:
        later = start(source, here[1].mark, items + 1, attachments + 1)
        assert list(batches(source, path, later, apart=False)) == here[2:]


@pytest.mark.parametrize("error", [EOFError, BrokenPipeError, pickle.UnpicklingError])
def test_what_a_process_that_died_did_not_make_is_made_here(
    error: type[Exception], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = all_of(path, apart=False)

    def dying(path: Path, begin: Start) -> Iterator[Batch]:
        yield from here[:2]
        raise error

    monkeypatch.setattr(batching, "_apart", lambda *args: (each for each in dying(*args)))
    assert all_of(path, apart=True) == here


@pytest.mark.parametrize("python", ["", "/nowhere/python", "/bin/false"])
def test_where_no_process_can_be_started_all_is_made_here(
    python: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    assert len(all_of(path, apart=True)) > 4


@pytest.mark.parametrize("apart", [False, True])
def test_damage_is_told_from_either_place(apart: bool, path: Path, tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(path.read_bytes())
    with sqlite3.connect(tmp_path / "cache.db") as db:
        db.execute(CHARS)
    db.close()
    with pytest.raises(CacheDamaged, match="a part of a mail is not whole"):
        all_of(tmp_path / "cache.db", apart=apart)


def test_nobody_who_wants_more_ends_the_process(path: Path) -> None:
    with Old(path) as source:
        found = batches(source, path, start(source), apart=True)
        next(found)
        found.close()


def test_what_the_process_says(path: Path) -> None:
    def said(begin: Start) -> list[Any]:
        come, go = io.BytesIO(pickle.dumps((str(path), begin))), io.BytesIO()
        batching.main(come, go)
        found: list[Any] = []
        go.seek(0)
        while go.tell() < len(go.getbuffer()):
            found.append(pickle.load(go))
        return found

    with Old(path) as source:
        begin = start(source)
    assert said(begin) == [*all_of(path, apart=False), None]
    assert said(Start(begin.mark, 1, 1, {})) == ["an item is in no folder"]
