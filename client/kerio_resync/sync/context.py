"""`RebuildContext`: what all phases of one run share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import SkipEntry
from kerio_resync.cache.queries import QueueCursor, QueuedAttachment, QueuedItem
from kerio_resync.cache.store import Store
from kerio_resync.events import Listener, Notice, Skipped
from kerio_resync.model import Folder, Identity, Item, is_newer
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.batch_size import BatchSize
from kerio_resync.sync.doubts import Doubts
from kerio_resync.sync.left_out import LeftOut
from kerio_resync.sync.listing.early import EarlyListing
from kerio_resync.sync.progress import ProgressTracker
from kerio_resync.sync.state import Announcements, ComparisonState, FetchState, ReuseState
from kerio_resync.sync.work_queue import WorkQueue


@dataclass(frozen=True, slots=True)
class RebuildContext:
    """The two ends of a run, its queues, and the state of each phase.

    The context itself never changes. `folders`: the server's folders by id, as it last listed them. `owner`: the
    mailbox that the old cache says it belongs to. `left_out`: folders to build without. `clock` returns seconds.
    """

    settings: Settings
    listen: Listener
    mailbox: Mailbox
    store: Store
    progress: ProgressTracker
    clock: Callable[[], float]
    item_queue: WorkQueue[QueuedItem, QueueCursor]
    attachment_queue: WorkQueue[QueuedAttachment, int]
    doubts: Doubts
    owner: Identity | None = None
    left_out: LeftOut = field(default_factory=LeftOut)
    folders: dict[str, Folder] = field(default_factory=dict)
    fetch: FetchState = field(default_factory=FetchState)
    reuse: ReuseState = field(default_factory=ReuseState)
    comparison: ComparisonState = field(default_factory=ComparisonState)
    announced: Announcements = field(default_factory=Announcements)

    @classmethod
    def begin(
        cls,
        settings: Settings,
        listen: Listener,
        mailbox: Mailbox,
        store: Store,
        clock: Callable[[], float],
        *,
        owner: Identity | None = None,
        early: EarlyListing | None = None,
        left_out: LeftOut | None = None,
    ) -> Self:
        """Return the context of a run that begins now.

        `early`: lists that were requested before. `left_out`: if not those of the settings.
        """
        return cls(
            settings,
            listen,
            mailbox,
            store,
            ProgressTracker(listen, clock, mailbox),
            clock,
            *_queues(store),
            Doubts(clock, settings.retry_timeout),
            owner=owner,
            left_out=left_out or LeftOut(settings.exclude_folders),
            fetch=FetchState(BatchSize.begin(mailbox.traits)),
            comparison=ComparisonState(early or EarlyListing()),
        )

    def with_store(self, store: Store) -> Self:
        """Return the context of the same run on another database.

        Its queues and phases are new.
        """
        items, attachments = _queues(store)
        return replace(
            self,
            store=store,
            item_queue=items,
            attachment_queue=attachments,
            doubts=Doubts(self.clock, self.settings.retry_timeout),
            fetch=FetchState(BatchSize.begin(self.mailbox.traits)),
            reuse=ReuseState(),
            comparison=ComparisonState(),
        )

    async def list_folders(self) -> tuple[Folder, ...]:
        """Return the server's folders; those that are left out are not readable."""
        settings = self.settings
        return self.left_out.mark(await self.mailbox.folders(shared=settings.shared, public=settings.public))

    def set_folders(self, folders: Iterable[Folder]) -> None:
        """Replace `folders`."""
        self.folders.clear()
        self.folders.update((folder.id, folder) for folder in folders)

    def omits_attachments(self, folder_ids: Sequence[str]) -> bool:
        """Return whether the settings leave out the attachments of mails in these folders.

        Photos of contacts are always kept.
        """
        if self.settings.attachments == "all":
            return False
        folders = [self.folders[folder_id] for folder_id in folder_ids if folder_id in self.folders]
        return bool(folders) and all(
            folder.kind == "mail" and (self.settings.attachments == "none" or folder.role != "inbox")
            for folder in folders
        )

    def omits_contents(self, item: Item) -> bool:
        """Return whether the settings leave out the attachments of an item."""
        is_old = item.kind == "mail" and item.date is not None and item.date < self.settings.since
        return is_old or self.omits_attachments(item.folder_ids)

    def is_outdated(self, stored: str | None, version: str) -> bool:
        """Return whether an item stored in version `stored` has to be fetched again.

        `version` is that of the server; "" if it is unknown. None: it is not stored.
        """
        if not stored or not version:
            return True
        return is_newer(version, stored) if self.mailbox.traits.ordered_versions else version != stored

    async def skip(self, scope: str, id_: str, reason: str) -> None:
        """Record in the database that something is left out, and announce it."""
        reason = self.settings.redactor.own(reason)
        await self.store.apply(SkipEntry(scope, id_, reason))
        self.announce_skipped(scope, id_, reason)

    def announce_skipped(self, scope: str, id_: str, reason: str) -> None:
        """Emit `Skipped`, once for each (scope, id).

        What is skipped is tried again before the run ends.
        """
        if (scope, id_) not in self.announced.skipped:
            self.announced.skipped.add((scope, id_))
            self.listen(Skipped(scope, id_, reason))

    def notice(self, text: str) -> None:
        """Emit a sentence for the user, and keep it for the report."""
        text = self.settings.redactor.own(text)
        self.announced.notices.append(text)
        self.listen(Notice(text))


def _queues(store: Store) -> tuple[WorkQueue[QueuedItem, QueueCursor], WorkQueue[QueuedAttachment, int]]:
    async def items(limit: int, after: QueueCursor | None) -> tuple[QueuedItem, ...]:
        return await store.read(queries.queued_items, limit, after)

    async def attachments(limit: int, after: int | None) -> tuple[QueuedAttachment, ...]:
        return await store.read(queries.queued_attachments, limit, after)

    return (
        WorkQueue(items, lambda row: row.id, lambda row: row.cursor),
        WorkQueue(attachments, lambda row: row.key, lambda row: row.key),
    )
