from __future__ import annotations

import io
import json
import os
import pty
import re
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kerio_resync import events, streams
from kerio_resync.cli import display
from kerio_resync.cli.display import Display, LiveView, PlainLines, RunState, View, open_display
from kerio_resync.cli.json_lines import JsonLines, LogFile

FETCHING = events.Progress(
    folders_done=1, folders_total=2, items_done=30, items_total=1200, attachments_done=3, attachments_total=40,
    bytes_done=2**20, bytes_total=10 * 2**20, rate=2.0 * 2**20, seconds_left=4.5, in_flight=8, elapsed=1.0,
)  # fmt: skip
RUN: list[events.Event] = [
    events.PhaseChanged("session"),
    events.RunStarted("/p", "https://x", "jane", resumed=True),
    events.PhaseChanged("fetch"),
    events.FolderListed("Inbox", 3),
    FETCHING,
    events.Retrying("Mails.getById", 1, 0.5, "connection reset"),
    events.Retrying("Mails.getById", 2, 1.0, "503"),
    events.Paused(30.0, "the server asked for it"),
    events.Skipped("item", "keriostorage://mail/x", "no such item"),
    events.Notice("The key expired."),
    events.RunFinished(ok=True, exit_code=0, summary={"words": "all is well"}),
]
SUMMARY = ["all is well"]


def summarise(summary: Mapping[str, Any]) -> list[str]:
    return [str(summary["words"])]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_json_is_one_event_a_line_and_nothing_else() -> None:
    out = io.StringIO()
    view = JsonLines(out)
    for event in RUN:
        view(event)
    lines = out.getvalue().splitlines()
    assert [json.loads(line) for line in lines] == [event.as_json() for event in RUN]
    view.close()
    assert not out.closed


def test_plain_lines_tell_phases_progress_now_and_then_and_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    out, clock = io.StringIO(), Clock()
    view = PlainLines(out, summarise, clock)
    for event in RUN[:4]:
        view(event)
    for _ in range(100):
        view(FETCHING)
        clock.now += 0.1
    for event in RUN[5:]:
        view(event)
    view.close()
    lines = out.getvalue().splitlines()
    told = (
        "folders 1/2 · items 30/1,200 · attachments 3/40 · 1.0 MiB of 10.0 MiB · 2.0 MiB/s · 8 requests"
        " · about 4 s left"
    )
    assert lines == [
        "Logging in",
        "jane at https://x, resuming an interrupted run",
        "Fetching",
        told,
        "1 retry, the last: Mails.getById again in 0.5 s (attempt 2): connection reset",
        "waiting 30 s: the server asked for it",
        "The key expired.",
    ]
    assert capsys.readouterr().out.splitlines() == SUMMARY


