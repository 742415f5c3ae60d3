"""Makes the rows of the new database from the items of a 7.1 file, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from kerio_resync.cache.format71.reader import ContentExtent, Format71Item, Format71Reader
from kerio_resync.cache.new_database import Checkpoint, Row
from kerio_resync.cache.write.items import item_row
from kerio_resync.errors import CacheDamaged
from kerio_resync.model import KINDS, Item, Kind
from kerio_resync.server.json_codec import canonical_json
from kerio_resync.server.kerio.items import parse_items

ITEMS_PER_BATCH: Final = 64
BASE64_RATIO: Final = 4 / 3 * 1.02  # what a content takes in the old file


class Batch(NamedTuple):
    """Rows of items and of their attachments, the latter without their state.

    `placements`: (item, folder). `contents`: by the numbers of their attachments. `bytes`: of the items. Once all is
    stored, `checkpoint` is reached.
    """

    items: list[Row]
    placements: list[Row]
    attachments: list[Row]
    contents: dict[int, ContentExtent]
    bytes: int
    checkpoint: Checkpoint


class Start(NamedTuple):
    """Where batches begin.

    They follow `checkpoint`, with these row numbers, in these folders (row number by id).
    """

    checkpoint: Checkpoint
    next_item: int
    next_attachment: int
    folders: dict[str, int]

    def after(self, batch: Batch) -> Start:
        """Return where the batches after `batch` begin."""
        items, attachments = len(batch.items), len(batch.attachments)
        return Start(batch.checkpoint, self.next_item + items, self.next_attachment + attachments, self.folders)


def make_batches(source: Format71Reader, start: Start) -> Iterator[Batch]:
    """Yield all items after `start`. CacheDamaged."""
    first, after, *_ = start.checkpoint
    for kind in KINDS[KINDS.index(first) if first else 0 :]:
        items = source.items(kind, after if kind == first else 0)
        while old_items := list(islice(items, ITEMS_PER_BATCH)):
            batch = _batch(kind, old_items, start)
            start = start.after(batch)
            yield batch


def _batch(kind: Kind, old_items: Sequence[Format71Item], start: Start) -> Batch:
    items, malformed = parse_items(kind, [old.struct for old in old_items], canonical_json)
    if malformed or [item.id for item in items] != [old.id for old in old_items]:
        raise CacheDamaged("an item has no valid id or version")
    done, number, first, folders = start
    rows: list[Row] = []
    placements: list[Row] = []
    attachments: list[Row] = []
    contents: dict[int, ContentExtent] = {}
    for old, item in zip(old_items, items, strict=True):
        if item.folder_id not in folders:
            raise CacheDamaged("an item is in no folder")
        rows.append(item_row(number, item))
        placements.append((number, folders[item.folder_id]))
        attachments += _attachment_rows(number, first, item)
        for extent in old.contents:
            if extent.ordinal >= len(item.attachments):
                raise CacheDamaged("a content belongs to no attachment")
            contents[first + extent.ordinal] = extent
        number, first = number + 1, first + len(item.attachments)
    size = sum(len(item.payload) for item in items)
    read = size + sum(int(BASE64_RATIO * extent.bytes) for extent in contents.values())
    checkpoint = Checkpoint(kind, old_items[-1].number, done.bytes + read, done.items + len(items))
    return Batch(rows, placements, attachments, contents, size, checkpoint)


def _attachment_rows(item_number: int, first: int, item: Item) -> Iterator[Row]:
    """Yield the rows of an item's attachments, without their state.

    They are numbered from `first`.
    """
    for ordinal, attachment in enumerate(item.attachments):
        yield (
            first + ordinal, item_number, ordinal, attachment.role, attachment.id, attachment.url, attachment.name,
            attachment.content_type, attachment.content_id, attachment.size,
        )  # fmt: skip
