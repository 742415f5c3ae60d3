"""Lists the folders while the old cache is still being copied.

The copy is compared with the lists afterwards.

The sync key is older than every list, so the change feed since that key has all later changes. At most MAX_ROWS rows
are kept; the rest is listed later.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from kerio_resync.errors import ResyncError
from kerio_resync.model import Folder, ListedItem
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.listing.concurrency import for_each_concurrently
from kerio_resync.sync.listing.paging import Position, concerns_this_list_only, list_folder

MAX_ROWS = 50_000


@dataclass(slots=True)
class PartialListing:
    """The pages of a folder's list so far, and the position after them."""

    pages: list[tuple[ListedItem, ...]] = field(default_factory=list)
    position: Position = field(default_factory=Position)


@dataclass(slots=True)
class EarlyListing:
    """A sync key ("": none) and lists by folder id. Each list is handed out once."""

    key: str = ""
    lists: dict[str, PartialListing] = field(default_factory=dict)

    def take_pages(self, folder_id: str) -> PartialListing:
        """Remove and return a folder's list; an empty one if there is none."""
        return self.lists.pop(folder_id, None) or PartialListing()


async def list_early(mailbox: Mailbox, settings: Settings) -> EarlyListing:
    """Fetch a sync key and list.

    A folder that cannot be listed is left out; other errors are raised.
    """
    early, rows_left = EarlyListing(), MAX_ROWS

    async def list_one(folder: Folder) -> None:
        nonlocal rows_left
        partial = PartialListing()
        pages = list_folder(mailbox, folder, partial.position, limit=settings.page_size, overlap=settings.overlap)
        async with aclosing(pages):
            async for _, fresh, partial.position in pages:
                partial.pages.append(fresh)
                rows_left -= len(fresh)
                if rows_left <= 0:
                    break
        early.lists[folder.id] = partial

    async def list_if_rows_are_left(folder: Folder) -> None:
        if rows_left > 0:
            try:
                await list_one(folder)
            except ResyncError as error:
                if not concerns_this_list_only(error):
                    raise

    early.key = await mailbox.sync_key()
    folders = await mailbox.folders(shared=settings.shared, public=settings.public)
    todo = longest_first(folder for folder in folders if folder.kind and folder.readable)
    await for_each_concurrently(todo, list_if_rows_are_left)
    return early


def longest_first(folders: Iterable[Folder]) -> list[Folder]:
    """Return the folders by size, so that no long list is left for the end."""
    return sorted(folders, key=lambda folder: -folder.count)
