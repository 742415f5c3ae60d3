"""Both sides get the same mails, a run that brings fewer is no figure, and what is not at hand is said."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import rivals
from benchmarks.rivals import clients, dovecot, mails, programs
from benchmarks.rivals.clients import Run, shared_out
from benchmarks.rivals.mails import Written
from benchmarks.rivals.programs import Programs
from benchmarks.tools import machine, relay
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.imports.importer import load
from kerio_mockserver.mailbox.store import MailboxStore

PROGRAMS = programs.find()
TURNS = [
    {"ours": {"seconds": 2.0, "cpu": 1.0}, "mbsync": {"seconds": 8.0, "cpu": 1.0},
     "offlineimap3": {"seconds": 90.0, "cpu": 9.0}},
    {"ours": {"seconds": 20.0, "cpu": 1.0}, "mbsync": {"seconds": 60.0, "cpu": 1.0}},
    {"ours": {"seconds": 2.0, "cpu": 1.0}, "mbsync": {"seconds": 12.0, "cpu": 1.0}},
]  # fmt: skip


def test_folders_are_shared_out_by_their_bytes() -> None:
    folders = {"": (50, 1), "a": (30, 1), "b": (25, 1), "c": (5, 1), "d": (0, 0)}
    assert shared_out(folders, 2) == [["", "c", "d"], ["a", "b"]]
    assert shared_out({"": (1, 1)}, 4) == [[""]]


def test_seeded_mails_are_the_same_on_both_sides(tmp_path: Path) -> None:
    written = mails.write_seeded(tmp_path / "served", 3, 40, 1_000_000)
    assert written.mails == 40 == sum(count for _, count in written.folders.values())
    assert written.bytes == pytest.approx(1_000_000, rel=0.15)
    store = MailboxStore("example.com", "anna")
    imported = load(store, [tmp_path / "served"])
    assert (imported.mails, imported.undecodable, imported.skipped) == (40, {}, {})
    assert contents(store) == contents(generate_mailbox(SeedOptions(3, 40, total_bytes=777_000, shared=False)))


def contents(store: MailboxStore) -> list[tuple[str, str, list[bytes]]]:
    """Sender, first words and attachments of every mail, sorted."""
    found = []
    for folder in store.folders():
        shelf = store.folder(folder["id"])
        for number in shelf.numbers() if folder["type"] == "FMail" else ():
            mail, blobs = shelf.item(number), shelf.contents(number)
            files = [blobs[each["id"].rpartition("/")[2]].blob for each in mail["attachments"]]
            words = " ".join(mail["displayableParts"][0]["content"].split())[:100]
            found.append((mail["from"]["address"], words, [blob.read(0, len(blob)) for blob in files]))
    return sorted(found)


def test_real_mails_keep_their_bytes(tmp_path: Path) -> None:
    source = tmp_path / "mail"
    source.mkdir()
    (source / "1.eml").write_bytes(b"From x Mon Jan  1 10:00:00 2024\nSubject: a\n\ntext\xff\n")
    (source / "2.eml").write_bytes(b"Subject: b\n\ntext\n")
    written = mails.write_real(tmp_path / "served", source)
    assert written.mails == 2
    assert sorted(each.read_bytes() for each in (tmp_path / "served").glob("*/cur/*")) == [
        b"Subject: a\n\ntext\xff\n",
        b"Subject: b\n\ntext\n",
    ]


def test_a_run_that_did_not_bring_all_is_no_figure() -> None:
    runners = {"ours": lambda: Run(1.0, 1.0, 5), "mbsync": lambda: Run(1.0, 1.0, 4)}
    with pytest.raises(OSError, match="mbsync brought 4 of 5 mails"):
        rivals._turn(runners, Written(5, 0, {}), slow=False)


def test_ratios_are_taken_within_a_turn_and_a_slow_one_runs_once() -> None:
    figures = rivals._judged(TURNS)["programs"]
    assert figures["mbsync"]["times"]["median"] == 4.0
    assert figures["offlineimap3"] == {
        "seconds": machine.middle([90.0]), "cpu": machine.middle([9.0]), "times": machine.middle([45.0]), "runs": 1,
    }  # fmt: skip
    started: list[str] = []

    def runner(name: str) -> Callable[[], Run]:
        def run() -> Run:
            started.append(name)
            return Run(1.0, 1.0, 5)

        return run

    rivals._turn({name: runner(name) for name in ("ours", "offlineimap3")}, Written(5, 0, {}), slow=False)
    assert started == ["ours"]


def test_the_report_has_every_cell_or_says_why_there_is_none() -> None:
    cell: dict[str, Any] = {"name": "loopback", "mails": 5, "bytes": 10, "folders": 1} | rivals._judged(TURNS)
    text = rivals.report({"skipped": "", "versions": {"isync": "1.4"}, "cells": [cell]})
    assert "| mbsync | 3 | 12.00 (8.00–60.00) | 1.00 (1.00–1.00) | 4.00 (3.00–6.00) |" in text
    assert "isync 1.4" in text
    assert "Skipped: no such thing." in rivals.report({"skipped": "no such thing", "versions": {}, "cells": []})


def test_programs_that_are_not_there_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_NEEDED", ("usr/sbin/no-such-dovecot",))
    assert "not at hand" in str(programs.find(tmp_path))
    monkeypatch.setattr(programs, "find", lambda: "not at hand")
    assert rivals.measure(quick=True)["skipped"] == "not at hand"


def test_without_debian_nothing_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="takes Debian"):
        programs.unpack(tmp_path / "rivals")
    assert programs.main([str(tmp_path / "rivals")]) == 1
    assert not (tmp_path / "rivals").exists()


def test_installed_programs_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Programs(None, True).inside("mbsync", "-a") == ["mbsync", "-a"]
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Programs(None, True).without_rights("dovecot")[:2] == ["setpriv", "--reuid=nobody"]
    assert Programs(Path("/x y"), True).inside("mbsync")[:2] == ["unshare", "--mount"]


def test_without_a_link_there_is_no_relay_and_with_one_bytes_take_their_time() -> None:
    with relay.before(7, None) as port:
        assert port == 7
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as made:
                made.sendall(b"x")

        answering = threading.Thread(target=answer)
        answering.start()
        with (
            relay.before(server.getsockname()[1], {"rtt_s": 0.01}) as port,
            socket.create_connection(("127.0.0.1", port)) as made,
        ):
            assert made.recv(1) == b"x"
        answering.join()


@pytest.mark.skipif(isinstance(PROGRAMS, str), reason=str(PROGRAMS))
@pytest.mark.timeout(180)
def test_the_rivals_bring_every_mail(tmp_path: Path) -> None:
    assert isinstance(PROGRAMS, Programs)
    with machine.workspace() as folder:
        written = mails.write_seeded(folder / "served" / "Maildir", 3, 30, 300_000)
        with dovecot.serving(PROGRAMS, folder / "served" / "Maildir", folder / "dovecot") as port:
            near = folder / "near"
            for fsync, processes in ((True, 1), (False, 4)):
                run = clients.mbsync(PROGRAMS, port, near, written.folders, fsync=fsync, processes=processes)
                assert run.mails == 30
            if PROGRAMS.offlineimap:
                assert clients.offlineimap(PROGRAMS, port, near).mails == 30
        with pytest.raises(OSError, match="a measured program ended"):
            clients.mbsync(PROGRAMS, port, near, written.folders, fsync=False, processes=1)


def test_what_never_starts_is_said(tmp_path: Path) -> None:
    process = subprocess.Popen(["false"])
    process.wait()
    (tmp_path / "log").write_text("first\nFatal: no such setting\n")
    with pytest.raises(OSError, match="dovecot did not start: Fatal: no such setting"):
        dovecot._await(process, 1, tmp_path / "log")
