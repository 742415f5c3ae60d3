"""All outputs of a plan in one folder."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import vobject

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.outputs.write import PlanWriter
from kerio_resync.fleet.plan import read_plan
from tests.support.plans import sample_plan

LATER = datetime(2026, 11, 21, tzinfo=UTC)


def uids(path: Path) -> list[tuple[str, str]]:
    return [(event.uid.value, event.status.value) for event in vobject.readOne(path.read_text()).vevent_list]


def test_all_outputs_are_written_and_the_plan_reads_back(tmp_path: Path) -> None:
    plan = sample_plan(20)
    written = PlanWriter(tmp_path / "out").write(plan)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"plan.json", "plan.html", "plan.csv", "waves.ics", "notices", "files.json"}
    assert read_plan(tmp_path / "out") == plan
    assert written.files == sum(path.is_file() and path.name not in ("files.json", ".lock")
                                for path in (tmp_path / "out").rglob("*"))  # fmt: skip


def test_second_plan_in_the_same_folder_keeps_uids_even_if_the_days_change(tmp_path: Path) -> None:
    PlanWriter(tmp_path).write(sample_plan(20))
    before = uids(tmp_path / "waves.ics")
    later = sample_plan(20, waves_per_window=3, made=LATER)
    moved = later.model_copy(update={"inputs": later.inputs.model_copy(update={"inventory": "users2.csv"})})
    PlanWriter(tmp_path).write(moved)
    after = uids(tmp_path / "waves.ics")
    assert [uid for uid, _ in after] == [uid for uid, _ in before]
    assert [status for _, status in after] == ["CONFIRMED"] * 3 + ["CANCELLED"]


def test_same_inputs_in_another_folder_have_the_same_uids(tmp_path: Path) -> None:
    for name in ("a", "b"):
        PlanWriter(tmp_path / name).write(sample_plan(8))
    assert uids(tmp_path / "a" / "waves.ics") == uids(tmp_path / "b" / "waves.ics")


def test_plan_with_fewer_waves_deletes_the_notices_of_those_that_are_gone(tmp_path: Path) -> None:
    PlanWriter(tmp_path).write(sample_plan(20))
    PlanWriter(tmp_path).write(sample_plan(20, waves_per_window=1))
    assert [path.name for path in (tmp_path / "notices").iterdir()] == ["wave-001"]


def test_mistakes_are_found_before_planning(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(BadSettings, match="has other files"):
        PlanWriter(tmp_path)
    with pytest.raises(BadSettings, match="no template for notices"):
        PlanWriter(tmp_path / "out", language="pl")
    with pytest.raises(BadSettings, match="is no e-mail address"):
        PlanWriter(tmp_path / "out", sender="helpdesk")
    with pytest.raises(BadSettings, match="--templates"):
        PlanWriter(tmp_path / "out", templates=tmp_path / "missing")
    assert not (tmp_path / "out").exists()


def test_failing_template_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    PlanWriter(tmp_path / "out").write(sample_plan(8))
    before = (tmp_path / "out" / "plan.json").read_bytes()
    (tmp_path / "de.txt.j2").write_text("Subject: {{ typo }}")
    with pytest.raises(BadSettings, match="'typo' is undefined"):
        PlanWriter(tmp_path / "out", templates=tmp_path).write(sample_plan(9))
    assert (tmp_path / "out" / "plan.json").read_bytes() == before


def test_edited_notice_is_not_lost(tmp_path: Path) -> None:
    PlanWriter(tmp_path).write(sample_plan(8))
    notice = tmp_path / "notices" / "wave-001" / "rebuild.de.txt"
    notice.write_text("edited")
    with pytest.raises(BadSettings, match=r"notices/wave-001/rebuild\.de\.txt in .* was edited since"):
        PlanWriter(tmp_path).write(sample_plan(8))
    assert notice.read_text() == "edited"


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerio_resync.fleet.outputs.write.find_spec", lambda name: None)
    with pytest.raises(BadSettings, match=r"babel, icalendar, jinja2: run `pip install 'kerio-resync\[fleet\]'`"):
        PlanWriter(tmp_path)


def test_damaged_notes_of_the_folder_do_no_harm(tmp_path: Path) -> None:
    PlanWriter(tmp_path).write(sample_plan(8))
    listed = (tmp_path / "files.json").read_text()
    (tmp_path / "files.json").write_text(listed.replace('"waves": [', '"waves": ["x", ["a"], 3,'))
    PlanWriter(tmp_path).write(sample_plan(8))
    assert len(uids(tmp_path / "waves.ics")) == 4
