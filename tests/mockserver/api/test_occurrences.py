"""Calendars as views ask for them: expanded, with exceptions, changed and removed one by one or together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.mock_caller import Caller, Mailbox, Refused, conforms, logged_in

WEEKLY = {"isSet": True, "frequency": "Weekly", "preciseBy": {"byDay": [2], "byInterval": 1}}
SERIES: Mapping[str, Any] = {
    "summary": "Stand-up",
    "start": "20260302T090000Z",
    "end": "20260302T091500Z",
    "rule": WEEKLY,
    "reminder": {"isSet": True, "minutesBeforeStart": 15},
    "attendees": [
        {"displayName": "Bob", "emailAddress": "bob@example.com", "role": "RoleOrganizer"},
        {"displayName": "Jane", "emailAddress": "Jane@example.com", "role": "RoleRequiredAttendee"},
    ],
}
MARCH = [("start", "GreaterEq", "20260301T000000Z"), ("end", "LessThan", "20260401T000000Z")]
STARTS = ["20260302", "20260309", "20260316", "20260323", "20260330"]


async def calendar(event: Mapping[str, Any] = SERIES) -> tuple[Caller, Mailbox, str]:
    caller, box = await logged_in()
    (made,) = (await caller.call("Events.create", events=[{**event, "folderId": box.calendar}]))["result"]
    return caller, box, made["id"]


async def listed(
    caller: Caller, box: Mailbox, conditions: list[tuple[str, str, str]] | None = None, **query: Any
) -> list[dict[str, Any]]:
    named = [
        {"fieldName": field, "comparator": comparator, "value": value}
        for field, comparator, value in (MARCH if conditions is None else conditions)
    ]
    answer = await caller.call("Occurrences.get", folderIds=[box.calendar], query={"conditions": named, **query})
    assert answer["totalItems"] >= len(answer["list"])
    found: list[dict[str, Any]] = answer["list"]
    return found


async def days(caller: Caller, box: Mailbox) -> list[str]:
    return [one["start"][:8] for one in await listed(caller, box, orderBy=[{"columnName": "start"}])]


async def put(caller: Caller, *, removing: bool = False, **given: Any) -> dict[str, Any]:
    """The result of a set, or the error; of a removal {} if it succeeded."""
    answer = await caller.call(f"Occurrences.{'remove' if removing else 'set'}", occurrences=[given])
    lines = answer["errors"] + answer.get("result", [])
    return dict(lines[0]) if lines else {}


async def test_get_expands_a_series_within_the_queried_time() -> None:
    caller, box, event_id = await calendar()
    found = await listed(caller, box)
    assert conforms(found, "Occurrence[]") == []
    assert sorted(one["start"] for one in found) == [f"{day}T090000Z" for day in STARTS]
    assert sorted(one["end"] for one in found) == [f"{day}T091500Z" for day in STARTS]
    assert len({one["id"] for one in found}) == len(STARTS)
    for one in found:
        assert (one["eventId"], one["isRecurrent"], one["hasReminder"], one["isException"]) == (
            event_id, True, True, False
        )  # fmt: skip
        assert (one["rule"]["isSet"], one["reminder"]["isSet"]) == (False, False)


@pytest.mark.parametrize(
    ("conditions", "query", "found"),
    [
        ([("searchTime", "GreaterEq", "20260309"), ("searchTime", "LessThan", "20260317")], {}, 2),
        ([("searchTime", "Eq", "20260309T091000Z")], {}, 1),
        ([("searchTime", "Eq", "20260309T091500Z")], {}, 0),
        ([("start", "GreaterEq", "20260302"), ("start", "LessEq", "20260316T090000Z")], {}, 3),
        ([("start", "Eq", "20260309T100000+0100")], {}, 1),
        ([("start", "GreaterEq", "20260301")], {}, 53),
        ([("end", "LessThan", "20260310")], {}, 2 + 1),  # and the event that is there beside it
        ([], {}, 1 + 1),
        ([("start", "Eq", "20260309T090000Z"), ("start", "Eq", "20260330T090000Z")], {"combining": "Or"}, 2),
        ([*MARCH, ("summary", "Like", "stand")], {"limit": 2, "start": 4}, 1),
    ],
)
async def test_get_takes_conditions_on_time(
    conditions: list[tuple[str, str, str]], query: dict[str, Any], found: int
) -> None:
    caller, box, _ = await calendar()
    assert len(await listed(caller, box, conditions, **query)) == found


@pytest.mark.parametrize("comparator", ["Eq", "GreaterThan", "GreaterEq", "LessEq", "NotEq"])
async def test_get_refuses_other_conditions_on_the_end(comparator: str) -> None:
    caller, box, _ = await calendar()
    with pytest.raises(Refused) as refused:
        await listed(caller, box, [("end", comparator, "20260401")])
    assert refused.value.code == -32602


async def test_get_ignores_unknown_fields() -> None:
    caller, box, _ = await calendar()
    fields = ["id", "summary", "modification", "attachments", "descriptionHtml", "lastModificationTime"]
    assert {frozenset(one) for one in await listed(caller, box, fields=fields)} == {frozenset({"id", "summary"})}


async def test_get_by_id_fills_rule_and_reminder() -> None:
    caller, box, event_id = await calendar()
    second = sorted(await listed(caller, box), key=lambda one: str(one["start"]))[1]
    stray = second["id"].replace("20260309", "20260310")
    answer = await caller.call("Occurrences.getById", ids=[second["id"], event_id, stray, "no"])
    assert [(one["inputIndex"], one["code"]) for one in answer["errors"]] == [(1, 1002), (2, 1002), (3, 1002)]
    (there,) = answer["result"]
    assert (there["start"], there["rule"]["frequency"], there["reminder"]["minutesBeforeStart"]) == (
        "20260309T090000Z", "Weekly", 15
    )  # fmt: skip
    unlike = ("rule", "reminder")
    assert {name: there[name] for name in there if name not in unlike} == {
        name: second[name] for name in second if name not in unlike
    }


async def second(caller: Caller, box: Mailbox) -> dict[str, Any]:
    return next(one for one in await listed(caller, box) if one["start"].startswith("20260309"))


async def test_set_this_makes_an_exception() -> None:
    caller, box, event_id = await calendar()
    key = (await caller.call("Changes.getSyncKey"))["syncKey"]
    old = await second(caller, box)
    line = await put(
        caller, id=old["id"], modification="modifyThis", summary="Moved", start="20260311T120000Z",
        end="20260311T130000Z", rule={"isSet": False},
    )  # fmt: skip
    assert line["id"] == old["id"]
    assert line["watermark"] == box.store.item(event_id)["watermark"]
    assert await days(caller, box) == ["20260302", "20260311", "20260316", "20260323", "20260330"]
    (there,) = (await caller.call("Occurrences.getById", ids=[old["id"]]))["result"]
    assert (there["summary"], there["isException"], there["isRecurrent"]) == ("Moved", True, True)
    assert there["rule"]["isSet"]
    assert box.store.item(event_id)["summary"] == "Stand-up"
    (change,) = (await caller.call("Changes.get", lastSyncKey=key, timeout=0))["list"]
    assert (change["type"], change["itemId"]) == ("chtModified", event_id)
    # again: what is not said stays
    await put(caller, id=old["id"], modification="modifyThis", location="Room 1")
    (there,) = (await caller.call("Occurrences.getById", ids=[old["id"]]))["result"]
    assert (there["summary"], there["location"], there["start"]) == ("Moved", "Room 1", "20260311T120000Z")


async def test_set_this_can_leave_the_queried_window() -> None:
    caller, box, _ = await calendar()
    await put(
        caller, id=(await second(caller, box))["id"], modification="modifyThis", start="20270101T120000Z",
        end="20270101T130000Z",
    )  # fmt: skip
    assert await days(caller, box) == ["20260302", "20260316", "20260323", "20260330"]


@pytest.mark.parametrize("modification", ["modifyAll", "modifyMasterEvent", None])
async def test_set_all_changes_and_moves_the_whole_series(modification: str | None) -> None:
    caller, box, event_id = await calendar()
    old = await second(caller, box)
    how: dict[str, Any] = {"modification": modification} if modification else {}
    await put(caller, id=old["id"], summary="Later", start="20260309T100000Z", end="20260309T103000Z", **how)
    event = box.store.item(event_id)
    assert (event["summary"], event["start"], event["end"]) == ("Later", "20260302T100000Z", "20260302T103000Z")
    assert {one["start"][8:] for one in await listed(caller, box)} == {"T100000Z"}
    assert await days(caller, box) == STARTS


async def test_set_following_makes_a_second_series() -> None:
    caller, box, event_id = await calendar()
    old = await second(caller, box)
    first = next(one for one in await listed(caller, box) if one["start"].startswith("20260302"))
    await put(caller, id=first["id"], modification="modifyThis", location="There")
    line = await put(caller, id=old["id"], modification="modifyAllFollowing", summary="Second")
    found = {one["start"][:8]: (one["summary"], one["location"], one["eventId"]) for one in await listed(caller, box)}
    other = next(one[2] for one in found.values() if one[2] != event_id)
    assert found == {"20260302": ("Stand-up", "There", event_id)} | dict.fromkeys(STARTS[1:], ("Second", "", other))
    (there,) = (await caller.call("Occurrences.getById", ids=[line["id"]]))["result"]
    assert (there["start"], there["summary"]) == ("20260309T090000Z", "Second")


async def test_set_following_from_the_first_changes_the_series() -> None:
    caller, box, event_id = await calendar()
    first = next(one for one in await listed(caller, box) if one["start"].startswith("20260302"))
    await put(caller, id=first["id"], modification="modifyAllFollowing", summary="Second")
    assert {(one["summary"], one["eventId"]) for one in await listed(caller, box)} == {("Second", event_id)}


async def test_exceptions_end_with_new_times_but_not_new_texts() -> None:
    caller, box, event_id = await calendar()
    old = await second(caller, box)
    await put(caller, removing=True, id=old["id"], modification="modifyThis")
    box.store.set("event", {"id": event_id, "summary": "New"})
    assert "20260309" not in await days(caller, box)
    moved = box.store.move(event_id, box.store.create_folder({"name": "Work", "type": "FCalendar"})[0])[0]
    box.store.move(moved, box.calendar)
    assert "20260309" not in await days(caller, box)
    series = next(one["eventId"] for one in await listed(caller, box))
    box.store.set("event", {"id": series, "rule": {**WEEKLY, "preciseBy": {"byInterval": 1}}})
    assert await days(caller, box) == STARTS


@pytest.mark.parametrize(
    ("modification", "left"),
    [
        ("modifyThis", ["20260302", "20260316", "20260323", "20260330"]),
        ("modifyAllFollowing", ["20260302"]),
        ("modifyAll", []),
        ("modifyMasterEvent", []),
        (None, []),
    ],
)
async def test_remove_deletes_one_following_or_all(modification: str | None, left: list[str]) -> None:
    caller, box, event_id = await calendar()
    how: dict[str, Any] = {"modification": modification} if modification else {}
    old = await second(caller, box)
    assert await put(caller, removing=True, id=old["id"], **how) == {}
    assert await days(caller, box) == left
    assert (event_id in box.store.folder(box.calendar).ordered("id")) == bool(left)
    assert (await put(caller, removing=True, id=old["id"], **how))["code"] == 1002


async def test_remove_following_ends_a_series_of_whole_days() -> None:
    caller, box, _ = await calendar({"summary": "S", "start": "20260302", "end": "20260303", "isAllDay": True,
                                     "rule": {"isSet": True, "frequency": "Weekly"}})  # fmt: skip
    found = await listed(caller, box)
    assert {(one["start"], one["end"]) for one in found} >= {("20260302", "20260303"), ("20260330", "20260331")}
    third = next(one for one in found if one["start"] == "20260316")
    await put(caller, removing=True, id=third["id"], modification="modifyAllFollowing")
    assert await days(caller, box) == ["20260302", "20260309"]


@pytest.mark.parametrize("modification", ["modifyThis", "modifyAll", "modifyAllFollowing"])
async def test_single_event_is_changed_and_removed(modification: str) -> None:
    caller, box = await logged_in()
    (one,) = (await caller.call("Occurrences.get", folderIds=[box.calendar], query={}))["list"]
    line = await put(caller, id=one["id"], modification=modification, summary="New", start="20260107T090000Z")
    assert line["id"] == one["id"]
    there = box.store.item(one["eventId"])
    assert (there["summary"], there["start"], there["watermark"]) == ("New", "20260107T090000Z", line["watermark"])
    assert await put(caller, removing=True, id=one["id"], modification=modification) == {}
    assert len(box.store.folder(box.calendar)) == 0


async def test_set_accepts_what_get_returned() -> None:
    """As clients with fixed structs do: the whole occurrence comes back."""
    caller, box, event_id = await calendar()
    old = await second(caller, box)
    line = await put(caller, **{**old, "summary": "New", "modification": "modifyThis"})
    assert line["id"] == old["id"]
    assert sorted(one["summary"] for one in await listed(caller, box)) == ["New", *["Stand-up"] * 4]
    assert box.store.item(event_id)["rule"]["isSet"]


@pytest.mark.parametrize("removing", [True, False])
async def test_set_names_items_that_cannot_change(removing: bool) -> None:
    caller, box, _ = await calendar()
    for item_id in ("", "no", box.calendar, box.store.folder(box.inbox).ordered("id")[0]):
        assert (await put(caller, removing=removing, id=item_id, modification="modifyThis"))["code"] == 1002
    box.store.folder(box.calendar).about["access"] = "FAccessReadOnly"
    before = list(box.store.digest())
    for modification in ("modifyThis", "modifyAll", "modifyAllFollowing"):
        old = await second(caller, box)
        line = await put(caller, removing=removing, id=old["id"], modification=modification, summary="New")
        assert line["code"] == 1003
    assert list(box.store.digest()) == before


@pytest.mark.parametrize("whole", [True, False])
async def test_part_status_is_set_for_a_series_or_one_event(whole: bool) -> None:
    caller, box, event_id = await calendar()
    old = await second(caller, box)
    response = {"status": "PartAccepted", "message": "Gladly"}
    target = event_id if whole else old["id"]
    assert await caller.call("Occurrences.setPartStatus", id=target, response=response) == {}
    told = {one["start"][:8]: [each["partStatus"] for each in one["attendees"]] for one in await listed(caller, box)}
    accepted = {day for day, (other, own) in told.items() if own == "PartAccepted" and other == "PartNotResponded"}
    assert accepted == (set(STARTS) if whole else {"20260309"})


async def test_part_status_needs_an_invitation() -> None:
    caller, box, _ = await calendar({**SERIES, "attendees": []})
    old = await second(caller, box)
    for target, code in ((old["id"], 1000), ("no", 1002)):
        with pytest.raises(Refused) as refused:
            await caller.call("Occurrences.setPartStatus", id=target, response={"status": "PartAccepted"})
        assert refused.value.code == code


async def test_too_many_occurrences_are_refused() -> None:
    caller, box, event_id = await calendar({**SERIES, "rule": {"isSet": True, "frequency": "Daily"}})
    for _ in range(2):
        box.store.copy(event_id, box.calendar)
    with pytest.raises(Refused) as refused:
        await listed(caller, box, [("start", "GreaterEq", "20260101"), ("start", "LessThan", "20990101")])
    assert refused.value.code == 1000


async def test_alarms_are_reminders_within_the_time() -> None:
    caller, box, event_id = await calendar()
    task = {"summary": "Do", "due": "20260309T120000Z", "reminder": {"isSet": True, "minutesBeforeStart": 60}}
    task_id = box.store.create("task", task)[0]
    absolute = {"isSet": True, "type": "ReminderAbsolute", "date": "20260308T080000Z"}
    whole = {"summary": "Day", "start": "20260310", "end": "20260310", "isAllDay": True, "reminder": absolute}
    day_id = box.store.create("event", whole)[0]
    found = (await caller.call("Alarms.get", since="20260308T000000Z", until="20260309T120000Z"))["list"]
    assert [(one["type"], one["baseId"], one["reminderTime"], one["end"], one["due"]) for one in found] == [
        ("itCalendar", day_id, "20260308T080000Z", "20260311", ""),
        ("itCalendar", event_id, "20260309T084500Z", "20260309T091500Z", ""),
        ("itTask", task_id, "20260309T110000Z", "", "20260309T120000Z"),
    ]
    with pytest.raises(Refused) as refused:
        await caller.call("Alarms.get", since="", until="20260309T120000Z")
    assert refused.value.code == -32602


async def test_free_busy_returns_times_of_events() -> None:
    caller, box, _ = await calendar()
    box.store.create("event", {"start": "20260309T100000Z", "end": "20260309T110000Z", "freeBusy": "Free"})
    box.store.create("event", {"start": "20260310", "end": "20260310", "isAllDay": True, "freeBusy": "OutOfOffice"})
    people = ["jane@example.com", "bob@example.com", "eve@elsewhere.example"]
    answer = await caller.call("FreeBusy.get", userAddresses=people, start="20260309T000000Z", end="20260311T000000Z")
    assert answer["list"] == [
        [
            {"status": "Busy", "start": "20260309T090000Z", "end": "20260309T091500Z"},
            {"status": "OutOfOffice", "start": "20260310", "end": "20260310"},
        ],
        [],
        [],
    ]
