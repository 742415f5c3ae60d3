"""Sources that an earlier run left out, and what an export makes of a JMAP cache."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kerio_resync.cli.formatting import summary_of_rebuild
from tests.support.jmap_double.choices import LIKE_CYRUS, Choices
from tests.support.jmap_double.world import JmapWorld


def roles(world: JmapWorld) -> dict[tuple[str, str], int]:
    """The number of attachments of each role and state."""
    with closing(sqlite3.connect(world.profile / "cache.db")) as db:
        return {
            (role, state): count
            for role, state, count in db.execute("SELECT role, state, count(*) FROM attachment GROUP BY role, state")
        }


@pytest.mark.parametrize("choices", [Choices(), LIKE_CYRUS], ids=["unlike", "like"])
@pytest.mark.parametrize("before", [{"sources": "no"}, {"attachments": "none"}, {"since": "2040-01-01"}], ids=str)
def test_rebuild_fetches_sources_that_an_earlier_one_left_out(
    tmp_path: Path, choices: Choices, before: dict[str, Any]
) -> None:
    world = JmapWorld(tmp_path, choices, mails=25)
    assert world.run(**before) == "done"
    assert ("source", "done") not in roles(world)
    assert world.run(sources="yes") == "done"
    assert world.differences() == []
    assert roles(world)["source", "done"] == len(world.double.store.mails)
    assert set(roles(world)) <= {("source", "done"), ("attachment", "source")}
    assert world.report is not None
    assert (world.report.salvaged, world.report.skipped) == (0, ())
    assert world.run(sources="yes") == "done"
    assert world.report.salvaged == len(world.double.store.mails)


def test_report_counts_omitted_attachments_apart(tmp_path: Path) -> None:
    world = JmapWorld(tmp_path, Choices(), mails=25)
    assert world.run(attachments="none") == "done"
    assert world.report is not None
    omitted = roles(world)["attachment", "omitted"]
    assert omitted > 0
    assert (world.report.attachments, world.report.attachments_omitted) == (0, omitted)
    assert f"0 attachments; left out as asked: {omitted:,} attachment" in summary_of_rebuild(world.report.as_json())[0]
