"""The methods of `Occurrences`: single events, and each event of a series.

`get` expands the series of its folders within the queried time, as conditions on `start`, `end` (only by LessThan) and
`searchTime` limit it. Without an upper limit that is a year; without any limit each series has its first event only.
`rule` and `reminder` are empty, as documented; `getById` fills them. The id of a single event's occurrence is the
event's with `occurrence` instead of `event`; that of a series has the original start appended.

`set` and `remove` change one event of a series (`modifyThis`), it and the later ones (`modifyAllFollowing`, which makes
a second series), or all (`modifyAll`, the default; `modifyMasterEvent`). A new start moves the whole series by the same
time. Exceptions end when the series gets other times.

Open (chosen here): `Events` does not show exceptions, for its struct has no place for them; a given `rule` is taken as
it is, even an unset one. Rebuilds read `Events`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kerio_mockserver.api.call import Call, Server, method
from kerio_mockserver.api.errors import FAILED, ApiError, no_such_item
from kerio_mockserver.api.item_search import select
from kerio_mockserver.api.items import for_each_id, is_id
from kerio_mockserver.api.query import SEARCH_TIME, Query, arranged, matcher, read
from kerio_mockserver.api.type_check import readable
from kerio_mockserver.mailbox import defaults
from kerio_mockserver.mailbox.api_structs import Struct, blank
from kerio_mockserver.mailbox.recurrence_expansion import Moment, Window, length, moment, starts
from kerio_mockserver.mailbox.store import MailboxStore, NoSuchItem

MAX_OCCURRENCES = 20_000  # per query
_PAUSE = 50  # occurrences between two pauses in which other calls are served
_EVERYTHING: Query = read({}, "Event", 0)
_EVENT, _OCCURRENCE = "://event/", "://occurrence/"
_SERIES_ONLY = frozenset({"rule", "isException", "isRecurrent", "seqNumber"})


def event_of(occurrence_id: str) -> tuple[str, str]:
    """Return the event's id and the original start ("" if none).

    Raise NoSuchItem for an invalid id.
    """
    if is_id(occurrence_id, "event"):
        return occurrence_id, ""
    if not is_id(occurrence_id, "occurrence"):
        raise NoSuchItem(occurrence_id)
    event_id = occurrence_id.replace(_OCCURRENCE, _EVENT, 1)
    head, _, last = event_id.rpartition("/")
    return (head, last) if event_id.count("/") == _EVENT_SLASHES + 1 else (event_id, "")


_EVENT_SLASHES = "keriostorage://event/domain/user/guid/number".count("/")


def occurrence(event: Struct, start: Moment | None, exception: Struct | None = None) -> Struct:
    """Return the struct of one occurrence with every documented member."""
    recurrent = bool(event["rule"].get("isSet"))
    found = {name: event[name] for name in readable("Occurrence") if name in event}
    key = f"/{start.key}" if recurrent and start is not None else ""
    found |= {
        "id": event["id"].replace(_EVENT, _OCCURRENCE, 1) + key,
        "eventId": event["id"],
        "isException": exception is not None,
        "hasReminder": bool(event["reminder"].get("isSet")),
        "isRecurrent": recurrent,
        "seqNumber": 0,
    }
    if recurrent and start is not None:
        found |= {"start": str(start), "end": _end(start, length(event))}
    if exception:
        found |= exception
        found["hasReminder"] = bool(found["reminder"].get("isSet"))
    return found


def _end(start: Moment, takes: timedelta) -> str:
    """Return the end for a start; for whole days it is the last one."""
    return str(start + (max(takes - timedelta(days=1), timedelta()) if start.whole_day else takes))


def occurrences(store: MailboxStore, event_id: str, window: Window) -> list[Struct]:
    """Return an event's occurrences in the window, exceptions at their present time."""
    event = store.item(event_id)
    exceptions = store.exceptions(event_id)
    found = [occurrence(event, at) for at in starts(event, window) if at.key not in exceptions]
    for key, exception in exceptions.items():
        at = moment(key)
        if exception is not None and at is not None:
            found.append(occurrence(event, _as_written(event, at), exception))
    return found[:1] if window == Window() else found


def _as_written(event: Struct, at: Moment) -> Moment:
    """Return the original start in the offset of its series."""
    first = moment(event["start"])
    return at if first is None or at.whole_day else Moment(at.at.astimezone(first.at.tzinfo), False)


