from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import ApplyChanges
from kerio_resync.cache.store import Store
from kerio_resync.errors import CacheInUse, OtherAccount
from kerio_resync.settings import Settings
from kerio_resync.sync.ownership import claim, claim_live, refusal, require
from tests.support.cache import IDENTITY, change, filled

RENAMED = IDENTITY._replace(server="https://old.example.com", account="user-2", user="eve", address="eve@example.com")


def settings(folder: Path, **more: Any) -> Settings:
    return Settings.model_validate({"profile": folder, "server": "https://mail.example.com", "user": "jan", **more})


def ignore(text: str) -> None:
    pass


async def test_claim_live_accepts_own_cache_and_missing_cache(tmp_path: Path) -> None:
    await claim_live(settings(tmp_path), IDENTITY)
    await (await filled(tmp_path / "cache.db")).close()
    await claim_live(settings(tmp_path), IDENTITY)
    await claim_live(settings(tmp_path, same_mailbox=True), IDENTITY)


async def test_claim_live_refuses_cache_of_other_account(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", identity=RENAMED)).close()
    with pytest.raises(OtherAccount, match=r"the cache in .* belongs to eve@example\.com"):
        await claim_live(settings(tmp_path), IDENTITY)


@pytest.mark.parametrize("key", [True, False])
async def test_claim_live_adopts_renamed_mailbox(tmp_path: Path, key: bool) -> None:
    mutations = [ApplyChanges("key of the old server")] if key else []
    await (await filled(tmp_path / "cache.db", *mutations, identity=RENAMED)).close()
    await claim_live(settings(tmp_path, same_mailbox=True), IDENTITY)
    store = await Store.open(tmp_path / "cache.db")
    assert store.identity == IDENTITY
    assert await store.read(queries.meta, "sync_key") == ("" if key else None)
    await store.close()


async def test_claim_refuses_to_adopt_cache_that_is_open(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", identity=RENAMED)).close()
    with closing(sqlite3.connect(tmp_path / "cache.db")) as other:
        other.execute("SELECT count(*) FROM item").fetchone()
        with pytest.raises(CacheInUse, match="is open in process"):
            await claim(settings(tmp_path, same_mailbox=True), IDENTITY, ignore)


async def test_claim_leaves_identity_of_damaged_cache(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", identity=RENAMED)).close()
    change(tmp_path / "cache.db", "DROP TABLE chunk")
    assert await claim(settings(tmp_path, same_mailbox=True), IDENTITY, ignore) == RENAMED


def test_require_compares_owner_with_mailbox(tmp_path: Path) -> None:
    require(settings(tmp_path), IDENTITY, IDENTITY)
    with pytest.raises(OtherAccount):
        require(settings(tmp_path), RENAMED, IDENTITY)


def test_refusal_names_unfinished_cache(tmp_path: Path) -> None:
    assert "the unfinished cache in" in str(refusal(settings(tmp_path), tmp_path / "cache.db.next", RENAMED, IDENTITY))
