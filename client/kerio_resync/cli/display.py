"""What a person or a script sees of a run: listeners of events.

Promises: a live view on a terminal (drawn at most four times a second, from counters only), a plain line now and then
without one, or one JSON object a line and nothing else; in every view the summary comes last. A listener never raises
and never blocks the run, which `streams` sees to: a reader that goes away or stalls only ends the showing. Refuses to
pass on control characters and markup: names and reasons come from the server. Mail text is in no event and so in no
view.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from kerio_resync import streams
from kerio_resync.cli.formatting import format_duration, format_estimate, format_rate, format_size, pluralize, printable
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
)

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

Summarise = Callable[[Mapping[str, Any]], Sequence[str]]
Clock = Callable[[], float]

PHASES: dict[Phase, str] = {
    "session": "Logging in",
    "rescue": "Setting local changes aside",
    "folders": "Reading the folders",
    "fetch": "Fetching",
    "catch-up": "Catching up with changes",
    "verify": "Verifying",
    "swap": "Putting the new cache in place",
    "replay": "Sending local changes",
    "upgrade": "Upgrading",
}
_BAR_WIDTH = 50  # characters
_PLAIN_INTERVAL_SECONDS = 5.0  # seconds between two plain lines of progress
NARROWEST = 20  # columns; nothing is broken into lines for a terminal that says it has fewer
PROGRESS_SECONDS = 0.1  # between two events of progress, at least


@dataclass(frozen=True, slots=True)
class View:
    """How a run is shown. `flat`: in JSON the members of its result stand beside those of `run-finished`."""

    as_json: bool = False
    quiet: bool = False
    log_file: Path | None = None
    flat: bool = False


class Display(Protocol):
    def __call__(self, event: Event) -> None: ...

    def close(self) -> None:
        """Ends the showing and leaves the terminal as it was; may be called twice."""
        ...


@dataclass(slots=True)
class RunState:
    """What the events have told so far."""

    profile: str = ""
    server: str = ""
    user: str = ""
    resumed: bool = False
    phase: Phase | None = None
    progress: Progress = Progress()  # noqa: RUF009 - a frozen value
    retries: int = 0
    retry: Retrying | None = None
    retry_at: float = 0.0
    paused_until: float = 0.0
    paused_why: str = ""
    skipped: int = 0

    def take(self, event: Event, now: float) -> None:
        match event:
            case RunStarted():
                self.profile, self.server, self.user, self.resumed = (
                    event.profile,
                    event.server,
                    event.user,
                    event.resumed,
                )
            case PhaseChanged():
                self.phase = event.phase
            case Progress():
                self.progress = event
            case Retrying():
                self.retries += 1
                self.retry, self.retry_at = event, now
            case Paused():
                self.paused_until, self.paused_why = now + event.seconds, event.reason
            case Skipped():
                self.skipped += 1


def headline(seen: RunState) -> str:
    return printable(
        f"{seen.user} at {seen.server}" + (", going on with what an earlier run fetched" if seen.resumed else "")
    )


def counts(progress: Progress) -> str:
    """Folders, items and attachments, each as far as it is known."""
    pairs = (
        ("folders", progress.folders_done, progress.folders_total),
        ("items", progress.items_done, progress.items_total),
        ("attachments", progress.attachments_done, progress.attachments_total),
    )
    return " · ".join(f"{name} {done:,}/{max(total, done):,}" for name, done, total in pairs if total or done)


def rate_line(progress: Progress) -> str:
    """Bytes, rate and time left."""
    parts = []
    if progress.bytes_total:  # an estimate, which what has come can outgrow
        parts.append(
            f"{format_size(progress.bytes_done)} of {format_size(max(progress.bytes_total, progress.bytes_done))}"
        )
    if progress.rate:
        parts.append(format_rate(progress.rate))
    if progress.in_flight:
        parts.append(pluralize(progress.in_flight, "request"))
    if progress.seconds_left is not None:
        parts.append(f"{format_estimate(progress.seconds_left)} left")
    return " · ".join(parts)


def warnings_of(seen: RunState, now: float) -> list[str]:
    """The pause that lasts, the retries and why, how much was skipped."""
    lines = []
    if now < seen.paused_until:
        lines.append(f"waiting {format_duration(seen.paused_until - now)}: {seen.paused_why}")
    if seen.retry is not None:
        lines.append(retried(seen))
    if seen.skipped:
        lines.append(f"{seen.skipped:,} skipped, named at the end")
    return [printable(line) for line in lines]


def retried(seen: RunState) -> str:
    """How many retries there were, and what the last was for."""
    last = seen.retry
    if last is None:
        return ""
    again = f"{last.method} again in {format_duration(last.wait)} (attempt {last.attempt + 1}): {last.reason}"
    return f"{pluralize(seen.retries, 'retry', 'retries')}, the last: {again}"


class PlainLines:
    """Lines for a file or a pipe: each phase, progress every few seconds, what went wrong, the summary."""

    def __init__(self, out: IO[str], summarise: Summarise, clock: Clock = time.monotonic) -> None:
        self._out, self._summarise, self._clock = out, summarise, clock
        self._seen = RunState()
        self._next = clock() + _PLAIN_INTERVAL_SECONDS
        self._next_retry = clock()

    def __call__(self, event: Event) -> None:
        now = self._clock()
        self._seen.take(event, now)
        match event:
            case RunStarted():
                self._say(headline(self._seen))
            case PhaseChanged():
                self._say(PHASES[event.phase])
            case Progress() if now >= self._next:
                self._next = now + _PLAIN_INTERVAL_SECONDS
                self._say(" · ".join(filter(None, (counts(event), rate_line(event)))))
            case Retrying() if now >= self._next_retry:
                self._next_retry = now + _PLAIN_INTERVAL_SECONDS
                self._say(retried(self._seen))
            case Paused():
                self._say(f"waiting {format_duration(event.seconds)}: {event.reason}")
            case Notice():
                self._say(event.text)
            case RunFinished():
                show_summary(event, self._summarise)

    def _say(self, *lines: str) -> None:
        for line in filter(None, lines):
            print(printable(line), file=self._out, flush=True)

    def close(self) -> None:
        pass


class LiveView:
    """A few lines that redraw themselves on the terminal `out`, from the first event until the run ends."""

    def __init__(self, out: IO[str], summarise: Summarise, clock: Clock = time.monotonic) -> None:
        self._summarise, self._clock, self._out = summarise, clock, out
        self._seen = RunState()
        self._began = clock()
        self._live: Live | None = None
        self._ended = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self.close()
            show_summary(event, self._summarise)
            return
        self._seen.take(event, self._clock())
        if self._live is None and not self._ended:
            self._live = self._start()
        if isinstance(event, Notice) and self._live is not None:
            from rich.text import Text

            self._live.console.print(Text(printable(event.text)))

    def _start(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        self._began = self._clock()
        live = Live(
            get_renderable=self.render,
            console=Console(file=cast(IO[str], Frames(self._out))),
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start()
        return live

    def render(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        seen, now = self._seen, self._clock()
        phase = PHASES[seen.phase] if seen.phase else "Starting"
        progress = seen.progress
        lines: list[Any] = [
            Text.assemble(
                (phase, "bold"),
                f"  {headline(seen)}  " if seen.server else "  ",
                (format_duration(now - self._began), "dim"),
                no_wrap=True,
                overflow="ellipsis",
            ),
        ]
        if progress.bytes_total:
            share = min(progress.bytes_done / progress.bytes_total, 1.0)
            done = int(share * _BAR_WIDTH)
            lines.append(
                Text.assemble(("━" * done, "green"), ("━" * (_BAR_WIDTH - done), "bright_black"), f" {share:4.0%}")
            )
        lines += [Text(line) for line in (counts(progress), rate_line(progress)) if line]
        lines += [Text(line, style="yellow", no_wrap=True, overflow="ellipsis") for line in warnings_of(seen, now)]
        return Group(*lines)

    def close(self) -> None:
        self._ended = True
        if self._live is not None:
            self._live.stop()
            self._live = None


class Frames:
    """A terminal for pictures that replace each other: while it takes nothing, none are kept for it."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return len(text) if streams.is_congested(self._out) else self._out.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


