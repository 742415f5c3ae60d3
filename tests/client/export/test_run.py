"""What an export does with what is there, and what it refuses."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.format71_writer import Format71Writer
from kerio_resync.cache.mutations import PutItems, SetFolders
from kerio_resync.errors import (
    BadSettings,
    CacheDamaged,
    DiskTrouble,
    Exit,
    NoCache,
    NotEnoughSpace,
    OtherAccount,
    OtherFormat,
    ResyncError,
    TargetInUse,
)
from kerio_resync.events import Event, Notice, PhaseChanged, Progress, RunStarted, Skipped
from kerio_resync.export import files, mbox, record, run
from kerio_resync.export.options import ExportOptions, Format, parse_since, parse_zone
from kerio_resync.export.record import LOCK_NAME, RECORD_NAME, ExportRecord
from kerio_resync.export.report import ExportReport, TargetReport
from kerio_resync.export.run import export
from kerio_resync.model import Attachment, Folder, Item
from kerio_resync.settings import Settings
from tests.support.cache import FOLDERS, IDENTITY, change, filled, mail, old_cache, whole

STRUCT: dict[str, Any] = {
    "from": {"name": "Ann", "address": "ann@example.com"},
    "displayableParts": [{"contentType": "ctTextPlain", "content": "Hello\n"}],
    "receiveDate": "20260301T000000Z",
}


def settings(folder: Path) -> Settings:
    values = {"profile": folder, "server": "https://mail.example.com", "user": "jan", "password": "pass-word"}
    return Settings.model_validate(values)


def with_struct(item: Item, **members: object) -> Item:
    return item._replace(payload=json.dumps({**STRUCT, **members}, sort_keys=True).encode())


def letters(*names: str, folder: str = "inbox", **more: Any) -> PutItems:
    return PutItems(tuple(with_struct(mail(name, folder=folder, **more), subject=f"Letter {name}") for name in names))


@pytest.fixture
async def profile(tmp_path: Path) -> Path:
    """A profile with five mails in two folders."""
    folder = tmp_path / "profile"
    folder.mkdir()
    await (await filled(folder / "cache.db", letters("1", "2", "3"), letters("4", "5", folder="work"))).close()
    return folder


async def run_export(
    profile: Path, target: Path, name: Format = "maildir", *, told: list[Event] | None = None, **how: Any
) -> TargetReport:
    heard: list[Event] = [] if told is None else told
    report: ExportReport = await export(settings(profile), ExportOptions(((name, target),), **how), heard.append)
    return report.targets[0]


def files_in(folder: Path) -> dict[str, bytes]:
    own = {RECORD_NAME, LOCK_NAME}
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in own)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


async def test_export_writes_each_mail_once_and_again_nothing(profile: Path, tmp_path: Path) -> None:
    target, told = tmp_path / "mail", list[Event]()
    first = await run_export(profile, target, told=told)
    written = files_in(target)
    second = await run_export(profile, target)
    assert (first.written, first.unchanged, second.written, second.unchanged) == (5, 0, 0, 5)
    assert len(written) == 5
    assert files_in(target) == written
    assert {type(event) for event in told} == {RunStarted, PhaseChanged, Progress}
    last = [event for event in told if isinstance(event, Progress)][-1]
    assert (last.items_done, last.items_total) == (5, 5)


async def test_files_and_folders_are_private(profile: Path, tmp_path: Path) -> None:
    await run_export(profile, tmp_path / "mail")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "mail").rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "mail").rglob("*") if path.is_dir()} == {0}


@pytest.mark.parametrize("name", ["maildir", "eml"])
async def test_changed_mail_replaces_its_file(profile: Path, tmp_path: Path, name: Format) -> None:
    target = tmp_path / "mail"
    await run_export(profile, target, name)
    before = files_in(target)
    change(profile / "cache.db", "UPDATE item SET seen = 0, version = version || 'x' WHERE id = '1'")
    report = await run_export(profile, target, name)
    after = files_in(target)
    assert (report.replaced, report.unchanged) == (1, 4)
    assert len(after) == len(before) == 5
    assert len(before.keys() - after.keys()) == 1


async def test_eml_follows_flags_that_changed_without_the_version(profile: Path, tmp_path: Path) -> None:
    await run_export(profile, tmp_path / "mail", "eml")
    change(profile / "cache.db", "UPDATE item SET flagged = 1 - flagged WHERE id = '1'")
    before = files_in(tmp_path / "mail")
    report = await run_export(profile, tmp_path / "mail", "eml")
    after = files_in(tmp_path / "mail")
    assert (report.replaced, report.unchanged) == (1, 4)
    [old], [new] = (
        [files[name] for name in files.keys() - others] for files, others in ((before, after), (after, before))
    )
    assert old != new
    assert {"F" in email.message_from_bytes(content).get("X-Status", "") for content in (old, new)} == {True, False}


async def test_flags_that_a_mail_program_has_set_since_stay(profile: Path, tmp_path: Path) -> None:
    target = tmp_path / "mail"
    await run_export(profile, target)
    path = next((target / "Inbox" / "cur").iterdir())
    flagged = path.rename(path.with_name(path.name + "F"))
    assert (await run_export(profile, target)).unchanged == 5
    assert flagged.exists()


@pytest.mark.parametrize("name", ["mbox", "eml", "maildir"])
async def test_files_of_other_programs_stay_as_they_are(profile: Path, tmp_path: Path, name: Format) -> None:
    others = [tmp_path / "mail" / place for place in ("notes.txt", "Inbox/cur/1.2.host:2,", "Inbox/letter.eml")]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"theirs")
    await run_export(profile, tmp_path / "mail", name)
    assert [path.read_bytes() for path in others] == [b"theirs"] * 3


async def test_mbox_in_the_way_is_refused_before_anything_is_written(profile: Path, tmp_path: Path) -> None:
    target = tmp_path / "mail"
    target.mkdir()
    (target / "Work.mbox").write_bytes(b"theirs")
    with pytest.raises(BadSettings, match=r"Work\.mbox was not written by kerio-resync"):
        await run_export(profile, target, "mbox")
    assert files_in(target) == {"Work.mbox": b"theirs"}


async def test_mbox_is_replaced_only_as_it_was_written(profile: Path, tmp_path: Path) -> None:
    target = tmp_path / "mail"
    await run_export(profile, target, "mbox")
    first = files_in(target)
    assert (await run_export(profile, target, "mbox")).unchanged == 5
    change(profile / "cache.db", "UPDATE item SET version = version || 'x' WHERE id = '1'")
    assert (await run_export(profile, target, "mbox")).replaced == 3
    assert files_in(target) == first
    with (target / "Inbox.mbox").open("ab") as file:
        file.write(b"From a mail program\n")
    change(profile / "cache.db", "UPDATE item SET version = version || 'x' WHERE id = '1'")
    with pytest.raises(BadSettings, match=r"Inbox\.mbox .* or was changed since"):
        await run_export(profile, target, "mbox")


class Stop(BaseException):
    """The end of the process."""


@pytest.mark.parametrize("name", ["maildir", "mbox", "eml"])
async def test_interrupted_export_is_resumed(
    profile: Path, tmp_path: Path, name: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run_export(profile, tmp_path / "whole", name)
    monkeypatch.setattr("kerio_resync.export.read_cache.PAGE_ITEMS", 1)
    writes = 0
    write = files.NewFile.write

    def stopping(self: files.NewFile, data: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes == 5:
            raise Stop
        write(self, data)

    monkeypatch.setattr(files.NewFile, "write", stopping)
    with pytest.raises(Stop):
        await run_export(profile, tmp_path / "parts", name)
    resumed = await run_export(profile, tmp_path / "parts", name)
    assert sum(resumed.items.values()) == 5
    assert resumed.unchanged > 0 or name == "mbox"
    assert files_in(tmp_path / "parts") == files_in(tmp_path / "whole")


async def test_mbox_resumes_where_it_stopped(profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerio_resync.export.read_cache.PAGE_ITEMS", 1)
    written: list[str] = []
    write_mail = mbox.MboxFiles._write_mail

    async def stopping(self: mbox.MboxFiles, item: Any, file: Any) -> None:
        if len(written) == 2:
            written.append("")
            raise Stop
        written.append(item.id)
        await write_mail(self, item, file)

    monkeypatch.setattr(mbox.MboxFiles, "_write_mail", stopping)
    with pytest.raises(Stop):
        await run_export(profile, tmp_path / "mail", "mbox")
    await run_export(profile, tmp_path / "mail", "mbox")
    assert written == ["1", "2", "", "3", "4", "5"]


async def test_files_of_a_run_before_a_power_cut_are_written_again(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "mail"
    await run_export(profile, target)
    stored = json.loads((target / RECORD_NAME).read_text())
    (target / RECORD_NAME).write_text(json.dumps({**stored, "finished": False, "boot": "another"}))
    again = await run_export(profile, target)
    assert (again.replaced, again.unchanged) == (5, 0)
    assert len(files_in(target)) == 5
    empty = next((target / "Inbox" / "cur").iterdir())
    empty.write_bytes(b"")
    assert (await run_export(profile, target)).replaced == 1


async def test_dry_run_writes_nothing(profile: Path, tmp_path: Path) -> None:
    formats: tuple[Format, ...] = ("maildir", "mbox", "eml", "ics", "vcf")
    for name in formats:
        report = await run_export(profile, tmp_path / name, name, dry_run=True)
        assert report.written == sum(report.items.values()) == (5 if name in ("maildir", "mbox", "eml") else 0)
        assert not (tmp_path / name).exists()


async def test_folder_names_are_those_of_rebuild(profile: Path, tmp_path: Path) -> None:
    assert (await run_export(profile, tmp_path / "a", folders=("work",))).items == {"mail": 2}
    with pytest.raises(BadSettings, match="there is no folder 'Wrk'; did you mean 'Work'"):
        await run_export(profile, tmp_path / "b", folders=("Wrk",))
    assert not (tmp_path / "b").exists()


async def test_since_leaves_older_mail_out(profile: Path, tmp_path: Path) -> None:
    change(profile / "cache.db", "UPDATE item SET date = '2026-03-02T00:00:00Z' WHERE id IN ('2', '5')")
    report = await run_export(profile, tmp_path / "mail", since=parse_since("2026-03-02"))
    assert report.items == {"mail": 2}


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("2026-03-01", "2026-03-01"), ("2026-03-01T10:00:00+01:00", "2026-03-01T09:00:00Z")],
)
def test_since_is_a_date_or_a_time(text: str, parsed: str) -> None:
    assert parse_since(text) == parsed
    with pytest.raises(BadSettings, match="is not a date"):
        parse_since("yesterday")


def test_unknown_time_zone_is_refused() -> None:
    assert parse_zone("Europe/Prague").key == "Europe/Prague"
    with pytest.raises(BadSettings, match="is unknown"):
        parse_zone("../etc/passwd")


@pytest.mark.parametrize(
    "how",
    [
        {"targets": ()},
        {"targets": (("mbox", Path("x")),), "layout": "maildir++"},
        {"targets": (("maildir", Path("x")),), "layout": "thunderbird"},
        {"targets": (("maildir", Path("x")),), "split": True},
        {"targets": (("vcf", Path("x")),), "text_notes": True},
    ],
)
def test_options_that_do_nothing_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        ExportOptions(**how)


async def test_without_a_usable_cache_the_export_is_refused(tmp_path: Path) -> None:
    async def refusal(kind: type[ResyncError], match: str) -> None:
        with pytest.raises(kind, match=match):
            await run_export(tmp_path, tmp_path / "mail")
        assert not (tmp_path / "mail").exists()

    await refusal(NoCache, "there is no cache")
    await (await filled(tmp_path / "cache.db.next", letters("1"))).close()
    await refusal(NoCache, "an unfinished rebuild exists")
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    await refusal(CacheDamaged, "cache.db")
    (tmp_path / "cache.db").unlink()
    change(tmp_path / "cache.db", "PRAGMA application_id = 7; CREATE TABLE x (y)")
    await refusal(OtherFormat, "another program")
    (tmp_path / "cache.db").unlink()
    with Format71Writer(tmp_path / "cache.db", IDENTITY) as old:
        for folder in FOLDERS.folders:
            old.folder(folder)
    await refusal(BadSettings, "kerio-resync upgrade")


async def test_export_of_another_mailbox_is_refused(profile: Path, tmp_path: Path) -> None:
    await run_export(profile, tmp_path / "mail")
    before = files_in(tmp_path / "mail")
    (tmp_path / "other").mkdir()
    other = IDENTITY._replace(account="user-2", user="eva", address="eva@example.com")
    await (await filled(tmp_path / "other" / "cache.db", letters("9"), identity=other)).close()
    with pytest.raises(OtherAccount, match=r"holds the export of jan@example\.com"):
        await run_export(tmp_path / "other", tmp_path / "mail")
    assert files_in(tmp_path / "mail") == before


async def test_two_exports_into_one_folder_are_refused(profile: Path, tmp_path: Path) -> None:
    with record.locked(tmp_path / "mail"), pytest.raises(TargetInUse, match="another export is writing"):
        await run_export(profile, tmp_path / "mail")
    assert (await run_export(profile, tmp_path / "mail")).written == 5
    assert not (tmp_path / "mail" / LOCK_NAME).exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b'{"mailbox": {}, "files": 3, "partial": {}}'])
async def test_record_that_is_not_one_is_refused(profile: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / RECORD_NAME).write_bytes(content)
    with pytest.raises((BadSettings, OtherAccount)):
        await run_export(profile, tmp_path / "mail")


async def test_target_that_is_a_file_is_refused(profile: Path, tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(b"theirs")
    with pytest.raises((BadSettings, DiskTrouble)):
        await run_export(profile, tmp_path / "mail")


async def test_full_disk_is_told_before_anything_is_written(
    profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "available_bytes", lambda path: 10)
    with pytest.raises(NotEnoughSpace):
        await run_export(profile, tmp_path / "mail")
    assert files_in(tmp_path / "mail") == {}


async def test_write_error_becomes_one_of_ours(profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NotEnoughSpace):
        await run_export(profile, tmp_path / "mail")
    assert files_in(tmp_path / "mail") == {}


async def test_item_that_can_not_be_exported_is_named(profile: Path, tmp_path: Path) -> None:
    change(profile / "cache.db", "UPDATE item SET payload = '[]' WHERE id = '2'")
    told = list[Event]()
    report = await run_export(profile, tmp_path / "mail", told=told)
    assert (report.items, report.skipped) == ({"mail": 4}, [("item", "2", "not an object")])
    assert Skipped("item", "2", "not an object") in told


async def test_attachment_that_is_not_stored_is_named(profile: Path, tmp_path: Path) -> None:
    file = Attachment("a", "/a", "plan.pdf", "application/pdf", "", 5)
    (tmp_path / "p").mkdir()
    await (await filled(tmp_path / "p" / "cache.db", PutItems((with_struct(mail("1", attached=(file,))),)))).close()
    report = await run_export(tmp_path / "p", tmp_path / "mail")
    assert dict(report.lost) == {"the content of an attachment, which is not in the cache": 1}
    [content] = files_in(tmp_path / "mail").values()
    assert b"plan.pdf (missing).txt" in content


async def test_damaged_content_ends_the_export(tmp_path: Path) -> None:
    file = Attachment("a", "/a", "plan.pdf", "application/pdf", "", 5)
    cache = await filled(tmp_path / "cache.db", PutItems((with_struct(mail("1", attached=(file,))),)))
    for mutation in whole(1, b"12345"):
        await cache.apply(mutation)
    await cache.close()
    change(tmp_path / "cache.db", "UPDATE chunk SET data = x'3132333436'")
    with pytest.raises(CacheDamaged):
        await run_export(tmp_path, tmp_path / "mail")


async def test_content_of_several_chunks_is_exported_whole(tmp_path: Path) -> None:
    data = os.urandom(700_001)
    file = Attachment("a", "/a", "big.bin", "application/octet-stream", "", len(data))
    cache = await filled(tmp_path / "cache.db", PutItems((with_struct(mail("1", attached=(file,))),)))
    for mutation in whole(1, data):
        await cache.apply(mutation)
    await cache.close()
    await run_export(tmp_path, tmp_path / "mail")
    [content] = files_in(tmp_path / "mail").values()
    parts = list(email.message_from_bytes(content, policy=email.policy.default).walk())
    assert parts[-1].get_payload(decode=True) == data


async def test_local_conflicts_are_exported_and_unsent_changes_told(tmp_path: Path) -> None:
    await old_cache(tmp_path / "cache.db")
    told = list[Event]()
    await run_export(tmp_path, tmp_path / "mail", told=told)
    [notice] = [event.text for event in told if isinstance(event, Notice)]
    assert notice == "6 local changes are not sent yet. The export has what the server has."


async def test_folder_that_two_names_share_on_disk_gets_a_mark(tmp_path: Path) -> None:
    same = replace(FOLDERS.folders[1], id="b", name="INBOX", role="none")
    odd = SetFolders((*FOLDERS.folders, same, Folder("c", "root", "a:b", "mail")))
    cache = await filled(tmp_path / "cache.db", odd, letters("1", folder="b"), letters("2", folder="inbox"))
    await cache.close()
    report = await run_export(tmp_path, tmp_path / "mail")
    assert len({name.rpartition("/cur/")[0].casefold() for name in files_in(tmp_path / "mail")}) == 2
    assert report.lost["the name of a folder, which files cannot have"] == 2


async def test_cancelled_export_leaves_no_part(profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = asyncio.Event()

    async def hanging(*_: object) -> None:
        started.set()
        await asyncio.sleep(60)

    monkeypatch.setattr("kerio_resync.export.mail_files.write_pieces", hanging)
    task = asyncio.create_task(run_export(profile, tmp_path / "mail"))
    await started.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert files_in(tmp_path / "mail") == {}


def test_record_replaces_only_what_it_wrote(tmp_path: Path) -> None:
    kept = ExportRecord.load(tmp_path / "mail", IDENTITY)
    ours, theirs = tmp_path / "mail" / "a.mbox", tmp_path / "mail" / "b.mbox"
    ours.write_bytes(b"x")
    theirs.write_bytes(b"x")
    kept.add(ours, "sum")
    kept.save(finished=True)
    again = ExportRecord.load(tmp_path / "mail", IDENTITY)
    assert (again.may_replace(ours), again.may_replace(theirs)) == (True, False)
    assert (again.is_current(ours, "sum"), again.is_current(ours, "other")) == (True, False)
    assert again.may_replace(tmp_path / "mail" / "c.mbox")


SOURCE = (
    b"Received: by mx; Sun, 1 Mar 2026 00:00:00 +0000\r\nSubject: =?x?q?broken\r\n\r\nFrom here\r\n\xff\0 no line end"
)


def with_source(name: str, source: bytes = SOURCE, folder: str | tuple[str, ...] = "inbox") -> Item:
    raw = Attachment(f"source-{name}", "", "", "message/rfc822", "", len(source), "source", source)
    part = Attachment("part", "", "a.pdf", "application/pdf", "", 3, in_source=True)
    return mail(name, folder=folder, attached=(raw, part))


async def test_source_is_exported_byte_by_byte_into_each_of_its_folders(tmp_path: Path) -> None:
    sources = [SOURCE, SOURCE + os.urandom(700_000), SOURCE + os.urandom(1_500_000)]
    items = [with_source(str(number), source) for number, source in enumerate(sources)]
    both = with_source("both", folder=("inbox", "work"))
    await (await filled(tmp_path / "cache.db", PutItems((*items, both)))).close()
    formats: tuple[Format, ...] = ("maildir", "eml")
    for name in formats:
        report = await run_export(tmp_path, tmp_path / name, name)
        assert (report.items, report.skipped) == ({"mail": 5}, [])
        assert sorted(files_in(tmp_path / name).values()) == sorted([*sources, SOURCE, SOURCE])
    assert dict(report.lost) == {"flags, which an .eml file with the mail's exact source cannot have": 5}


async def test_source_in_an_mbox_gets_flags_and_quotes_only(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db", PutItems((with_source("1"),)))).close()
    await run_export(tmp_path, tmp_path / "mail", "mbox")
    quoted = SOURCE.replace(b"From here", b">From here")
    assert files_in(tmp_path / "mail")["Inbox.mbox"] == (
        b"From MAILER-DAEMON Sun Mar  1 00:00:00 2026\nStatus: RO\n" + quoted + b"\n\n"
    )


async def test_mail_of_another_protocol_without_its_source_is_named(tmp_path: Path) -> None:
    cache = await filled(tmp_path / "cache.db", letters("1"), identity=IDENTITY._replace(protocol="jmap"))
    await cache.close()
    told: list[Event] = []
    report = await run_export(tmp_path, tmp_path / "mail", told=told)
    assert report.skipped == [("item", "1", "its source is not in the cache")]
    assert [event.text for event in told if isinstance(event, Notice)] == [
        "Mails without a source in the cache were left out: 1."
        " Run `kerio-resync rebuild --sources yes`, and export again."
    ]
    assert not any(isinstance(event, Skipped) for event in told)


@pytest.mark.parametrize(("others", "code"), [((), Exit.REBUILD_NEEDED), ((True,), Exit.DONE)], ids=["none", "some"])
async def test_export_ends_with_10_if_no_mail_has_its_source(
    tmp_path: Path, others: tuple[bool, ...], code: Exit
) -> None:
    items = PutItems(tuple(with_source("2") for _ in others))
    jmap = IDENTITY._replace(protocol="jmap")
    await (await filled(tmp_path / "cache.db", letters("1"), items, identity=jmap)).close()
    report = await export(settings(tmp_path), ExportOptions((("maildir", tmp_path / "mail"),)))
    assert (report.without_source, report.exit) == (1, code)


async def test_keyword_forwarded_of_a_jmap_mail_is_exported_beside_its_source(tmp_path: Path) -> None:
    keywords = {"1": {"$Forwarded": True, "$seen": True}, "2": {"$seen": True, "$forwarded": False}}
    items = tuple(
        with_source(name)._replace(payload=json.dumps({"keywords": words}).encode()) for name, words in keywords.items()
    )
    await (await filled(tmp_path / "cache.db", PutItems(items), identity=IDENTITY._replace(protocol="jmap"))).close()
    await run_export(tmp_path, tmp_path / "maildir")
    assert sorted(name.rpartition(",")[2] for name in files_in(tmp_path / "maildir")) == ["PS", "S"]
    await run_export(tmp_path, tmp_path / "mbox", "mbox")
    assert files_in(tmp_path / "mbox")["Inbox.mbox"].count(b"Status: RO\nX-Keywords: $Forwarded\n") == 1
    report = await run_export(tmp_path, tmp_path / "eml", "eml")
    assert dict(report.lost) == {"flags, which an .eml file with the mail's exact source cannot have": 2}
