"""The items of one folder: computed ones, with changes, and stored ones.

A computed item needs no memory until it changes. A changed flag is an entry in a dict; after a larger change, or if a
client, an import or a move made it, an item is stored as its JSON. The folder knows its count, unread mails and bytes
at any time. It writes no journal: `MailboxStore` does, and passes the watermark to write.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from kerio_mockserver.mailbox.api_structs import ITEM_STRUCTS, members
from kerio_mockserver.mailbox.blobs import Attached
from kerio_mockserver.mailbox.dates import instant
from kerio_mockserver.mailbox.ids import FolderAddress, Kind
from kerio_mockserver.mailbox.item_order import ItemOrder

Struct = dict[str, Any]
HEAVY = frozenset({"displayableParts", "attachments", "headers", "signInfo", "encryptInfo"})
_IDENTITY = frozenset({"id", "folderId", "watermark"})
_BRIEF = (_IDENTITY, _IDENTITY | {"size", "receiveDate", "hasAttachment", "isSeen"})  # of other items; of mails
_DATES = frozenset({"receiveDate", "sendDate", "modifiedDate", "start", "end", "due", "createDate", "modifyDate"})


def light_members(kind: Kind) -> frozenset[str]:
    """Return the members in a light struct: all but a mail's texts, files and headers."""
    names = frozenset(members(ITEM_STRUCTS[kind]))
    return names - HEAVY if kind == "mail" else names


class Source(Protocol):
    """Computed items k = 0..count-1 of a folder.

    `first` is the watermark before that of item 0, `size` the bytes of all.
    """

    count: int
    first: int
    size: int
    unread: int

    def item(self, k: int) -> Struct: ...
    def raw(self, k: int) -> bytes: ...
    def brief(self, k: int) -> Struct: ...
    def light(self, k: int) -> Struct: ...
    def contents(self, k: int) -> dict[str, Attached]: ...
    def seen(self, k: int) -> bool: ...
    def size_of(self, k: int) -> int: ...
    def when(self, k: int) -> str: ...
    def unseen(self) -> Iterator[int]: ...


@dataclass(slots=True)
class StoredItem:
    """A stored item; `light` is the JSON of its light members, empty if that is `raw`."""

    raw: bytes
    light: bytes
    contents: dict[str, Attached]
    when: str
    seen: bool
    size: int
    watermark: int


