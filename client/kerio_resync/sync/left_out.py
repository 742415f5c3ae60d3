"""Folders that a cache is built without, as the user asked for.

The server lists them as any other. To the engine they are folders that may not be read, so it neither lists them nor
fetches from them; an item that is in another folder too is kept. The cache records their ids, so that `verify` and a
partial rebuild leave out the same folders, whatever the settings say by then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kerio_resync.cache.write.folders import folder_paths
from kerio_resync.model import Folder
from kerio_resync.sync.folder_names import UnknownFolder, select_folders

LEFT_OUT_KEY: Final = "left_out"  # meta: ids of the folders that the cache was built without


@dataclass(slots=True)
class LeftOut:
    """Folders to leave out, with those inside them: by `names`, or by `ids`.

    `found`: (path, number of items) by id, as of the last list of folders. `unknown`: a sentence for each name that
    means no folder.
    """

    names: Sequence[str] = ()
    ids: frozenset[str] = frozenset()
    found: dict[str, tuple[str, int]] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @classmethod
    def from_meta(cls, value: str | None) -> LeftOut:
        """Return what a cache was built without."""
        return cls(ids=frozenset(map(str, json.loads(value)))) if value else cls()

    def to_meta(self) -> str:
        """Return the value to store."""
        return json.dumps(sorted(self.found)) if self.found else ""

    def mark(self, folders: Iterable[Folder]) -> tuple[Folder, ...]:
        """Return the folders, those that are left out as not readable.

        BadSettings for a name that several folders have.
        """
        listed = tuple(folders)
        if not self.names and not self.ids:
            return listed
        paths, unknown = folder_paths(listed), []
        inside = tuple(f"{paths[folder.id]}/" for folder in listed if folder.id in self.ids)
        ids = {folder.id for folder in listed if folder.id in self.ids or paths[folder.id].startswith(inside)}
        for name in self.names:
            try:
                ids.update(folder.id for folder in select_folders([name], listed, paths))
            except UnknownFolder as error:
                unknown.append(str(error))
        self.unknown = tuple(unknown)
        self.found = {folder.id: (paths[folder.id], folder.count) for folder in listed if folder.id in ids}
        return tuple(replace(folder, readable=False) if folder.id in ids else folder for folder in listed)

    def holding_items(self) -> tuple[tuple[str, int], ...]:
        """Return (path, number of items on the server) of each, by path."""
        return tuple(sorted(self.found.values()))
