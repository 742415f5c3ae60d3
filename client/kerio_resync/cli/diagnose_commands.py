"""The commands that tell what is wrong, and the settings."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerio_resync import plain_text, streams
from kerio_resync.cli import formatting
from kerio_resync.cli.commands import password_prompt, require_written, state_of
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


def support_bundle(
    profile: Path,
    shown: Listener,
    given: Mapping[str, Any],
    *,
    output: Path | None,
    with_names: bool,
    login: bool,
    as_json: bool,
) -> Exit:
    """Collect a bundle, print what is inside, and write it."""
    from kerio_resync.diagnose import bundle as bundles

    path = output or Path.cwd() / time.strftime("kerio-resync-support-%Y%m%d-%H%M%S.zip")
    bundles.require_new(path)
    bundle = run(lambda: bundles.collect(profile, given, with_names=with_names, login=login, ask=password_prompt()))
    if not as_json:
        sizes = {name: plain_text.format_size(len(content)) for name, content in bundle.members.items()}
        print("The bundle holds:")
        for name, about in bundle.about.items():
            print(plain_text.printable(f"  {name:<26} {sizes[name]:>9}  {about}"))
        kept = "are kept" if with_names else "are replaced by numbers (--with-names keeps them)"
        print(f"Names of folders {kept}. No password and no text of a mail is in it.", flush=True)
    size = bundles.write(bundle, path)
    if not as_json:
        print(plain_text.printable(f"Written: {path} ({plain_text.format_size(size)})"))
    summary = {"path": str(path), "bytes": size, "members": bundle.about}
    shown(RunFinished(ok=True, exit_code=Exit.DONE, summary=summary))
    return Exit.DONE


def config_show(profile: Path, shown: Listener) -> Exit:
    """Show the settings and their origins."""
    from kerio_resync.diagnose.origins import load_complete

    streams.wait_for_reader()
    _, origins = load_complete(profile, {})
    values = {name: {"value": value, "source": source} for name, value, source in origins}
    shown(RunFinished(ok=True, exit_code=Exit.DONE, summary={"settings": values}))
    require_written()
    return Exit.DONE


def check_status(profile: Path, shown: Listener, *, check: bool, prometheus: Path | None) -> int:
    """Print the status as one line for monitoring, or write it as metrics, or both.

    `prometheus`: the file for the metrics; `-` prints them. With `check` the exit code is that of a Nagios plugin.
    """
    from kerio_resync.diagnose.monitoring import Health, Level, judge, line, metrics, write_metrics

    streams.wait_for_reader()
    state, trouble = None, None
    try:
        state = state_of(profile, runs=sys.maxsize)  # many exports may follow the last rebuild
        health = judge(state)
    except Exception as error:
        trouble, health = error, Health(Level.UNKNOWN, (explain(error)[0],))
    if check:
        print(plain_text.printable(line(health, state)))
    if prometheus is not None:
        text = metrics(health, state, str(profile))
        if str(prometheus) == "-":
            print(text, end="")
        else:
            write_metrics(prometheus, text)
    require_written()
    if trouble is not None and not check:
        raise trouble
    return health.level if check else Exit.DONE


def check_exit_code(error: BaseException, code: Exit) -> int:
    """Return the exit code of a `status --check` that could not be made: unknown."""
    from kerio_resync.diagnose.monitoring import Level

    return code if code is Exit.INTERRUPTED else Level.UNKNOWN


def _print_finding(finding: Checked) -> None:
    for line in map(plain_text.printable, formatting.lines_of_check(finding.as_json())):
        begins = len(line) - len(line.lstrip())
        print(formatting.fit(line, sys.stdout, " " * (14 - begins if begins < 14 else 2)))
    sys.stdout.flush()
