from __future__ import annotations

from pathlib import Path

import pytest

from kerio_resync.cache.mutations import PutItems
from kerio_resync.cache.query_readonly import query_readonly
from kerio_resync.errors import CacheDamaged
from tests.support.cache import filled, mail


async def test_query_returns_rows(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", PutItems((mail("1", title="Hello"),)))).close()
    assert query_readonly(tmp_path / "cache.db", "SELECT folder, subject FROM mail") == [("Inbox", "Hello")]


async def test_query_cannot_write(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", PutItems((mail("1"),)))).close()
    before = (tmp_path / "cache.db").read_bytes()
    with pytest.raises(CacheDamaged, match="readonly"):
        query_readonly(tmp_path / "cache.db", "DELETE FROM item")
    assert (tmp_path / "cache.db").read_bytes() == before


def test_query_of_other_file_raises_damage(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text" * 5000)
    for name in ("text", "missing"):
        with pytest.raises(CacheDamaged, match=name):
            query_readonly(tmp_path / name, "SELECT * FROM mail")
    assert not (tmp_path / "missing").exists()
