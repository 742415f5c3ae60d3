"""Exports proven by others: the standard library, notmuch, mblaze, mutt, and the mock server's import."""

from __future__ import annotations

import mailbox
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from kerio_mockserver.mailbox.api_structs import blank
from kerio_mockserver.mailbox.blobs import NewBlob
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_resync.export.options import ExportOptions, Format, Layout
from kerio_resync.export.report import ExportReport
from kerio_resync.export.run import export
from kerio_resync.settings import Settings
from simulation import virtual_time
from tests.support.exports import imported, mails, others, rebuilt

DATA = Path(__file__).parents[1] / "data"
SAMPLE = DATA / "sample" / "sample-mail.tar.xz"
CORPUS = os.environ.get("KERIO_CORPUS", "")


def exported(settings: Settings, target: Path, name: Format, layout: Layout = "nested") -> ExportReport:
    return virtual_time.run(export(settings, ExportOptions(((name, target),), layout)))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, MailboxStore]:
    """A profile with real mail, and odd mail of other programs."""
    store = imported(SAMPLE, *sorted((DATA / "odd").glob("*.eml")), *sorted((DATA / "odd").glob("*.mbox")))
    return rebuilt(tmp_path_factory.mktemp("sample") / "profile", store), store


def check_round_trip(settings: Settings, store: MailboxStore, folder: Path, name: Format, layout: Layout) -> None:
    """Export, import into a mock server, and rebuild: people see the same mails."""
    report = exported(settings, folder / "export", name, layout)
    expected = mails(store)
    assert report.targets[0].items == {"mail": expected.total()}
    assert report.targets[0].skipped == []
    paths = sorted((folder / "export").rglob("*.mbox")) if name == "mbox" else [folder / "export"]
    second = imported(*paths)
    found = mails(second)
    impossible = Counter(report.targets[0].lost)["an address that mail headers cannot express became a name"]
    assert (expected - found).total() <= impossible, (expected - found, found - expected)
    assert found.total() == expected.total()
    again = rebuilt(folder / "again", second)
    assert exported(again, folder / "twice", name, layout).targets[0].items == {"mail": expected.total()}


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("maildir", "nested"),
        ("mbox", "nested"),
        ("eml", "nested"),
        pytest.param("maildir", "maildir++", marks=pytest.mark.soak),
    ],
)
def test_exported_mail_comes_back_the_same(
    sample: tuple[Settings, MailboxStore], tmp_path: Path, name: Format, layout: Layout
) -> None:
    check_round_trip(*sample, tmp_path, name, layout)


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS, reason="KERIO_CORPUS is not set")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "layout"), [("maildir", "maildir++"), ("mbox", "nested")])
def test_exported_corpus_comes_back_the_same(tmp_path: Path, name: Format, layout: Layout) -> None:
    store = imported(Path(CORPUS))
    check_round_trip(rebuilt(tmp_path / "profile", store), store, tmp_path, name, layout)


def test_python_reads_every_mail_and_flag(sample: tuple[Settings, MailboxStore], tmp_path: Path) -> None:
    settings, store = sample
    exported(settings, tmp_path / "maildir", "maildir", "maildir++")
    exported(settings, tmp_path / "mbox", "mbox")
    maildir = mailbox.Maildir(tmp_path / "maildir", create=False)
    boxes = [maildir, *(maildir.get_folder(name) for name in maildir.list_folders())]
    files = [mailbox.mbox(path, create=False) for path in (tmp_path / "mbox").rglob("*.mbox")]
    count = mails(store).total()
    assert sum(map(len, boxes)) == sum(map(len, files)) == count
    flags = Counter("".join(sorted(mail.get_flags())) for box in boxes for mail in box)
    statuses = Counter(
        "".join(sorted(mail.get_flags().replace("O", "").translate({ord("R"): "S", ord("A"): "R"})))
        for file in files
        for mail in file
    )
    for file in files:
        file.close()
    assert flags == statuses
    assert len(flags) > 2


