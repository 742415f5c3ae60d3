from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kerio_resync.errors import BadSettings, LocalError
from kerio_resync.events import Event, Notice, Progress
from kerio_resync.fleet.report.result import FleetReport
from kerio_resync.fleet.report.run import FILES, ReportOptions, report_on_fleet
from tests.support.fleet_logs import NIGHT, log_of, write_fleet
from tests.support.fleet_samples import DATA, record, shape_of
from tests.support.plans import sample_plan
from tests.support.programs import kerio_resync

NOW = datetime(2026, 11, 28, 7, tzinfo=UTC)


def run(options: ReportOptions, events: list[Event] | None = None) -> FleetReport:
    return report_on_fleet(options, (events if events is not None else []).append, now=lambda: NOW)


def test_report_writes_its_files_for_the_owner_only_and_again(tmp_path: Path) -> None:
    write_fleet(tmp_path / "logs", ["rebuilt", "overloaded"])
    out = tmp_path / "a" / "report"
    options = ReportOptions((tmp_path / "logs",), out, prometheus=tmp_path / "fleet.prom")
    for _ in range(2):
        report = run(options)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert FleetReport.model_validate_json((out / "report.json").read_bytes()) == report
    assert "1 of 2 machines are ready" in (out / "report.html").read_text()
    assert 'kerio_resync_fleet_failed{cause="overloaded"} 1' in (tmp_path / "fleet.prom").read_text()


def test_report_does_not_read_what_it_wrote_among_the_logs(tmp_path: Path) -> None:
    write_fleet(tmp_path, ["rebuilt", "rebuilt"])
    (tmp_path / "plan.json").write_text(sample_plan(users=4).model_dump_json(indent=1))
    options = ReportOptions((tmp_path,), tmp_path, plan=tmp_path / "plan.json", prometheus=tmp_path / "metrics")
    run(options)
    assert run(options).inputs.files == 2


def test_report_refuses_a_folder_without_a_log(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello\n")
    with pytest.raises(BadSettings, match="no log of kerio-resync is in"):
        run(ReportOptions((tmp_path,)))


def test_report_with_a_plan_does_without_a_log(tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "plan" / "plan.json").write_text(sample_plan(users=4).model_dump_json())
    assert run(ReportOptions((tmp_path / "logs",), plan=tmp_path / "plan")).counts["not-due"] == 4


def test_report_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    write_fleet(tmp_path / "logs", ["rebuilt"])
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="file"):
        run(ReportOptions((tmp_path / "logs",), tmp_path / "file"))


def test_watch_reads_again_until_all_are_ready_and_tells_each_change_once(tmp_path: Path) -> None:
    logs, out = tmp_path / "logs", tmp_path / "out"
    write_fleet(logs, ["rebuilt", "killed"])
    events: list[Event] = []
    pauses: list[float] = []
    now = NOW

    def sleep(seconds: float) -> None:
        nonlocal now
        now += timedelta(seconds=seconds)
        pauses.append(seconds)
        assert '<meta http-equiv="refresh" content="30">' in (out / "report.html").read_text()
        if len(pauses) == 2:
            with (logs / "pc-002.log").open("ab") as file:
                file.write(log_of("rebuilt", 9, "user002@example.com", NIGHT)[:-600])
        if len(pauses) == 4:
            with (logs / "pc-002.log").open("ab") as file:
                file.write(log_of("rebuilt", 9, "user002@example.com", NIGHT)[-600:])

    options = ReportOptions((logs,), out, watch=30)
    assert report_on_fleet(options, events.append, now=lambda: now, sleep=sleep).ok
    assert pauses == [30] * 4
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "2 machines: 1 ready, 1 failed.",
        "2 machines: 1 ready, 1 rebuilding.",
    ]
    assert any(isinstance(event, Progress) for event in events)


async def test_command_ends_with_4_until_all_are_ready(tmp_path: Path) -> None:
    write_fleet(tmp_path / "logs", ["rebuilt", "wrong-password"])
    some = await kerio_resync("fleet", "report", tmp_path / "logs", "--out", tmp_path / "out")
    assert some.code == 4
    assert some.out.splitlines()[0] == "2 machines: 1 ready, 1 failed."
    assert "         Check both and run again." in some.out.splitlines()
    assert some.err == "Reading the logs\n"
    as_json = await kerio_resync("fleet", "report", tmp_path / "logs", "--json")
    last = as_json.events[-1]
    assert (as_json.code, last["event"], last["exit_code"], last["ok"]) == (4, "run-finished", 4, False)
    assert last["summary"] | {"made": "", "inputs": {}} == json.loads(
        (tmp_path / "out" / "report.json").read_text()
    ) | {"made": "", "inputs": {}}
    write_fleet(tmp_path / "logs", ["rebuilt", "rebuilt"])
    every = await kerio_resync("fleet", "report", tmp_path / "logs", "--quiet")
    assert (every.code, every.out, every.err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere",), "There is no file or folder"),
        ((), "Missing argument 'FOLDER...'"),
        ((".", "--since", "yesterday"), "'yesterday' is not a time such as 2026-11-28 or 2026-11-28T22:00"),
        ((".", "--plan", "none.json"), "none.json"),
        ((".", "--silent-after", "0"), "--silent-after"),
    ],
)
async def test_command_refuses_wrong_arguments_in_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = await kerio_resync("fleet", "report", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert sentence in done.err


KINDS = [
    "wrong-password",
    *(
        pytest.param(kind, marks=pytest.mark.soak)
        for kind in ("rebuilt", "no-room", "unreachable", "damaged", "postponed")
    ),
]


@pytest.mark.parametrize("kind", KINDS)
async def test_true_logs_are_what_the_client_writes_today(kind: str) -> None:
    assert shape_of(await record(kind)) == shape_of((DATA / f"{kind}.log").read_bytes())
