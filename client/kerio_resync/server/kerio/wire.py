"""The vendor's spellings, and JSON: what the server's words become in ours, but for the items (`items.py`).

Promises: a reply is parsed once, and whatever it holds ends in a value or in one of our errors; members that are
unknown or missing do no harm; canonical JSON has its keys sorted at every level, no spaces, UTF-8. Refuses to guess
where guessing could lose mail: a change feed with a line that can't be read is nonsense.

Why two parsers: orjson reads and writes fastest (measured: 220 to 250 MB/s both ways, pydantic's own 90 to 185), but
knows neither lone surrogates nor numbers that are none, which one sloppy item may bring into a reply. Then the whole
reply is read by the slower one of the standard library, which does. pydantic checks what we use, on what was parsed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Final, Literal, Required

import orjson
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from kerio_resync.errors import ProtocolError, ResyncError
from kerio_resync.model import ChangeSet, ChangeType, Folder, Kind, Place, Quota, RemoteChange, Role, WriteResult
from kerio_resync.server.kerio import error_codes

Canonical = Callable[[Any], bytes]
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
# the pattern also refuses lone surrogates, which a database can't hold
MAX_ID_LENGTH = 4096  # characters; ids are kept by the thousand and quoted in messages
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[^\x00-\x1f]+$")]
MaybeId = Annotated[str, Field(max_length=MAX_ID_LENGTH, pattern=r"^[^\x00-\x1f]*$")]
MAX_VALUES = 1_000_000  # in one reply: three bytes of JSON can stand for a hundred of memory
UNCHECKED_BYTES = 1 << 20  # bytes below which no reply can hold too many
MAX_SIZE = 1 << 40  # bytes, or items: sums of more than a million of them still fit the database

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


# JSON


BOM = b"\xef\xbb\xbf"  # that some servers and gateways put before UTF-8


class CutShort(ValueError):
    """JSON that ends before its value does."""


def parse_json(data: bytes) -> tuple[Any, Canonical]:
    """A reply's value, and the function that writes parts of it as canonical JSON. ValueError says what is wrong:
    CutShort if the end is missing."""
    if len(data) > UNCHECKED_BYTES and sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError("more values than can be held")
    try:
        return orjson.loads(data.removeprefix(BOM)), canonical_json
    except orjson.JSONDecodeError as error:
        wrong = "nested too deeply" if "limit exceeded" in error.msg else ""
    cut = False
    try:
        if not wrong:
            return json.loads(data.decode(json.detect_encoding(data))), exact
    except UnicodeDecodeError:
        wrong = "not UTF-8"
    except RecursionError:
        wrong = "nested too deeply"
    except json.JSONDecodeError as error:
        # the message quotes nothing of the text
        wrong = f"{error.msg[:80]} at byte {error.pos:,} of {len(data):,}"
        cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
    # out here, since the parsers' own errors hold the whole text
    raise CutShort(wrong) if cut or data.rstrip()[-1:] not in (b"}", b"]") else ValueError(wrong)


def canonical_json(value: Any) -> bytes:
    """Canonical JSON. ValueError if the value can't be written."""
    try:
        written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return exact(value)
    return bytes(memoryview(written))  # its own buffer is up to twelve times as large as what stands in it


def exact(value: Any) -> bytes:
    """The same for values that orjson can't write, or would change: lone surrogates, numbers that are none."""
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    # for a lone surrogate, which UTF-8 can't hold, this writes just JSON's escape
    return text.encode("utf-8", "backslashreplace")


@cache
def adapter(of: Any) -> TypeAdapter[Any]:
    """What checks values of a type. Made on first use: 2 ms each, and most runs need few of them."""
    return TypeAdapter(of)


# Calls


def request(number: int, method: str, params: Mapping[str, Any]) -> bytes:
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


ERROR_MEMBERS: Final = frozenset(each for of in (_Error, _ErrorData, _Parameters) for each in of.__annotations__)


def parse_error(value: Any) -> tuple[int, str]:
    """The (code, message) of an `error` member or of a line of `errors`; code 0 if it is none."""
    try:
        error = adapter(_Error).validate_python(value)
    except ValidationError:
        code = value.get("code") if isinstance(value, dict) else None
        return (code, "") if isinstance(code, int) else (0, "an error without a code")
    parameters = error.get("messageParameters") or error.get("data", {}).get("messageParameters", {})
    message = error_codes.sentence(error.get("message", ""), parameters.get("positionalParameters", ()))
    return error["code"], message


def query(
    fields: Sequence[str], start: int, limit: int, order: str = "", *, descending: bool = False, like: Any = None
) -> dict[str, Any]:
    """A SearchQuery; no fields: all of them; `like`: pairs of member and value that must be equal."""
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
    """A member that must be a list; one that is missing or null is empty only where the reply may leave it out."""
    value = result.get(name)
    if isinstance(value, list):
        return value
    if value is None and name == "errors":
        return []
    raise ProtocolError(f"{method} is answered without its {name}")


