"""Which items of a cache file that nobody writes to don't hold their checksum, found by a process of its own.

Proving an item is computing in Python, and what else is proven meanwhile would wait for it at every step. The process
(`main`) says on standard output, slice by slice, the numbers that don't hold, as lines of JSON, and "whole" at the end.
If its parent dies, writing fails, and it ends.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from array import array
from contextlib import closing
from pathlib import Path
from typing import Final, TextIO

from kerio_resync.cache.checksums import GIL_RELEASE_LIMIT_BYTES, THREAD_MIN_BYTES, item_checksum
from kerio_resync.cache.schema_guard import restrict
from kerio_resync.cache.write.items import read_item_row

CHECK_SLICE_ITEMS: Final = 500  # items proven at once
_END_MARK: Final = "whole"
_CHILD_PROGRAM: Final = """
import gc, sys
from kerio_resync.cache.integrity.item_check_process import main
gc.disable()  # nothing here goes round in circles
main(sys.argv[1], sys.stdout)
"""


def find_corrupt_items(path: Path, stop: threading.Event) -> array[int] | None:
    """Their numbers; None if the process can't be started, or dies, or once `stop` is set."""
    found = array("q")
    if not sys.executable:
        return None
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD_PROGRAM, str(path.absolute())],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
    except OSError:
        return None
    with child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                if stop.is_set():
                    return None
                said = json.loads(line)
                if said == _END_MARK:
                    return found
                found.extend(said)
        except ValueError:
            pass  # half a line
        finally:
            child.kill()
    return None


def main(path: str, go: TextIO) -> None:
    with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, isolation_level=None)) as db:
        restrict(db, Path(path))
        after: int | None = 0
        while after is not None:
            bad, after = check_items(db, after, THREAD_MIN_BYTES)  # no other thread waits
            print(json.dumps(bad), file=go, flush=True)
    print(json.dumps(_END_MARK), file=go, flush=True)


def check_items(
    db: sqlite3.Connection, after: int, piece: int = GIL_RELEASE_LIMIT_BYTES
) -> tuple[list[int], int | None]:
    """(those of the next items whose checksum does not hold, where to go on or None at the end)"""
    found = read_item_row(db, "item.number > ? ORDER BY item.number LIMIT ?", (after, CHECK_SLICE_ITEMS))
    bad = [number for number, item, told in found if item_checksum(item, piece) != told]
    return bad, found[-1][0] if found else None