def test_a_run_that_failed_has_no_summary(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    PlainLines(out, summarise, Clock())(events.RunFinished(ok=False, exit_code=4, summary={"error": "x"}))
    assert (out.getvalue(), capsys.readouterr().out) == ("", "")


def rendered(view: LiveView) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    with console.capture() as capture:
        console.print(view.render())
    return capture.get()


def test_the_live_view_tells_where_the_run_stands() -> None:
    clock = Clock()
    view = LiveView(io.StringIO(), summarise, clock)
    assert "Starting" in rendered(view)
    for event in RUN[:-1]:
        view(event)
    clock.now += 10
    lines = [line.rstrip() for line in rendered(view).splitlines()]
    assert lines[0] == "Fetching  jane at https://x, resuming an interrupted run  10 s"
    assert re.fullmatch("━{50}  10%", lines[1])
    assert lines[2:] == [
        "folders 1/2 · items 30/1,200 · attachments 3/40",
        "1.0 MiB of 10.0 MiB · 2.0 MiB/s · 8 requests · about 4 s left",
        "waiting 20 s: the server asked for it",
        "2 retries, the last: Mails.getById again in 1.0 s (attempt 3): 503",
        "1 skipped, named at the end",
    ]
    clock.now += 30
    assert "waiting" not in rendered(view)
    view.close()
    view.close()


def test_wait_for_the_turn_is_shown_until_the_run_begins() -> None:
    clock, out = Clock(), io.StringIO()
    waiting = events.Waiting("2026-12-01T22:14:00+01:00", 840.0, "not before 22:00 and 0:14:00 of the splay")
    told = "Waiting until 2026-12-01 22:14:00: not before 22:00 and 0:14:00 of the splay"
    PlainLines(out, summarise, clock)(waiting)
    assert out.getvalue() == f"{told}\n"
    view = LiveView(io.StringIO(), summarise, clock)
    view(waiting)
    clock.now += 240
    assert [line.rstrip() for line in rendered(view).splitlines()] == [told, "10 min 00 s left; Ctrl-C ends it"]
    view(events.PhaseChanged("session"))
    assert rendered(view).startswith("Logging in")
    view.close()


def everything(descriptor: int) -> str:
    """What was written to a terminal whose other end is closed."""
    seen = b""
    with os.fdopen(descriptor, "rb", buffering=0) as terminal, suppress(OSError):  # its end is an error on Linux
        while piece := terminal.read(1 << 16):
            seen += piece
    return seen.decode()


def test_a_terminal_of_one_column_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "1")
    with open_display(View(), summarise) as shown:
        assert [type(view) for view in shown.views] == [PlainLines]  # type: ignore[attr-defined]


def test_a_notice_before_the_run_is_seen_on_a_live_terminal() -> None:
    main, secondary = pty.openpty()
    view = LiveView(streams.text(os.dup(secondary), "<terminal>"), summarise)
    view(events.Notice("The log file cannot be written."))
    view.close()
    seen = b""
    while b"cannot be written" not in seen or b"\x1b[?25h" not in seen:
        seen += os.read(main, 4096)
    os.close(secondary)
    os.close(main)


def test_the_live_view_gives_the_terminal_back(capsys: pytest.CaptureFixture[str]) -> None:
    main, secondary = pty.openpty()
    with os.fdopen(secondary, "w") as terminal:
        view = LiveView(terminal, summarise)
        for event in RUN:
            view(event)
        view.close()
    seen = everything(main)
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")  # the cursor is back
    assert "The key expired." in seen
    assert capsys.readouterr().out.splitlines() == SUMMARY


@pytest.mark.parametrize("hostile", ["\x1b[2J\x1b]0;owned\x07", "[red]a[/nonsense]", "a\r\nb", "\u202egnp.exe"])
def test_what_a_server_named_can_not_command_the_terminal(hostile: str) -> None:
    out, clock = io.StringIO(), Clock()
    live = LiveView(out, summarise, clock)
    views: tuple[Display, ...] = (live, PlainLines(out, summarise, clock))
    for view in views:
        view(events.RunStarted("/p", hostile, hostile))
        view(events.Retrying(hostile, 1, 1.0, hostile))
        view(events.Paused(9.0, hostile))
        view(events.Notice(hostile))
    shown = out.getvalue() + rendered(live)
    for view in views:
        view.close()
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", shown)


def test_an_estimate_that_was_too_low_is_not_shown_as_less_than_what_came() -> None:
    odd = events.Progress(attachments_done=19, attachments_total=18, bytes_done=2048, bytes_total=1024, seconds_left=-5)
    assert (display.counts(odd), display.rate_line(odd)) == ("attachments 19/19", "2.0 KiB of 2.0 KiB · about 1 s left")


def test_troubles_are_none_at_first() -> None:
    assert display.warnings(RunState(), 0.0) == []
    assert display.counts(events.Progress()) == ""
    assert display.rate_line(events.Progress()) == ""


