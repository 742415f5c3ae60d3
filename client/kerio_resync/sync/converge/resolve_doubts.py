"""Retries what was set aside, until it succeeds or its failure is believed.

`doubts` says when a failure is believed.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from kerio_resync.cache import queries
from kerio_resync.errors import BadCredentials, ProtocolError, ServerRefused, SessionExpired
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import fetch_all_queued
from kerio_resync.sync.doubts import Control

MAX_SEARCHED_SLICES: Final = 20  # slices of stored items, to find a control


async def fetch_until_settled(run: RebuildContext) -> None:
    """Fetch everything that is queued, including what was set aside."""
    await fetch_all_queued(run)
    await resolve_doubts(run)


async def resolve_doubts(run: RebuildContext) -> None:
    """Try again what was set aside, until it succeeds or its failure is believed.

    ForeignReply if neither happens within the retry timeout.
    """
    rounds = 0
    while run.doubts.open:
        await asyncio.sleep(run.doubts.wait(rounds))
        rounds += 1
        control = run.doubts.control = run.doubts.control or await _find_control(run)
        run.doubts.begin_round(serving=control is not None and await can_download(run.mailbox, control))
        run.item_queue.retry_aside()
        run.attachment_queue.retry_aside()
        await fetch_all_queued(run)
        run.doubts.end_round()


async def _find_control(run: RebuildContext) -> Control | None:
    """Return a content that an earlier run stored and its item still lists."""
    after = ("", "")
    for _ in range(MAX_SEARCHED_SLICES):
        rows = await run.store.read(queries.items, after)
        if not rows:
            break
        after = (rows[-1].kind, rows[-1].id)
        for row in rows:
            stored = {content.id: content.sha256 for content in row.attachments if content.sha256 is not None}
            if not stored:
                continue
            reply = await run.mailbox.items_by_id(row.kind, [row.id])
            for attachment in (attachment for item in reply.items for attachment in item.attachments):
                if attachment.id in stored and attachment.size:
                    return Control(attachment, stored[attachment.id], attachment.size)
    return None


async def can_download(mailbox: Mailbox, control: Control) -> bool:
    """Return whether the control can be downloaded now, unchanged."""
    digest, position = hashlib.sha256(), 0
    try:
        async for chunk in mailbox.download(control.attachment):
            if not chunk.offset:
                digest, position = hashlib.sha256(), 0
            digest.update(chunk.data)
            position += len(chunk.data)
    except (ServerRefused, ProtocolError) as error:
        if isinstance(error, BadCredentials | SessionExpired):
            raise
        return False
    return (digest.digest(), position) == (control.sha256, control.size)
