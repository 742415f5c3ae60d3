"""The methods of mails, contacts, events, tasks and notes.

The same verbs for each.

`get` with all members and `getById` join what the store has encoded already, so that a large page needs no parsing;
`get` with cheap members only never builds a body. Calls about many items succeed as a whole and name each item that
failed. `Contacts.getFromCache` returns the members that are documented for it.

Open (chosen here): a folder of another kind answers 1000, a root folder an empty list; without `orderBy` items are in
order of id.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import orjson

from kerio_mockserver.api.call import Call, Encoded, Method, method
from kerio_mockserver.api.errors import (
    ALREADY_EXISTS,
    INVALID_PARAMS,
    NOT_PERMITTED,
    QUOTA,
    ApiError,
    no_such_folder,
    no_such_item,
)
from kerio_mockserver.api.item_search import select
from kerio_mockserver.api.query import Query, read
from kerio_mockserver.mailbox.store import (
    BadStruct,
    Kind,
    MailboxStore,
    NameTaken,
    NoSuchFolder,
    NoSuchItem,
    NotPermitted,
    QuotaReached,
    Struct,
)

SERVICES: dict[Kind, tuple[str, str, str]] = {
    "mail": ("Mails", "Mail", "mails"),
    "contact": ("Contacts", "Contact", "contacts"),
    "event": ("Events", "Event", "events"),
    "task": ("Tasks", "Task", "tasks"),
    "note": ("Notes", "Note", "notes"),
}
"""Kind: (service, struct, parameter of `create` and `set`)."""

_CACHED_CONTACT = (
    "id", "folderId", "watermark", "type", "commonName", "titleAfter", "titleBefore", "firstName", "middleName",
    "surName", "nickName", "emailAddresses", "phoneNumbers", "photo",
)  # fmt: skip
STORE_ERRORS = (BadStruct, NoSuchFolder, NoSuchItem, NotPermitted, QuotaReached)
_BREATH = 50  # items between two pauses in which other calls are served


def folder_ids(call: Call) -> list[str]:
    ids: list[str] = call.params["folderIds"] if "folderIds" in call.params else call.params["ids"]
    return ids


def is_id(item_id: str, kind: str) -> bool:
    return item_id.startswith(f"keriostorage://{kind}/")


async def rows(store: MailboxStore, ids: Sequence[str], query: Query) -> bytes:
    """Return items as the inside of a JSON list, without those removed meanwhile."""
    parts: list[bytes] = []
    names = None if query.fields is None else frozenset(query.fields)
    for number, item_id in enumerate(ids, 1):
        with contextlib.suppress(NoSuchItem):
            parts.append(store.encoded(item_id) if names is None else orjson.dumps(store.some(item_id, names)))
        if number % _BREATH == 0:
            await asyncio.sleep(0)
    return b",".join(parts)


def _get(kind: str, struct: str) -> Method:
    async def get(call: Call) -> Encoded:
        server = call.server
        query = read(call.params["query"], struct, server.quirks.page_limit)
        chosen = await select(server.store, kind, folder_ids(call), query)
        inside = await rows(server.store, chosen[query.start : query.start + query.limit], query)
        return Encoded(b'{"list":[%b],"totalItems":%d}' % (inside, len(chosen)))

    return get


def _get_by_id(kind: str) -> Method:
    async def get_by_id(call: Call) -> Encoded:
        store = call.server.store
        errors: list[dict[str, Any]] = []
        parts: list[bytes] = []
        for index, item_id in enumerate(call.params["ids"]):
            try:
                if not is_id(item_id, kind):
                    raise NoSuchItem(item_id)
                parts.append(store.encoded(item_id))
            except NoSuchItem:
                errors.append(no_such_item(item_id).as_item_error(index))
            if index % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
        return Encoded(b'{"errors":%b,"result":[%b]}' % (orjson.dumps(errors), b",".join(parts)))

    return get_by_id


def for_each_id(inputs: Sequence[Any], act: Callable[[Any], tuple[str, int]]) -> dict[str, Any]:
    """Apply an action to each input; the reply names each result and error by index."""
    errors: list[dict[str, Any]] = []
    result: list[dict[str, Any]] = []
    for index, given in enumerate(inputs):
        try:
            item_id, watermark = act(given)
        except (ApiError, *STORE_ERRORS) as error:
            errors.append(api_error_of(error).as_item_error(index))
        else:
            result.append({"inputIndex": index, "id": item_id, "watermark": watermark})
    return {"errors": errors, "result": result}


def api_error_of(error: Exception) -> ApiError:
    """Return the documented error for an error of the store."""
    match error:
        case ApiError():
            return error
        case NoSuchFolder():
            return no_such_folder(str(error.args[0]) if error.args else "")
        case NoSuchItem():
            return no_such_item(str(error.args[0]) if error.args else "")
        case BadStruct():
            return ApiError(INVALID_PARAMS, "Invalid params: %1", str(error))
        case NameTaken():
            return ApiError(ALREADY_EXISTS, "Folder %1 already exists.", str(error))
        case QuotaReached():
            return ApiError(QUOTA, "The quota of the mailbox has been reached.")
        case _:
            return ApiError(NOT_PERMITTED, "You do not have permission to do this.")


def _create(kind: Kind, parameter: str) -> Method:
    def create(call: Call) -> dict[str, Any]:
        store, assigned = call.server.store, call.server.quirks.message_id == "assigned"

        def one(given: Struct) -> tuple[str, int]:
            return store.create(kind, _renamed(given, []) if assigned else given)

        return for_each_id(call.params[parameter], one)

    return create


def _set(kind: Kind, parameter: str) -> Method:
    def set_(call: Call) -> dict[str, Any]:
        store, assigned = call.server.store, call.server.quirks.message_id == "assigned"

        def one(given: Struct) -> tuple[str, int]:
            if assigned and "headers" in given and kind == "mail":
                given = _renamed(given, store.item(str(given.get("id", "")))["headers"])
            return store.set(kind, given)

        return for_each_id(call.params[parameter], one)

    return set_


def _renamed(given: Struct, own: list[Struct]) -> Struct:
    """Return a mail with the server's own Message-ID instead of the client's."""
    if "headers" not in given:
        return given
    kept = [header for header in own if header["type"] == "mhMessageID"]
    return {**given, "headers": kept + [header for header in given["headers"] if header.get("type") != "mhMessageID"]}


def _to_folder(kind: str, verb: Literal["move", "copy"]) -> Method:
    def to_folder(call: Call) -> dict[str, Any]:
        store, target = call.server.store, call.params["folder"]

        def one(item_id: str) -> tuple[str, int]:
            if not is_id(item_id, kind):
                raise NoSuchItem(item_id)
            return store.move(item_id, target) if verb == "move" else store.copy(item_id, target)

        return for_each_id(call.params["ids"], one)

    return to_folder


def _remove(kind: str) -> Method:
    def remove(call: Call) -> dict[str, Any]:
        def one(item_id: str) -> tuple[str, int]:
            if not is_id(item_id, kind):
                raise NoSuchItem(item_id)
            return call.server.store.remove(item_id)

        return {"errors": for_each_id(call.params["ids"], one)["errors"]}

    return remove


for _kind, (_service, _struct, _parameter) in SERVICES.items():
    method(f"{_service}.get")(_get(_kind, _struct))
    if _kind != "event":
        method(f"{_service}.getById")(_get_by_id(_kind))
    method(f"{_service}.create")(_create(_kind, _parameter))
    method(f"{_service}.set")(_set(_kind, _parameter))
    method(f"{_service}.move")(_to_folder(_kind, "move"))
    method(f"{_service}.copy")(_to_folder(_kind, "copy"))
    method(f"{_service}.remove")(_remove(_kind))


@method("Events.getById")
async def event_by_id(call: Call) -> Encoded:
    """Return the event of `id` as documented, or a list for `ids`."""
    if "ids" in call.params:
        answer: Encoded = await _get_by_id("event")(call)  # type: ignore[misc]
        return answer
    item_id = call.params["id"]
    if not is_id(item_id, "event"):
        raise no_such_item(item_id)
    return Encoded(b'{"result":%b}' % call.server.store.encoded(item_id))


@method("Mails.getPageWithId")
async def page_with_id(call: Call) -> Encoded:
    """Return the page of `query.limit` rows that contains `id`; 1002 if no page does."""
    server = call.server
    query = read(call.params["query"], "Mail", server.quirks.page_limit)
    chosen = await select(server.store, "mail", folder_ids(call), query)
    try:
        place = chosen.index(call.params["id"])
    except ValueError:
        raise no_such_item(call.params["id"]) from None
    start = place - place % query.limit if query.limit else place
    inside = await rows(server.store, chosen[start : start + query.limit], query)
    return Encoded(b'{"list":[%b],"start":%d,"totalItems":%d}' % (inside, start, len(chosen)))


@method("Mails.setAllSeen")
def set_all_seen(call: Call) -> dict[str, Any]:
    call.server.store.set_all_seen(call.params["folderId"])
    return {}


def _cached(contact: dict[str, Any], fields: Sequence[str] | None = None) -> dict[str, Any]:
    return {name: contact[name] for name in _CACHED_CONTACT if fields is None or name in fields}


@method("Contacts.getFromCache")
async def contacts_from_cache(call: Call) -> dict[str, Any]:
    server = call.server
    query = read(call.params["query"], "Contact", server.quirks.page_limit)
    chosen = await select(server.store, "contact", folder_ids(call), query)
    found: list[dict[str, Any]] = []
    for number, item_id in enumerate(chosen[query.start : query.start + query.limit], 1):
        with contextlib.suppress(NoSuchItem):
            found.append(_cached(server.store.item(item_id), query.fields))
        if number % _BREATH == 0:
            await asyncio.sleep(0)
    return {"list": found, "totalItems": len(chosen)}


@method("Contacts.getByIdFromCache")
def contacts_by_id_from_cache(call: Call) -> dict[str, Any]:
    errors: list[dict[str, Any]] = []
    result: list[dict[str, Any]] = []
    for index, item_id in enumerate(call.params["ids"]):
        try:
            if not is_id(item_id, "contact"):
                raise NoSuchItem(item_id)
            result.append(_cached(call.server.store.item(item_id)))
        except NoSuchItem:
            errors.append(no_such_item(item_id).as_item_error(index))
    return {"errors": errors, "result": result}


@method("Contacts.getResources")
def resources(call: Call) -> dict[str, Any]:
    return {"list": [], "totalItems": 0}
