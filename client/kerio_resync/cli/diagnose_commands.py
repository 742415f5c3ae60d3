"""The commands that tell what is wrong: `doctor`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerio_resync.cli import formatting
from kerio_resync.cli.commands import password_prompt
from kerio_resync.cli.display import MIN_COLUMNS, wrap
from kerio_resync.cli.process import run
from kerio_resync.errors import Exit
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


def _print_finding(finding: Checked) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in map(formatting.printable, formatting.lines_of_check(finding.as_json())):
        print(wrap(line, width, " " * 14) if MIN_COLUMNS <= width < len(line) else line)
    sys.stdout.flush()
