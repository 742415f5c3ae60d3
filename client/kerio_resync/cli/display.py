"""Shows the events of a run: a live view, plain lines, or JSON, and a log file.

A live view is redrawn at most four times a second. Without a terminal, each phase and, every few seconds, the progress
is one plain line. The summary comes last. A display never raises and never blocks the run: `streams` discards what a
reader does not take. Names and reasons come from the server, so control characters and markup are taken out of them.
Events hold no mail text.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from kerio_resync import streams
from kerio_resync.cli.formatting import MIN_COLUMNS, fit
from kerio_resync.cli.json_lines import JsonLines, LogFile
from kerio_resync.cli.process import print_error
from kerio_resync.events import (
    Event,
    Notice,
    Paused,
    Phase,
    PhaseChanged,
    Progress,
    Retrying,
    RunFinished,
    RunStarted,
    Skipped,
    Waiting,
)
from kerio_resync.plain_text import (
    format_duration,
    format_estimate,
    format_rate,
    format_size,
    pluralize,
    printable,
)
from kerio_resync.run_log import Level, RunLog, new_run_id, stamp

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

Summarise = Callable[[Mapping[str, Any]], Sequence[str]]
Clock = Callable[[], float]

PHASES: dict[Phase, str] = {
    "session": "Logging in",
    "rescue": "Saving local changes",
    "folders": "Reading the folders",
    "fetch": "Fetching",
    "catch-up": "Catching up with changes",
    "verify": "Verifying",
    "swap": "Putting the new cache in place",
    "replay": "Sending local changes",
    "upgrade": "Upgrading",
    "export": "Exporting",
    "index": "Building the search index",
    "logs": "Reading the logs",
}
_BAR_WIDTH = 50  # characters
_PLAIN_INTERVAL_SECONDS = 5.0  # between two plain lines of progress
PROGRESS_SECONDS = 0.1  # the shortest time between two progress events


@dataclass(frozen=True, slots=True)
class View:
    """How a run is shown and logged.

    `log_level`: None for the logs' own. `command`: the name in the profile's log; "" if the run is not logged there.
    `notify`: a command to run at the end. `report`: the page to write at the end.
    `flat`: JSON has the result in `run-finished` itself. `in_profile`: whether the profile's log has the run.
    """

    as_json: bool = False
    quiet: bool = False
    log_file: Path | None = None
    log_level: Level | None = None
    command: str = ""
    notify: str = ""
    flat: bool = False
    report: Path | None = None
    in_profile: bool = True


class Display(Protocol):
    """A listener that shows events until it is closed."""

    def __call__(self, event: Event) -> None:
        """Show one event."""
        ...

    def close(self) -> None:
        """End the display and restore the terminal; a second call does nothing."""
        ...


@dataclass(slots=True)
class RunState:
    """The state of a run, as far as its events describe it."""

    started: RunStarted | None = None
    waiting: Waiting | None = None
    turn_at: float = 0.0
    phase: Phase | None = None
    progress: Progress = Progress()  # noqa: RUF009 - a frozen value
    retries: int = 0
    last_retry: Retrying | None = None
    paused_until: float = 0.0
    pause_reason: str = ""
    skipped: int = 0

    def update(self, event: Event, now: float) -> None:
        """Take an event in; `now` in seconds."""
        match event:
            case RunStarted():
                self.started = event
            case Waiting():
                self.waiting, self.turn_at = event, now + event.seconds
            case PhaseChanged():
                self.phase, self.waiting = event.phase, None
            case Progress():
                self.progress = event
            case Retrying():
                self.retries += 1
                self.last_retry = event
            case Paused():
                self.paused_until, self.pause_reason = now + event.seconds, event.reason
            case Skipped():
                self.skipped += 1


def waiting_line(event: Waiting) -> str:
    """Return until when the run waits, and why."""
    return f"Waiting until {event.until[:10]} {event.until[11:19]}: {event.reason}"


def headline(started: RunStarted) -> str:
    """Return whose mailbox is rebuilt from which server."""
    resumed = ", resuming an interrupted run" if started.resumed else ""
    return printable(f"{started.user} at {started.server}{resumed}")


def counts(progress: Progress) -> str:
    """Return the folders, items and attachments done, of those that are known."""
    pairs = (
        ("folders", progress.folders_done, progress.folders_total),
        ("items", progress.items_done, progress.items_total),
        ("attachments", progress.attachments_done, progress.attachments_total),
    )
    return " · ".join(f"{name} {done:,}/{max(total, done):,}" for name, done, total in pairs if total or done)


def rate_line(progress: Progress) -> str:
    """Return the bytes done, the rate, the requests in flight and the time left."""
    parts = []
    if progress.bytes_total:
        total = max(progress.bytes_total, progress.bytes_done)  # the total is an estimate and can be too low
        parts.append(f"{format_size(progress.bytes_done)} of {format_size(total)}")
    if progress.rate:
        parts.append(format_rate(progress.rate))
    if progress.in_flight:
        parts.append(pluralize(progress.in_flight, "request"))
    if progress.seconds_left is not None:
        parts.append(f"{format_estimate(progress.seconds_left)} left")
    return " · ".join(parts)


def warnings(state: RunState, now: float) -> list[str]:
    """Return the pause, the retries and the number of skipped entries as lines."""
    lines = []
    if now < state.paused_until:
        lines.append(f"waiting {format_duration(state.paused_until - now)}: {state.pause_reason}")
    if state.last_retry is not None:
        lines.append(retry_line(state.retries, state.last_retry))
    if state.skipped:
        lines.append(f"{state.skipped:,} skipped, named at the end")
    return [printable(line) for line in lines]


def retry_line(retries: int, last: Retrying) -> str:
    """Return the number of retries and the reason for the last one."""
    again = f"{last.method} again in {format_duration(last.wait)} (attempt {last.attempt + 1}): {last.reason}"
    return f"{pluralize(retries, 'retry', 'retries')}, the last: {again}"


class PlainLines:
    """Prints plain lines: phases, progress, retries, and the summary."""

    def __init__(self, out: IO[str], summarise: Summarise, clock: Clock = time.monotonic) -> None:
        self._out, self._summarise, self._clock = out, summarise, clock
        self._state = RunState()
        self._next = clock() + _PLAIN_INTERVAL_SECONDS
        self._next_retry = clock()

    def __call__(self, event: Event) -> None:
        now = self._clock()
        self._state.update(event, now)
        match event:
            case RunStarted():
                self._print(headline(event))
            case PhaseChanged():
                self._print(PHASES[event.phase])
            case Progress() if now >= self._next:
                self._next = now + _PLAIN_INTERVAL_SECONDS
                self._print(" · ".join(filter(None, (counts(event), rate_line(event)))))
            case Retrying() if now >= self._next_retry:
                self._next_retry = now + _PLAIN_INTERVAL_SECONDS
                self._print(retry_line(self._state.retries, event))
            case Waiting():
                self._print(waiting_line(event))
            case Paused():
                self._print(f"waiting {format_duration(event.seconds)}: {event.reason}")
            case Notice():
                self._print(event.text)
            case RunFinished():
                show_summary(event, self._summarise)

    def _print(self, *lines: str) -> None:
        for line in filter(None, lines):
            print(fit(printable(line), self._out), file=self._out, flush=True)

    def close(self) -> None:
        """Do nothing."""


class LiveView:
    """Redraws a few lines on the terminal `out` until the run ends."""

    def __init__(self, out: IO[str], summarise: Summarise, clock: Clock = time.monotonic) -> None:
        self._summarise, self._clock, self._out = summarise, clock, out
        self._state = RunState()
        self._started_at = clock()
        self._live: Live | None = None
        self._ended = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self.close()
            show_summary(event, self._summarise)
            return
        self._state.update(event, self._clock())
        if self._live is None and not self._ended:
            self._live = self._start()
        if isinstance(event, Notice) and self._live is not None:
            from rich.text import Text

            self._live.console.print(Text(printable(event.text)))

    def _start(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        self._started_at = self._clock()
        live = Live(
            get_renderable=self.render,
            console=Console(file=cast(IO[str], FrameStream(self._out))),
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start()
        return live

    def render(self) -> Group:
        """Return the lines to draw now."""
        from rich.console import Group
        from rich.text import Text

        state, now, progress = self._state, self._clock(), self._state.progress
        if state.waiting is not None:
            left = format_duration(max(0.0, state.turn_at - now))
            line = Text(waiting_line(state.waiting), style="bold", overflow="fold")
            return Group(line, Text(f"{left} left; Ctrl-C ends it", style="dim"))
        title = Text(
            PHASES[state.phase] if state.phase else "Starting", style="bold", no_wrap=True, overflow="ellipsis"
        )
        title.append(f"  {headline(state.started)}  " if state.started else "  ", "not bold")
        title.append(format_duration(now - self._started_at), "not bold dim")
        lines = [title]
        if progress.bytes_total:
            share = min(progress.bytes_done / progress.bytes_total, 1.0)
            done = int(share * _BAR_WIDTH)
            lines.append(
                Text.assemble(("━" * done, "green"), ("━" * (_BAR_WIDTH - done), "bright_black"), f" {share:4.0%}")
            )
        lines += [Text(line) for line in (counts(progress), rate_line(progress)) if line]
        lines += [Text(line, style="yellow", overflow="fold") for line in warnings(state, now)]
        return Group(*lines)

    def close(self) -> None:
        """End the live view and restore the terminal."""
        self._ended = True
        if self._live is not None:
            self._live.stop()
            self._live = None


class FrameStream:
    """A terminal stream that drops frames while the terminal is congested."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def write(self, text: str) -> int:
        """Write `text` unless the terminal is congested."""
        return len(text) if streams.is_congested(self._out) else self._out.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


