"""Calls that change the mailbox, for the replay of local changes.

Each item has its own result, in the order of the call. Flags, moves and deletions set a state and may be repeated after
a lost reply. A creation may not: OutcomeUnknown is raised, and `find` looks for the mail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from kerio_resync.errors import (
    BadCredentials,
    FolderDenied,
    ItemGone,
    Overloaded,
    ProtocolError,
    ResyncError,
    ServerRefused,
    TooLarge,
)
from kerio_resync.model import Item, WriteResult
from kerio_resync.redaction import Redactor
from kerio_resync.server.http import statuses
from kerio_resync.server.http.transport import Request
from kerio_resync.server.jmap import emails
from kerio_resync.server.jmap.client import JmapClient
from kerio_resync.server.jmap.dialect import JmapDialect
from kerio_resync.server.jmap.methods import Call, request_error, result_of
from kerio_resync.server.json_codec import parse_json

UPLOAD_NAME: Final = "POST upload"
MAX_CANDIDATES: Final = 20_000
MAX_UPLOAD_REPLY_BYTES: Final = 64 * 1024
_IMPORTED: Final = ("blobId", "keywords", "receivedAt")
_SET_BY_SERVER: Final = (
    "id", "blobId", "threadId", "size", "preview", "hasAttachment", "mailboxIds", "textBodyValues",
)  # fmt: skip


async def update(client: JmapClient, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
    """Set members of mails by patches; each has the mail's id."""
    patches = []
    for struct in structs:
        value, _ = parse_json(struct)
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            raise ValueError("a change without an id")
        patches.append((value.pop("id"), value))
    return await _set(client, patches)


async def move(
    client: JmapClient, ids: Sequence[str], folder_id: str, from_folder_id: str = ""
) -> tuple[WriteResult, ...]:
    """Move mails into a folder of the same account.

    A mail leaves `from_folder_id`, or without one all its other folders.
    """
    account, target = client.resource.split(folder_id)
    patch: dict[str, Any] = {"mailboxIds": {target: True}}
    if from_folder_id and from_folder_id != folder_id:
        patch = {
            f"mailboxIds/{_escaped(client.resource.split(from_folder_id)[1])}": None,
            f"mailboxIds/{_escaped(target)}": True,
        }
    here = [one for one in ids if client.resource.split(one)[0] == account]
    moved = dict(zip(here, await _set(client, [(one, patch) for one in here]), strict=True))
    refusal = ServerRefused("a mail cannot be moved to another account", method="Email/set", scope="item")
    elsewhere = WriteResult(0, error=refusal)
    return tuple(replace(moved.get(one, elsewhere), index=index) for index, one in enumerate(ids))


async def remove(client: JmapClient, ids: Sequence[str]) -> tuple[WriteResult, ...]:
    """Delete mails; those that are gone already count as deleted."""
    results: dict[str, WriteResult] = {}
    for account, some in _by_account(client, ids).items():
        for part in _parts(client, some):
            answer = await client.call([Call("Email/set", {"accountId": account, "destroy": [one for one, _ in part]})])
            refused = _object(answer.results[0].get("notDestroyed"))
            done = answer.results[0].get("destroyed")
            for email_id, index in part:
                if email_id in refused:
                    error: ResyncError | None = set_error("Email/set", refused[email_id], client.redactor)
                    error = None if isinstance(error, ItemGone) else error
                else:
                    absent = not isinstance(done, list) or email_id not in done
                    error = ProtocolError("Email/set does not answer for it", scope="item") if absent else None
                results[ids[index]] = WriteResult(index, error=error)
    return tuple(results[one] for one in ids)