class NoDisplay:
    """For `--quiet`: the events are nobody's business, and neither is a summary of what went well."""

    def __call__(self, event: Event) -> None:
        pass

    def close(self) -> None:
        pass


def show_summary(event: RunFinished, summarise: Summarise) -> None:
    """On standard output: it is the result. A run that failed has its one line on standard error instead. On a terminal
    a line that is too long for it is broken between words, and indented from there on."""
    if "error" in event.summary:
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in map(printable, summarise(event.summary)):
        print(stream_is_broken(line, width) if NARROWEST <= width < len(line) else line)
    sys.stdout.flush()


def stream_is_broken(line: str, width: int) -> str:
    """The line in several of at most `width` characters; a word that is longer, such as a path, stays whole."""
    return textwrap.fill(
        line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False, replace_whitespace=False
    )


@contextmanager
def open_display(view: View, summarise: Summarise) -> Iterator[Display]:
    """The display that fits, and the log beside it if one is asked for."""
    shown = _display(view, summarise)
    views = [shown]
    if view.log_file is not None:
        views.append(LogFile(view.log_file, print_error if view.quiet else lambda text: shown(Notice(text))))
    both = CombinedDisplay(tuple(views))
    try:
        yield both
    finally:
        both.close()


class CombinedDisplay:
    """Several listeners as one; they hear of progress ten times a second at most."""

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
        for view in self.views:
            view.close()


def _display(view: View, summarise: Summarise) -> Display:
    if view.as_json:
        return JsonLines(sys.stdout, flat=view.flat)
    if view.quiet:
        return NoDisplay()
    capable = os.name == "nt" or os.environ.get("TERM", "dumb") not in ("dumb", "")
    if sys.stderr.isatty() and capable and shutil.get_terminal_size().columns >= NARROWEST:
        return LiveView(sys.stderr, summarise)
    return PlainLines(sys.stderr, summarise)