def one_of(store: MailboxStore, occurrence_id: str) -> tuple[Struct, str, Struct]:
    """Return the event, the original start, and the occurrence; raise NoSuchItem."""
    event_id, key = event_of(occurrence_id)
    event = store.item(event_id)
    if not key and not (event["rule"].get("isSet") and is_id(occurrence_id, "occurrence")):
        return event, "", occurrence(event, moment(event["start"]))
    exceptions = store.exceptions(event_id)
    at = moment(key)
    if at is not None and event["rule"].get("isSet") and exceptions.get(key, {}) is not None:
        if key in exceptions:
            return event, key, occurrence(event, _as_written(event, at), exceptions[key])
        for start in starts(event, Window(at.at, at.at + timedelta(seconds=1))):
            if start.key == key:
                return event, key, occurrence(event, start)
    raise NoSuchItem(occurrence_id)


def window_of(query: Query) -> Window:
    """Return the time outside which the conditions cannot match."""
    lowers: list[datetime | None] = []
    uppers: list[datetime | None] = []
    for field, comparator, value in query.conditions:
        at = moment(value) if field in ("start", "end", SEARCH_TIME) else None
        lower = at is not None and comparator in ("GreaterThan", "GreaterEq", "Eq")
        upper = at is not None and comparator in ("LessThan", "LessEq", "Eq")
        lowers.append(at.at.astimezone(UTC) if at and lower else None)
        uppers.append(at.at.astimezone(UTC) + timedelta(seconds=comparator != "LessThan") if at and upper else None)
    if query.any_of and None in lowers:
        lowers = []
    if query.any_of and None in uppers:
        uppers = []
    least, most = (min, max) if query.any_of else (max, min)
    known_lowers = [bound for bound in lowers if bound is not None]
    known_uppers = [bound for bound in uppers if bound is not None]
    return Window(
        least(known_lowers) if known_lowers else None,
        most(known_uppers) if known_uppers else None,
    )


async def expanded(server: Server, folder_ids: Sequence[str], window: Window) -> AsyncIterator[Struct]:
    """Return the occurrences in folders; raise ApiError 1000 if there are too many."""
    count = pause = 0
    for event_id in await select(server.store, "event", folder_ids, _EVERYTHING):
        try:
            found = occurrences(server.store, event_id, window)
        except NoSuchItem:
            continue
        count += len(found)
        if count > MAX_OCCURRENCES:
            raise ApiError(FAILED, "The queried time holds more than %1 occurrences.", str(MAX_OCCURRENCES))
        for occurrence in found:
            yield occurrence
        pause += len(found) + 1
        if pause >= _PAUSE:
            pause = 0
            await asyncio.sleep(0)


@method("Occurrences.get")
async def get(call: Call) -> dict[str, Any]:
    query = read(call.params["query"], "Occurrence", call.server.quirks.page_limit)
    test = matcher(query)
    found: dict[str, Struct] = {}
    async for occurrence in expanded(call.server, call.params["folderIds"], window_of(query)):
        if test(occurrence, {}):
            found[occurrence["id"]] = occurrence | {"rule": blank("RecurrenceRule"), "reminder": blank("Reminder")}
    ids = arranged(found.items(), query)
    page = [found[occurrence_id] for occurrence_id in ids[query.start : query.start + query.limit]]
    if query.fields is not None:
        page = [{field: occurrence[field] for field in query.fields} for occurrence in page]
    return {"list": page, "totalItems": len(ids)}


@method("Occurrences.getById")
def get_by_id(call: Call) -> dict[str, Any]:
    errors: list[dict[str, Any]] = []
    result: list[dict[str, Any]] = []
    for index, item_id in enumerate(call.params["ids"]):
        try:
            if not is_id(item_id, "occurrence"):
                raise NoSuchItem(item_id)
            result.append(one_of(call.server.store, item_id)[2])
        except NoSuchItem:
            errors.append(no_such_item(item_id).as_item_error(index))
    return {"errors": errors, "result": result}


@method("Occurrences.set")
def set_(call: Call) -> dict[str, Any]:
    return for_each_id(call.params["occurrences"], lambda given: change(call.server.store, given))


@method("Occurrences.remove")
def remove(call: Call) -> dict[str, Any]:
    return {"errors": for_each_id(call.params["occurrences"], lambda given: drop(call.server.store, given))["errors"]}


@method("Occurrences.setPartStatus")
def set_part_status(call: Call) -> dict[str, Any]:
    """Set the user's answer to an invitation, for a series or one of its events."""
    store = call.server.store
    occurrence_id = call.params["id"]
    _, _, there = one_of(store, occurrence_id)
    me = store.address.casefold()
    mine = [attendee["emailAddress"].casefold() == me for attendee in there["attendees"]]
    if not any(mine):
        raise ApiError(FAILED, "You are not among the attendees.")
    status = call.params["response"].get("status") or "PartNotResponded"
    attendees = [
        attendee | {"partStatus": status} if own else attendee
        for attendee, own in zip(there["attendees"], mine, strict=True)
    ]
    modification = "modifyAll" if is_id(occurrence_id, "event") else "modifyThis"
    change(store, {"id": there["id"], "modification": modification, "attendees": attendees})
    return {}


