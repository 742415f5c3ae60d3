"""What was created in a folder since a sync key, wherever it is now: follows the server's change feed.

Used to find an item again whose creation has an unknown outcome, when neither its Message-ID nor its content tells it:
a server may assign Message-IDs of its own, and somebody may have moved it or written on it meanwhile.
"""

from __future__ import annotations

from kerio_resync.model import Kind
from kerio_resync.server.mailbox import Mailbox

MAX_ROUNDS = 20  # calls of the feed, which may go on while it is read


async def created_since(mailbox: Mailbox, key: str, kind: Kind, folder_id: str) -> dict[str, bool]:
    """By the id that each item has now, whether it was written on since it was created. KeyExpired."""
    found: dict[str, bool] = {}
    for _ in range(MAX_ROUNDS):
        told = await mailbox.changes(key)
        for change in told.changes:
            if change.is_folder or change.kind not in (None, kind):
                continue
            match change.type:
                case "created" if change.parent_id == folder_id:
                    found[change.id] = False
                case "moved" if change.old_id in found:
                    found[change.id] = found.pop(change.old_id)
                case "modified" if change.id in found:
                    found[change.id] = True
                case "deleted":
                    found.pop(change.id, None)
        if not told.changes or told.key == key:
            break
        key = told.key
    return found
