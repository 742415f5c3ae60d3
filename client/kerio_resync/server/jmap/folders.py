"""Reads the folders of an account, in batches, and the size of the mailbox."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from kerio_resync.errors import ProtocolError, TooLarge
from kerio_resync.events import Listener, Skipped
from kerio_resync.model import Folder, Place, Quota
from kerio_resync.server.jmap import emails
from kerio_resync.server.jmap.client import JmapClient
from kerio_resync.server.jmap.methods import Call
from kerio_resync.server.jmap.resource import Account

MAX_FOLDERS: Final = 100_000
MAX_SCANS: Final = 8  # of a list of folders that changes meanwhile


async def fetch_folders(client: JmapClient, account: Account, listen: Listener) -> list[Folder]:
    """Return the folders of an account; invalid ones are announced."""
    place: Place = "own" if account.id == client.resource.own.id else "shared"
    owner = "" if place == "own" else account.name
    scope = partial(client.resource.scoped, account.id)
    found: dict[str, Folder] = {}
    for results, canonical in await _mailboxes(client, account.id):
        for value in results:
            folder = emails.folder_of(value, scope, place, owner, canonical) if isinstance(value, dict) else None
            if folder is None:
                listen(Skipped("folder", "", "the server sent an invalid folder"))
            else:
                found.setdefault(folder.id, folder)
    return list(found.values())


async def _mailboxes(client: JmapClient, account: str) -> list[tuple[list[Any], Any]]:
    """Return lists of Mailbox objects, each with its writer of canonical JSON."""
    try:
        answer = await client.call([Call("Mailbox/get", {"accountId": account, "ids": None})], check=_check_list)
        return [(answer.results[0]["list"], answer.canonical)]
    except TooLarge:
        pass  # more folders than the server returns at once
    ids = await _mailbox_ids(client, account)
    most = client.resource.limits.objects_in_get
    parts = []
    for start in range(0, len(ids), most):
        call = Call("Mailbox/get", {"accountId": account, "ids": ids[start : start + most]})
        answer = await client.call([call], check=_check_list)
        parts.append((answer.results[0]["list"], answer.canonical))
    return parts


async def _mailbox_ids(client: JmapClient, account: str) -> list[str]:
    """Return the ids of all mailboxes, in pages if the server limits them.

    If the list changed between two pages it is read again: a page can miss a folder when another one disappears.
    """
    for _ in range(MAX_SCANS):
        ids: dict[str, None] = {}
        states = set()
        while len(ids) < MAX_FOLDERS:
            call = Call("Mailbox/query", {"accountId": account, "position": len(ids), "calculateTotal": True})
            (page,) = (await client.call([call], check=_check_ids)).results
            states.add(page.get("queryState"))
            before = len(ids)
            ids |= dict.fromkeys(one for one in page["ids"] if isinstance(one, str) and one)
            if len(ids) == before or len(ids) >= emails.count(page.get("total")):
                break
        if len(states) == 1:
            return list(ids)
    raise ProtocolError("the list of folders changes all the time")


async def fetch_quota(client: JmapClient) -> Quota:
    """Return the size of the mailbox; 0 where the server does not state it."""
    resource = client.resource
    if not resource.quota:
        return Quota(0, 0)
    call = Call("Quota/get", {"accountId": resource.own.id, "ids": None})
    (result,) = (await client.call([call], using=[resource.quota])).results
    values = result.get("list")
    items = size = 0
    for value in values if isinstance(values, list) else ():
        if not isinstance(value, dict) or not _concerns_mail(value):
            continue
        if value.get("resourceType") == "count":
            items = max(items, emails.count(value.get("used")))
        else:  # Cyrus states bytes, and no type
            size = max(size, emails.count(value.get("used")))
    return Quota(items, size)


def _concerns_mail(quota: Mapping[str, Any]) -> bool:
    types = quota.get("types", quota.get("dataTypes"))
    return not isinstance(types, list) or any(str(name) in ("Mail", "Email") for name in types)


def _check_list(results: list[dict[str, Any]]) -> None:
    if not isinstance(results[0].get("list"), list):
        raise ProtocolError("Mailbox/get is answered without a list")


def _check_ids(results: list[dict[str, Any]]) -> None:
    if not isinstance(results[0].get("ids"), list):
        raise ProtocolError("Mailbox/query is answered without ids")
