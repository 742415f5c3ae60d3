"""Uploads that no item takes don't pile up."""

from __future__ import annotations

import pytest

from kerio_mockserver.mailbox import uploads
from kerio_mockserver.mailbox.blobs import NewBlob
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.mailbox.uploads import Uploads


def put(kept: Uploads, name: str, size: int, now: float = 0.0) -> None:
    kept.put(name, NewBlob(b"x" * size, name).attached(), now)


def test_oldest_files_make_room_for_more() -> None:
    kept = Uploads(max_files=3)
    for number in range(5):
        put(kept, str(number), 1)
    assert [name for name in "01234" if name in kept] == ["2", "3", "4"]
    assert len(kept) == 3


def test_oldest_files_make_room_for_larger_ones() -> None:
    kept = Uploads(max_bytes=100)
    for name, size in (("a", 60), ("b", 30), ("c", 50)):
        put(kept, name, size)
    assert [name for name in "abc" if name in kept] == ["b", "c"]
    put(kept, "d", 1000)
    assert [name for name in "abcd" if name in kept] == ["d"]


def test_uploads_expire() -> None:
    kept = Uploads()
    put(kept, "old", 1)
    put(kept, "new", 1, now=uploads.MAX_AGE_SECONDS + 1)
    assert ("old" in kept, "new" in kept) == (False, True)


def test_ids_are_not_given_out_again_after_files_were_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Uploads.__init__, "__defaults__", (2, 1 << 20))
    store = MailboxStore()
    ids = [store.upload("same", "text/plain", b"same") for _ in range(6)]
    assert len(set(ids)) == 6
