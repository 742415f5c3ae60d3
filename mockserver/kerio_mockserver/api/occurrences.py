"""Occurrences: what a calendar view asks for. A rebuild reads `Events` instead.

Chosen here: recurrences are not expanded. Each event of the folders has one occurrence, at its own time, its id that
of the event with `occurrence` for `event`; `rule` and `reminder` are unset, as in the real server's answers.
"""

from __future__ import annotations

from typing import Any

from kerio_mockserver.api.call import Call, method
from kerio_mockserver.api.errors import no_such_item
from kerio_mockserver.api.items import is_id
from kerio_mockserver.api.query import Query, arranged, matcher, read
from kerio_mockserver.api.reference import readable
from kerio_mockserver.api.select import select
from kerio_mockserver.mailbox.model import NoSuchItem
from kerio_mockserver.mailbox.structs import blank

_EVERYTHING: Query = read({}, "Event", 0)


def occurrence(event: dict[str, Any]) -> dict[str, Any]:
    """The event's one occurrence, with every documented member."""
    return {
        **{name: event[name] for name in readable("Occurrence") if name in event},
        "id": event["id"].replace("://event/", "://occurrence/", 1),
        "eventId": event["id"],
        "rule": blank("RecurrenceRule"),
        "reminder": blank("Reminder"),
        "isException": False,
        "hasReminder": bool(event["reminder"].get("isSet")),
        "isRecurrent": bool(event["rule"].get("isSet")),
        "seqNumber": 0,
    }


@method("Occurrences.get")
async def get(call: Call) -> dict[str, Any]:
    server = call.server
    query = read(call.params["query"], "Occurrence", server.manners.page_limit)
    events = await select(server.store, "event", call.params["folderIds"], _EVERYTHING)
    every = {one["id"]: one for one in (occurrence(server.store.item(event_id)) for event_id in events)}
    test = matcher(query)
    ids = arranged(((key, one) for key, one in every.items() if test(one, {})), query)
    page = [every[one] for one in ids[query.start : query.start + query.limit]]
    if query.fields is not None:
        page = [{field: one[field] for field in query.fields} for one in page]
    return {"list": page, "totalItems": len(ids)}


@method("Occurrences.getById")
def get_by_id(call: Call) -> dict[str, Any]:
    errors: list[dict[str, Any]] = []
    result: list[dict[str, Any]] = []
    for index, item_id in enumerate(call.params["ids"]):
        try:
            if not is_id(item_id, "occurrence"):
                raise NoSuchItem(item_id)
            result.append(occurrence(call.server.store.item(item_id.replace("://occurrence/", "://event/", 1))))
        except NoSuchItem:
            errors.append(no_such_item(item_id).as_item_error(index))
    return {"errors": errors, "result": result}


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
    return [no_such_item(one).as_item_error(index) for index, one in enumerate(ids)]
