"""What is said about a profile, and what must not be."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.format71_files import write
from benchmarks.format71_writer import Format71Writer
from kerio_resync.cache.mutations import AddChange, LocalChange, LocalFile, PutLocal
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.store import Store
from kerio_resync.cli import commands
from kerio_resync.cli.display import View, open_display
from kerio_resync.cli.formatting import lines_of_status
from kerio_resync.errors import BadSettings, CacheDamaged, NoCache, Unreachable
from kerio_resync.settings import Settings
from kerio_resync.sync.status import digest, status, verify
from tests.support.cache import FOLDERS, IDENTITY, attachment, filled, items, mail
from tests.support.fake_mailbox import Mailbox
from tests.support.format72 import LATE, load


def settings(folder: Path) -> Settings:
    values = {"profile": folder, "server": "https://mail.example.com", "user": "jan", "password": "pass-word"}
    return Settings.model_validate(values)


async def test_nothing_there(tmp_path: Path) -> None:
    found = await status(settings(tmp_path))
    assert (found.cache.state, found.building.state, found.outbox, found.holder) == ("absent", "absent", (), "")
    with pytest.raises(BadSettings, match="no profile folder"):
        await status(settings(tmp_path / "none"))
    with pytest.raises(NoCache, match="no cache"):
        [line async for line in digest(settings(tmp_path))]


async def test_what_is_there(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", items("a", "b"))).close()
    await (await filled(tmp_path / "cache.db.next", items("a"))).close()
    found = (await status(settings(tmp_path))).as_json()
    assert (found["cache"]["state"], found["cache"]["items"]["mail"]) == ("ready", 2)
    assert (found["building"]["state"], found["building"]["items"]["mail"]) == ("building", 1)
    assert found["cache"]["bytes"] == (tmp_path / "cache.db").stat().st_size
    assert json.loads(json.dumps(found)) == found


async def test_a_file_that_can_not_be_read_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    await (await filled(tmp_path / "cache.db.next")).close()
    with closing(sqlite3.connect(tmp_path / "cache.db.next")) as db, db:
        db.execute("DROP TABLE attachment")  # its head is whole
    found = await status(settings(tmp_path))
    assert (found.cache.state, found.building.state) == ("damaged", "damaged")
    assert found.cache.problem
    assert found.building.problem


async def test_a_cache_of_the_old_format_is_to_be_upgraded(tmp_path: Path) -> None:
    with Format71Writer(tmp_path / "cache.db", IDENTITY) as old:
        for folder in FOLDERS.folders:
            old.folder(folder)
    found = await status(settings(tmp_path))
    assert found.cache.state == "old"
    assert "run `kerio-resync upgrade`" in found.cache.problem
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "cache.db").write_bytes(b"no database" * 1000)
    with pytest.raises(CacheDamaged):
        [line async for line in digest(settings(tmp_path / "damaged"))]
    with pytest.raises(BadSettings, match="run `kerio-resync upgrade`"):
        [line async for line in digest(settings(tmp_path))]


async def test_status_shows_local_changes_of_files_that_were_set_aside(tmp_path: Path) -> None:
    sent, known, left = (AddChange(LocalChange(f"u-{each}", "delete", "note", item_id="n")) for each in range(3))
    sent = AddChange(sent.change._replace(state="sent"))
    await (await filled(tmp_path / "cache.db", known)).close()
    await (await filled(tmp_path / "cache.db.aside-1", sent, known)).close()
    assert (await status(settings(tmp_path))).set_aside == ()
    await (await filled(tmp_path / "cache.db.aside-2", sent, known, left)).close()
    (tmp_path / "cache.db.next.damaged-20261128T025956Z").write_bytes(b"no database" * 1000)
    with Format71Writer(tmp_path / "cache.db.damaged-20261128T025956Z~2", IDENTITY) as old:
        old.pending(left)
    with closing(sqlite3.connect(tmp_path / "cache.db.damaged-20261128T025956Z~2")) as db:
        db.execute("PRAGMA user_version = 70000")
    found = (await status(settings(tmp_path))).as_json()["set_aside"]
    assert [(Path(each["path"]).name, each["changes"], each["owner"]) for each in found] == [
        ("cache.db.aside-2", 1, "jan@example.com at https://mail.example.com"),
        ("cache.db.damaged-20261128T025956Z~2", 1, "jan@example.com at https://mail.example.com"),
        ("cache.db.next.damaged-20261128T025956Z", None, ""),
    ]


async def test_status_calls_an_older_format_that_and_counts_its_changes(tmp_path: Path) -> None:
    with Format71Writer(tmp_path / "cache.db", IDENTITY) as old:
        old.pending(AddChange(LocalChange("u-1", "delete", "note", item_id="n")))
    with closing(sqlite3.connect(tmp_path / "cache.db")) as db:
        db.execute("PRAGMA user_version = 70000")
    found = await status(settings(tmp_path))
    said = "it is of the older format 7.0.0, and this version reads 7.3.0"
    assert (found.cache.state, found.cache.problem) == ("unknown", said)
    assert [each.changes for each in found.set_aside] == [1]
    lines = lines_of_status(found.as_json())
    assert "Local changes: none" not in lines
    assert any("1 change not sent, of jan@example.com" in each for each in lines)


async def test_status_of_format_72_names_the_upgrade_and_counts_changes(tmp_path: Path) -> None:
    load(LATE, tmp_path / "cache.db")
    found = await status(settings(tmp_path))
    assert (found.cache.state, found.cache.problem) == ("old", "it has format 7.2; run `kerio-resync upgrade`")
    assert [each.changes for each in found.set_aside] == [8]
    assert any("8 changes not sent, of jane@example.com" in each for each in lines_of_status(found.as_json()))
    with pytest.raises(BadSettings, match=r"it has format 7\.2; run `kerio-resync upgrade`"):
        [line async for line in digest(settings(tmp_path))]


SECRETS = {
    "password": "pass-word",
    "text": "Dear Ann, the code is 4711",
    "subject": "Our merger",
    "file": "contents of a file",
    "name": "plan-of-the-merger.pdf",
    "trace": "a trace with the words of a mail",
    "body": "a stored body",
}


async def with_secrets(profile: Path) -> None:
    """A profile with everything that could give something away."""
    stored = mail("a", title=SECRETS["subject"], text=SECRETS["body"], attached=(attachment(SECRETS["name"]),))
    store = await filled(profile / "cache.db", items(), PutLocal(stored._replace(id="local:1")))
    outbox = Outbox(store)
    struct = json.dumps({"subject": SECRETS["subject"], "displayableParts": [{"content": SECRETS["text"]}]}).encode()
    file = LocalFile(SECRETS["name"], "application/pdf", SECRETS["file"].encode())
    made = [await outbox.add("create", "mail", folder_id="work", struct=struct, files=(file,)) for _ in range(3)]
    await outbox.begin_attempt(made[0], json.dumps({"known": [], "like": SECRETS["trace"], "alone": True}))
    await outbox.mark_refused(made[1], "No room. (code 4102)")
    await outbox.record_conflict(made[2], stored, "mail a was to be edited, but it is gone", (file,))
    await store.close()


async def test_status_gives_nothing_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await with_secrets(tmp_path)
    found = await status(settings(tmp_path))
    said = [json.dumps(found.as_json(), default=str), repr(found)]
    assert [row["state"] for row in found.outbox] == ["sending", "refused", "conflict"]
    assert found.outbox[1]["reason"] == "No room. (code 4102)"
    for text in said:
        assert {name for name, secret in SECRETS.items() if secret in text} == set()


@pytest.mark.parametrize("as_json", [False, True])
def test_status_prints_nothing_that_is_secret(
    as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    asyncio.run(with_secrets(tmp_path))
    (tmp_path / "profile.toml").write_text('server = "https://mail.example.com"\nuser = "jan"\n')
    monkeypatch.setenv("KERIO_RESYNC_PASSWORD", SECRETS["password"])
    with open_display(View(as_json, flat=True), lines_of_status) as shown:
        commands.status(tmp_path, shown)
    said = capsys.readouterr().out
    assert "4102" in said
    assert {name for name, secret in SECRETS.items() if secret in said} == set()


async def test_the_digest(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", items("a", "b"))).close()
    lines = [line async for line in digest(settings(tmp_path))]
    assert [line.split(" ")[:3] for line in lines] == [["mail", "a", "1"], ["mail", "b", "1"]]


async def test_a_verification_that_can_not_be_made(tmp_path: Path) -> None:
    with pytest.raises(NoCache, match="no cache"):
        await verify(settings(tmp_path), mailbox=Mailbox())  # type: ignore[arg-type]
    await (await filled(tmp_path / "cache.db")).close()
    for error in (Unreachable("down"), CacheDamaged("page 1")):
        mailbox: Any = Mailbox(answers={"folders": [error]})
        with pytest.raises(type(error)):
            await verify(settings(tmp_path), mailbox=mailbox)
        assert mailbox.asked[-1] == "close"


async def test_a_verification(tmp_path: Path) -> None:
    store = await Store.create(tmp_path / "cache.db", IDENTITY)
    await store.apply(FOLDERS)
    await store.close()
    mailbox: Any = Mailbox({"a": mail("a")})
    mailbox.there = tuple(replace(each, count=1) if each.id == "inbox" else each for each in FOLDERS.folders)
    found = await verify(settings(tmp_path), mailbox=mailbox)
    assert found.as_json() == {"checked": 1, "differences": ("missing mail a",), "count": 1, "repaired": 0, "ok": False}
    assert (await verify(settings(tmp_path), mailbox=mailbox, repair=True)).ok


async def test_old_file_that_was_cut_short_is_damaged(tmp_path: Path) -> None:
    write(tmp_path / "cache.db", 3, 1000)
    assert (await status(settings(tmp_path))).cache.state == "old"
    os.truncate(tmp_path / "cache.db", (tmp_path / "cache.db").stat().st_size // 2)
    assert (await status(settings(tmp_path))).cache.state == "damaged"
