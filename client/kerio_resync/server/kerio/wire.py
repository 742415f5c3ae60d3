"""The API's requests and replies in our terms, except items (see `items`).

Unknown and missing members do no harm. Whatever a reply contains, the result is a value or one of our errors. A change
feed with an invalid line is an error: guessing could lose mail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Final, Literal, Required

import orjson
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from kerio_resync.errors import ProtocolError, ResyncError
from kerio_resync.model import ChangeSet, ChangeType, Folder, Kind, Place, Quota, RemoteChange, Role, WriteResult
from kerio_resync.server.http import statuses
from kerio_resync.server.json_codec import UNCHECKED_BYTES, Canonical, canonical_json
from kerio_resync.server.kerio import error_codes

Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
MAX_ID_LENGTH = 4096  # characters; ids are kept by the thousand and quoted in messages
# The pattern also refuses lone surrogates, which a database cannot store.
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[^\x00-\x1f]+$")]
MaybeId = Annotated[str, Field(max_length=MAX_ID_LENGTH, pattern=r"^[^\x00-\x1f]*$")]
MAX_SIZE = 1 << 40  # bytes or items; sums of a million of them still fit the database

SERVICES: Mapping[Kind, str] = {
    "mail": "Mails",
    "contact": "Contacts",
    "event": "Events",
    "task": "Tasks",
    "note": "Notes",
}
# Events.get names its first parameter differently from its siblings
FOLDERS_PARAMETER: Mapping[Kind, str] = {
    "mail": "folderIds",
    "contact": "folderIds",
    "event": "ids",
    "task": "folderIds",
    "note": "folderIds",
}


@cache
def adapter(type_: Any) -> TypeAdapter[Any]:
    """Return the validator of a type.

    Made on first use, since each takes 2 ms and most runs need few.
    """
    return TypeAdapter(type_)


# Calls


def request(number: int, method: str, params: Mapping[str, Any]) -> bytes:
    """Return the body of a JSON-RPC request."""
    return canonical_json({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


class _Parameters(TypedDict, total=False):
    positionalParameters: list[Any]


class _ErrorData(TypedDict, total=False):
    messageParameters: _Parameters


class _Error(TypedDict, total=False):
    inputIndex: int
    code: Required[int]
    message: str
    data: _ErrorData
    messageParameters: _Parameters


ERROR_MEMBERS: Final = frozenset(name for type_ in (_Error, _ErrorData, _Parameters) for name in type_.__annotations__)


def parse_error(value: Any) -> tuple[int, str]:
    """Return (code, message) of an `error` member or a line of `errors`.

    Code 0 if it is invalid.
    """
    try:
        error = adapter(_Error).validate_python(value)
    except ValidationError:
        code = value.get("code") if isinstance(value, dict) else None
        return (code, "") if isinstance(code, int) else (0, "an error without a code")
    parameters = error.get("messageParameters") or error.get("data", {}).get("messageParameters", {})
    message = statuses.sentence(error.get("message", ""), parameters.get("positionalParameters", ()))
    return error["code"], message


def query(
    fields: Sequence[str], start: int, limit: int, order: str = "", *, descending: bool = False, like: Any = None
) -> dict[str, Any]:
    """Return a SearchQuery.

    `fields` (): all; `like`: pairs of member and value that must be equal.
    """
    return {
        "fields": list(fields),
        "conditions": [{"fieldName": name, "comparator": "Eq", "value": value} for name, value in like or ()],
        "combining": "And",
        "start": start,
        "limit": limit,
        "orderBy": [{"columnName": order, "direction": "Desc" if descending else "Asc", "caseSensitive": False}]
        if order
        else [],
    }


def require_list(method: str, result: Mapping[str, Any], name: str = "list") -> list[Any]:
    """Return a member that must be a list; only `errors` may be missing or null.

    ProtocolError.
    """
    value = result.get(name)
    if isinstance(value, list):
        return value
    if value is None and name == "errors":
        return []
    raise ProtocolError(f"{method} was answered without {name!r}")


def require_member(method: str, result: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a member that must be an object. ProtocolError."""
    value = result.get(name)
    if isinstance(value, dict):
        return value
    raise ProtocolError(f"{method} was answered without {name!r}")


