"""The commands that tell what is wrong: `doctor`, and `status` for monitoring."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerio_resync import streams
from kerio_resync.cli import formatting
from kerio_resync.cli.commands import password_prompt, require_written, state_of
from kerio_resync.cli.display import MIN_COLUMNS, wrap
from kerio_resync.cli.process import run
from kerio_resync.errors import Exit, explain
from kerio_resync.events import Checked, Listener, RunFinished


def doctor(profile: Path, shown: Listener, given: Mapping[str, Any], *, login: bool, as_json: bool) -> Exit:
    """Check everything; print each finding at once.

    The exit code is that of the first failure.
    """
    from kerio_resync.diagnose.doctor import examine, summarise
    from kerio_resync.diagnose.findings import exit_of

    emit = shown if as_json else _print_finding
    findings = run(lambda: examine(profile, emit, given, login=login, ask=password_prompt()))
    summary, code = summarise(findings), exit_of(findings)
    if not as_json:
        print(formatting.conclusion_of_doctor(summary), flush=True)
    shown(RunFinished(ok=code is Exit.DONE, exit_code=code, summary=summary))
    return code


def check_status(profile: Path, shown: Listener, *, check: bool, prometheus: Path | None) -> int:
    """Print the status as one line for monitoring, or write it as metrics, or both.

    With `check` the exit code is that of a Nagios plugin.
    """
    from kerio_resync.diagnose.monitoring import Health, Level, judge, line, metrics, write_metrics

    streams.wait_for_reader()
    state, trouble = None, None
    try:
        state = state_of(profile)
        health = judge(state)
    except Exception as error:
        trouble, health = error, Health(Level.UNKNOWN, (explain(error)[0],))
    if prometheus is not None:
        write_metrics(prometheus, metrics(health, state, str(profile)))
    if not check:
        if trouble is not None:
            raise trouble
        return Exit.DONE
    print(formatting.printable(line(health, state)))
    require_written()
    return health.level


def check_exit_code(error: BaseException, code: Exit) -> int:
    """Return the exit code of a `status --check` that could not be made: unknown."""
    from kerio_resync.diagnose.monitoring import Level

    return code if code is Exit.INTERRUPTED else Level.UNKNOWN


def _print_finding(finding: Checked) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in map(formatting.printable, formatting.lines_of_check(finding.as_json())):
        print(wrap(line, width, " " * 14) if MIN_COLUMNS <= width < len(line) else line)
    sys.stdout.flush()
