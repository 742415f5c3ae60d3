"""The command `fleet plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cli import app
from kerio_resync.fleet.inputs.settings import settings_from
from kerio_resync.fleet.inputs.synthetic import make_people
from kerio_resync.fleet.plan import read_plan
from tests.client.fleet.test_capacity import CAPACITY

WINDOW = "2099-12-04 22:00-06:00"


@pytest.fixture
def capacity(tmp_path: Path) -> str:
    path = tmp_path / "capacity.json"
    path.write_text(CAPACITY.model_dump_json())
    return str(path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        app.main(["fleet", "plan", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_plan_prints_waves_and_writes_the_plan(
    tmp_path: Path, capacity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan"
    code = run("--users", "20", "--link", "50", "--window", WINDOW, "--capacity", capacity, "--out", str(out))
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert "20 users: 20 rebuilds" in shown
    assert "   1  2099-12-04 22:00" in shown
    made = read_plan(out)
    assert made.ok
    assert made.totals.users == sum(len(wave.users) for wave in made.waves) == 20


def test_plan_ends_with_3_and_says_what_would_help(capacity: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = run("--users", "200", "--link", "10", "--window", "2099-12-04 22:00-23:00", "--capacity", capacity)
    shown = capsys.readouterr().out
    assert code == 3
    assert "DOES NOT FIT: " in shown
    assert "  → " in shown


def test_plan_as_json_has_the_summary_in_its_last_line(capacity: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--users", "5", "--link", "50", "--window", WINDOW, "--capacity", capacity, "--json") == 0
    last: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["ok"], last["summary"]["totals"]["rebuild"]) == ("run-finished", True, 5)
    assert [wave["users"] for wave in last["summary"]["waves"]] == [5]


def test_plan_of_the_example_tells_who_lacks_room(
    tmp_path: Path, capacity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--example", str(tmp_path)) == 0
    arguments = [str(tmp_path / "inventory.csv"), "--settings", str(tmp_path / "settings.toml"), "--window", WINDOW]
    assert run(*arguments, "--capacity", capacity) == 3
    shown = capsys.readouterr().out
    assert "6 users: 3 rebuilds" in shown
    assert "1 machine at Lyon has too little room" in shown


def test_edited_templates_of_the_example_are_the_text_of_the_notices(
    tmp_path: Path, capacity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--example", str(tmp_path)) == 0
    template = tmp_path / "templates" / "cs.txt.j2"
    template.write_text(f"{template.read_text(encoding='utf-8')}\nVaše IT\n", encoding="utf-8")
    arguments = [str(tmp_path / "inventory.csv"), "--settings", str(tmp_path / "settings.toml"), "--window", WINDOW]
    written = ["--templates", str(tmp_path / "templates"), "--out", str(tmp_path / "o")]
    assert run(*arguments, "--capacity", capacity, *written) == 3
    assert "open plan.html in a browser" in capsys.readouterr().out
    notices = list((tmp_path / "o" / "notices").rglob("*.cs.txt"))
    assert notices
    assert all(notice.read_text(encoding="utf-8").endswith("Vaše IT\n") for notice in notices)
    assert "https://mail.example.com/webmail/" in notices[0].read_text(encoding="utf-8")


def test_folder_of_someone_else_is_refused_before_planning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photo.jpg").write_text("x")
    assert run("--users", "5", "--link", "50", "--window", WINDOW, "--out", str(tmp_path)) == 2
    shown = capsys.readouterr()
    assert "has other files; choose a folder that is empty or does not exist" in shown.err
    assert "Planning" not in shown.out + shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no site is known"),
        (["--link", "20"], "give either an inventory"),
        (["--users", "0", "--link", "20"], "between 1 and"),
        (["--users", "5", "--link", "fast"], "write a rate as"),
        (["--users", "5", "--rtt", "40"], "--rtt needs the rate"),
        (["--users", "5", "--link", "20", "--time-zone", "Prague"], "no time zone"),
        (["--users", "5", "--link", "20", "--window", "tonight"], "cannot be understood"),
        (["--users", "5", "--link", "20", "--window", "2020-01-01 22:00-06:00"], "is over"),
        (["--users", "5", "--link", "20", "--capacity", "none.json"], "does not exist"),
        (["none.csv", "--link", "20"], "does not exist"),
        (["none.csv", "--users", "5", "--link", "20"], "give either an inventory"),
        (["--users", "5", "--settings", "none.toml"], "does not exist"),
        (["--users", "5", "--link", "20", "--median-size", "huge"], "write a size as"),
    ],
)
def test_plan_refuses_bad_input_with_one_sentence(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert reason.lower() in error.lower()
    assert len(error.splitlines()) == 1


def test_plan_names_sites_that_the_settings_lack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = tmp_path / "people.csv"
    people.write_text("user,site\nanna,Lyon\nbert,Prague\n")
    settings = tmp_path / "settings.toml"
    settings.write_text('[[site]]\nname = "Prague"\ndown = "20 Mbit/s"\n[[site]]\nname = "Brno"\ndown = "20 Mbit/s"\n')
    assert run(str(people), "--settings", str(settings), "--window", WINDOW) == 2
    assert 'the settings have no site "Lyon"' in capsys.readouterr().err.replace("The settings", "the settings")


def test_made_users_follow_the_seed_and_the_sites() -> None:
    sites = settings_from(
        {"site": [{"name": "a", "down": 1, "machines": 1}, {"name": "b", "down": 1, "machines": 3}]}, "x"
    ).site
    one, same, other = (make_people(1000, sites, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert [sum(person.site == site.name for person in one.people) for site in sites] == [250, 750]
    sizes = sorted(person.mailbox_bytes or 0 for person in one.people)
    assert sizes[500] == pytest.approx(300e6, rel=0.15)
    assert sizes[950] == pytest.approx(2.2e9, rel=0.35)