def require_int(value: Any) -> int:
    """Return a count or size; 0 if it is invalid."""
    return value if type(value) is int and 0 <= value < 2**63 else 0


def require_size(value: Any) -> int:
    """Return a count or size; 0 if it is invalid or above MAX_SIZE."""
    return value if type(value) is int and 0 <= value <= MAX_SIZE else 0


def require_text(value: Any) -> str:
    """Return a string that a database can store, without NULs and lone surrogates.

    "" if it is no string.
    """
    if not isinstance(value, str):
        return ""
    text: str = value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\0", "")


def version_of(watermark: int) -> str:
    """Return a watermark as a version; "" if it is unknown."""
    return str(watermark) if watermark > 0 else ""


def item_errors(method: str, result: Mapping[str, Any]) -> list[tuple[int, ResyncError]]:
    """Return (index of the input, error) of each item that a call about many refused."""
    errors: list[tuple[int, ResyncError]] = []
    for line in require_list(method, result, "errors"):
        code, message = parse_error(line)
        index = line.get("inputIndex") if isinstance(line, dict) else None
        errors.append((index if type(index) is int else -1, error_codes.error_from_item(method, code, message)))
    return errors


def parse_write_results(
    method: str, result: Mapping[str, Any], count: int, *, names_successes: bool
) -> tuple[WriteResult, ...]:
    """Return the result of each of `count` items.

    `names_successes`: the reply must name those that succeeded.
    """
    results: dict[int, WriteResult] = {}
    for line in require_list(method, result, "result") if names_successes else ():
        if isinstance(line, dict) and 0 <= (index := require_int(line.get("inputIndex"))) < count:
            results[index] = WriteResult(
                index, require_text(line.get("id")), version_of(require_int(line.get("watermark")))
            )
    for index, error in item_errors(method, result):
        results[index] = WriteResult(index, error=error)
    missing = ProtocolError(f"{method} was answered without a result for an item", scope="item")
    default = missing if names_successes else None
    return tuple(results.get(index, WriteResult(index, error=default)) for index in range(count))


# Session


