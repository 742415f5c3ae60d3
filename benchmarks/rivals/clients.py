"""Runs of mbsync and offlineimap3 into an empty Maildir.

mbsync as users run it fsyncs each mail; at its best it does not, and several processes share the folders. Each run
starts from nothing. Its cost is that of all its processes, from the first one's start to the last one's end.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.rivals.dovecot import PASSWORD, USER
from benchmarks.rivals.programs import Programs
from benchmarks.tools import machine

_MBSYNC = """
FSync {fsync}

IMAPStore far
Host 127.0.0.1
Port {port}
User {user}
Pass {password}
SSLType None

MaildirStore near
Path {folder}/mail/
Inbox {folder}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns {patterns}
Create Near
SyncState *
"""
_OFFLINEIMAP = """
[general]
accounts = all
metadata = {folder}/state

[Account all]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {folder}/mail

[Repository far]
type = IMAP
remotehost = 127.0.0.1
remoteport = {port}
remoteuser = {user}
remotepass = {password}
ssl = no
starttls = no
"""


class Run(NamedTuple):
    """Seconds of wall and processor time, and the number of mails at the end."""

    seconds: float
    cpu: float
    mails: int


def mbsync(
    programs: Programs, port: int, folder: Path, folders: Mapping[str, tuple[int, int]], *, fsync: bool, processes: int
) -> Run:
    """Run mbsync into `folder`, which is emptied first; raise OSError."""
    machine.empty(folder)
    (folder / "mail").mkdir()
    commands = []
    for number, names in enumerate(shared_out(folders, processes)):
        configuration = folder / f"mbsyncrc-{number}"
        patterns = "*" if processes == 1 else " ".join(f'"{name or "INBOX"}"' for name in names)
        configuration.write_text(
            _MBSYNC.format(
                fsync="yes" if fsync else "no",
                port=port,
                user=USER,
                password=PASSWORD,
                folder=folder,
                patterns=patterns,
            )
        )
        commands.append(programs.inside("/usr/bin/mbsync", "--config", str(configuration), "--quiet", "all"))
    return _run(commands, folder / "mail")


def offlineimap(programs: Programs, port: int, folder: Path) -> Run:
    """Run offlineimap3 into `folder`, which is emptied first; raise OSError."""
    machine.empty(folder)
    configuration = folder / "offlineimaprc"
    configuration.write_text(_OFFLINEIMAP.format(folder=folder, port=port, user=USER, password=PASSWORD))
    options = ("-o", "-u", "quiet", "-c", str(configuration))
    return _run([programs.inside("/usr/bin/python3", "/usr/bin/offlineimap", *options)], folder / "mail")


def _run(commands: Sequence[Sequence[str]], mail: Path) -> Run:
    started = [machine.launch(command) for command in commands]
    spent = [machine.wait(launched) for launched in started]
    found = sum(1 for part in ("cur", "new") for _ in mail.glob(f"**/{part}/*"))
    last = max(launched.began + used.wall for launched, used in zip(started, spent, strict=True))
    shutil.rmtree(mail)
    return Run(last - started[0].began, sum(used.cpu for used in spent), found)


def shared_out(folders: Mapping[str, tuple[int, int]], shares: int) -> list[list[str]]:
    """Divide folders into shares of about equal bytes, the largest first."""
    made: list[list[str]] = [[] for _ in range(shares)]
    weights = [0] * shares
    for name, (size, _) in sorted(folders.items(), key=lambda entry: -entry[1][0]):
        lightest = weights.index(min(weights))
        made[lightest].append(name)
        weights[lightest] += size
    return [line for line in made if line]
