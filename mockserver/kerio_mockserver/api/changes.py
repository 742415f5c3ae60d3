"""The methods of `Changes`: changes since a key, at once or as a long poll.

A key that is too old, later than now, or of another generation of the mailbox (before a restore) is refused with 1000,
or with 1002 if the quirks say so. One poll waits per key: a second poll with the same key ends the first, which then
answers with the changes so far; `killRequest` does the same. Polls last at most an hour.

The changes of items are followed by one line per folder in which mails were added, removed or changed, with the number
of its unread mails (chtModifiedContent).

Open (chosen here): `timeout` is in seconds; the own mailbox, shared mailboxes and public folders share one journal, so
that `publicFolder` equals `watermark` and `Changes.get` returns every change that the account may see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kerio_mockserver.api.call import Call, Server, method
from kerio_mockserver.api.errors import ApiError
from kerio_mockserver.mailbox.errors import NoSuchFolder
from kerio_mockserver.mailbox.folder_tree import folder_change
from kerio_mockserver.mailbox.journal import KeyTooOld

VERSION = 1


def sync_key(server: Server) -> dict[str, Any]:
    """Return the current sync key."""
    watermark = server.store.journal.watermark
    return {
        "id": server.generation,
        "version": VERSION,
        "watermark": watermark,
        "publicFolder": watermark,
        "accountSyncKey": [
            _account_key(mailbox["mailboxId"], watermark) for mailbox in server.store.shared_mailboxes()
        ],
    }


def _account_key(mailbox_id: str, watermark: int) -> dict[str, Any]:
    return {"guid": mailbox_id, "watermark": watermark}


def since(server: Server, watermark: int, folder_id: str | None = None) -> list[dict[str, Any]]:
    """Return the changes after `watermark`.

    Raise ApiError if the journal no longer holds them.
    """
    try:
        changes = server.store.journal.since(watermark, folder_id)
    except KeyTooOld as error:
        raise refused_key(server) from error
    return changes + [line for line in _contents(server, changes) if folder_id in (None, line["itemId"])]


def _contents(server: Server, changes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one line for each mail folder whose content these changes touch."""
    mails = [change for change in changes if not change["isFolder"] and change["itemType"] == "itMail"]
    for folder_id in sorted({mail[side] for mail in mails for side in ("parentId", "origParentId")} - {""}):
        with suppress(NoSuchFolder):
            line = folder_change("chtModifiedContent", server.store.folder(folder_id))
            yield line | {"watermark": changes[-1]["watermark"]}


def refused_key(server: Server) -> ApiError:
    """Return the error for an invalid sync key."""
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
    """Wait until something changes, the poll's time is over, or it is killed.

    A key that will be refused does not wait. The call itself follows and answers at once, so that a waiting poll
    occupies no worker of a busy server.
    """
    key, timeout = params["lastSyncKey"], params["timeout"]
    if timeout > 0 and key.get("id") == server.generation and key.get("watermark") == server.store.journal.watermark:
        await server.polls.wait(server.store.journal, key["watermark"], key["watermark"], timeout)


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
    """Return the changes in folders of another mailbox.

    Without folders, those in all that it shares.
    """
    server, key = call.server, call.params["lastAsyncKey"]
    guid = key.get("guid", "")
    folder_ids = set(call.params["folderIds"]) or {folder["id"] for folder in server.store.shared_folders(guid)}
    changes = [change for change in since(server, key.get("watermark", -1)) if _touches(change, folder_ids)]
    return {"list": changes, "asyncKey": _account_key(guid, server.store.journal.watermark)}


def _touches(change: dict[str, Any], folder_ids: set[str]) -> bool:
    places = {change["parentId"], change["origParentId"], change["itemId"] if change["isFolder"] else ""}
    return not places.isdisjoint(folder_ids)
