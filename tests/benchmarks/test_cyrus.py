"""The throw-away Cyrus and the mails that are put into it."""

from __future__ import annotations

import hashlib
import imaplib
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rivals import cyrus as harness
from benchmarks.rivals import imap_mailbox
from benchmarks.rivals.cyrus import Cyrus
from benchmarks.rivals.imap_mailbox import Mail, sample_mailbox
from benchmarks.tools.machine import ROOT


def emails(server: Cyrus) -> dict[str, Any]:
    _, found = server.call("Email/query")
    return server.call("Email/get", ids=found["ids"], properties=["blobId", "keywords", "size"])[1]


def test_sample_mailbox_returns_equal_mails_for_equal_arguments() -> None:
    mails = sample_mailbox(60, 3)
    assert mails == sample_mailbox(60, 3)
    assert len(mails) == 63
    sources = {mail.source for mail in mails}
    assert len(sources) == 63
    assert sources.issuperset(imap_mailbox.odd_sources())
    assert not [source for source in sources if b"\0" in source or b"\n" in source.replace(b"\r\n", b"")]
    assert {mail.folder for mail in mails} <= set(imap_mailbox.FOLDERS)
    assert len(sample_mailbox(0, 1)) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Archive & old", '"Archive &- old"'),
        ("Prázdná složka", '"Pr&AOE-zdn&AOE- slo&AX4-ka"'),
        ("日本語", '"&ZeVnLIqe-"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
    ],
)
def test_quoted_encodes_name_as_modified_utf7(name: str, said: str) -> None:
    assert imap_mailbox.quoted(name) == said


def test_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(harness, "_NEEDED", (Path("/no/such/httpd"),))
    reason = harness.missing()
    assert "apt-get install cyrus-imapd cyrus-caldav sasl2-bin" in reason
    assert harness.main([]) == 1
    assert capsys.readouterr().err == f"cyrus: {reason}\n"


@pytest.mark.cyrus
def test_fill_appends_every_mail_with_flags_and_date(cyrus: Cyrus) -> None:
    mails = sample_mailbox(40, 1)
    with cyrus.imap() as imap:
        imap_mailbox.fill(imap, mails)
        found = set()
        for folder in imap_mailbox.FOLDERS:
            imap_mailbox.check(imap.select(imap_mailbox.quoted(folder), readonly=True))
            _, rows = imap.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")
            for row in rows:
                if isinstance(row, tuple):
                    assert imaplib.Internaldate2tuple(row[0]) is not None
                    flags = {flag.decode() for flag in imaplib.ParseFlags(row[0])} - {r"\Recent"}
                    found.add((folder, frozenset(flags), row[1]))
    assert found == {(mail.folder, frozenset(mail.flags), mail.source) for mail in mails}
    listed = emails(cyrus)["list"]
    assert {each["blobId"] for each in listed} == {"G" + hashlib.sha1(mail.source).hexdigest() for mail in mails}


@pytest.mark.cyrus
def test_expire_makes_cyrus_forget_older_states(cyrus: Cyrus) -> None:
    with cyrus.imap() as imap:
        imap_mailbox.fill(imap, sample_mailbox(3))
        state = emails(cyrus)["state"]
        assert cyrus.call("Email/changes", sinceState=state)[0] == "Email/changes"
        imap.select()
        imap_mailbox.append(imap, "INBOX", [Mail("INBOX", (r"\Deleted",), 1_700_000_000, b"Subject: x\r\n\r\nx\r\n")])
        imap.expunge()
    cyrus.expire()
    name, error = cyrus.call("Email/changes", sinceState=state)
    assert (name, error["type"]) == ("error", "cannotCalculateChanges")


@pytest.mark.cyrus
def test_restore_brings_back_data_and_state(cyrus: Cyrus) -> None:
    with cyrus.imap() as imap:
        imap_mailbox.fill(imap, sample_mailbox(3))
    with pytest.raises(OSError, match="stop Cyrus"):
        cyrus.save("before")
    cyrus.stop()
    cyrus.stop()
    cyrus.save("before")
    cyrus.start()
    before = emails(cyrus)
    with cyrus.imap() as imap:
        imap_mailbox.append(imap, "INBOX", [Mail("INBOX", (), 1_700_000_000, b"Subject: later\r\n\r\nx\r\n")])
    assert len(emails(cyrus)["list"]) == len(before["list"]) + 1
    cyrus.stop()
    cyrus.restore("before")
    cyrus.start()
    assert emails(cyrus) == before


@pytest.mark.cyrus
def test_users_have_mailboxes_of_their_own(cyrus: Cyrus) -> None:
    cyrus.add_user("second")
    with cyrus.imap("second") as imap:
        imap_mailbox.append(imap, "INBOX", [Mail("INBOX", (), 1_700_000_000, b"Subject: x\r\n\r\nx\r\n")])
        assert imap.select() == ("OK", [b"1"])
    with cyrus.imap() as imap:
        assert imap.select() == ("OK", [b"0"])
        with pytest.raises(OSError, match="refused"):
            imap_mailbox.create_folder(imap, "a%b")


@pytest.mark.cyrus
@pytest.mark.skipif(bool(harness.missing()), reason=harness.missing())
def test_command_serves_mails_until_signal_and_removes_its_files() -> None:
    command = [sys.executable, "-m", "benchmarks.rivals.cyrus", "--mails", "20", "--attached", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or (lines[-1] and not lines[-1].startswith("Ctrl-C")):
                lines.append(process.stdout.readline())
            text = "".join(lines)
            port = int(text.split("IMAP      127.0.0.1:")[1].split()[0])
            with imap_mailbox.login(port, harness.USER, harness.PASSWORD) as imap:
                folders = Counter[str]()
                for folder in imap_mailbox.FOLDERS:
                    folders[folder] = int(imap.select(imap_mailbox.quoted(folder), readonly=True)[1][0] or 0)
            assert folders.total() == 21
            assert "Cyrus 3." in text
            assert "with 21 mails" in text
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
        imaplib.IMAP4("127.0.0.1", port)
