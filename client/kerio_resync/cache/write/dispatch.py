"""Applies mutations: one function per class of mutation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from itertools import groupby

from kerio_resync.cache.mutations import Mutation, PutWholeAttachment
from kerio_resync.cache.write import attachments, fetch_queue, folders, items, outbox
from kerio_resync.cache.write.session import WriteSession


@singledispatch
def apply_mutation(mutation: Mutation, session: WriteSession) -> None:
    """Call the function that is registered below for the class of the mutation."""
    raise TypeError(f"no function applies {type(mutation).__name__}")


apply_mutation.register(folders.set_folders)
apply_mutation.register(folders.reset_listing)
apply_mutation.register(fetch_queue.put_page)
apply_mutation.register(fetch_queue.enqueue)
apply_mutation.register(fetch_queue.delete)
apply_mutation.register(fetch_queue.apply_changes)
apply_mutation.register(fetch_queue.patch)
apply_mutation.register(fetch_queue.skip)
apply_mutation.register(fetch_queue.unskip)
apply_mutation.register(fetch_queue.set_meta)
apply_mutation.register(items.put_items)
apply_mutation.register(attachments.put_bytes)
apply_mutation.register(attachments.finish_attachment)
apply_mutation.register(attachments.restart_attachment)
apply_mutation.register(attachments.omit_attachment)
apply_mutation.register(outbox.add_change)
apply_mutation.register(outbox.mark_change)
apply_mutation.register(outbox.put_local_item)


def apply_mutations(mutations: Sequence[Mutation], session: WriteSession) -> None:
    """Apply mutations in their order.

    Consecutive complete attachments share their statements.
    """
    for kind, group in groupby(mutations, type):
        if kind is PutWholeAttachment:
            whole = [mutation for mutation in group if isinstance(mutation, PutWholeAttachment)]
            attachments.put_whole_attachments(whole, session)
        else:
            for mutation in group:
                apply_mutation(mutation, session)
