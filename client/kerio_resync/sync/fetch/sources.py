"""Queues stored mails whose source an earlier run left out."""

from __future__ import annotations

from itertools import groupby

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import EnqueueItems
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.work_queue import SLICE_ROWS


async def enqueue_mails_without_source(run: RebuildContext) -> None:
    """Queue the mails without a source.

    Fetching one replaces its attachments by its source, of which they are part.
    """
    after = 0
    while found := await run.store.read(queries.mails_without_source, after, SLICE_ROWS):
        after = found[-1].number
        for folder_id, mails in groupby(sorted(found, key=lambda mail: mail.folder_id), lambda mail: mail.folder_id):
            rows = tuple(mail.row for mail in mails)
            run.progress.queued(rows)
            await run.store.apply(EnqueueItems(folder_id, "mail", rows))
