"""The demonstration: a mock server with real mail, a rebuild, and its proof.

The mock server is a subprocess that ends with this process; it is never imported. The run is shown like any other. The
proof compares two digests, one computed by the client and one by the server; VerificationFailed if they differ.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kerio_resync import plain_text
from kerio_resync.cli import display, formatting
from kerio_resync.cli.commands import digest_lines, watch_rebuild, watch_verify
from kerio_resync.cli.display import View
from kerio_resync.cli.process import run
from kerio_resync.errors import BadSettings, Exit, Unreachable, VerificationFailed
from kerio_resync.filesystem import translate_os_error

if TYPE_CHECKING:
    from kerio_resync.settings import Settings

MARK = ".kerio-resync-demo"  # in a folder that a demonstration made
MAX_NAMED = 10  # entries that could not be imported
QUERIES = {
    "The fullest folders": (
        "SELECT path, kind, items, unread FROM folder_tree WHERE items > 0 ORDER BY items DESC LIMIT 5"
    ),
    "The newest mails with attachments": (
        "SELECT date, sender, subject FROM mail WHERE has_attachment ORDER BY date DESC LIMIT 5"
    ),
    "The last entries of the calendar": "SELECT starts, summary, location FROM event ORDER BY starts DESC LIMIT 5",
}


def run_demo(folder: Path, paths: Sequence[Path]) -> Exit:
    """Run the demonstration with the mail at `paths` or the sample mailbox."""
    from pydantic import SecretStr

    from kerio_resync.settings import Settings

    require_mock_server()
    paths = paths or sample_mail()
    claim(folder)
    _print(f"Starting a mock server with {plain_text.pluralize(len(paths), 'file')} of {paths[0].parent} …")
    with start_mock_server(paths) as server:
        _report_import(server["imported"], paths)
        _print(f"It answers at {server['url']}; rebuilding its mailbox into {folder} …")
        settings = Settings(
            proxy=SecretStr("none"),  # the server is on this machine
            profile=folder,
            server=server["url"],
            user=server["user"],
            password=SecretStr(server["password"]),
            fresh=True,
            same_mailbox=True,  # each demo has a port of its own
        )
        with display.open_display(View(), formatting.summary_of_rebuild) as shown:
            watch_rebuild(settings, shown)
        with display.open_display(View(), formatting.summary_of_verify) as shown:
            code = watch_verify(settings, shown)
        if code is not Exit.DONE:
            return code
        _print(
            "The digests of cache and server agree:"
            f" {plain_text.pluralize(compare_digests(settings, server['control_url']), 'item')}."
        )
    _suggest(settings.cache)
    _suggest_browse(settings.cache.parent)
    _suggest_export(settings.cache.parent)
    _suggest_pages(paths)
    _print()
    _print(f"To remove it: rm -r {shlex.quote(str(settings.cache.parent))}")
    return Exit.DONE


def _print(text: str = "") -> None:
    print(plain_text.printable(text), flush=True)


def require_mock_server() -> Path:
    """Return the folder of the mock server; BadSettings if it is not installed."""
    found = find_spec("kerio_mockserver")
    if found is None or found.origin is None:
        raise BadSettings("the mock server is not installed: run `pip install 'kerio-resync[mock]'`")
    return Path(found.origin).parent


def claim(folder: Path) -> None:
    """Mark a folder as the demonstration's.

    BadSettings for one that has something else in it; only a marked folder is used again.
    """
    try:
        if not (folder / MARK).exists() and folder.exists() and any(folder.iterdir()):
            raise BadSettings(f"{folder} is not empty and not of an earlier demo: name a new folder with --keep")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / MARK).touch(0o600)
    except OSError as error:
        raise translate_os_error(error, folder) from error


def sample_mail() -> list[Path]:
    """Return the files of the sample mailbox; BadSettings without them."""
    package = require_mock_server()
    for folder in (package / "sample", package.parent.parent / "tests" / "data" / "sample"):
        files = sorted(path for path in folder.glob("*") if path.name.endswith((".tar.xz", ".vcf", ".ics")))
        if files:
            return files
    raise BadSettings("the sample mailbox is not installed: name your own mail with --import PATH")


@contextmanager
def start_mock_server(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Start a mock server with the mail at `paths`, and stop it at the end.

    Yield its description: `url`, `control_url`, `user`, `password`, and the counts of what was `imported`.
    """
    for path in paths:
        if not path.exists():
            raise BadSettings(f"--import: {path} does not exist")
    command = [sys.executable, "-m", "kerio_mockserver", "serve", "--exit-with-parent"]
    for path in paths:
        command += ["--import", str(path)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        # In a session of its own, so that Ctrl-C reaches only the rebuild, which needs the server to end cleanly.
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
        with server:
            try:
                yield _read_description(server, errors)
            finally:
                server.terminate()
                try:
                    server.wait(5)
                except subprocess.TimeoutExpired:
                    server.kill()


def _read_description(server: subprocess.Popen[str], errors: IO[str]) -> dict[str, Any]:
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        server.wait()
        errors.seek(0)
        last = errors.read().strip().splitlines()[-1:]
        if server.returncode == Exit.USAGE and last:
            raise BadSettings(last[0].removeprefix("kerio-mockserver: "))
        raise Unreachable(f"the mock server did not start ({last[0] if last else f'exit code {server.returncode}'})")
    description: dict[str, Any] = json.loads(line)
    return description


def _report_import(imported: dict[str, Any], paths: Sequence[Path]) -> None:
    """Print what was skipped or simplified; BadSettings if all was skipped."""
    skipped = sum(imported["skipped"].values())
    named = "; ".join(imported["names"][:MAX_NAMED])
    if not any(imported[kind] for kind in ("mails", "contacts", "events", "tasks", "notes")):
        where = ", ".join(map(str, paths))
        found = f" ({named})" if named else ""
        raise BadSettings(
            f"no mail, calendar or contact was found in {where}{found}: name a file or folder that has some"
        )
    if skipped:
        _print(f"{plain_text.pluralize(skipped, 'entry', 'entries')} could not be imported: {named}")
    if imported["simplified"]:
        count = sum(imported["undecodable"].values())
        _print(f"In {plain_text.pluralize(count, 'place')}, data was unreadable or had to be simplified, such as:")
        _print(f"  {'; '.join(imported['simplified'][:MAX_NAMED])}")


def compare_digests(settings: Settings, control_url: str) -> int:
    """Return the number of items; VerificationFailed if the digests differ."""
    ours = run(lambda: digest_lines(settings))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # without a proxy: it is on this machine
    with opener.open(f"{control_url.rstrip('/')}/digest", timeout=600) as answer:
        theirs = answer.read().decode().splitlines()
    if ours != theirs:
        odd = sorted(set(ours) ^ set(theirs))
        example = odd[0].rsplit(" ", 1)[0] if odd else "their order"
        raise VerificationFailed(f"the digests differ, first in {example}", differences=len(odd))
    return len(ours)


def _suggest(cache: Path) -> None:
    from kerio_resync.cache.query_readonly import query_readonly

    has_shell = shutil.which("sqlite3") is not None
    _print()
    _print(f"The database is {cache}." + (" Try:" if has_shell else " Any SQLite program can read it."))
    for title, query in QUERIES.items():
        _print()
        _print(f"{title}:")
        if has_shell:
            _print(f'  sqlite3 {shlex.quote(str(cache))} "{query}"')
        for row in query_readonly(cache, query):
            _print("    " + " | ".join("" if value is None else str(value)[:60] for value in row))


def _suggest_browse(folder: Path) -> None:
    """Name the command that shows the mailbox in a browser."""
    if find_spec("datasette") is None:
        return
    command = [sys.executable, "-m", "kerio_resync", "--profile", str(folder), "browse"]
    _print()
    _print("The mails, a search and the tables in a browser:")
    _print(f"  {shlex.join(command)}")


def _suggest_export(folder: Path) -> None:
    """Name the command that writes the mailbox for other programs."""
    target = folder / "exported"
    command = [
        sys.executable,
        "-m",
        "kerio_resync",
        "--profile",
        str(folder),
        "export",
        "--maildir",
        str(target / "mail"),
    ]
    if find_spec("icalendar"):
        command += ["--ics", str(target / "calendars"), "--vcf", str(target / "contacts")]
    _print()
    _print("The mailbox as files of other programs (mutt -f opens the mail):")
    _print(f"  {shlex.join(command)}")


def _suggest_pages(paths: Sequence[Path]) -> None:
    """Name the command that serves this mailbox's pages.

    The demo's own server ends with it.
    """
    command = [sys.executable, "-m", "kerio_mockserver", "serve", "--preset", "monday-morning"]
    for path in paths:
        command += ["--import", str(path)]
    _print()
    _print("The same server under load, with a webmail and live charts, at the addresses that it prints:")
    _print(f"  {shlex.join(command)}")
