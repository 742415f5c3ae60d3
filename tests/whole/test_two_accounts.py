"""Two accounts on two servers, and a client that is killed at any instant: nothing ever gets to the wrong side."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from kerio_mockserver.testing import Server
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.store import Store
from kerio_resync.errors import Exit
from tests.support.programs import PASSWORD, kerio_resync, mock, start

ROUNDS = int(os.environ.get("KERIO_CRASHES", "12")) // 10
COMMANDS = (("rebuild",), ("rebuild", "--fresh"), ("rebuild", "--folder", "Inbox"), ("verify", "--repair"))


def digest(server: Server) -> list[str]:
    return [line.rstrip("\n") for line in server.store.digest()]


def foreign_rows(profile: Path, server: Server) -> int:
    """Items of another account than the server's in any database of the profile."""
    count = 0
    for path in profile.glob("cache.db*"):
        if path.suffix in (".db", ".next"):
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
                query = "SELECT count(*) FROM item WHERE id LIKE 'keriostorage:%' AND id NOT LIKE ?"
                count += db.execute(query, (f"%/{server.store.user}/%",)).fetchone()[0]
    return count


async def record_changes(profile: Path, server: Server, round_: int) -> str:
    """A note that is to be created; its text."""
    folder = next(str(each["id"]) for each in server.store.folders() if each["type"] == "FNote")
    store = await Store.open(profile / "cache.db")
    text = f"written offline, {round_}"
    await Outbox(store).add("create", "note", folder_id=folder, struct=f'{{"text": "{text}"}}'.encode())
    await store.close()
    return text


async def run_and_kill(profile: Path, command: tuple[str, ...], wait: float) -> int | None:
    process = await start("--profile", profile, *command, "--quiet")
    try:
        async with asyncio.timeout(wait):
            await process.wait()
    except TimeoutError:
        process.send_signal(signal.SIGKILL)
    await process.communicate()
    return process.returncode


def write_settings(profile: Path, server: Server) -> None:
    (profile / "profile.toml").write_text(f"server = '{server.url}'\nuser = '{server.user}'\n")


@pytest.mark.timeout(60 + 20 * ROUNDS)
async def test_kills_never_bring_anything_to_the_other_account(tmp_path: Path) -> None:
    profile, chance, texts = tmp_path / "profile", Random(f"two accounts {ROUNDS}"), []
    profile.mkdir()
    async with (
        mock(seed=8, mails=40, user="anna@example.com") as (anna, _),
        mock(seed=9, mails=30, user="bert@example.com") as (bert, _),
    ):
        write_settings(profile, anna)
        assert (await kerio_resync("--profile", profile, "rebuild", "--quiet")).code == 0
        berts = digest(bert)
        for round_ in range(ROUNDS):
            texts.append(await record_changes(profile, anna, round_))
            for server in (bert, anna):
                write_settings(profile, server)
                code = await run_and_kill(profile, chance.choice(COMMANDS), chance.uniform(0.05, 0.8))
                allowed = {-signal.SIGKILL, Exit.OTHER_ACCOUNT if server is bert else Exit.DONE}
                assert code in allowed
                assert foreign_rows(profile, anna) == 0
                assert digest(bert) == berts
        write_settings(profile, bert)
        assert (await kerio_resync("--profile", profile, "rebuild", "--quiet")).code == Exit.OTHER_ACCOUNT
        write_settings(profile, anna)
        assert (await kerio_resync("--profile", profile, "rebuild", "--quiet")).code == 0
        done = await kerio_resync("--profile", profile, "digest", password=None)
        assert done.out.splitlines() == digest(anna)
        assert digest(bert) == berts
    with closing(sqlite3.connect(profile / "cache.db")) as db:
        sent = [row[0] for row in db.execute("SELECT json_extract(payload, '$.text') FROM item WHERE kind = 'note'")]
        assert all(sent.count(text) == 1 for text in texts)
        assert db.execute("SELECT count(*) FROM outbox WHERE state <> 'sent'").fetchone()[0] == 0
    assert PASSWORD not in (profile / "profile.toml").read_text()


async def test_a_server_that_was_moved_needs_to_be_told_once(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    async with mock(seed=8, mails=20, user="anna@example.com") as (_, named):
        assert (await kerio_resync("--profile", profile, "rebuild", *named)).code == 0
    async with mock(seed=8, mails=20, user="anna@example.com") as (moved, named):
        before = (profile / "cache.db").read_bytes(), (profile / "profile.toml").read_bytes()
        refused = await kerio_resync("--profile", profile, "rebuild", *named)
        assert refused.code == Exit.OTHER_ACCOUNT
        assert moved.url in refused.err
        assert "--same-mailbox" in refused.err
        assert ((profile / "cache.db").read_bytes(), (profile / "profile.toml").read_bytes()) == before
        assert (await kerio_resync("--profile", profile, "rebuild", *named, "--same-mailbox")).code == 0
        assert moved.url in (profile / "profile.toml").read_text()
        assert (await kerio_resync("--profile", profile, "verify", "--deep")).code == 0
        (profile / "profile.toml").unlink()  # the cache itself remembers its server
        assert (await kerio_resync("--profile", profile, "rebuild")).code == 0
        assert moved.url in (profile / "profile.toml").read_text()
