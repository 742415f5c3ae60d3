"""The server's lists, asked for while the old cache is still being copied and proven, to be held against the copy.

Promises: the key is older than every list, so what changes meanwhile is told by the changes since; at most `ROOM` rows
are kept, the rest is listed when it is its turn.
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

MAX_ROWS = 50_000  # rows


@dataclass(slots=True)
class PartialListing:
    """A folder's list so far, page by page, and where it goes on."""

    pages: list[tuple[ListedItem, ...]] = field(default_factory=list)
    position: Position = field(default_factory=Position)


@dataclass(slots=True)
class EarlyListing:
    """`key`: '' if there is none. A list is handed out once: asked for again, it has to be a new one."""

    key: str = ""
    lists: dict[str, PartialListing] = field(default_factory=dict)

    def take_pages(self, folder_id: str) -> PartialListing:
        return self.lists.pop(folder_id, None) or PartialListing()


async def list_early(mailbox: Mailbox, settings: Settings) -> EarlyListing:
    """Raises what ends a run. A folder that can't be listed is not among the lists."""
    ahead, room = EarlyListing(), MAX_ROWS

    async def begin(folder: Folder) -> None:
        nonlocal room
        begun = PartialListing()
        pages = list_folder(mailbox, folder, begun.position, limit=settings.page_size, overlap=settings.overlap)
        async with aclosing(pages):
            async for _, fresh, begun.position in pages:
                begun.pages.append(fresh)
                room -= len(fresh)
                if room <= 0:
                    break
        ahead.lists[folder.id] = begun

    async def begin_if_there_is_room(folder: Folder) -> None:
        if room > 0:
            try:
                await begin(folder)
            except ResyncError as error:
                if not concerns_this_list_only(error):
                    raise

    ahead.key = await mailbox.sync_key()
    told = await mailbox.folders(shared=settings.shared, public=settings.public)
    todo = longest_first(each for each in told if each.kind and each.readable)
    await for_each_concurrently(todo, begin_if_there_is_room)
    return ahead


def longest_first(folders: Iterable[Folder]) -> list[Folder]:
    """So that no long list is left alone at the end."""
    return sorted(folders, key=lambda each: -each.count)
