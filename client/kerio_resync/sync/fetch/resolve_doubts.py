"""Tries again what was set aside, until it succeeds or its failure is believed (`doubts`)."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from kerio_resync.cache import queries
from kerio_resync.errors import BadCredentials, ProtocolError, ServerRefused, SessionExpired
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.converge.catch_up import fetch_all_queued
from kerio_resync.sync.fetch.doubted_attachments import Control

MAX_SEARCHED_SLICES: Final = 20  # slices of the stored items, in search of a content for comparison


async def fetch_until_settled(run: RebuildContext) -> None:
    """Fetches all that is wanted now, with what was set aside."""
    await fetch_all_queued(run)
    await resolve_doubts(run)


async def resolve_doubts(run: RebuildContext) -> None:
    """Tries again what was set aside, until it succeeds or its failure is believed. ForeignReply if neither happens
    within the retry timeout."""
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
    """A content that an earlier run stored, if its item still lists it."""
    after = ("", "")
    for _ in range(MAX_SEARCHED_SLICES):
        rows = await run.store.read(queries.items, after)
        if not rows:
            break
        after = (rows[-1].kind, rows[-1].id)
        for row in rows:
            held = {each.id: each.sha256 for each in row.attachments if each.sha256 is not None}
            if not held:
                continue
            details = await run.mailbox.items_by_id(row.kind, [row.id])
            for each in (one for item in details.items for one in item.attachments):
                if each.id in held and each.size:
                    return Control(each, held[each.id], each.size)
    return None


async def can_download(mailbox: Mailbox, control: Control) -> bool:
    """Whether the control can be downloaded now, and is what it was."""
    digest, position = hashlib.sha256(), 0
    try:
        async for piece in mailbox.download(control.attachment):
            if not piece.offset:
                digest, position = hashlib.sha256(), 0
            digest.update(piece.data)
            position += len(piece.data)
    except (ServerRefused, ProtocolError) as error:
        if isinstance(error, BadCredentials | SessionExpired):
            raise
        return False
    return (digest.digest(), position) == (control.sha256, control.size)