def test_the_log_has_every_event_with_its_time_for_its_owner_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        with open_display(View(quiet=True, log_file=log), summarise) as shown:
            for event in RUN:
                shown(event)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["event"] for row in rows] == [event.name for event in RUN] * 2
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row["time"]) for row in rows)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_opened_says_once_that_a_log_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_display(View(as_json=True, log_file=tmp_path), summarise) as shown:
        for event in RUN:
            shown(event)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == {
        "event": "notice",
        "text": f"The log file {tmp_path} cannot be written (Is a directory). The run continues without a log.",
    }
    assert [row["event"] for row in rows[1:]] == [event.name for event in RUN]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("quiet", [False, True])
def test_opened_says_once_that_a_log_cannot_be_written(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with open_display(View(quiet=quiet, log_file=Path("/dev/full")), summarise) as shown:
        for event in RUN:
            shown(event)
    out, err = capsys.readouterr()
    assert err.count("cannot be written (No space left on device)") == 1
    assert out.splitlines() == ([] if quiet else SUMMARY)


def test_opened_refuses_to_log_into_a_pipe_without_a_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    with open_display(View(quiet=True, log_file=tmp_path / "fifo"), summarise) as shown:
        shown(RUN[0])
    assert "(the FIFO has no reader)" in capsys.readouterr().err


def test_opened_shows_progress_ten_times_a_second_at_most(tmp_path: Path) -> None:
    log, out, clock = tmp_path / "log", io.StringIO(), Clock()
    both = display.CombinedDisplay((JsonLines(out), LogFile(log, print)), clock)
    for tick in range(1000):
        clock.now = 100 + tick / 1000
        both(FETCHING)
        if tick % 100 == 50:
            both(events.Notice("each of these"))
    both.close()
    for text in (out.getvalue(), log.read_text()):
        told = [json.loads(line)["event"] for line in text.splitlines()]
        assert (told.count("progress"), told.count("notice")) == (10, 10)


@pytest.mark.parametrize(
    ("as_json", "quiet", "terminal", "term", "kind"),
    [
        (True, True, True, "xterm", "JsonLines"),
        (False, True, True, "xterm", ""),
        (False, False, True, "xterm", "LiveView"),
        (False, False, True, "dumb", "PlainLines"),
        (False, False, True, "", "PlainLines"),
        (False, False, True, None, "PlainLines"),
        (False, False, False, "xterm", "PlainLines"),
    ],
)
def test_the_view_that_fits(
    monkeypatch: pytest.MonkeyPatch, as_json: bool, quiet: bool, terminal: bool, term: str | None, kind: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    if term is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", term)
    with open_display(View(as_json, quiet), summarise) as shown:
        assert [type(view).__name__ for view in shown.views] == [kind] * bool(kind)  # type: ignore[attr-defined]
        shown.close()


def test_a_line_of_the_summary_that_is_too_long_is_broken_between_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "all of the mailbox is in /a/path/that/is/longer/than/the/terminal now"
    monkeypatch.setenv("COLUMNS", "20")
    finished = events.RunFinished(ok=True, exit_code=0, summary={"words": words})
    display.show_summary(finished, summarise)
    assert capsys.readouterr().out == words + "\n"  # for a pipe it stays one line
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    display.show_summary(finished, summarise)
    said = ["all of the mailbox", "  is in", "  /a/path/that/is/longer/than/the/terminal", "  now"]
    assert capsys.readouterr().out.splitlines() == said
    display.show_summary(events.RunFinished(ok=True, exit_code=0, summary={"words": "short"}), summarise)
    assert capsys.readouterr().out == "short\n"


def test_live_view_wraps_a_long_reason_at_words() -> None:
    out = io.StringIO()
    view = LiveView(out, summarise)
    view._state.update(events.Retrying("Mails.getById", 1, 0.5, "the connection to mail.example.com broke again"), 0.0)
    console = Console(file=out, width=40, color_system=None)
    console.print(view.render())
    lines = [line.strip() for line in out.getvalue().splitlines()]
    reason = " ".join(lines)
    assert "the connection to mail.example.com broke again" in reason
    assert max(map(len, lines)) <= 40
