from __future__ import annotations

import dataclasses
import inspect
import json

import pytest

from kerio_resync import events
from kerio_resync.events import Event, ignore_events

EVENTS: list[Event] = [
    events.RunStarted("/p", "https://x", "jane", resumed=True),
    events.Waiting("2026-12-01T22:14:00+01:00", 840.0, "not before 22:00"),
    events.PhaseChanged("fetch"),
    events.FolderListed("Inbox", 3),
    events.Progress(items_done=1, items_total=2, seconds_left=None),
    events.Retrying("Mails.getById", 1, 0.5, "connection reset"),
    events.Paused(30.0, "503"),
    events.Skipped("item", "keriostorage://mail/x", "no such item"),
    events.Notice("set aside"),
    events.Checked("dns", "failure", "no such name", "Check it", 4, {"seconds": 0.1}),
    events.RunFinished(ok=True, exit_code=0, summary={"items": {"mail": 1}}),
]


def test_every_event_is_here() -> None:
    kinds = {each for each in vars(events).values() if inspect.isclass(each) and each.__base__ is Event}
    assert {type(event) for event in EVENTS} == kinds


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_event_is_one_flat_object_of_plain_values(event: Event) -> None:
    fields = event.as_json()
    assert fields.pop("event") == event.name
    assert set(fields) == {field.name for field in dataclasses.fields(event)}
    assert json.loads(json.dumps(fields)) == fields
    ignore_events(event)


def test_names_differ() -> None:
    assert len({event.name for event in EVENTS}) == len(EVENTS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_an_event_does_not_change(event: Event) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, dataclasses.fields(event)[0].name, "other")
