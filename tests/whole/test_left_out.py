"""What a rebuild leaves out as asked: folders, and the attachments of older mails."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerio_resync.errors import BadSettings
from kerio_resync.events import Event, Notice
from simulation.world import World, kill
from tests.support.cache import rows

FULLEST = "SELECT path FROM folder_tree WHERE kind = 'mail' AND role <> 'inbox' ORDER BY items DESC, path LIMIT 1"
COUNT = (
    "SELECT coalesce(sum(items), 0), coalesce(sum(missing), 0) FROM folder_tree WHERE path = '{0}' OR path LIKE '{0}/%'"
)
STATES = (
    "SELECT DISTINCT attachment.state FROM attachment JOIN item ON item.number = attachment.item"
    " WHERE item.kind = 'mail'"
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "profile", 5, 60, 20)


def fullest(world: World) -> str:
    assert world.run() == "done"
    return str(rows(world.settings().cache, FULLEST)[0][0])


def in_folder(world: World, path: str) -> tuple[object, ...]:
    (counts,) = rows(world.settings().cache, COUNT.format(path))
    return counts


@pytest.mark.parametrize("fresh", [True, False])
def test_rebuild_leaves_out_a_folder_until_it_is_wanted_again(world: World, fresh: bool) -> None:
    path = fullest(world)
    before = in_folder(world, path)
    assert world.run(exclude_folders=(path,), fresh=fresh) == "done"
    assert before > (0, 0)
    assert in_folder(world, path) == (0, 0)
    assert world.report is not None
    assert path in dict(world.report.excluded)
    assert {line[:5] for line in world.differences()} == {"there"}
    world.mutate("arrive", 5)
    assert world.run() == "done"
    assert world.report.excluded == ()
    assert world.differences() == []


def test_verify_counts_a_folder_left_out_as_no_difference(world: World) -> None:
    path = fullest(world)
    world.run(exclude_folders=(path,))
    heard: list[Event] = []
    assert world.verify(heard.append, deep=True, repair=True) == "done"
    assert world.verdict is not None
    assert world.verdict.ok
    assert [event.text for event in heard if isinstance(event, Notice) and path in event.text]
    assert in_folder(world, path) == (0, 0)


def test_partial_rebuild_refuses_a_folder_that_the_cache_is_without(world: World) -> None:
    path = fullest(world)
    world.run(exclude_folders=(path,))
    ended = world.run(folders=(path,))
    assert isinstance(ended, BadSettings)
    assert f"built without {path!r}; run `kerio-resync rebuild` without --folder" in str(ended)
    still = world.run(folders=(path,), exclude_folders=(path,))
    assert isinstance(still, BadSettings)
    assert f"{path!r} is left out by exclude_folders in " in str(still)
    assert world.run(folders=("Inbox",)) == "done"
    assert in_folder(world, path) == (0, 0)


def test_resumed_rebuild_drops_what_is_queued_for_a_folder_left_out(world: World) -> None:
    path = fullest(world)
    world.at[12] = [kill]
    assert world.run(fresh=True) == "killed"
    world.at.clear()
    assert world.run(exclude_folders=(path,)) == "done"
    assert in_folder(world, path) == (0, 0)
    assert world.run() == "done"
    assert world.differences() == []


def test_unknown_folder_to_leave_out_is_a_notice(world: World) -> None:
    heard: list[Event] = []
    assert world.run(heard.append, exclude_folders=("No such folder",)) == "done"
    assert any("there is no folder 'No such folder'" in event.text for event in heard if isinstance(event, Notice))
    assert world.differences() == []


def test_notice_of_a_similar_folder_ends_with_its_question(world: World) -> None:
    heard: list[Event] = []
    assert world.run(heard.append, exclude_folders=("Inbxo",)) == "done"
    [text] = [event.text for event in heard if isinstance(event, Notice) and "Inbxo" in event.text]
    assert text.startswith("Nothing is left out by this name: there is no folder 'Inbxo'; did you mean ")
    assert text.endswith("'?")


@pytest.mark.parametrize("fresh", [True, False])
def test_since_leaves_out_attachments_of_older_mails_only(world: World, fresh: bool) -> None:
    world.run()
    cache = world.settings().cache
    dates = [str(date) for (date,) in rows(cache, "SELECT date FROM mail WHERE has_attachment ORDER BY date")]
    middle = dates[len(dates) // 2]
    assert dates[0] < middle
    assert world.run(since=middle, fresh=fresh) == "done"
    assert rows(cache, f"{STATES} AND item.date < '{middle}'") == [("omitted",)]
    assert rows(cache, f"{STATES} AND item.date >= '{middle}'") == [("done",)]
    assert world.verify(deep=True) == "done"
    assert world.verdict is not None
    assert world.verdict.ok
    assert world.run() == "done"
    assert world.differences() == []
