"""Batches are the same whichever process makes them, and whatever becomes of the other one."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.format71_files import write
from kerio_resync.cache.format71.reader import Format71Reader
from kerio_resync.cache.new_database import Checkpoint
from kerio_resync.errors import CacheDamaged
from kerio_resync.upgrade.migration import batch_process, format71_batches
from kerio_resync.upgrade.migration.batch_process import read_batches
from kerio_resync.upgrade.migration.format71_batches import Batch, Start, make_batches


@pytest.fixture(autouse=True)
def small_batches_and_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format71_batches, "ITEMS_PER_BATCH", 8)
    monkeypatch.setattr(batch_process, "PIPE_BYTES", 4096)
    # the process is used from the second batch on
    monkeypatch.setattr(batch_process._Child, "ready", lambda child: bool(child._greeting.result()) or True)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("old") / "cache.db"
    write(path, 300, 20_000)
    return path


@pytest.fixture
def source(old: Path) -> Iterator[Format71Reader]:
    with Format71Reader.open(old) as reader:
        yield reader


def start(source: Format71Reader) -> Start:
    return Start(Checkpoint(), 1, 1, {folder.id: 1 for folder in source.folders()})


def rows(made: list[Batch]) -> tuple[object, ...]:
    """Return items, attachments, contents and the last checkpoint, however they are divided into batches."""
    items = [row for batch in made for row in batch.items]
    attachments = [row for batch in made for row in batch.attachments]
    return items, attachments, [pair for batch in made for pair in batch.contents.items()], [made[-1].checkpoint]


def test_batches_of_another_process_equal_our_own(source: Format71Reader) -> None:
    own = list(read_batches(source, start(source), make_batches, process=False))
    assert len(own) > 30
    assert rows(list(read_batches(source, start(source), make_batches, process=True))) == rows(own)


def test_batches_continue_here_when_the_process_is_killed(
    source: Format71Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = list(read_batches(source, start(source), make_batches, process=False))
    children: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*args: object, **options: object) -> subprocess.Popen[bytes]:
        children.append(popen(*args, **options))  # type: ignore[call-overload]
        return children[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    made = []
    for batch in read_batches(source, start(source), make_batches, process=True):
        made.append(batch)
        if len(made) == 2:
            os.kill(children[0].pid, signal.SIGKILL)
    assert rows(made) == rows(own)
    assert children[0].returncode == -signal.SIGKILL


@pytest.mark.parametrize("executable", ["/no/such/program", "/bin/false"])
def test_batches_are_made_here_when_no_process_starts(
    executable: str, source: Format71Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = list(read_batches(source, start(source), make_batches, process=False))
    monkeypatch.setattr(sys, "executable", executable)
    assert list(read_batches(source, start(source), make_batches, process=True)) == own


def test_process_ends_with_the_generator(source: Format71Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    wait = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", lambda child: codes.append(wait(child)))
    with closing(read_batches(source, start(source), make_batches, process=True)) as generator:
        for _ in range(3):
            next(generator)
    assert codes == [-signal.SIGKILL]


def test_damage_that_the_process_finds_is_raised(old: Path, tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(old.read_bytes())
    with closing(sqlite3.connect(tmp_path / "cache.db")) as db:
        db.execute("UPDATE MAIL_HEADERS SET FLAGS = 'x' WHERE ID = (SELECT max(ID) FROM MAIL_HEADERS)")
        db.commit()
    with (
        Format71Reader.open(tmp_path / "cache.db") as source,
        pytest.raises(CacheDamaged, match="a number is invalid"),
    ):
        list(read_batches(source, start(source), make_batches, process=True))
