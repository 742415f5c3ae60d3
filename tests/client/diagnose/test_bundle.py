"""The bundle for support: what it holds, and that it holds no secret and no text of the mailbox."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
import zipfile
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from kerio_mockserver.testing import Server, running
from kerio_resync import Settings, rebuild
from kerio_resync.cache.mutations import AddChange, LocalChange
from kerio_resync.cache.store import Store
from kerio_resync.cli.process import write_crash_log
from kerio_resync.diagnose import bundle as bundles
from kerio_resync.diagnose.folder_names import FolderNames
from kerio_resync.errors import BadSettings
from kerio_resync.events import Notice, RunFinished
from kerio_resync.run_log import RunLog
from kerio_resync.variables import PASSWORD_VARIABLE

PASSWORD = 'zQ7#kW"v9<xJ&p4/TüB%2Gm'
PROXY_PASSWORD = "Hk3Lq8Xv5Rw1Zt6Y"
DRAFT = "Seventeen violet giraffes"
EXPECTED = {
    "CONTENTS.txt", "doctor.json", "folders.json", "logs/crash.log", "logs/kerio-resync.log", "schema-cache.sql",
    "settings.json", "status.json", "timings.json", "versions.json",
}  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running(seed=7, mails=30, password=PASSWORD) as server:
        yield server


@pytest.fixture
async def profile(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile after a rebuild, a failed one, and an internal error, with a local change."""
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv("http_proxy", f"http://jane:{PROXY_PASSWORD}@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "profile"
    settings = Settings(profile=folder, server=server.url, user=server.user, password=SecretStr(PASSWORD))
    folder.mkdir(mode=0o700)
    log = RunLog(lambda: folder, "rebuild", "1", "debug")
    report = await rebuild(settings, log)
    log(RunFinished(ok=True, exit_code=0, summary=report.as_json()))
    (folder / "profile.toml").write_text(f'server = "{server.url}"\nuser = "{server.user}"\n')
    path = rows(folder, "SELECT path FROM folder WHERE kind = 'mail' AND role = 'none' ORDER BY length(path) DESC")[0]
    log(Notice(f"The folder {path} is listed twice."))
    log.close()
    store = await Store.open(settings.cache)
    await store.apply(
        AddChange(LocalChange("u1", "create", "mail", folder_id="x", struct=json.dumps({"subject": DRAFT}).encode()))
    )
    await store.close()
    try:
        raise ValueError(rows(folder, "SELECT title FROM item WHERE kind = 'mail'")[0])
    except ValueError as error:
        write_crash_log(error, lambda: folder)
    return folder


def rows(folder: Path, sql: str) -> list[str]:
    with closing(sqlite3.connect(folder / "cache.db")) as db:
        return [str(row[0]) for row in db.execute(sql) if row[0]]


def words_of_mailbox(folder: Path) -> set[str]:
    """Everything that a person wrote: titles, people, texts, names of files."""
    with closing(sqlite3.connect(folder / "cache.db")) as db:
        values = [value for row in db.execute("SELECT title, who, recipients, payload FROM item") for value in row]
        values += [row[0] for row in db.execute("SELECT name FROM attachment")]
    found = {DRAFT}
    for value in values:
        found |= {value} if not value.startswith("{") else set(strings(json.loads(value)))
    return {text for value in found for text in value.split("\n") if len(text) >= 8 and " " in text.strip()}


def strings(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return [text for member in members for text in strings(member)]
    return [value] if isinstance(value, str) else []


async def test_bundle_holds_what_support_needs_and_nothing_private(tmp_path: Path, profile: Path) -> None:
    bundle = await bundles.collect(profile, {}, login=True)
    path = tmp_path / "bundle.zip"
    assert bundles.write(bundle, path) == path.stat().st_size
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(members) == EXPECTED
    text = "\n".join(members.values())
    private = words_of_mailbox(profile)
    assert len(private) > 500
    assert [word for word in private if word in text] == []
    for secret in (PASSWORD, PROXY_PASSWORD):
        assert secret not in text
        assert json.dumps(secret)[1:-1] not in text
    folders = [row["path"] for row in json.loads(members["folders.json"])["cache"]]
    assert len(folders) > 10
    assert [name for name in folders if not re.fullmatch(r"folder-\d+", name)] == []
    assert re.search(r"The folder folder-\d+ is listed twice\.", members["logs/kerio-resync.log"])
    assert sum(row["items"] for row in json.loads(members["folders.json"])["cache"]) > 30
    assert json.loads(members["doctor.json"])["cause"] == ""
    assert json.loads(members["status.json"])["outbox"][0]["action"] == "create"
    assert json.loads(members["settings.json"])["password"] == {"value": "set", "source": PASSWORD_VARIABLE}
    assert "CREATE TABLE item" in members["schema-cache.sql"]
    assert "ValueError" in members["logs/crash.log"]
    timings = json.loads(members["timings.json"])
    assert len(timings["disk_sync_seconds"]) == bundles.SYNCS
    assert [name for name, _ in timings["runs"]["1"]][:2] == ["session", "rescue"]
    assert {"round trip", "http"} <= set(timings["network_seconds"])
    assert all(name in members["CONTENTS.txt"] for name in EXPECTED - {"CONTENTS.txt"})


async def test_bundle_keeps_names_if_asked(profile: Path) -> None:
    bundle = await bundles.collect(profile, {}, with_names=True)
    folders = {row["path"] for row in json.loads(bundle.members["folders.json"])["cache"]}
    assert folders == set(rows(profile, "SELECT path FROM folder"))
    assert b"folder-1" not in b"".join(bundle.members.values())


async def test_bundle_replaces_names_that_the_cache_lacks(profile: Path) -> None:
    secret = ["Lawsuit Brown", "Clinic/Züri", "Gone-7", "Planned", "Vanished", "Mistyped", "Zzz9"]
    with (profile / "profile.toml").open("a", encoding="utf-8") as file:
        file.write(f"exclude_folders = {json.dumps([secret[0], secret[1]], ensure_ascii=False)}\n")
    log = RunLog(lambda: profile, "rebuild", "2", "debug")
    log(Notice(f"The server does not let you read {secret[4]!r}."))
    log(RunFinished(ok=True, exit_code=0, summary={"excluded": [[secret[2], 50]], "problems": [f"{secret[2]} twice"]}))
    log(RunFinished(ok=True, exit_code=0, summary={"folders": [{"path": secret[3], "kind": "mail", "items": 4}]}))
    log(RunFinished(ok=False, exit_code=2, summary={"error": f"There is no folder {secret[5]!r}."}))
    log.close()
    with (profile / "kerio-resync.log").open("a") as file:
        file.write('{"event": "run-finished", "summary": {"excluded": [["Zzz9", 5')
    (profile / "crash.log").write_text(f'  File "a.py", line 3\nValueError: folder {secret[4]!r} is odd\n')
    (profile / "upgrade.json").write_text(json.dumps({"attempts": 1, "failure": f"no room for {secret[0]!r}"}))
    bundle = await bundles.collect(profile, {})
    assert b'  File "a.py", line 3\nValueError: folder \'folder-' in bundle.members["logs/crash.log"]
    for name, content in bundle.members.items():
        assert [word for word in [*secret, "Clinic", "Züri"] if word in content.decode()] == [], name
    described = json.loads(bundle.members["settings.json"])["exclude_folders"]
    assert re.fullmatch(r"folder-\d+, folder-\d+", described["value"])
    [check] = [c for c in json.loads(bundle.members["doctor.json"])["checks"] if c["check"] == "settings"]
    assert check["data"]["exclude_folders"] == described
    assert f"exclude_folders {described['value']}" in check["found"]
    summaries = [json.loads(text)["summary"] for text in bundle.members["logs/kerio-resync.log"].decode().splitlines()
                 if '"run": "2"' in text and "summary" in text]  # fmt: skip
    assert summaries[0]["excluded"][0][1] == 50
    assert summaries[0]["problems"] == [f"{summaries[0]['excluded'][0][0]} twice"]
    assert re.fullmatch(r"folder-\d+", summaries[1]["folders"][0]["path"])
    kept = await bundles.collect(profile, {}, with_names=True)
    assert [name for name in secret if name not in b"".join(kept.members.values()).decode()] == []


async def test_bundle_of_damaged_profile_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"nothing" * 10_000)
    (tmp_path / "profile.toml").write_text("server = [")
    (tmp_path / "kerio-resync.log").write_bytes(b'\xff{"run": \n')
    bundle = await bundles.collect(tmp_path, {})
    assert "error" in json.loads(bundle.members["folders.json"])["cache"]
    assert json.loads(bundle.members["doctor.json"])["failures"] >= 2
    assert "logs/kerio-resync.log" in bundle.members


async def test_bundle_of_missing_profile_is_made(tmp_path: Path) -> None:
    bundle = await bundles.collect(tmp_path / "none", {})
    assert "doctor.json" in bundle.members
    assert not (tmp_path / "none").exists()


def test_write_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_text("precious")
    with pytest.raises(BadSettings, match="exists already; name another file with --output"):
        bundles.write(bundles.Bundle(), tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_text() == "precious"


def test_folder_named_like_a_member_leaves_json_intact() -> None:
    names = FolderNames(["mail", "Work/Plans", "Work"])
    value = {"items": {"mail": 3}, "kind": "mail", "reason": "Plans in Work/Plans (mail) at Workplace"}
    assert names.value(value) == {
        "items": {"mail": 3}, "kind": "mail", "reason": "folder-2 in folder-2 (folder-3) at Workplace",
    }  # fmt: skip
