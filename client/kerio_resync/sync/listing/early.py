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
from kerio_resync.model import Folder, ListedItem, Listing
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.left_out import LeftOut
from kerio_resync.sync.listing.concurrency import for_each_concurrently
from kerio_resync.sync.listing.failures import concerns_this_list_only

MAX_ROWS = 50_000


@dataclass(slots=True)
class PartialListing:
    """The pages of a list so far, and the position after them."""

    pages: list[tuple[ListedItem, ...]] = field(default_factory=list)
    position: bytes | None = None
    done: bool = False


@dataclass(slots=True)
class EarlyListing:
    """A sync key ("": none) and lists by the ids of their folders.

    Each list is handed out once.
    """

    key: str = ""
    lists: dict[tuple[str, ...], PartialListing] = field(default_factory=dict)

    def take_pages(self, listing: Listing) -> PartialListing:
        """Remove and return a list; an empty one if there is none."""
        return self.lists.pop(listing.folder_ids, None) or PartialListing()


async def list_early(mailbox: Mailbox, settings: Settings) -> EarlyListing:
    """Fetch a sync key and list.

    A list that fails is left out; other errors are raised.
    """
    early, rows_left = EarlyListing(), MAX_ROWS

    async def list_one(listing: Listing) -> None:
        nonlocal rows_left
        partial = PartialListing()
        async with aclosing(mailbox.list_items(listing)) as pages:
            async for page in pages:
                partial.pages.append(page.fresh)
                partial.position, partial.done = page.position, page.done
                rows_left -= len(page.fresh)
                if rows_left <= 0:
                    break
        early.lists[listing.folder_ids] = partial

    async def list_if_rows_are_left(listing: Listing) -> None:
        if rows_left > 0:
            try:
                await list_one(listing)
            except ResyncError as error:
                if not concerns_this_list_only(error):
                    raise

    early.key = await mailbox.sync_key()
    listed = await mailbox.folders(shared=settings.shared, public=settings.public)
    folders = LeftOut(settings.exclude_folders).mark(listed)
    readable: list[Folder] = [folder for folder in folders if folder.kind and folder.readable]
    await for_each_concurrently(longest_first(mailbox.listings(readable)), list_if_rows_are_left)
    return early


def longest_first(listings: Iterable[Listing]) -> list[Listing]:
    """Return the lists by size, so that no long list is left for the end."""
    return sorted(listings, key=lambda listing: -listing.count)
