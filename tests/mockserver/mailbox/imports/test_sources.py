"""What is on disk or in an archive is given as mails, calendars and cards, or skipped by name."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from kerio_mockserver.mailbox.imports.archives import Limits, Skipped
from kerio_mockserver.mailbox.imports.mbox import split_mbox
from kerio_mockserver.mailbox.imports.sources import File, Piece, folders, kind_of, pieces
from tests.support.archives import tarred, zipped

MAIL = b"From: a@b.c\nSubject: x\n\ntext\n"
FROM = b"From a@b.c Mon Mar  2 10:00:00 2026\n"


def found(path: Path, limits: Limits = Limits()) -> list[Piece | Skipped]:  # noqa: B008 - frozen
    return [one for one in pieces(path, limits) if not isinstance(one, File)]


def mails(path: Path) -> list[tuple[tuple[str, ...], bytes]]:
    return [(one.folder, one.data) for one in found(path) if isinstance(one, Piece)]


@pytest.mark.parametrize(
    ("name", "start", "kind"),
    [
        ("a.eml", b"anything", "mail"),
        ("a.EML", FROM, "mail"),
        ("a.mbox", b"", "mbox"),
        ("a.ics", b"", "calendar"),
        ("a.vcf", b"", "cards"),
        ("a", b"\xef\xbb\xbfBEGIN:VCALENDAR\n", "calendar"),
        ("a", b"\r\nbegin:vcard\n", "cards"),
        ("Sent", FROM + MAIL, "mbox"),
        ("1.", MAIL, "mail"),
        ("1.", b"X-Odd: y\n folded\nReceived: from x\n", "mail"),
        ("1.", b"Return-Path: <>\n", "mail"),
        ("a.txt", b"Dear diary: today\n", None),
        ("a.py", b"import: x\nfrom y\n", None),
        ("a", b"From here on it is prose.\n", None),
        ("a", b"", None),
        ("a.png", b"\x89PNG", None),
    ],
)
def test_kind_of(name: str, start: bytes, kind: str | None) -> None:
    assert kind_of(name, start) == kind


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (FROM + b"1\n\n" + FROM + b"2\n", [FROM + b"1\n", FROM + b"2\n"]),
        (FROM + b"1\r\n\r\n" + FROM + b"2\r\n", [FROM + b"1\r\n", FROM + b"2\r\n"]),
        (FROM + b"1\n" + FROM + b"not after an empty line\n", [FROM + b"1\n" + FROM + b"not after an empty line\n"]),
        (FROM + b"1\n\nFrom now on, at 10:00\n", [FROM + b"1\n\nFrom now on, at 10:00\n"]),
        (FROM + b"1\n\n>" + FROM, [FROM + b"1\n\n" + FROM]),
        (FROM + b"x" * 200_000 + FROM + b"\n\n" + FROM, [FROM + b"x" * 200_000 + FROM + b"\n", FROM]),
        (FROM + b"no line end", [FROM + b"no line end"]),
        (b"", []),
    ],
)
@pytest.mark.parametrize("peeked", [0, 3, 4096])
def test_split_mbox(data: bytes, parts: list[bytes], peeked: int) -> None:
    file = io.BytesIO(data)
    assert list(split_mbox(file, file.read(peeked), 1 << 20)) == parts


def test_mail_too_large_in_an_mbox_costs_only_itself() -> None:
    data = FROM + b"1\n\n" + FROM + b"x" * 500 + b"\n\n" + FROM + b"3\n"
    assert list(split_mbox(io.BytesIO(data), b"", 100)) == [FROM + b"1\n", None, FROM + b"3\n"]


def test_mbox_becomes_a_folder_unless_it_is_a_single_mail(tmp_path: Path) -> None:
    post = tmp_path / "post"
    post.mkdir()
    (post / "00001.abc").write_bytes(FROM + MAIL)
    (post / "Work").write_bytes(FROM + MAIL + b"\n" + FROM + MAIL)
    (post / "old.mbox").write_bytes(FROM + MAIL)
    (post / "new.eml").write_bytes(FROM + MAIL)
    assert mails(post) == [
        (("post",), FROM + MAIL),
        (("post", "Work"), FROM + MAIL),
        (("post", "Work"), FROM + MAIL),
        (("post",), FROM + MAIL),
        (("post", "old"), FROM + MAIL),
    ]


def test_maildir(tmp_path: Path) -> None:
    box = tmp_path / "Maildir"
    for name in (
        "cur/1700000000.M1.host:2,FRS",
        "new/1700000001.M2.host",
        "tmp/1700000002.M3.host",
        ".Entw&APw-rfe.A &- B/cur/1700000003.M4.host:2,D",
        "dovecot-uidlist",
    ):
        (box / name).parent.mkdir(parents=True, exist_ok=True)
        (box / name).write_bytes(MAIL)
    (box / "dovecot-uidlist").write_bytes(b"3 V1\n")
    given = [one for one in found(box) if isinstance(one, Piece)]
    assert [(one.folder, one.flags) for one in given] == [(("Entwürfe", "A & B"), "D"), ((), "FRS"), ((), "")]
    assert [one.reason for one in found(box) if isinstance(one, Skipped)] == [
        "no mail, calendar or card",
        "delivery unfinished",
    ]
    inner = [one for one in found(tmp_path) if isinstance(one, Piece)]
    top = tmp_path.name
    assert [one.folder for one in inner] == [
        (top, "Maildir", "Entwürfe", "A & B"),
        (top, "Maildir"),
        (top, "Maildir"),
    ]


@pytest.mark.parametrize("pack", [tarred, zipped])
def test_archive_gives_its_folders_and_writes_nothing(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "x.zip"
    files = [
        ("a/../../b/one.eml", MAIL),
        ("two.eml", MAIL),
        ("M/cur/1700000000.x:2,S", MAIL),
        ("in.zip", b"PK\x03\x04"),
    ]
    path.write_bytes(pack(files))  # type: ignore[operator]
    assert mails(path) == [(("a", "b"), MAIL), ((), MAIL), (("M",), MAIL)]
    assert [one for one in found(path) if isinstance(one, Skipped)] == [Skipped("in.zip", "no mail, calendar or card")]
    assert list(tmp_path.iterdir()) == [path]


def test_archive_cut_within_a_mail_gives_those_before(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tarred([("1.eml", MAIL), ("2.eml", b"x" * 50_000)])[:30_000])
    assert [type(one).__name__ for one in found(path)] == ["Piece", "Skipped", "Skipped"]


def test_broken_links_and_special_files_are_skipped(tmp_path: Path) -> None:
    post = tmp_path / "post"
    post.mkdir()
    (post / "round").symlink_to(post)
    (post / "gone.eml").symlink_to(post / "nowhere")
    os.mkfifo(post / "pipe.eml")
    (post / "a.eml").write_bytes(MAIL)
    assert [one if isinstance(one, Skipped) else one.name for one in found(post)] == [
        "a.eml",
        Skipped(str(post / "gone.eml"), "cannot be read"),
        Skipped(str(post / "pipe.eml"), "cannot be read"),
        Skipped(str(post / "round"), "a link to a folder that is read already"),
    ]


def test_names_of_folders() -> None:
    assert folders(("..", "", "a\0b", "x" * 300, " ü ", "\udcff")) == ("ab", "x" * 200, "ü", "\ufffd")
    assert len(folders(("d",) * 100)) == 20
