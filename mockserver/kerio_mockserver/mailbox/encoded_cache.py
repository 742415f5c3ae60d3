"""A cache of encoded items, bounded in bytes; the least recently used ones go."""

from __future__ import annotations

from collections import OrderedDict

_OVERHEAD = 200  # overhead of an entry: key, links, slot


class EncodedItemCache:
    """Maps ids to JSON bytes; with `limit` 0 it keeps nothing."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._entries: OrderedDict[str, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, item_id: str) -> bytes | None:
        """Return an item's JSON, or None."""
        found = self._entries.get(item_id)
        if found is not None:
            self._entries.move_to_end(item_id)
        return found

    def put(self, item_id: str, data: bytes) -> None:
        """Keep an item's JSON, and drop others beyond the limit."""
        self.drop(item_id)
        if len(data) + _OVERHEAD > self.limit:
            return
        self._entries[item_id] = data
        self.size += len(data) + _OVERHEAD
        while self.size > self.limit:
            _, old = self._entries.popitem(last=False)
            self.size -= len(old) + _OVERHEAD

    def drop(self, item_id: str) -> None:
        """Drop an item."""
        old = self._entries.pop(item_id, None)
        if old is not None:
            self.size -= len(old) + _OVERHEAD

    def drop_under(self, prefix: str) -> None:
        """Drop all ids with a prefix, those of a removed folder."""
        for item_id in [known_id for known_id in self._entries if known_id.startswith(prefix)]:
            self.drop(item_id)