def parse_account(details: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return (account id, address, login name) of a UserInfo."""
    emails = details.get("emails")
    first = require_text(emails[0]) if isinstance(emails, list) and emails else ""
    address = require_text(details.get("preferredAddress")) or first
    return require_text(details.get("id")), address, require_text(details.get("loginName"))


def parse_quota(info: Mapping[str, Any]) -> Quota:
    """Return the items and bytes of a quota; 0 if they are missing."""
    return Quota(items=require_size(info.get("messagesUsed")), bytes=require_size(info.get("spaceUsed")))


# Folders

_KIND: Mapping[str, Kind] = {
    "FMail": "mail",
    "FContact": "contact",
    "FCalendar": "event",
    "FTask": "task",
    "FNote": "note",
}
_ROLE: Mapping[str, Role] = {
    "FSubInbox": "inbox",
    "FSubDrafts": "drafts",
    "FSubSentItems": "sent",
    "FSubDeletedItems": "trash",
    "FSubJunkEmail": "junk",
    "FSubDefault": "default",
    "FSubGalResources": "resources",
    "FSubGalContacts": "people",
}
_FOLDER_MEMBERS = (
    "id parentId name ownerName emailAddress type subType placeType access isShared isDelegated nestingLevel"
    " messageCount messageUnread messageSize checked color published"
)
_FOLDER = frozenset(_FOLDER_MEMBERS.split())


def parse_folder(value: Any, place: Place, canonical: Canonical) -> Folder | None:
    """Return a folder; None without a valid id.

    ValueError if it cannot be written as JSON.
    """
    if not isinstance(value, dict) or not (folder_id := _id_of(value.get("id"))):
        return None
    get = value.get
    payload, extra = split_unknown_members(value, _FOLDER, canonical)
    return Folder(
        id=folder_id,
        parent_id=require_text(get("parentId")),
        name=require_text(get("name")),
        kind=_KIND.get(require_text(get("type"))),
        role=_ROLE.get(require_text(get("subType")), "none"),
        place="public" if get("placeType") == "FPlacePublic" else place,
        owner=require_text(get("ownerName")) or require_text(get("emailAddress")),
        readable=get("access") != "FAccessListingOnly",
        count=require_size(get("messageCount")),
        unread=require_size(get("messageUnread")),
        size=require_size(get("messageSize")),
        payload=payload,
        extra=extra,
    )


def split_unknown_members(
    value: dict[str, Any], known: frozenset[str], canonical: Canonical
) -> tuple[bytes, bytes | None]:
    """Return a struct's known members and its others as canonical JSON. ValueError.

    The latter are None if there are no others.
    """
    if value.keys() <= known:
        return canonical(value), None
    extra = {name: value[name] for name in value if name not in known}
    return canonical({name: value[name] for name in value if name in known}), canonical(extra)


def shared_mailboxes(method: str, result: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield (mailbox id, owner's name) of each shared mailbox."""
    for mailbox in require_list(method, result, "mailboxes"):
        if isinstance(mailbox, dict) and (mailbox_id := _id_of(mailbox.get("mailboxId"))):
            principal = mailbox.get("principal")
            name = require_text(principal.get("displayName")) if isinstance(principal, dict) else ""
            yield mailbox_id, name


def _id_of(value: Any) -> str:
    text = require_text(value)
    return text if text == value and text.isprintable() and len(text) <= MAX_ID_LENGTH else ""


# Changes

_ChangeWord = Literal[
    "chtCreated",
    "chtCopied",
    "chtDeleted",
    "chtModified",
    "chtMoved",
    "chtNewMail",
    "chtStatus",
    "chtReadFlagChanged",
    "chtModifiedMetadata",
    "chtModifiedContent",
]
_CHANGE: Mapping[str, ChangeType] = {
    "chtCreated": "created",
    "chtCopied": "created",
    "chtNewMail": "created",
    "chtDeleted": "deleted",
    "chtModified": "modified",
    "chtModifiedMetadata": "flags",
    "chtModifiedContent": "modified",
    "chtStatus": "flags",
    "chtReadFlagChanged": "flags",
    "chtMoved": "moved",
}
_ITEM: Mapping[str, Kind] = {
    "itMail": "mail",
    "itCalendar": "event",
    "itContact": "contact",
    "itTask": "task",
    "itNote": "note",
}


class _Change(TypedDict, total=False):
    isFolder: bool
    type: Required[_ChangeWord]
    itemType: str | None
    itemId: Required[Id]
    parentId: MaybeId | None
    origId: MaybeId | None
    origParentId: MaybeId | None
    watermark: Int64


def parse_sync_key(method: str, result: Mapping[str, Any], canonical: Canonical) -> str:
    """Return a sync key as opaque text. ProtocolError."""
    try:
        key = canonical(require_member(method, result, "syncKey")).decode("utf-8")
    except ValueError as error:
        raise ProtocolError(f"{method} was answered with an invalid key ({error})") from None
    if len(key) > UNCHECKED_BYTES:
        raise ProtocolError(f"{method} was answered with a key of {len(key):,} characters")
    return key


def key_struct(key: str) -> Any:
    """Return a sync key as the server's struct. ValueError if it is invalid."""
    value = orjson.loads(key)
    if not isinstance(value, dict):
        raise ValueError("not a sync key")
    return value


def parse_changes(method: str, result: Mapping[str, Any], canonical: Canonical) -> ChangeSet:
    """Return the change feed, in its order. ProtocolError if a line is invalid."""
    try:
        lines = adapter(list[_Change]).validate_python(require_list(method, result))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"][:2])
        raise ProtocolError(f"{method} was answered with an invalid change ({where})") from None
    changes = tuple(_change(line) for line in lines if not _is_count(line))
    return ChangeSet(changes, parse_sync_key(method, result, canonical))


def _is_count(line: Mapping[str, Any]) -> bool:
    """Return whether a line only updates a folder's number of unread mails.

    Taken for a change of the folder, it would explain any difference in it.
    """
    return bool(line.get("isFolder")) and line["type"] == "chtModifiedContent"


def _change(line: Mapping[str, Any]) -> RemoteChange:
    get = line.get
    return RemoteChange(
        type=_CHANGE[line["type"]],
        id=line["itemId"],
        parent_id=get("parentId") or "",
        is_folder=get("isFolder", False),
        kind=_ITEM.get(get("itemType") or ""),
        version=version_of(get("watermark", 0)),
        old_id=get("origId") or "",
        old_parent_id=get("origParentId") or "",
    )