def change(store: MailboxStore, given: Struct) -> tuple[str, int]:
    """Change an occurrence as its `modification` says; return its id and watermark."""
    event, key, there = one_of(store, str(given.get("id", "")))
    new = defaults.provided("event", {**given, "folderId": ""})
    how = given.get("modification") or "modifyAll"
    first = next(starts(event, Window()), None)
    if key and how == "modifyThis":
        kept = {name: value for name, value in new.items() if name not in _SERIES_ONLY}
        exceptions = store.exceptions(event["id"])
        _, watermark = store.set_exceptions(event["id"], {**exceptions, key: {**(exceptions.get(key) or {}), **kept}})
        return there["id"], watermark
    if key and how == "modifyAllFollowing" and (first is None or first.key != key):
        return _split(store, event, key, there, new)
    event_id, watermark = store.set("event", {"id": event["id"], **_shifted(event, there, new)})
    changed = store.item(event_id)
    start = next(starts(changed, Window()), None) if key else None
    return occurrence(changed, start)["id"] if start else there["id"], watermark


def drop(store: MailboxStore, given: Struct) -> tuple[str, int]:
    """Remove an occurrence, the later ones too, or all, as its `modification` says."""
    event, key, _ = one_of(store, str(given.get("id", "")))
    how = given.get("modification") or "modifyAll"
    if key and how == "modifyThis":
        return store.set_exceptions(event["id"], {**store.exceptions(event["id"]), key: None})
    first = next(starts(event, Window()), None)
    if key and how == "modifyAllFollowing" and (first is None or first.key != key):
        return _cut(store, event, key)
    return store.remove(event["id"])


def _shifted(event: Struct, there: Struct, new: Struct) -> Struct:
    """Return the members for a whole series, one event of which got another time."""
    start, end = (moment(str(new.get(name, there[name]))) for name in ("start", "end"))
    old, first = moment(there["start"]), moment(event["start"])
    if start is None or end is None or old is None or first is None or there["start"] == event["start"]:
        return new
    if new.keys().isdisjoint(("start", "end")):
        return new
    begins = Moment((first.at + (start.at - old.at)).astimezone(start.at.tzinfo), start.whole_day)
    return {**new, "start": str(begins), "end": str(Moment(begins.at + (end.at - start.at), end.whole_day))}


def _split(store: MailboxStore, event: Struct, key: str, there: Struct, new: Struct) -> tuple[str, int]:
    """End the series before the occurrence and start another one with it."""
    store.set("event", {"id": event["id"]})  # refuse before anything is created
    following = {name: event[name] for name in event if name not in ("id", "watermark")}
    following |= {"start": there["start"], "end": there["end"], **new}
    if not following["rule"].get("isSet"):
        following["rule"] = event["rule"]
    new_id, _ = store.create("event", following)
    _cut(store, event, key)
    made = store.item(new_id)
    return occurrence(made, next(starts(made, Window()), None))["id"], store.watermark_of(new_id)


def _cut(store: MailboxStore, event: Struct, key: str) -> tuple[str, int]:
    """End the series before the original start `key`; earlier exceptions stay."""
    at = moment(key)
    assert at is not None
    last = at + (-timedelta(days=1) if at.whole_day else -timedelta(seconds=1))
    rule = event["rule"] | {"endBy": {"type": "ByRecurrenceDate", "date": str(last)}}
    earlier = {name: exception for name, exception in store.exceptions(event["id"]).items() if name < key}
    found = store.set("event", {"id": event["id"], "rule": rule})
    return store.set_exceptions(event["id"], earlier) if earlier else found


@method("Events.getEventUpdateList")
def event_updates(call: Call) -> dict[str, Any]:
    return {"eventUpdates": []}


@method("Events.getSharedEventUpdateList")
def shared_event_updates(call: Call) -> dict[str, Any]:
    return {"errors": [], "eventUpdates": []}


@method("Events.getEventUpdates")
def event_updates_by_id(call: Call) -> dict[str, Any]:
    return {"errors": _all_gone(call.params["ids"]), "eventUpdates": []}


@method("Events.removeEventUpdates")
def remove_event_updates(call: Call) -> dict[str, Any]:
    return {"errors": _all_gone(call.params["ids"])}


def _all_gone(ids: list[str]) -> list[dict[str, Any]]:
    return [no_such_item(update_id).as_item_error(index) for index, update_id in enumerate(ids)]
