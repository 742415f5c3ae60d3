"""Judges what the logs of one machine say: whose cache it is, and in which state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from kerio_resync.errors import Exit
from kerio_resync.fleet.report.causes import NO_END, kind_of_outcome
from kerio_resync.fleet.report.result import Machine, State
from kerio_resync.fleet.report.runs import LogFold, Run
from kerio_resync.fleet.report.values_of_lines import instant, number
from kerio_resync.plain_text import printable

CLOCK_TOLERANCE: Final = timedelta(minutes=2)  # by which a machine's clock may be ahead


@dataclass(frozen=True, slots=True)
class MachineLog:
    """One log of a machine.

    `modified`: of its newest file; `grew`: when it was seen to grow, None if it was not.
    """

    fold: LogFold
    modified: datetime
    grew: datetime | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of the report.

    A run that has written nothing for `silence` is taken to be dead.

    `since`: older runs are ignored.
    """

    now: datetime
    silence: timedelta
    since: datetime | None = None


class _Seen(NamedTuple):
    """A run with the log that it is in; the newest sorts last."""

    when: datetime
    order: int
    run: Run
    log: MachineLog


def judge_machine(name: str, logs: Sequence[MachineLog], clock: Clock) -> list[Machine]:
    """Return the state of each user's cache on a machine.

    Runs without a login name no user. They belong to the machine's only user, if there is just one.
    """
    users = sorted({user for log in logs for user in _users(log.fold)})
    named = [user for user in users if user]
    if len(named) == 1:
        users = named
    machines = []
    for user in users or [""]:
        own = {user, ""} if len(named) == 1 else {user}
        machines.append(_judge(name, [log for log in logs if own & _users(log.fold)] or list(logs), own, clock))
    return machines


def _users(fold: LogFold) -> set[str]:
    status = {str(fold.status.get("user", "")).casefold()} if fold.status else set()
    return {*fold.ended, *fold.worked, *(run.user.casefold() for run in fold.open.values()), *status}


def _judge(name: str, logs: Sequence[MachineLog], users: set[str], clock: Clock) -> Machine:
    seen = _newest_of_each(_seen(logs, users, clock))
    worked = _newest_of_each(_work(logs, users, clock))
    common: dict[str, Any] = {"machine": name, "runs": sum(log.fold.runs for log in logs)}
    status = max((log for log in logs if log.fold.status), key=lambda log: log.modified, default=None)
    if worked and (outcome := worked[-1].run.outcome) is not None:
        common |= {"seconds": outcome.seconds, "bytes": outcome.bytes, "items": outcome.items}
        common |= {"unsent": outcome.unsent, "refused": outcome.refused, "conflicts": outcome.conflicts}
    if status is not None and not (worked and worked[-1].when > status.modified):
        common["unsent"] = status.fold.status["unsent"]
    last = _current(seen, clock)
    if last is None:
        return Machine(**common, **_of_status(status))
    common |= _of_run(last, clock)
    accounts = [each.run for each in (*worked, *seen) if each.run.user]
    common |= {"user": printable(accounts[-1].user), "server": printable(accounts[-1].server)} if accounts else {}
    if last.run.outcome is None:
        return Machine(**common, **_of_open(last, clock))
    return Machine(**common, **_of_ended(last.run))


def _seen(logs: Iterable[MachineLog], users: set[str], clock: Clock) -> Iterator[_Seen]:
    for log in logs:
        ended = (run for user, run in log.fold.ended.items() if user in users)
        open_runs = (run for run in log.fold.open.values() if run.user.casefold() in users and run.tells_about_cache)
        for run in (*ended, *open_runs):
            yield from _dated(run, log, clock)


def _work(logs: Iterable[MachineLog], users: set[str], clock: Clock) -> Iterator[_Seen]:
    for log in logs:
        for user, run in log.fold.worked.items():
            if user in users:
                yield from _dated(run, log, clock)


def _dated(run: Run, log: MachineLog, clock: Clock) -> Iterator[_Seen]:
    when = instant(run.latest) or log.modified
    if clock.since is None or when >= clock.since:
        yield _Seen(when, run.order, run, log)


def _newest_of_each(runs: Iterable[_Seen]) -> list[_Seen]:
    """Return the runs in order, each once.

    A run is in the profile's log and in others.
    """
    found: dict[str, _Seen] = {}
    rest: list[_Seen] = []
    for seen in runs:
        if seen.run.id.startswith("#"):
            rest.append(seen)
            continue
        other = found.get(seen.run.id)
        if other is None or _knows_more(seen, other):
            found[seen.run.id] = seen
    return sorted([*found.values(), *rest], key=_by_time)


