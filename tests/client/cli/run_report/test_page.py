"""The report page: what it says, and that nothing of it can change a run."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from kerio_resync.cli.run_report.page import ReportPage, render
from kerio_resync.cli.run_report.series import RunSeries
from kerio_resync.events import (
    Event,
    FolderListed,
    Notice,
    Paused,
    PhaseChanged,
    Progress,
    Retrying,
    RunFinished,
    RunStarted,
    Skipped,
)
from tests.support.browser import Browser, needs_browser

BAD = "<img src=x onerror=alert(1)>"
SUMMARY = {
    "items": {"mail": 1200}, "attachments": 7, "plain_bytes": 3 * 2**20, "wire_bytes": 2**20, "retries": 1,
    "skipped": [["item", "m1", BAD]], "excluded": [[f"Archive {BAD}", 99]],
}  # fmt: skip
START = (RunStarted("/p", "https://mail.example.com", "jane"), PhaseChanged("fetch"))
EVENTS: tuple[Event, ...] = (
    *START,
    FolderListed("f", 1200),
    Progress(bytes_done=0, in_flight=4),
    Retrying("Mails.getById", 1, 0.5, f"broken {BAD}"),
    Paused(2.0, f"busy {BAD}"),
    Skipped("item", "m1", "broken"),
    Notice(f"Look at {BAD}"),
    Progress(bytes_done=2**20, in_flight=6, seconds_left=4.0),
    Progress(bytes_done=3 * 2**20, in_flight=2, seconds_left=1.0),
)
GOOD = RunFinished(ok=True, exit_code=0, summary=SUMMARY)
FOLDERS = [("f", f"Inbox {BAD}", 1200, 3 * 2**20)]


def recorded(*events: Event) -> RunSeries:
    times = iter(range(1000))
    series = RunSeries(lambda: float(next(times)))
    for event in events:
        series(event)
    return series


def test_page_shows_the_run_and_escapes_what_the_server_says() -> None:
    text = render(recorded(*EVENTS, GOOD), FOLDERS)
    assert BAD not in text
    for section in ("Phases", "Rate", "Requests in flight", "Retries and waits", "Estimate and truth", "Folders"):
        assert f"<h2>{section}</h2>" in text
    for fact in (
        "jane at https://mail.example.com",
        "1,200",
        "3.0 MiB",
        "Done after 10 s: the cache equals",
        "pauses of 2.0 s",
        "m1",
    ):
        assert fact in text, fact
    assert text.count("&lt;img") == 6  # reason, pause, notice, folder, left out, skipped


def test_page_loads_nothing_and_runs_nothing() -> None:
    text = render(recorded(*EVENTS, GOOD), FOLDERS)
    assert not re.search(r"<script|<link|<iframe|url\(|src=|@import", text.replace(BAD, "").replace("&lt;img src=", ""))
    assert "default-src 'none'" in text


def test_page_of_a_failed_run_has_the_error() -> None:
    end = RunFinished(ok=False, exit_code=4, summary={"error": f"The server is down {BAD}"})
    text = render(recorded(*EVENTS[:-1], end))
    assert "Ended with exit code 4" in text
    assert "The server is down &lt;img" in text
    assert "broken" in text


def test_page_of_a_run_that_never_began_is_complete() -> None:
    text = render(recorded(RunFinished(ok=False, exit_code=2, summary={"error": "no server is set"})))
    assert text.rstrip().endswith("</html>")
    assert "no server is set" in text


def written(path: Path, *events: Event) -> list[str]:
    said: list[str] = []
    page = ReportPage(path, lambda: path.parent, said.append)
    for event in events:
        page(event)
    page.close()
    page.close()
    return said


def test_report_is_written_once_and_replaces_an_older_one(tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text("old")
    assert written(file, *EVENTS, GOOD) == []
    assert "<!doctype html>" in file.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [file]


def test_report_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text("old")
    file.chmod(0o644)
    written(file, *EVENTS, GOOD)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_report_that_cannot_be_written_is_a_notice(tmp_path: Path) -> None:
    said = written(tmp_path / "no" / "run.html", GOOD)
    assert said == [f"The report {tmp_path / 'no' / 'run.html'} cannot be written (no such file or directory)."
                    " Name another file."]  # fmt: skip


def test_report_that_fails_otherwise_is_a_notice(tmp_path: Path) -> None:
    broken = RunFinished(ok=True, exit_code=0, summary={"items": None})
    assert written(tmp_path / "run.html", broken) == [
        f"The report {tmp_path / 'run.html'} was not written (AttributeError)."
    ]


@needs_browser[0]
@needs_browser[1]
def test_page_fits_wide_and_narrow_windows(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text(render(recorded(*EVENTS, GOOD), FOLDERS), encoding="utf-8")
    for width in (1280, 390):
        browser.open(file.as_uri(), width, dark=width == 390)
        assert browser.overflow() <= 0  # less by a scroll bar
        assert browser.errors() == []
        shown = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert shown == ("rgb(255, 255, 255)" if width == 1280 else "rgb(20, 24, 29)")
