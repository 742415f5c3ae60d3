"""Reminders and free/busy times, as a calendar view asks for them.

Open (chosen here): `Alarms.get` returns every reminder between `since` and `until`, dismissed or not, of the own
calendars and tasks; users whose calendars this user may not read are always free.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from kerio_mockserver.api.call import Call, method
from kerio_mockserver.api.errors import INVALID_PARAMS, ApiError
from kerio_mockserver.api.occurrences import expanded
from kerio_mockserver.mailbox.api_structs import Struct
from kerio_mockserver.mailbox.recurrence_expansion import Moment, Window, moment
from kerio_mockserver.mailbox.store import MailboxStore

MAX_ADDRESSES = 200
_LONGEST_LEAD = timedelta(days=31)  # that a reminder precedes its event


@method("Alarms.get")
async def alarms(call: Call) -> dict[str, Any]:
    store = call.server.store
    since, until = _instant(call, "since"), _instant(call, "until")
    found: list[dict[str, Any]] = []
    async for occurrence in expanded(call.server, _folders(store, "FCalendar"), Window(since, until + _LONGEST_LEAD)):
        due = _reminds(occurrence["reminder"], occurrence["start"])
        if due is not None and since <= due.at <= until:
            found.append(_alarm("itCalendar", occurrence, occurrence["eventId"], due))
    for folder in _folders(store, "FTask"):
        for task_id in store.folder(folder).ordered("id"):
            task = store.item(task_id)
            due = _reminds(task["reminder"], task["due"] or task["start"])
            if due is not None and since <= due.at <= until:
                found.append(_alarm("itTask", task, task_id, due))
    return {"list": sorted(found, key=lambda alarm: str(alarm["reminderTime"]))}


@method("FreeBusy.get")
async def free_busy(call: Call) -> dict[str, Any]:
    """Return for each address the times at which its user is not free."""
    start, end = _instant(call, "start"), _instant(call, "end")
    found: list[list[dict[str, str]]] = []
    if len(call.params["userAddresses"]) > MAX_ADDRESSES:
        raise ApiError(INVALID_PARAMS, "Invalid params: %1 holds too many addresses.", "userAddresses")
    for address in call.params["userAddresses"]:
        folders = list(_calendars_of(call.server.store, address.casefold()))
        taken = [
            {"status": occurrence["freeBusy"], "start": occurrence["start"], "end": occurrence["end"]}
            async for occurrence in expanded(call.server, folders, Window(start, end))
            if occurrence["freeBusy"] != "Free" and not occurrence["isCancelled"] and _overlaps(occurrence, start, end)
        ]
        found.append(sorted(taken, key=lambda occurrence: occurrence["start"]))
    return {"list": found}


def _calendars_of(store: MailboxStore, address: str) -> Iterator[str]:
    if address == store.address.casefold():
        yield from _folders(store, "FCalendar")
    for mailbox in store.shared_mailboxes():
        if address == mailbox["principal"]["mailAddress"].casefold():
            for folder in mailbox["folders"]:
                if folder["type"] == "FCalendar" and store.folder(folder["id"]).readable:
                    yield folder["id"]


def _folders(store: MailboxStore, kind: str) -> list[str]:
    return [folder["id"] for folder in store.folders() if folder["type"] == kind]


def _instant(call: Call, name: str) -> datetime:
    found = moment(call.params[name])
    if found is None:
        raise ApiError(INVALID_PARAMS, "Invalid params: %1 must be %2.", name, "a time")
    return found.at.astimezone(UTC)


def _overlaps(event: Struct, start: datetime, end: datetime) -> bool:
    """Return whether an event takes place in the window, at its present time."""
    begins, ends = moment(event["start"]), moment(event["end"])
    if begins is None or ends is None:
        return False
    return begins.at < end and ends.at + timedelta(days=ends.whole_day) > start


def _reminds(reminder: Struct, start: str) -> Moment | None:
    """Return when a reminder is due."""
    if not reminder.get("isSet"):
        return None
    if reminder.get("type") == "ReminderAbsolute":
        return moment(reminder.get("date", ""))
    begins = moment(start)
    lead = timedelta(minutes=min(max(reminder.get("minutesBeforeStart", 0), 0), _LONGEST_LEAD.total_seconds() / 60))
    return Moment((begins.at - lead).astimezone(UTC), False) if begins else None


def _alarm(kind: str, item: Struct, base_id: str, due: Moment) -> dict[str, Any]:
    """Return the alarm's struct.

    An event of whole days ends on the next day, as documented.
    """
    end = moment(item["end"]) if kind == "itCalendar" else None
    day_after = str(end + timedelta(days=1)) if end is not None and end.whole_day else item["end"]
    return {
        "type": kind,
        "itemId": item["id"],
        "baseId": base_id,
        "summary": item["summary"],
        "location": item["location"],
        "start": item["start"],
        "end": day_after if kind == "itCalendar" else "",
        "due": item.get("due", ""),
        "isAllDay": bool(item.get("isAllDay")),
        "reminderTime": due.key,
    }
