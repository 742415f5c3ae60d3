"""Which function stores which fact."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, Final

from kerio_resync.cache.mutations import (
    AddChange,
    ApplyChanges,
    DeleteItems,
    EnqueueItems,
    FinishAttachment,
    MarkChange,
    Mutation,
    OmitAttachment,
    PutAttachmentBytes,
    PutItems,
    PutLocal,
    PutPage,
    PutWholeAttachment,
    ResetListing,
    RestartAttachment,
    SetFolders,
    SetMeta,
    SkipEntry,
    UnskipEntry,
)
from kerio_resync.cache.write import attachments, fetch_queue, folders, items, outbox
from kerio_resync.cache.write.session import WriteSession


def set_meta(tables: WriteSession, fact: SetMeta) -> None:
    with tables.untracked_writes():
        tables.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (fact.key, fact.value))


_STORE: Final[dict[type, Callable[[WriteSession, Any], None]]] = {
    SetFolders: folders.set_folders,
    ResetListing: folders.reset_listing,
    PutPage: fetch_queue.put_page,
    EnqueueItems: fetch_queue.enqueue,
    DeleteItems: fetch_queue.delete,
    ApplyChanges: fetch_queue.apply,
    SkipEntry: fetch_queue.skip,
    UnskipEntry: fetch_queue.unskip,
    PutItems: items.put_items,
    PutAttachmentBytes: attachments.put_content,
    FinishAttachment: attachments.finish_attachment,
    RestartAttachment: attachments.reset_attachment,
    OmitAttachment: attachments.omit_attachment,
    AddChange: outbox.add_change,
    MarkChange: outbox.mark_change,
    PutLocal: outbox.put_local_item,
    SetMeta: set_meta,
}


def apply_mutations(tables: WriteSession, facts: Iterable[Mutation]) -> None:
    """Stores the facts in their order, within the transaction that is open; whole contents in a row go in together."""
    for kind, some in groupby(facts, type):
        if kind is PutWholeAttachment:
            attachments.put_whole(tables, [fact for fact in some if isinstance(fact, PutWholeAttachment)])
            continue
        for fact in some:
            _STORE[kind](tables, fact)
