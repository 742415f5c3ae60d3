"""What the steps of one rebuild share: the settings, both ends, the counters, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kerio_resync.cache.mutations import SkipEntry
from kerio_resync.cache.queries import QueueCursor, QueuedAttachment, QueuedItem
from kerio_resync.cache.store import Store
from kerio_resync.events import Listener, Notice, Skipped
from kerio_resync.model import Folder, Identity
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.batch_size import BatchSize
from kerio_resync.sync.fetch.doubted_attachments import DoubtedAttachments
from kerio_resync.sync.listing.early import EarlyListing
from kerio_resync.sync.progress import ProgressTracker
from kerio_resync.sync.work_queue import WorkQueue


@dataclass(slots=True)
class RebuildContext:
    """One rebuild under way. `folders` by id, as the server last told."""

    settings: Settings
    listen: Listener
    mailbox: Mailbox
    store: Store
    progress: ProgressTracker
    clock: Callable[[], float]
    folders: dict[str, Folder] = field(default_factory=dict)
    batch: BatchSize = field(default_factory=BatchSize)
    only_flags: frozenset[str] = frozenset()  # of these nothing but flags changed: what is here of their contents holds
    retried: set[str] = field(default_factory=set)  # ids of what was left out once: what is here of it may be too old
    unlistable: set[str] = field(
        default_factory=set
    )  # ids of list rows that were no items: no fetch can try them again
    unlisted: set[str] = field(default_factory=set)  # ids of stored items that a whole list of their folder lacked
    copied: bool = False  # the new cache began as a copy of the old one, and was not yet held against the lists
    owner: Identity | None = None  # whose the old cache says it is
    early_listing: EarlyListing = field(
        default_factory=EarlyListing
    )  # lists that were asked for before there was anything to compare
    initial_items: int = 0  # items that were here when it began
    salvaged: int = 0
    repaired: int = 0
    consecutive_failures: int = 0  # items in a row that could not be had, each asked for alone
    contradictions: set[tuple[str, str]] = field(default_factory=set)  # (item, folder that lists it too), named
    problems: list[str] = field(default_factory=list)
    item_queue: WorkQueue[QueuedItem, QueueCursor] = field(init=False)
    attachment_queue: WorkQueue[QueuedAttachment, int] = field(init=False)
    doubts: DoubtedAttachments = field(init=False)
    _told: set[tuple[str, str]] = field(default_factory=set)  # scopes and ids of what was said to be left out

    def __post_init__(self) -> None:
        store = self.store
        self.doubts = DoubtedAttachments(self.clock, self.settings.retry_timeout)
        self.item_queue = WorkQueue(store.queued_items, lambda row: row.id, lambda row: row.cursor)
        self.attachment_queue = WorkQueue(store.queued_attachments, lambda row: row.key, lambda row: row.key)

    def omits_attachments(self, folder_id: str) -> bool:
        """Whether the settings leave out the attachments of this folder's mails (photos of contacts always come)."""
        folder = self.folders.get(folder_id)
        if folder is None or folder.kind != "mail" or self.settings.attachments == "all":
            return False
        return self.settings.attachments == "none" or folder.role != "inbox"

    async def skip(self, scope: str, each: str, reason: str) -> None:
        """Leaves something out: counted and named in the database, told to the listener."""
        reason = self.settings.redactor.own(reason)
        await self.store.apply(SkipEntry(scope, each, reason))
        self.tell_skipped(scope, each, reason)

    def tell_skipped(self, scope: str, each: str, reason: str) -> None:
        """Tells the listener, once for each thing: what was left out is tried again before the end."""
        if (scope, each) not in self._told:
            self._told.add((scope, each))
            self.listen(Skipped(scope, each, reason))

    def notice(self, text: str) -> None:
        text = self.settings.redactor.own(text)
        self.problems.append(text)
        self.listen(Notice(text))
