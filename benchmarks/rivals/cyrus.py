"""A throw-away Cyrus on loopback, with IMAP and JMAP, in a folder of its own.

    python -m benchmarks.rivals.cyrus [--mails N] [--attached N] [--corpus PATH]     or: make cyrus

It starts an installed Cyrus with configuration files of its own, fills a mailbox over IMAP, prints the addresses, and
ends with Ctrl-C. It uses nothing else of the installed Cyrus, neither its mail nor its ports. Cyrus refuses to run as
root: root starts it as the user that Debian's package creates, others start it as themselves.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import grp
import imaplib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rivals import imap_mailbox

PACKAGES = ("cyrus-imapd", "cyrus-caldav", "sasl2-bin")
USER = "anna"
PASSWORD = "secret"
_ADMIN = "cyrus"
_ACCOUNT = "cyrus"  # created by Debian's package
_PROGRAMS = Path("/usr/lib/cyrus/bin")
_SASLPASSWD = Path("/usr/sbin/saslpasswd2")
_NEEDED = (*(_PROGRAMS / name for name in ("master", "imapd", "httpd", "ctl_cyrusdb", "cyr_expire")), _SASLPASSWD)
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_CAPABILITIES = ("urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail")
_DATA = ("conf", "spool")
# `munge8bit` would write an X for each 8-bit byte in a header. Cyrus 3.6 limits the copies of one message; tests append
# many equal ones. `jmap_nonstandard_extensions` offers Blob/get (RFC 9404) under a vendor's name.
_SETTINGS = """
configdirectory: {folder}/conf
defaultpartition: default
partition-default: {folder}/spool
proc_path: {folder}/run/proc
mboxname_lockpath: {folder}/run/lock
idlesocket: {folder}/run/idle
notifysocket: {folder}/run/notify
lmtpsocket: {folder}/run/lmtp
cyrus_user: {user}
cyrus_group: {group}
servername: localhost
admins: {admin}
altnamespace: yes
unixhierarchysep: yes
hashimapspool: yes
umask: 077
duplicatesuppression: no
munge8bit: no
maxlogins_per_user: 0
search_engine: none
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {folder}/sasldb2
sasl_mech_list: PLAIN LOGIN
sasl_minimum_layer: 0
httpmodules: caldav carddav jmap
jmap_nonstandard_extensions: yes
conversations: yes
conversations_db: twoskip
conversations_max_guidexists: 10000
conversations_max_guidinfolder: 10000
conversations_max_guidrecords: 10000
"""
_SERVICES = """
START {{
  recover cmd="{programs}/ctl_cyrusdb -C {folder}/imapd.conf -r"
}}
SERVICES {{
  imap cmd="{programs}/imapd -C {folder}/imapd.conf -U 1000000" listen="127.0.0.1:{imap}" prefork=1 maxchild=100
  http cmd="{programs}/httpd -C {folder}/imapd.conf -U 1000000" listen="127.0.0.1:{http}" prefork=2 maxchild=100
}}
EVENTS {{
}}
"""


def missing() -> str:
    """Return why no Cyrus can be started here, and what to do; empty if one can."""
    if all(path.exists() for path in _NEEDED):
        return ""
    absent = next(path for path in _NEEDED if not path.exists())
    return f"Cyrus is not installed (no {absent}); on Debian: apt-get install {' '.join(PACKAGES)}"


class Cyrus:
    """A Cyrus in `folder`, which must be passable for its account; see `running`.

    `imap_port` and `http_port` are those of 127.0.0.1; they stay the same when it is stopped and started again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = USER  # of `imap` and `call`
        self.imap_port, self.http_port = _free_ports(2)
        self._account = pwd.getpwnam(_ACCOUNT if os.geteuid() == 0 else getpass.getuser())
        self._process: subprocess.Popen[bytes] | None = None
        self._write_files()
        self._set_password(_ADMIN)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def start(self) -> None:
        """Start it and wait until it answers; raise OSError if it does not."""
        # Its output goes to a file. It ends with this process, even if that is killed.
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._as_account(
                    str(_PROGRAMS / "master"), "-D",
                    "-C", str(self.folder / "imapd.conf"),
                    "-M", str(self.folder / "cyrus.conf"),
                    "-p", str(self.folder / "run" / "master.pid"),
                ),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._await_greeting(self._process)

    def stop(self) -> None:
        """End all its processes; its mail stays."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the children that were busy
        process.wait()

    def add_user(self, name: str) -> None:
        """Create a user with an empty mailbox and the password `PASSWORD`."""
        self._set_password(name)
        with imap_mailbox.login(self.imap_port, _ADMIN, PASSWORD) as admin:
            imap_mailbox.check(admin.create(f"user/{name}"))

    @contextlib.contextmanager
    def imap(self, user: str = "") -> Iterator[imaplib.IMAP4]:
        """Yield a connection to the mailbox of a user, by default `self.user`, logged in."""
        with imap_mailbox.login(self.imap_port, user or self.user, PASSWORD) as connection:
            yield connection

    def call(self, method: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
        """Make one JMAP call as `user`; return the name and arguments of its reply."""
        call = {"using": _CAPABILITIES, "methodCalls": [[method, {"accountId": self.user, **arguments}, "0"]]}
        secret = b64encode(f"{self.user}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {secret}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/jmap/", json.dumps(call).encode(), headers)
        with urllib.request.urlopen(request) as reply:
            name, found, _ = json.load(reply)["methodResponses"][0]
        return name, found

    def expire(self) -> None:
        """Remove what was deleted for good: the server forgets older states."""
        command = (str(_PROGRAMS / "cyr_expire"), "-C", str(self.folder / "imapd.conf"))
        self._run(*command, "-E", "0", "-X", "0", "-D", "0")

    def save(self, name: str) -> None:
        """Copy all its data to a snapshot of that name; it must be stopped."""
        self._copy(self.folder, self.folder / name)

    def restore(self, name: str) -> None:
        """Replace all its data with those of a snapshot; it must be stopped."""
        self._copy(self.folder / name, self.folder)

    def _copy(self, source: Path, target: Path) -> None:
        if self._process is not None:
            raise OSError("stop Cyrus before its data are copied")
        for part in _DATA:
            shutil.rmtree(target / part, ignore_errors=True)
            target.mkdir(exist_ok=True)
            subprocess.run(["cp", "-a", str(source / part), str(target / part)], check=True)

    def _write_files(self) -> None:
        for name in ("conf/socket", "spool", "run/proc", "run/lock"):
            (self.folder / name).mkdir(parents=True)
        values = {
            "folder": self.folder, "programs": _PROGRAMS, "admin": _ADMIN,
            "imap": self.imap_port, "http": self.http_port,
            "user": self._account.pw_name, "group": grp.getgrgid(self._account.pw_gid).gr_name,
        }  # fmt: skip
        (self.folder / "imapd.conf").write_text(_SETTINGS.format(**values))
        (self.folder / "cyrus.conf").write_text(_SERVICES.format(**values))
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _set_password(self, user: str) -> None:
        database = str(self.folder / "sasldb2")
        self._run(str(_SASLPASSWD), "-p", "-c", "-f", database, "-u", "localhost", user, given=PASSWORD)

    def _as_account(self, *command: str) -> list[str]:
        """Return a command that runs as the account and ends with this process."""
        rights = []
        if os.geteuid() == 0:
            rights = [f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}", "--clear-groups"]
        return ["setpriv", *rights, "--pdeathsig", "TERM", *command]

    def _run(self, *command: str, given: str = "") -> None:
        done = subprocess.run(self._as_account(*command), input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{Path(command[0]).name}: {' '.join((done.stderr or done.stdout).split())[-300:]}")

    def _await_greeting(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError, imaplib.IMAP4.error):
                imaplib.IMAP4("127.0.0.1", self.imap_port, timeout=5).logout()
                return
            time.sleep(0.05)
        self.stop()
        output = (self.folder / "log").read_text(errors="replace").split()
        raise OSError(f"Cyrus did not start: {' '.join(output)[-300:] or 'it says nothing; see the system log'}")


@contextlib.contextmanager
def running() -> Iterator[Cyrus]:
    """Yield a started Cyrus with an empty mailbox of `USER`; its files go at the end.

    Raise OSError if it does not start.
    """
    if reason := missing():
        raise OSError(reason)
    with tempfile.TemporaryDirectory(prefix="kerio-cyrus-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # for its account
        server = Cyrus(folder)
        try:
            server.start()
            server.add_user(USER)
            yield server
        finally:
            server.stop()


def version() -> str:
    """Return its version, as it prints it; "unknown" if it prints none."""
    try:
        done = subprocess.run([str(_PROGRAMS / "master"), "-V"], capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def main(arguments: Sequence[str]) -> int:
    """Run a filled Cyrus until Ctrl-C; return the exit code."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.rivals.cyrus", description="Runs a throw-away Cyrus.")
    made.add_argument("--mails", type=int, default=250, metavar="N", help="mails without large parts (%(default)s)")
    made.add_argument("--attached", type=int, default=6, metavar="N", help="mails with attachments (%(default)s)")
    made.add_argument("--corpus", type=Path, metavar="PATH", help="real mail (default: the project's sample)")
    options = made.parse_args(arguments)
    if options.corpus is not None and not options.corpus.exists():
        made.error(f"{options.corpus} does not exist")
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts a job in the background with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with running() as server:
            source = options.corpus or imap_mailbox.SAMPLE
            mails = imap_mailbox.sample_mailbox(options.mails, options.attached, source)
            with server.imap() as imap:
                imap_mailbox.fill(imap, mails)
            print(_told(server, mails), flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"cyrus: {error}", file=sys.stderr)
        return 1
    return 0


def _told(server: Cyrus, mails: Sequence[imap_mailbox.Mail]) -> str:
    size = sum(len(mail.source) for mail in mails) / 1e6
    return f"""Cyrus {version()} with {len(mails)} mails, {size:.1f} MB

  IMAP      127.0.0.1:{server.imap_port}
  JMAP      {server.url}
  user      {USER}
  password  {PASSWORD}

Try it:

  export KERIO_RESYNC_PASSWORD={PASSWORD}
  kerio-resync --profile /tmp/jmap rebuild --protocol jmap --server {server.url} --user {USER}

Ctrl-C ends it and removes its files."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
