"""The demonstration: a mock server with real mail, a rebuild from it, the proof that both hold the same, and queries.

Promises: the server is a process of its own that ends with this one, however this one ends; what is shown is what a
rebuild from any server shows; the proof compares two digests that client and server work out apart. The mock server is
started, never imported. Refuses to call anything done that the digests do not confirm (VerificationFailed).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from kerio_resync.cli import display, formatting
from kerio_resync.cli.commands import digest_lines, watch_rebuild, watch_verify
from kerio_resync.cli.display import View
from kerio_resync.cli.process import run
from kerio_resync.errors import BadSettings, Exit, Unreachable, VerificationFailed

if TYPE_CHECKING:
    from kerio_resync.settings import Settings

NAMED = 10  # of what could not be imported; the mock server's first line names more
QUERIES = {
    "The fullest folders": "SELECT path, kind, items, unread FROM folder_tree ORDER BY items DESC LIMIT 5",
    "The newest mails with attachments": (
        "SELECT date, sender, subject FROM mail WHERE has_attachment ORDER BY date DESC LIMIT 5"
    ),
    "The last entries of the calendar": "SELECT starts, summary, location FROM event ORDER BY starts DESC LIMIT 5",
}


def run_demo(place: Path, paths: Sequence[Path]) -> Exit:
    """Demonstrates in the folder `place` with the mail at `paths`, or the sample's if there are none."""
    from pydantic import SecretStr

    from kerio_resync.settings import Settings

    paths = paths or sample_mail()
    _print(f"Starting a mock server with {formatting.pluralize(len(paths), 'file')} of {paths[0].parent} …")
    with start_mock_server(paths) as server:
        _report_import(server["imported"], paths)
        _print(f"It answers at {server['url']}; rebuilding its mailbox into {place} …")
        settings = Settings(
            proxy=SecretStr("none"),  # the server is in this process
            profile=place,
            server=server["url"],
            user=server["user"],
            password=SecretStr(server["password"]),
            fresh=True,
        )
        with display.open_display(View(), formatting.summary_of_rebuild) as shown:
            watch_rebuild(settings, shown)
        with display.open_display(View(), formatting.summary_of_verify) as shown:
            code = watch_verify(settings, shown)
        if code is not Exit.DONE:
            return code
        _print(
            "The digests of cache and server agree:"
            f" {formatting.pluralize(compare_digests(settings, server['control_url']), 'item')}."
        )
    _suggest(settings.cache)
    return Exit.DONE


def _print(text: str = "") -> None:
    print(formatting.printable(text), flush=True)


def sample_mail() -> list[Path]:
    """The files of the sample mailbox: beside the installed mock server, or in a checkout's tests. BadSettings."""
    found = find_spec("kerio_mockserver")
    if found is None or found.origin is None:
        raise BadSettings("the mock server is not installed: run `pip install 'kerio-resync[mock]'`")
    package = Path(found.origin).parent
    for folder in (package / "sample", package.parent.parent / "tests" / "data" / "sample"):
        files = sorted(path for path in folder.glob("*") if path.name.endswith((".tar.xz", ".vcf", ".ics")))
        if files:
            return files
    raise BadSettings("the sample mailbox is not installed here: name your own mail with --import PATH")


@contextmanager
def start_mock_server(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """A mock server that holds the mail at `paths`: what it says of itself.

    That is `url`, `control_url`, `user`, `password`, and what was `imported`.
    """
    for path in paths:
        if not path.exists():
            raise BadSettings(f"--import: there is no {path}")
    command = [sys.executable, "-m", "kerio_mockserver", "serve", "--exit-with-parent"]
    for path in paths:
        command += ["--import", str(path)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        # A session of its own: Ctrl-C is meant for the rebuild, which needs its server to end in good order.
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True, start_new_session=True
        )
        with server:
            try:
                yield _introduction(server, complaints)
            finally:
                server.terminate()
                try:
                    server.wait(5)
                except subprocess.TimeoutExpired:
                    server.kill()


def _introduction(server: subprocess.Popen[str], complaints: IO[str]) -> dict[str, Any]:
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        server.wait()
        complaints.seek(0)
        last = complaints.read().strip().splitlines()[-1:]
        if server.returncode == Exit.USAGE and last:
            raise BadSettings(last[0].removeprefix("kerio-mockserver: "))
        raise Unreachable(f"the mock server did not start ({last[0] if last else f'exit code {server.returncode}'})")
    told: dict[str, Any] = json.loads(line)
    return told


def _report_import(imported: dict[str, Any], paths: Sequence[Path]) -> None:
    """Says what was not imported, or only simplified. BadSettings if nothing was imported at all."""
    skipped = sum(imported["skipped"].values())
    named = "; ".join(imported["names"][:NAMED])
    if not any(imported[kind] for kind in ("mails", "contacts", "events", "tasks", "notes")):
        where = ", ".join(map(str, paths))
        found = f" ({named})" if named else ""
        raise BadSettings(
            f"there is no mail, calendar or contact in {where}{found}: name a file or folder that has some"
        )
    if skipped:
        _print(f"{formatting.pluralize(skipped, 'entry', 'entries')} could not be imported: {named}")
    if imported["simplified"]:
        count = sum(imported["undecodable"].values())
        _print(
            f"In {formatting.pluralize(count, 'place')} something was hard to read or had to be simplified, such as:"
        )
        _print(f"  {'; '.join(imported['simplified'][:NAMED])}")


def compare_digests(settings: Settings, control_url: str) -> int:
    """How many items both digests name; VerificationFailed if they differ in any line."""
    ours = run(lambda: digest_lines(settings))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business on this machine
    with opener.open(f"{control_url.rstrip('/')}/digest", timeout=600) as answer:
        theirs = answer.read().decode().splitlines()
    if ours != theirs:
        odd = sorted(set(ours) ^ set(theirs))
        example = odd[0].rsplit(" ", 1)[0] if odd else "their order"
        raise VerificationFailed(f"the digests differ, first in {example}", differences=len(odd))
    return len(ours)


def _suggest(cache: Path) -> None:
    from kerio_resync.cache.query_readonly import query_readonly

    _print()
    _print(f"The database is {cache}. Try:")
    for title, query in QUERIES.items():
        _print()
        _print(f"{title}:")
        _print(f'  sqlite3 {cache} "{query}"')
        for row in query_readonly(cache, query):
            _print("    " + " | ".join("" if value is None else str(value)[:60] for value in row))
    _print()
    _print(f"When you have seen enough: rm -r {cache.parent}")