def test_git_splits_each_mbox_into_every_mail(sample: tuple[Settings, MailboxStore], tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    settings, store = sample
    exported(settings, tmp_path / "mbox", "mbox")
    count = 0
    for number, path in enumerate((tmp_path / "mbox").rglob("*.mbox")):
        (tmp_path / str(number)).mkdir()
        command = ["git", "mailsplit", "--mboxrd", f"-o{tmp_path / str(number)}", str(path)]
        if path.stat().st_size:
            count += int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert count == mails(store).total()


def test_notmuch_finds_every_mail(sample: tuple[Settings, MailboxStore], tmp_path: Path) -> None:
    if shutil.which("notmuch") is None:
        pytest.skip("notmuch is not installed")
    settings, store = sample
    exported(settings, tmp_path / "mail", "maildir")
    config = tmp_path / "config"
    config.write_text(f"[database]\npath={tmp_path / 'mail'}\n[new]\nignore=.kerio-resync-export.json\n")
    environment = {**os.environ, "NOTMUCH_CONFIG": str(config)}
    subprocess.run(["notmuch", "new", "--quiet"], env=environment, check=True, capture_output=True)
    count = subprocess.run(
        ["notmuch", "count", "--output=files", "*"], env=environment, check=True, capture_output=True, text=True
    )
    assert int(count.stdout) == mails(store).total()


def test_mblaze_lists_every_mail(sample: tuple[Settings, MailboxStore], tmp_path: Path) -> None:
    if shutil.which("mlist") is None:
        pytest.skip("mblaze is not installed")
    settings, store = sample
    exported(settings, tmp_path / "mail", "maildir", "maildir++")
    folders = {path.parent.parent for path in (tmp_path / "mail").rglob("*.kerio-resync*") if path.parent.name == "cur"}
    listed = subprocess.run(["mlist", *map(str, folders)], check=True, capture_output=True, text=True)
    assert len(listed.stdout.splitlines()) == mails(store).total()


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, MailboxStore]:
    """A profile with calendars and contacts, imported and generated."""
    store = imported(DATA / "sample" / "calendar.ics", DATA / "sample" / "contacts.vcf")
    return rebuilt(tmp_path_factory.mktemp("people") / "profile", store), store


@pytest.mark.parametrize("split", [False, True])
def test_exported_calendars_and_contacts_come_back_the_same(
    people: tuple[Settings, MailboxStore], tmp_path: Path, split: bool
) -> None:
    settings, store = people
    options = ExportOptions((("ics", tmp_path / "ics"), ("vcf", tmp_path / "vcf")), split=split)
    report = virtual_time.run(export(settings, options))
    assert [target.skipped for target in report.targets] == [[], []]
    expected, found = others(store), others(imported(tmp_path / "ics", tmp_path / "vcf"))
    for struct in (*expected, *found):
        if struct.get("rule", {}).get("isSet"):
            struct["rule"]["endBy"].pop("date")  # an instant, which .ics files have in UTC
    assert found == expected


def test_generated_items_of_every_shape_are_exported(tmp_path: Path) -> None:
    store = generate_mailbox(SeedOptions(5, 20, contacts=60, events=80, tasks=60, notes=40))
    settings = rebuilt(tmp_path / "profile", store)
    targets: tuple[tuple[Format, Path], ...] = (("ics", tmp_path / "ics"), ("vcf", tmp_path / "vcf"))
    first, second = (virtual_time.run(export(settings, ExportOptions(targets))) for _ in range(2))
    assert [dict(target.items) for target in first.targets] == [{"event": 80, "task": 60, "note": 40}, {"contact": 60}]
    assert [(target.written, target.unchanged) for target in second.targets] == [(0, 180), (0, 60)]
    found = imported(tmp_path / "ics", tmp_path / "vcf")
    assert len(others(found)) == 240
    photos = [struct["photo"] for struct in others(found) if isinstance(struct.get("photo"), str)]
    assert len(photos) >= 4


def test_attached_mail_and_inline_image_come_back(tmp_path: Path) -> None:
    store = MailboxStore()
    root = store.add_folder("", "Mailbox", "FRoot")
    inbox = store.add_folder(root, "Inbox", "FMail", "FSubInbox")
    struct = blank("Mail") | {"subject": "Anhänge", "sendDate": "20260301T090000Z", "receiveDate": "20260301T090100Z"}
    struct["displayableParts"] = [
        {"id": "", "contentType": "ctTextPlain", "content": "From here\n"},
        {"id": "", "contentType": "ctTextHtml", "content": '<img src="cid:a%40b">\n'},
    ]
    inner = b"Subject: inner\r\n\r\nFrom within\r\n"
    store.add("mail", inbox, struct, [
        NewBlob(b"\x89PNG", "bild.png", "image/png", "a@b"),
        NewBlob(inner, "inner.eml", "message/rfc822"),
        NewBlob(bytes(range(256)) * 4000, "groß.bin", "application/octet-stream"),
    ])  # fmt: skip
    settings = rebuilt(tmp_path / "profile", store)
    formats: tuple[Format, ...] = ("maildir", "mbox")
    for name in formats:
        check_round_trip(settings, store, tmp_path / name, name, "nested")