def require_member(method: str, result: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = result.get(name)
    if isinstance(value, dict):
        return value
    raise ProtocolError(f"{method} is answered without its {name}")


def require_int(value: Any) -> int:
    """A count or size; 0 for what is none."""
    return value if type(value) is int and 0 <= value < 2**63 else 0


def require_size(value: Any) -> int:
    """The size or count of something; 0 for what is none, or beyond all sense."""
    size = require_int(value)
    return size if size <= MAX_SIZE else 0


def require_text(value: Any) -> str:
    """A string that a database can hold: empty for what is none, without NULs and lone surrogates."""
    if not isinstance(value, str):
        return ""
    text: str = value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\0", "")


def item_errors(method: str, result: Mapping[str, Any]) -> list[tuple[int, ResyncError]]:
    """The (index of the input, error) of each item that a call about many refused."""
    errors: list[tuple[int, ResyncError]] = []
    for line in require_list(method, result, "errors"):
        code, message = parse_error(line)
        index = line.get("inputIndex") if isinstance(line, dict) else None
        errors.append((index if type(index) is int else -1, error_codes.error_from_item(method, code, message)))
    return errors


def parse_write_results(method: str, result: Mapping[str, Any], count: int, *, told: bool) -> tuple[WriteResult, ...]:
    """What became of each of `count` items; `told`: the reply must name those that succeeded."""
    found: dict[int, WriteResult] = {}
    for line in require_list(method, result, "result") if told else ():
        if isinstance(line, dict) and 0 <= (index := require_int(line.get("inputIndex"))) < count:
            found[index] = WriteResult(index, require_text(line.get("id")), require_int(line.get("watermark")))
    for index, error in item_errors(method, result):
        found[index] = WriteResult(index, error=error)
    unsaid = ProtocolError(f"{method} does not say what became of an item", scope="item") if told else None
    return tuple(found.get(index, WriteResult(index, error=unsaid)) for index in range(count))


# Session


def parse_account(details: Mapping[str, Any]) -> tuple[str, str, str]:
    """The (account id, address, login name) of a UserInfo."""
    emails = details.get("emails")
    first = require_text(emails[0]) if isinstance(emails, list) and emails else ""
    address = require_text(details.get("preferredAddress")) or first
    return require_text(details.get("id")), address, require_text(details.get("loginName"))


def parse_quota(info: Mapping[str, Any]) -> Quota:
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
    """A Folder struct in our words; None if it has no id."""
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
    """A struct's known members and, if there are any, the others, both as canonical JSON. ValueError."""
    if value.keys() <= known:
        return canonical(value), None
    extra = {name: value[name] for name in value if name not in known}
    return canonical({name: value[name] for name in value if name in known}), canonical(extra)


def shared_mailboxes(method: str, result: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The (mailbox id, owner's name) of each shared mailbox."""
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
    """A sync key as opaque text."""
    try:
        key = canonical(require_member(method, result, "syncKey")).decode("utf-8")
    except ValueError as error:
        raise ProtocolError(f"{method} is answered with a key that is none ({error})") from None
    if len(key) > UNCHECKED_BYTES:
        raise ProtocolError(f"{method} is answered with a key of {len(key):,} characters")
    return key


def key_struct(key: str) -> Any:
    """What the server calls the key. ValueError if it is none of ours."""
    value = orjson.loads(key)
    if not isinstance(value, dict):
        raise ValueError("not a sync key")
    return value


def parse_changes(method: str, result: Mapping[str, Any], canonical: Canonical) -> ChangeSet:
    """The feed, in the order it was told. ProtocolError if a line of it can't be understood."""
    try:
        lines = adapter(list[_Change]).validate_python(require_list(method, result))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"][:2])
        raise ProtocolError(f"{method} tells a change that can't be understood ({where})") from None
    told = (_change(line) for line in lines if not _counts(line))
    return ChangeSet(tuple(told), parse_sync_key(method, result, canonical))


def _counts(line: Mapping[str, Any]) -> bool:
    """Whether a line only counts what the others tell: how many mails of a folder are unread. It must not pass for a
    change of the folder, which would explain any difference in it."""
    return bool(line.get("isFolder")) and line["type"] == "chtModifiedContent"


def _change(line: Mapping[str, Any]) -> RemoteChange:
    get = line.get
    return RemoteChange(
        type=_CHANGE[line["type"]],
        id=line["itemId"],
        parent_id=get("parentId") or "",
        is_folder=get("isFolder", False),
        kind=_ITEM.get(get("itemType") or ""),
        watermark=get("watermark", 0),
        old_id=get("origId") or "",
        old_parent_id=get("origParentId") or "",
    )
