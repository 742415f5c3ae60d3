"""Changes since a key, at once or as a long poll.

A key that is too old, from a time after now, or of another generation of the mailbox (before a restore) is refused
with 1000, or 1002 if the server is so set. One poll waits for each key: a second one with the same key ends the
first, which then answers with what there is; so does `killRequest`. Polls last at most an hour.

After the items' lines stands one for each folder in which mails came, went or changed, with the number of its unread
ones (chtModifiedContent).

Open (chosen here): `timeout` is in seconds; the own mailbox, shared mailboxes and public folders stand in one
journal, so that `publicFolder` equals `watermark` and every change that the account may see is in `Changes.get`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kerio_mockserver.api.call import Call, Server, method
from kerio_mockserver.api.errors import ApiError
from kerio_mockserver.mailbox.errors import NoSuchFolder
from kerio_mockserver.mailbox.folder_tree import folder_change
from kerio_mockserver.mailbox.journal import KeyTooOld

VERSION = 1
LONGEST_POLL = 3600.0


class Polls:
    """Long polls that wait, by what they wait for."""

    def __init__(self) -> None:
        self._ends: dict[Any, asyncio.Event] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def kill(self, key: Any) -> None:
        """Ends the poll for `key`, if one waits."""
        end = self._ends.pop(key, None)
        if end is not None:
            end.set()

    async def wait(self, server: Server, key: Any, watermark: int, timeout: float) -> None:
        """Until the journal passes `watermark`, the time is over, or the poll is ended."""
        self.kill(key)
        end = self._ends[key] = asyncio.Event()
        waits = {
            asyncio.ensure_future(server.store.journal.wait(watermark, min(timeout, LONGEST_POLL))),
            asyncio.ensure_future(end.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            if self._ends.get(key) is end:
                del self._ends[key]


def sync_key(server: Server) -> dict[str, Any]:
    """The key of now."""
    watermark = server.store.journal.watermark
    return {
        "id": server.generation,
        "version": VERSION,
        "watermark": watermark,
        "publicFolder": watermark,
        "accountSyncKey": [_account_key(one["mailboxId"], watermark) for one in server.store.shared_mailboxes()],
    }


def _account_key(mailbox_id: str, watermark: int) -> dict[str, Any]:
    return {"guid": mailbox_id, "watermark": watermark}


def since(server: Server, watermark: int, folder_id: str | None = None) -> list[dict[str, Any]]:
    """The changes after `watermark`. Refusal for a key that can't be answered."""
    try:
        changes = server.store.journal.since(watermark, folder_id)
    except KeyTooOld as error:
        raise refused_key(server) from error
    return changes + [one for one in _contents(server, changes) if folder_id in (None, one["itemId"])]


def _contents(server: Server, changes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A line for each mail folder whose content these changes are about."""
    mails = [one for one in changes if not one["isFolder"] and one["itemType"] == "itMail"]
    for folder_id in sorted({one[side] for one in mails for side in ("parentId", "origParentId")} - {""}):
        with suppress(NoSuchFolder):
            line = folder_change("chtModifiedContent", server.store.folder(folder_id))
            yield line | {"watermark": changes[-1]["watermark"]}


def refused_key(server: Server) -> ApiError:
    return ApiError(server.quirks.refused_key_code, "The synchronization key is not valid.")


def _watermark(server: Server, key: dict[str, Any]) -> int:
    if key.get("id") != server.generation or key.get("version") != VERSION or "watermark" not in key:
        raise refused_key(server)
    watermark: int = key["watermark"]
    return watermark


@method("Changes.getSyncKey")
def get_sync_key(call: Call) -> dict[str, Any]:
    return {"syncKey": sync_key(call.server)}


async def long_poll(server: Server, params: dict[str, Any]) -> None:
    """The waiting of a long poll: until something changes after its key, or its time is over, or it is killed.

    A key that will be refused is not waited for. It comes before the call itself, which then answers at once, so that a
    waiting poll holds no worker of a busy server.
    """
    key, timeout = params["lastSyncKey"], params["timeout"]
    if timeout > 0 and key.get("id") == server.generation and key.get("watermark") == server.store.journal.watermark:
        await server.polls.wait(server, key["watermark"], key["watermark"], timeout)


@method("Changes.get")
def get(call: Call) -> dict[str, Any]:
    changes = since(call.server, _watermark(call.server, call.params["lastSyncKey"]))
    return {"list": changes, "syncKey": sync_key(call.server)}


@method("Changes.killRequest")
def kill_request(call: Call) -> dict[str, Any]:
    call.server.polls.kill(call.params["lastSyncKey"].get("watermark"))
    return {}


@method("Changes.getFolderSyncKey")
def get_folder_sync_key(call: Call) -> dict[str, Any]:
    call.server.store.folder(call.params["folderId"])
    return {"syncKey": call.server.store.journal.watermark}


@method("Changes.getFolder")
def get_folder(call: Call) -> dict[str, Any]:
    server, folder_id = call.server, call.params["folderId"]
    server.store.folder(folder_id)
    return {
        "list": since(server, call.params["lastSyncKey"], folder_id),
        "syncKey": server.store.journal.watermark,
    }


@method("Changes.getAccountSyncKey")
def get_account_sync_key(call: Call) -> dict[str, Any]:
    mailbox_id = call.params["mailboxId"]
    call.server.store.shared_folders(mailbox_id)
    return {"asyncKey": _account_key(mailbox_id, call.server.store.journal.watermark)}


@method("Changes.getAccount")
def get_account(call: Call) -> dict[str, Any]:
    """The changes in those folders of another mailbox; with no folders, in all that are shared by it."""
    server, key = call.server, call.params["lastAsyncKey"]
    guid = key.get("guid", "")
    wanted = set(call.params["folderIds"]) or {one["id"] for one in server.store.shared_folders(guid)}
    changes = [one for one in since(server, key.get("watermark", -1)) if _touches(one, wanted)]
    return {"list": changes, "asyncKey": _account_key(guid, server.store.journal.watermark)}


def _touches(change: dict[str, Any], folder_ids: set[str]) -> bool:
    places = {change["parentId"], change["origParentId"], change["itemId"] if change["isFolder"] else ""}
    return not places.isdisjoint(folder_ids)
