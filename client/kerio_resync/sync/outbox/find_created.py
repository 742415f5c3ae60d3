"""Finds what was created in a folder since a sync key, wherever it is now.

This recognizes an item of a creation with an unknown outcome when neither its Message-ID nor its content does: the
server may assign Message-IDs of its own, and the item may have been moved or edited meanwhile.
"""

from __future__ import annotations

from typing import Final

from kerio_resync.model import Kind
from kerio_resync.server.mailbox import Mailbox

MAX_ROUNDS: Final = 20  # requests for changes; new ones may arrive meanwhile


async def created_since(mailbox: Mailbox, key: str, kind: Kind, folder_id: str) -> dict[str, bool]:
    """Return by id whether each created item was edited since. KeyExpired."""
    edited: dict[str, bool] = {}
    for _ in range(MAX_ROUNDS):
        batch = await mailbox.changes(key)
        for change in batch.changes:
            if change.is_folder or change.kind not in (None, kind):
                continue
            match change.type:
                case "created" if folder_id in (change.folder_ids or (change.parent_id,)):
                    edited[change.id] = False
                case "moved" if change.old_id in edited:
                    edited[change.id] = edited.pop(change.old_id)
                case "modified" if change.id in edited:
                    edited[change.id] = True
                case "deleted":
                    edited.pop(change.id, None)
        if not batch.changes or batch.key == key:
            break
        key = batch.key
    return edited