def show_summary(event: RunFinished, summarise: Summarise) -> None:
    """Print the summary of a run on standard output; a failed run has none.

    On a terminal, a line that is too long is wrapped between words and indented.
    """
    if "error" in event.summary:
        return  # printed on standard error
    for line in map(printable, summarise(event.summary)):
        print(fit(line, sys.stdout))
    sys.stdout.flush()


@contextmanager
def open_display(view: View, summarise: Summarise, profile: Callable[[], Path] | None = None) -> Iterator[Display]:
    """Open the display that fits the view and the terminal, and the logs.

    `profile` returns the folder of the profile's log.
    """
    views = _displays(view, summarise)
    run = new_run_id()
    if view.log_file is not None:
        shown = views[0] if views else None
        report = (lambda text: shown(Notice(text))) if shown else print_error
        views.append(LogFile(view.log_file, report, lambda: stamp(run, view.command), view.log_level or "debug"))
    if view.command and view.in_profile and profile is not None:
        views.append(RunLog(profile, view.command, run, view.log_level or "info"))
    if view.report is not None and profile is not None and find_spec("jinja2"):
        from kerio_resync.cli.run_report.page import ReportPage

        views.append(ReportPage(view.report, profile, print_error))
    if view.notify:
        from kerio_resync.cli.notify import Notifier

        views.append(Notifier(view.notify, lambda: stamp(run, view.command), print_error))
    combined = CombinedDisplay(tuple(views))
    try:
        yield combined
    finally:
        combined.close()


class CombinedDisplay:
    """Passes events to several displays, progress at most ten times a second."""

    def __init__(self, views: tuple[Display, ...], clock: Clock = time.monotonic) -> None:
        self.views, self._clock = views, clock
        self._next = clock()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            now = self._clock()
            if now < self._next:
                return
            self._next = now + PROGRESS_SECONDS
        for view in self.views:
            view(event)

    def close(self) -> None:
        """Close all displays."""
        for view in self.views:
            view.close()


def _displays(view: View, summarise: Summarise) -> list[Display]:
    if view.as_json:
        return [JsonLines(sys.stdout, flat=view.flat)]
    if view.quiet:
        return []
    capable = os.name == "nt" or os.environ.get("TERM", "dumb") not in ("dumb", "")
    if sys.stderr.isatty() and capable and shutil.get_terminal_size().columns >= MIN_COLUMNS:
        return [LiveView(sys.stderr, summarise)]
    return [PlainLines(sys.stderr, summarise)]
