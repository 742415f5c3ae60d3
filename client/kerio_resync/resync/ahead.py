"""The server's lists, asked for while the old cache is still being copied and proven, to be held against the copy.

Promises: the key is older than every list, so what changes meanwhile is told by the changes since; at most `ROOM` rows
are kept, the rest is listed when it is its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from kerio_resync.errors import ResyncError
from kerio_resync.model import Folder, Listed
from kerio_resync.resync.listing import Position, list_folder, of_this_list_alone
from kerio_resync.resync.together import together
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings

ROOM = 50_000  # rows


@dataclass(slots=True)
class Begun:
    """A folder's list so far, page by page, and where it goes on."""

    pages: list[tuple[Listed, ...]] = field(default_factory=list)
    position: Position = field(default_factory=Position)


@dataclass(slots=True)
class Ahead:
    """`key`: '' if there is none. A list is handed out once: asked for again, it has to be a new one."""

    key: str = ""
    lists: dict[str, Begun] = field(default_factory=dict)

    def take(self, folder_id: str) -> Begun:
        return self.lists.pop(folder_id, None) or Begun()


async def list_ahead(mailbox: Mailbox, settings: Settings) -> Ahead:
    """Raises what ends a run. A folder that can't be listed is not among the lists."""
    ahead, room = Ahead(), ROOM

    async def begin(folder: Folder) -> None:
        nonlocal room
        begun = Begun()
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
                if not of_this_list_alone(error):
                    raise

    ahead.key = await mailbox.key()
    told = await mailbox.folders(shared=settings.shared, public=settings.public)
    todo = longest_first(each for each in told if each.kind and each.readable)
    await together(todo, begin_if_there_is_room)
    return ahead


def longest_first(folders: Iterable[Folder]) -> list[Folder]:
    """So that no long list is left alone at the end."""
    return sorted(folders, key=lambda each: -each.count)
