"""Tries again what was set aside, until it succeeds or its failure is believed (`doubts`)."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from kerio_resync.errors import BadCredentials, ServerNonsense, ServerRefused, SessionExpired
from kerio_resync.resync.catchup import drain
from kerio_resync.resync.doubts import Control
from kerio_resync.resync.run import Run
from kerio_resync.server.mailbox import Mailbox

LOOKED_THROUGH: Final = 20  # slices of the stored items, in search of a content for comparison


async def drain_all(run: Run) -> None:
    """Fetches all that is wanted now, with what was set aside."""
    await drain(run)
    await resolve_doubts(run)


async def resolve_doubts(run: Run) -> None:
    """Tries again what was set aside, until it succeeds or its failure is believed. ForeignReply if neither happens
    within the retry timeout."""
    rounds = 0
    while run.doubts.open:
        await asyncio.sleep(run.doubts.wait(rounds))
        rounds += 1
        control = run.doubts.control = run.doubts.control or await _find_control(run)
        run.doubts.begin_round(serving=control is not None and await serves(run.mailbox, control))
        run.details.retry_aside()
        run.contents.retry_aside()
        await drain(run)
        run.doubts.end_round()


async def _find_control(run: Run) -> Control | None:
    """A content that an earlier run stored, if its item still lists it."""
    after = ("", "")
    for _ in range(LOOKED_THROUGH):
        rows = await run.store.items(after)
        if not rows:
            break
        after = (rows[-1].kind, rows[-1].id)
        for row in rows:
            held = {each.id: each.sha256 for each in row.attachments if each.sha256 is not None}
            if not held:
                continue
            details = await run.mailbox.by_ids(row.kind, [row.id])
            for each in (one for item in details.items for one in item.attachments):
                if each.id in held and each.size:
                    return Control(each, held[each.id], each.size)
    return None


async def serves(mailbox: Mailbox, control: Control) -> bool:
    """Whether the control can be downloaded now, and is what it was."""
    digest, position = hashlib.sha256(), 0
    try:
        async for piece in mailbox.download(control.attachment):
            if not piece.offset:
                digest, position = hashlib.sha256(), 0
            digest.update(piece.data)
            position += len(piece.data)
    except (ServerRefused, ServerNonsense) as error:
        if isinstance(error, BadCredentials | SessionExpired):
            raise
        return False
    return (digest.digest(), position) == (control.sha256, control.size)