def _knows_more(one: _Seen, other: _Seen) -> bool:
    first, second = ((each.run.outcome is not None, *_by_time(each)) for each in (one, other))
    return first > second


def _by_time(seen: _Seen) -> tuple[datetime, int, str, bool]:
    return seen.when, seen.order, seen.run.id, seen.run.outcome is not None


def _current(seen: Sequence[_Seen], clock: Clock) -> _Seen | None:
    """Return the run that tells the state: the last one.

    A run that found the cache in use, while another one works, does not end that one.
    """
    if not seen:
        return None
    last = seen[-1]
    if last.run.outcome is not None and last.run.outcome.exit_code == Exit.IN_USE:
        return next((each for each in reversed(seen) if each.run.outcome is None and _is_alive(each, clock)), last)
    return last


def _ahead(seen: _Seen, clock: Clock) -> timedelta:
    ahead = (instant(seen.run.last) or seen.log.modified) - clock.now
    return ahead if ahead > CLOCK_TOLERANCE else timedelta(0)


def _age(seen: _Seen, clock: Clock) -> timedelta:
    """Return how long ago a run wrote its last line.

    By the time of its file if its clock is ahead.
    """
    last = instant(seen.run.last)
    if last is None or _ahead(seen, clock):
        last = seen.log.modified
    return max(timedelta(0), clock.now - last)


def _is_alive(seen: _Seen, clock: Clock) -> bool:
    grew = seen.log.grew
    if grew is not None and clock.now - grew <= clock.silence:
        return True
    begins = instant(seen.run.waits_until)
    return _age(seen, clock) <= clock.silence or (begins is not None and clock.now <= begins + clock.silence)


def _of_run(seen: _Seen, clock: Clock) -> dict[str, Any]:
    run = seen.run
    last = instant(run.last) or seen.log.modified
    return {
        "command": printable(run.command), "version": printable(run.version), "started": instant(run.first),
        "ended": last if run.outcome is not None else None, "seen": last, "retries": run.retries,
        "paused_s": run.paused, "skipped": run.skipped, "clock_ahead_s": _ahead(seen, clock).total_seconds(),
    }  # fmt: skip


def _of_open(seen: _Seen, clock: Clock) -> dict[str, Any]:
    run, progress = seen.run, seen.run.progress
    done, total = number(progress, "bytes_done") or 0.0, number(progress, "bytes_total") or 0.0
    found: dict[str, Any] = {"phase": printable(run.phase), "share": min(1.0, done / total) if total else None}
    if not _is_alive(seen, clock):
        return found | {"state": "failed", "cause": NO_END, "sentence": _last_words(run)}
    begins = instant(run.waits_until)
    if begins is not None and not run.phase:
        left = max(0.0, (begins - clock.now).total_seconds())
        return found | {"state": "waiting", "seconds_left": left}
    left_then = number(progress, "seconds_left")
    if left_then is not None:
        since = (instant(run.last) or clock.now) - (instant(run.progress_at) or instant(run.last) or clock.now)
        passed = max(timedelta(0), since) + _age(seen, clock)
        found["seconds_left"] = max(0.0, left_then - passed.total_seconds())
    return found | {"state": "working"}


def _last_words(run: Run) -> str:
    what = f"in the phase {run.phase}" if run.phase else "at its beginning"
    return printable(f"Its last line was written {what}" + (f", after: {run.reason}." if run.reason else "."))


def _of_ended(run: Run) -> dict[str, Any]:
    outcome = run.outcome
    assert outcome is not None
    found: dict[str, Any] = {"exit_code": outcome.exit_code, "sentence": printable(outcome.error)}
    state: State
    if outcome.exit_code == Exit.DONE:
        state = "ready"
    elif outcome.ready:
        state = "unsent"
    elif outcome.exit_code == Exit.POSTPONED:
        state = "postponed"
    else:
        state = "failed"
        found["cause"] = printable(kind_of_outcome(outcome))
    if state in ("postponed", "failed"):
        found |= {"needed_bytes": outcome.needed_bytes, "free_bytes": outcome.free_bytes}
        found |= {"where": printable(outcome.where), "attempts": outcome.attempts}
    return found | {"state": state}


def _of_status(log: MachineLog | None) -> dict[str, Any]:
    """Return what `status --json` tells where no run does."""
    if log is None:
        return {"state": "not-started"}
    status = log.fold.status
    found = {"seen": log.modified, "user": printable(status["user"]), "server": printable(status["server"])}
    if status["building"] and status["holder"]:
        return found | {"state": "working"}
    if status["state"] == "ready":
        return found | {"state": "unsent" if status["unsent"] else "ready"}
    return found | {"state": "not-started", "sentence": f"The cache is {printable(status['state']) or 'unknown'}."}
