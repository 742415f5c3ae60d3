from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.diagnose.monitoring import Health, Level, judge, line, metrics, write_metrics
from kerio_resync.errors import LocalError

ABSENT: dict[str, Any] = {
    "path": "/p/x", "state": "absent", "bytes": 0, "items": {}, "wanted": 0, "attachments": 0, "attachments_wanted": 0,
    "skipped": 0, "finished_at": "",
}  # fmt: skip
READY = ABSENT | {
    "state": "ready",
    "bytes": 4096,
    "items": {"mail": 7, "note": 1},
    "finished_at": "2026-03-01T09:30:00Z",
}
GOOD: dict[str, Any] = {
    "profile": "/p", "cache": READY, "building": ABSENT, "outbox": [], "set_aside": [], "holder": "",
    "free_bytes": 2**30, "runs": [],
}  # fmt: skip
RUN = {
    "run": "1", "command": "rebuild", "version": "1", "started": "2026-03-01T09:29:00Z",
    "ended": "2026-03-01T09:30:00Z", "exit_code": 0, "seconds": 60.0, "error": "",
}  # fmt: skip


def test_good_profile_is_ok() -> None:
    health = judge(GOOD | {"runs": [RUN]})
    assert health == Health(Level.OK, ("cache ready, finished 2026-03-01T09:30:00Z, 8 items",))
    said = line(health, GOOD)
    assert said.startswith(
        "OK - cache ready, finished 2026-03-01T09:30:00Z, 8 items | items=8;;;0 size=4096B;;;0 free="
    )
    assert "\n" not in said


@pytest.mark.parametrize(
    ("changed", "level", "says"),
    [
        ({"cache": ABSENT}, Level.CRITICAL, "there is no cache"),
        ({"cache": ABSENT, "holder": "process 1"}, Level.WARNING, "there is no cache"),
        ({"cache": READY | {"state": "damaged"}}, Level.CRITICAL, "the cache is damaged"),
        ({"cache": READY | {"state": "old"}}, Level.WARNING, "older format"),
        ({"cache": READY | {"wanted": 3}}, Level.WARNING, "incomplete"),
        ({"building": READY | {"state": "building"}}, Level.WARNING, "interrupted"),
        ({"building": READY | {"state": "building"}, "holder": "process 1"}, Level.OK, "cache ready"),
        ({"free_bytes": 2**20}, Level.CRITICAL, "only 1 MiB free"),
        ({"outbox": [{"state": "pending"}] * 2}, Level.WARNING, "2 local changes not sent"),
        ({"set_aside": [{}]}, Level.WARNING, "set aside"),
        ({"runs": [RUN | {"exit_code": 4, "error": "no | way"}]}, Level.WARNING, "ended with 4: no / way"),
        ({"runs": [RUN | {"exit_code": 5}]}, Level.CRITICAL, "the last rebuild ended with 5"),
        ({"runs": [RUN | {"command": "export", "exit_code": 2}, RUN]}, Level.OK, "cache ready"),
        ({"runs": [RUN | {"command": "export"}, RUN | {"exit_code": 5}]}, Level.CRITICAL, "the last rebuild ended"),
        ({"runs": [RUN | {"command": "start", "exit_code": 5}, RUN]}, Level.CRITICAL, "the last start ended with 5"),
        ({"runs": [RUN | {"ended": "", "exit_code": None}, RUN]}, Level.OK, "cache ready"),
    ],
)  # fmt: skip
def test_judge_names_problem(changed: dict[str, Any], level: Level, says: str) -> None:
    state = GOOD | changed
    health = judge(state)
    assert health.level == level
    assert line(health, state).startswith(f"{level.name} - ")
    assert says in line(health, state)
    assert line(health, state).count("|") <= 1


def test_most_severe_problem_comes_first() -> None:
    health = judge(GOOD | {"free_bytes": 0, "outbox": [{"state": "pending"}]})
    assert health == Health(Level.CRITICAL, ("only 0 MiB free on the disk", "1 local changes not sent"))


def test_metrics_are_in_the_text_format() -> None:
    state = GOOD | {"runs": [RUN, RUN | {"seconds": 1.0}], "outbox": [{"state": "pending"}]}
    text = metrics(judge(state), state, 'a "quoted" \\ path\n')
    named = r'profile="a \\"quoted\\" \\\\ path\\n"'
    for name, labels, value in (
        ("health", "", "1"), ("cache_state", ',state="ready"', "1"), ("cache_state", ',state="old"', "0"),
        ("cache_items", ',kind="mail"', "7"), ("unsent_changes", ',state="pending"', "1"), ("in_use", "", "0"),
        ("cache_finished_timestamp_seconds", "", "1772357400"), ("last_run_seconds", ',command="rebuild"', "60"),
        ("last_run_exit_code", ',command="rebuild"', "0"),
    ):  # fmt: skip
        assert re.search(rf"^kerio_resync_{name}\{{{named}{labels}\}} {value}$", text, re.MULTILINE), name
    assert text.endswith("\n")
    for row in text.splitlines():
        assert re.fullmatch(
            r'# (HELP|TYPE) kerio_resync_\w+ .+|kerio_resync_\w+\{(\w+="(\\.|[^"\\])*",?)+\} \S+', row
        ), row
    described = re.findall(r"^# TYPE (\w+) gauge$", text, re.MULTILINE)
    assert len(described) == len(set(described))


def test_metrics_of_unknown_profile_are_its_health() -> None:
    text = metrics(Health(Level.UNKNOWN, ("it cannot be read",)), None, "/p")
    assert 'kerio_resync_health{profile="/p"} 3\n' in text


def test_metrics_are_written_at_once_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "kerio.prom"
    path.write_text("old")
    write_metrics(path, "new\n")
    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(LocalError):
        write_metrics(tmp_path / "none" / "kerio.prom", "new\n")
    with pytest.raises(LocalError):
        write_metrics(tmp_path, "new\n")
