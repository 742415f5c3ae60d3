"""A dovecot on loopback, in a folder of its own and without root's rights.

It serves one Maildir to one user by IMAP in the clear, as the mock serves its mailbox by HTTP in the clear. All its
paths are given, so that it uses no files of an installed dovecot.
"""

from __future__ import annotations

import contextlib
import getpass
import grp
import imaplib
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rivals.programs import UNPRIVILEGED_USER, Programs

USER = "anna"
PASSWORD = "secret"
_PATIENCE = 20.0  # seconds for it to start
_CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{maildir}:LAYOUT=fs:INDEX={folder}/index:CONTROL={folder}/control
first_valid_uid = 1
first_valid_gid = 1
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/home
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""


@contextlib.contextmanager
def serving(programs: Programs, maildir: Path, folder: Path) -> Iterator[int]:
    """Yield the port of a dovecot that serves `maildir`.

    Raise OSError if it does not start.
    """
    user = UNPRIVILEGED_USER if os.geteuid() == 0 else getpass.getuser()
    account = pwd.getpwnam(user)
    port = _free_port()
    for name in ("run", "state", "index", "control", "home"):
        (folder / name).mkdir(parents=True)
    configuration = folder / "dovecot.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder, maildir=maildir, user=user, group=grp.getgrgid(account.pw_gid).gr_name, port=port,
            password=PASSWORD,
        )
    )  # fmt: skip
    if os.geteuid() == 0:
        _hand_over(account, folder, maildir)
    process = subprocess.Popen(
        programs.without_rights("/usr/sbin/dovecot", "-F", "-c", str(configuration)),
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _await(process, port, folder / "log")
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _hand_over(account: pwd.struct_passwd, *folders: Path) -> None:
    """Give the folders and their contents to the account, and let it pass those above."""
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)
        folder.parent.chmod(folder.parent.stat().st_mode | 0o011)


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            one = imaplib.IMAP4("127.0.0.1", port, timeout=5)
            one.login(USER, PASSWORD)
            one.logout()
            return
        time.sleep(0.1)
    output = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
    raise OSError(f"dovecot did not start: {' '.join(output) or 'it says nothing'}")