class FolderItems:
    """The items of a folder.

    `kind` is that of its items, None for a folder without items; `place` is own, public, or a shared mailbox's id.
    """

    def __init__(self, home: FolderAddress, about: Struct, place: str, source: Source | None = None) -> None:
        self.home, self.about, self.place = home, about, place
        self.id, self.kind = home.folder_id, home.kind
        self.unread = source.unread if source else 0
        self.size = source.size if source else 0
        self.next_number = (source.count if source else 0) + 1
        self._source = source
        self._base = source.count if source else 0
        self._replaced: set[int] = set()  # numbers of computed items that were removed or stored
        self._kept: dict[int, StoredItem] = {}
        self._by_date: list[tuple[str, int]] = []  # of the stored items
        self._ranks: dict[int, int] = {}  # how many computed items are older than a stored one
        self._deltas: dict[int, Struct] = {}
        self._members_version = self._version = 0
        self._orders: dict[str, tuple[int, ItemOrder]] = {}

    @property
    def readable(self) -> bool:
        """Return whether the user may read the items."""
        return bool(self.about["access"] != "FAccessListingOnly")

    @property
    def writable(self) -> bool:
        """Return whether the user may change the items."""
        return self.about["access"] in ("FAccessReadWrite", "FAccessAdmin")

    def __len__(self) -> int:
        return self._base - len(self._replaced) + len(self._kept)

    def has(self, number: int) -> bool:
        """Return whether there is an item of a number."""
        return number in self._kept or (0 < number <= self._base and number not in self._replaced)

    def numbers(self) -> list[int]:
        """Return the numbers of all items in ascending order."""
        return list(self._order("id").numbers)

    def item(self, number: int) -> Struct:
        """Return a new complete struct of an existing item."""
        kept = self._kept.get(number)
        if kept is not None:
            return dict(orjson.loads(kept.raw))
        return self._computed().item(number - 1) | self._deltas.get(number, {})

    def light(self, number: int) -> Struct:
        """Return the struct of `light_members` of an existing item."""
        kept = self._kept.get(number)
        if kept is not None:
            return dict(orjson.loads(kept.light or kept.raw))
        light = self._computed().light(number - 1)
        delta = self._deltas.get(number)
        return light | delta if delta else light

    def project(self, number: int, names: Set[str]) -> Struct:
        """Return these members only, as cheaply as possible."""
        if number in self._kept or not names <= _BRIEF[self.kind == "mail"]:
            struct = self.item(number) if names & HEAVY else self.light(number)
        else:
            struct = self._computed().brief(number - 1) | self._deltas.get(number, {})
        return {name: value for name, value in struct.items() if name in names}

    def stored(self, number: int) -> bytes | None:
        """Return the JSON of a stored item; None for a computed one."""
        kept = self._kept.get(number)
        return kept.raw if kept else None

    def computed(self, number: int) -> bytes:
        """Return the JSON of a computed item."""
        return orjson.dumps(self.item(number)) if number in self._deltas else self._computed().raw(number - 1)

    def contents(self, number: int) -> dict[str, Attached]:
        """Return an item's contents by part."""
        kept = self._kept.get(number)
        return dict(kept.contents) if kept else self._computed().contents(number - 1)

    def seen(self, number: int) -> bool:
        """Return whether a mail is read."""
        kept = self._kept.get(number)
        if kept is not None:
            return kept.seen
        delta = self._deltas.get(number, {})
        return bool(delta["isSeen"]) if "isSeen" in delta else self._computed().seen(number - 1)

    def size_of(self, number: int) -> int:
        """Return the bytes that an item counts for."""
        kept = self._kept.get(number)
        return kept.size if kept else self._computed().size_of(number - 1)

    def watermark_of(self, number: int) -> int:
        """Return an item's watermark."""
        kept = self._kept.get(number)
        if kept is not None:
            return kept.watermark
        delta = self._deltas.get(number)
        return int(delta["watermark"]) if delta else self._computed().first + number

    def unseen(self) -> list[int]:
        """Return the numbers of unread mails."""
        if self.kind != "mail" or not self.unread:
            return []
        computed = (k + 1 for k in self._source.unseen()) if self._source else iter(())
        found = {n for n in computed if n not in self._deltas and n not in self._kept and n not in self._replaced}
        found.update(n for n in [*self._deltas, *self._kept] if not self.seen(n))
        return sorted(found)

    def take_number(self) -> int:
        """Return the number for the next new item."""
        self.next_number += 1
        return self.next_number - 1

    def put(self, number: int, struct: Struct, contents: Mapping[str, Attached]) -> None:
        """Store an item, new or as a replacement; the struct has its ids and watermark."""
        if self.has(number):
            self._count(number, -1)
        raw = orjson.dumps(struct)
        mail = self.kind == "mail"
        light = orjson.dumps({name: value for name, value in struct.items() if name not in HEAVY}) if mail else b""
        when = instant(struct["receiveDate"]) if mail else ""
        old = self._kept.get(number)
        if old is None and number <= self._base:
            self._replaced.add(number)
            self._deltas.pop(number, None)
        if old is None or old.when != when:
            if old is not None:
                self._undate(number, old.when)
            insort(self._by_date, (when, number))
            self._ranks[number] = self._rank(when, number)
            self._members_version += 1
        size = int(struct["size"]) if mail else len(raw)
        seen = bool(struct["isSeen"]) if mail else True
        self._kept[number] = StoredItem(raw, light, dict(contents), when, seen, size, struct["watermark"])
        self._count(number, 1)
        self._version += 1

    def patch(self, number: int, changed: Struct, contents: Mapping[str, Attached] | None = None) -> None:
        """Change members, the watermark among them, and the contents if given."""
        small = all(isinstance(value, str | int) for value in changed.values()) and "receiveDate" not in changed
        if number in self._kept or contents is not None or not small or "size" in changed:
            self.put(number, self.item(number) | changed, self.contents(number) if contents is None else contents)
            return
        self._count(number, -1)
        self._deltas[number] = self._deltas.get(number, {}) | changed
        self._count(number, 1)
        self._version += 1

    def drop(self, number: int) -> None:
        """Remove an existing item."""
        self._count(number, -1)
        kept = self._kept.pop(number, None)
        if kept is not None:
            self._undate(number, kept.when)
        else:
            self._deltas.pop(number, None)
            self._replaced.add(number)
        self._members_version += 1
        self._version += 1

    def ordered(self, column: str, descending: bool = False) -> Sequence[str]:
        """Return the ids by a member, equal ones by number, as a snapshot.

        Dates sort by instant, texts without regard to case. The first call after a change sorts.
        """
        order = self._order(column)
        return order.reversed() if descending else order

    def _order(self, column: str) -> ItemOrder:
        version = self._members_version if column in ("receiveDate", "id") else self._version
        known = self._orders.get(column)
        if known is None or known[0] != version:
            known = self._orders[column] = (version, ItemOrder(self.home.item, self._sort(column)))
        return known[1]

    def _sort(self, column: str) -> list[int]:
        """Return the numbers of all items by a member, equal ones by number.

        Computed items are in order of date and of number already, so only the stored ones are sorted in.
        """
        computed = [number for number in range(1, self._base + 1) if number not in self._replaced]
        match column:
            case "receiveDate" if self.kind == "mail":
                stored = [number for _, number in self._by_date]
                older = [bisect_right(computed, self._ranks[number]) for number in stored]
                for place, number in enumerate(stored):
                    computed.insert(older[place] + place, number)
                return computed
            case "id":
                return sorted([*computed, *self._kept])
            case "watermark":
                changed = sorted([*self._kept, *self._deltas], key=self.watermark_of)
                return [number for number in computed if number not in self._deltas] + changed
        return sorted(self.numbers(), key=self._sort_key(column))

    def _sort_key(self, column: str) -> Any:
        match column:
            case "size" if self.kind == "mail":
                return self.size_of
            case "isSeen" if self.kind == "mail":
                return self.seen
        read = self.item if column in HEAVY else self.light
        date = column in _DATES
        return lambda number: sort_key(read(number).get(column, ""), date)

    def _computed(self) -> Source:
        assert self._source is not None
        return self._source

    def _rank(self, when: str, number: int) -> int:
        if self._source is None or self.kind != "mail":
            return 0
        source = self._source
        return bisect_left(range(self._base), (when, number), key=lambda k: (source.when(k), k + 1))

    def _undate(self, number: int, when: str) -> None:
        del self._by_date[bisect_left(self._by_date, (when, number))]
        del self._ranks[number]

    def _count(self, number: int, sign: int) -> None:
        self.size += sign * self.size_of(number)
        if self.kind == "mail" and not self.seen(number):
            self.unread += sign


def sort_key(value: Any, date: bool = False) -> Any:
    """Return a member's sort key.

    An address's name, a list's first element, folded text.
    """
    if isinstance(value, str):
        return instant(value) if date else value.casefold()
    if isinstance(value, list):
        return sort_key(value[0]) if value else ""
    if isinstance(value, dict):
        return str(value.get("name") or value.get("address") or "").casefold()
    return value
