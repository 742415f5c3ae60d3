"""Files of all kinds end up in the mailbox, or are counted with their reason."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from kerio_mockserver.mailbox.imports.archives import Limits
from kerio_mockserver.mailbox.imports.importer import CannotImport, load
from kerio_mockserver.mailbox.store import MailboxStore

DATA = Path(__file__).parents[3] / "data" / "sample"
MAIL = b"From: Anna <anna@example.com>\nTo: bob@example.com\nSubject: %s\nDate: %s\nMessage-ID: <%s@x>\n\nHello\n"


def mail(subject: bytes = b"one", date: bytes = b"Mon, 2 Mar 2026 10:00:00 +0100") -> bytes:
    return MAIL % (subject, date, subject)


def items(store: MailboxStore, name: str) -> list[dict[str, Any]]:
    """The structs in the folder of that name, by number."""
    (folder,) = (folder for folder in store.folders() if folder["name"] == name)
    ids = store.folder(folder["id"]).ordered("id")
    return sorted((store.item(one) for one in ids), key=lambda item: int(item["id"].rpartition("/")[2]))


def test_mail_is_imported_completely_into_the_inbox(tmp_path: Path) -> None:
    data = (
        b"From anna@example.com Mon Mar  2 10:00:00 2026\n"
        b"From: =?utf-8?q?Anna_M=C3=BCller?= <anna@example.com>\n"
        b'To: "Novak, Jan" <jan@example.com>, eva@example.com\n'
        b"Cc: undisclosed-recipients:;\nReply-To: <list@example.com>\nSender: owner@example.com\n"
        b"Date: Mon, 2 Mar 2026 10:00:00 +0100\n"
        b"Received: from a by b; Mon, 2 Mar 2026 10:00:05 +0100\n"
        b"Received: from c by a; Mon, 2 Mar 2026 09:59:00 +0100\n"
        b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nX-Priority: 1 (Highest)\nStatus: RO\nX-Status: AF\n"
        b"Message-ID: <1@example.com>\nIn-Reply-To: <0@example.com>\nResent-Message-ID: <2@example.com>\n"
        b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n\nText\n--b\n'
        b"Content-Type: application/pdf; name*=utf-8''%C3%9Cbersicht.pdf\nContent-Transfer-Encoding: base64\n\n"
        b"JVBERg==\n--b--\n"
    )
    path = tmp_path / "one.eml"
    path.write_bytes(data)
    store = MailboxStore()
    report = load(store, [path])
    (struct,) = items(store, "Inbox")
    assert struct["subject"] == "Grüße"
    assert struct["from"] == {"name": "Anna Müller", "address": "anna@example.com", "contactId": ""}
    assert [one["address"] for one in struct["to"]] == ["jan@example.com", "eva@example.com"]
    assert struct["to"][0]["name"] == "Novak, Jan"
    assert struct["replyTo"][0]["address"] == "list@example.com"
    assert struct["sender"]["address"] == "owner@example.com"
    assert (struct["sendDate"], struct["receiveDate"]) == ("20260302T090000Z", "20260302T090005Z")
    assert (struct["isSeen"], struct["isAnswered"], struct["isFlagged"], struct["priority"]) == (
        True,
        True,
        True,
        "High",
    )
    assert struct["headers"] == [
        {"type": "mhMessageID", "value": "<1@example.com>"},
        {"type": "mhInReplayTo", "value": "<0@example.com>"},
        {"type": "mhResentMessageID", "value": "<2@example.com>"},
    ]
    assert [part["content"] for part in struct["displayableParts"]] == ["Text"]
    (attachment,) = struct["attachments"]
    assert (attachment["name"], attachment["contentType"], attachment["size"]) == (
        "Übersicht.pdf",
        "application/pdf",
        4,
    )
    assert store.blob(attachment["id"]).blob.read(0, 9) == b"%PDF"
    assert struct["size"] == len(data)
    assert (report.mails, report.attachments, report.undecodable, report.skipped) == (1, 1, {}, {})


def test_folders_on_disk_become_mail_folders_and_known_names_the_special_ones(tmp_path: Path) -> None:
    for name in ("post/work/2025/a.eml", "post/b.eml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(mail())
    (tmp_path / "Sent").mkdir()
    (tmp_path / "Sent" / "c.eml").write_bytes(mail())
    (tmp_path / "post" / "notes.txt").write_text("no mail at all\n")
    store = MailboxStore()
    report = load(store, [tmp_path / "post", tmp_path / "Sent"])
    folders = {folder["id"]: folder for folder in store.folders()}
    names = {folder["name"]: folder for folder in folders.values()}
    assert folders[names["2025"]["parentId"]]["name"] == "work"
    assert folders[names["work"]["parentId"]]["name"] == "post"
    assert names["Sent Items"]["messageCount"] == 1
    assert (report.mails, report.files) == (3, 4)
    assert report.skipped == {"no mail, calendar or card": 1}
    assert report.names == ["notes.txt: no mail, calendar or card"]


def test_mails_go_in_by_arrival(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        date = b"Mon, %d Mar 2026 10:00:00 +0000" % number
        (tmp_path / f"{9 - number}.eml").write_bytes(mail(b"%d" % number, date))
    store = MailboxStore()
    load(store, sorted(tmp_path.iterdir()))
    assert [item["subject"] for item in items(store, "Inbox")] == ["1", "2", "3"]


def test_second_import_finds_the_folders_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "post").mkdir()
    (tmp_path / "post" / "a.eml").write_bytes(mail())
    store = MailboxStore()
    load(store, [tmp_path / "post"])
    before = [folder["id"] for folder in store.folders()]
    report = load(store, [tmp_path / "post"])
    assert [folder["id"] for folder in store.folders()] == before
    assert (report.folders, report.mails) == (0, 1)


def test_same_files_give_the_same_mailbox() -> None:
    first, second = MailboxStore(), MailboxStore()
    load(first, sorted(DATA.iterdir()))
    load(second, sorted(DATA.iterdir()))
    assert list(first.digest()) == list(second.digest())


def test_sample_comes_in_whole() -> None:
    store = MailboxStore()
    report = load(store, [DATA / "sample-mail.tar.xz", DATA / "contacts.vcf", DATA / "calendar.ics"])
    assert (report.mails, report.contacts, report.events, report.tasks, report.notes) == (300, 12, 12, 3, 2)
    assert report.skipped == {}
    assert report.as_json()["mails"] == 300
    counts = {folder["name"]: folder["messageCount"] for folder in store.folders() if folder["messageCount"]}
    assert counts == {
        "easy-ham-1": 90, "easy-ham-2": 60, "hard-ham-1": 40, "spam-1": 50, "spam-2": 60,
        "Calendar": 12, "Contacts": 12, "Tasks": 3, "Notes": 2,
    }  # fmt: skip
    seen = sum(bool(item["isSeen"]) for name in ("easy-ham-1", "spam-1") for item in items(store, name))
    assert 110 < seen < 140  # some are unread, as in life


def test_missing_path_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CannotImport, match="nowhere is not there"):
        load(MailboxStore(), [tmp_path / "nowhere"])


def test_contact_keeps_its_photo() -> None:
    store = MailboxStore()
    load(store, [DATA / "contacts.vcf"])
    jan = next(item for item in items(store, "Contacts") if item["surName"] == "Novák")
    photo = store.blob(jan["photo"]["id"])
    assert photo.content_type == "image/png"
    assert photo.blob.read(0, 4) == b"\x89PNG"


def test_too_large_file_is_skipped_by_name(tmp_path: Path) -> None:
    (tmp_path / "large.eml").write_bytes(mail() + b"x" * 1000)
    (tmp_path / "small.eml").write_bytes(mail())
    report = load(MailboxStore(), [tmp_path], Limits(item=500))
    assert (report.mails, report.skipped, report.names) == (1, {"too large": 1}, ["large.eml: too large"])


@pytest.mark.corpus
@pytest.mark.skipif("KERIO_CORPUS" not in os.environ, reason="KERIO_CORPUS does not name the corpus")
@pytest.mark.timeout(600)
def test_whole_corpus_comes_in_within_a_minute() -> None:
    store = MailboxStore()
    started = time.process_time()
    report = load(store, [Path(os.environ["KERIO_CORPUS"])])
    assert time.process_time() - started < 60
    assert (report.mails, report.skipped) == (6046, {})
    assert sum(folder["messageCount"] for folder in store.folders()) == 6046
    assert all(item["receiveDate"] for folder in store.folders() for item in items(store, folder["name"]))


def test_archive_in_a_folder_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "post").mkdir()
    with tarfile.open(tmp_path / "post" / "old.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("2024/a.eml")
        info.size = len(mail())
        archive.addfile(info, io.BytesIO(mail()))
    store = MailboxStore()
    load(store, [tmp_path / "post"])
    assert len(items(store, "2024")) == 1