async def create(client: JmapClient, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
    """Create mails in a folder, from their uploaded source or from an Email object.

    A lost reply is OutcomeUnknown. A mail that the server has already is put into the folder.
    """
    results = []
    for index, struct in enumerate(structs):
        value, _ = parse_json(struct)
        if not isinstance(value, dict):
            raise ValueError("not an object")
        results.append(await _create(client, index, folder_id, value))
    return tuple(results)


async def _create(client: JmapClient, index: int, folder_id: str, value: dict[str, Any]) -> WriteResult:
    account, mailbox_id = client.resource.split(folder_id)
    placed = {"mailboxIds": {mailbox_id: True}}
    if "blobId" in value:
        email = {**{name: value[name] for name in _IMPORTED if value.get(name)}, **placed}
        call = Call("Email/import", {"accountId": account, "emails": {"new": email}})
    else:
        email = {**{name: value[name] for name in value if name not in _SET_BY_SERVER}, **placed}
        call = Call("Email/set", {"accountId": account, "create": {"new": email}})
    (result,) = (await client.call([call], idempotent=False)).results
    created, refused = _object(result.get("created")).get("new"), _object(result.get("notCreated")).get("new")
    if isinstance(created, dict) and isinstance(created.get("id"), str):
        return WriteResult(index, client.resource.scoped(account, created["id"]))
    existing = _object(refused).get("existingId")
    if _object(refused).get("type") == "alreadyExists" and isinstance(existing, str):
        item_id = client.resource.scoped(account, existing)
        (placed_result,) = await _set(client, [(item_id, {f"mailboxIds/{_escaped(mailbox_id)}": True})])
        return WriteResult(index, item_id, placed_result.version, placed_result.error)
    if isinstance(refused, dict):
        return WriteResult(index, error=set_error(call.method, refused, client.redactor))
    return WriteResult(index, error=ProtocolError(f"{call.method} does not answer for it", scope="item"))


async def _set(client: JmapClient, patches: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[WriteResult, ...]:
    """Apply patches by the ids of mails; the versions are those after them."""
    results: dict[int, WriteResult] = {}
    by_index = {index: patch for index, (_, patch) in enumerate(patches)}
    for account, some in _by_account(client, [one for one, _ in patches]).items():
        for part in _parts(client, some):
            change = Call("Email/set", {"accountId": account, "update": {one: by_index[index] for one, index in part}})
            details = {"accountId": account, "ids": [one for one, _ in part], "properties": emails.CHANGEABLE}
            answer = await client.call([change, Call("Email/get", details)])
            updated, refused = (_object(answer.results[0].get(name)) for name in ("updated", "notUpdated"))
            listed = answer.results[1].get("list")
            versions = {
                email["id"]: emails.version_of(email)
                for email in (listed if isinstance(listed, list) else ())
                if isinstance(email, dict) and isinstance(email.get("id"), str)
            }
            for email_id, index in part:
                error: ResyncError | None = None
                if email_id in refused:
                    error = set_error("Email/set", refused[email_id], client.redactor)
                elif email_id not in updated:
                    error = ProtocolError("Email/set does not answer for it", scope="item")
                results[index] = WriteResult(index, patches[index][0], versions.get(email_id, ""), error)
    return tuple(results[index] for index in range(len(patches)))


def set_error(method: str, error: Any, redactor: Redactor) -> ResyncError:
    """Return the error of one object of a set (RFC 8620, 5.3)."""
    members = _object(error)
    kind = str(members.get("type") or "")
    detail = redactor.foreign(statuses.sentence(members.get("description"))) or kind or "no reason given"
    match kind:
        case "notFound" | "willDestroy" | "blobNotFound":
            return ItemGone(detail, method=method)
        case "forbidden" | "mailboxHasEmail":
            return FolderDenied(detail, method=method)
        case "tooLarge":
            return TooLarge(detail, method=method)
        case "rateLimit" | "stateMismatch":
            return Overloaded(f"{method}: {detail}")
        case _:
            return ServerRefused(detail, method=method, scope="item")


async def upload(client: JmapClient, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
    """Upload a file and return its blob id.

    Nothing refers to it yet, so the call may be repeated.
    """
    resource = client.resource
    if not resource.upload_url:
        raise ServerRefused("the server names no address for uploads", method=UPLOAD_NAME)
    if size > resource.limits.upload_bytes:
        raise TooLarge(f"a file of {size:,} bytes", method=UPLOAD_NAME)
    body = b"".join([chunk async for chunk in chunks])
    if len(body) != size:
        raise ProtocolError(f"a file of {size:,} bytes has another length", scope="item")
    url = resource.upload_to(resource.own.id)
    clean = "".join(letter for letter in content_type if letter.isascii() and letter.isprintable())

    async def attempt() -> str:
        async with client.uploading, client.limiter.slot(UPLOAD_NAME) as slot:
            headers = {
                "Content-Type": clean if "/" in clean else "application/octet-stream",
                "Accept-Encoding": "identity",
                **client.session.headers(url),
            }
            reply = await client.exchange(
                slot, Request("POST", url, headers, body, client.timeout), MAX_UPLOAD_REPLY_BYTES
            )
            try:
                value, _ = parse_json(reply.data)
            except ValueError:
                value = None
            blob_id = _object(value).get("blobId")
            if reply.status in (200, 201) and isinstance(blob_id, str) and blob_id:
                return blob_id
            error = request_error(UPLOAD_NAME, reply.status, reply.headers, value, redactor=client.redactor)
            if isinstance(error, BadCredentials):
                client.session.refused(error)
            raise error

    return await client.with_retries(attempt, UPLOAD_NAME)


async def find(client: JmapClient, item: Item) -> tuple[str, ...]:
    """Return the ids of mails in the item's folder that look created from it.

    They are compared by Message-ID if the item has one, else by what a person wrote. ProtocolError if there are too
    many.
    """
    _, mailbox_id = client.resource.split(item.folder_id)
    condition: dict[str, Any] = {"inMailbox": mailbox_id}
    if item.message_id:
        return await _find_among(client, item, {**condition, "header": ["Message-ID", item.message_id.strip("<>")]})
    if not item.title or len(item.title) >= 200:
        return ()
    try:  # a condition on `subject` needs a search index: without one, Cyrus answers that it failed
        return await _find_among(client, item, {**condition, "header": ["Subject", item.title]})
    except ServerRefused:
        return await _find_among(client, item, condition)


async def _find_among(client: JmapClient, item: Item, condition: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the ids of the mails under `condition` that look created from the item."""
    account, _ = client.resource.split(item.folder_id)
    dialect, found = JmapDialect(), []
    scope = partial(client.resource.scoped, account)
    most = min(client.resource.limits.objects_in_get, 200)
    start = 0
    while start < MAX_CANDIDATES:
        query = Call("Email/query", {"accountId": account, "filter": condition, "position": start, "limit": most})
        details: dict[str, Any] = {"accountId": account, "#ids": result_of(0, query, "/ids"), "properties": _COMPARED}
        details |= {"fetchTextBodyValues": True, "maxBodyValueBytes": 256 * 1024, "bodyProperties": emails.PART}
        answer = await client.call([query, Call("Email/get", details)])
        ids, values = answer.results[0].get("ids"), answer.results[1].get("list")
        if not isinstance(ids, list) or not isinstance(values, list):
            raise ProtocolError("Email/query is answered without ids")
        for email in values:
            if isinstance(email, dict) and isinstance(email.get("id"), str):
                current = emails.item_of(email, scope, answer.canonical, sources=False, data=None)
                if dialect.is_same_content(item, current):
                    found.append(current.id)
        if not ids:
            return tuple(dict.fromkeys(found))
        start += len(ids)
    raise ProtocolError(f"more than {MAX_CANDIDATES:,} mails may be the created one", scope="item")


_COMPARED: Final = (
    "id", "blobId", "mailboxIds", "keywords", "messageId", "subject", "from", "to", "cc", "bcc", "textBody", "htmlBody",
    "bodyValues",
)  # fmt: skip


def _by_account(client: JmapClient, ids: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """Group ids by account: the server's id, and its place in `ids`."""
    groups: dict[str, list[tuple[str, int]]] = {}
    for index, item_id in enumerate(ids):
        account, email_id = client.resource.split(item_id)
        groups.setdefault(account, []).append((email_id, index))
    return groups


def _parts(client: JmapClient, some: list[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    limits = client.resource.limits
    most = min(limits.objects_in_set, limits.objects_in_get)
    return [some[start : start + most] for start in range(0, len(some), most)]


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
