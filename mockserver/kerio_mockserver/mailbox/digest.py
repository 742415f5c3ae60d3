"""The digest: one line per item, to compare a client's copy with.

    kind id version sha256

The version is the watermark. The hash is over the item's struct as JSON with sorted keys, without spaces, in UTF-8,
followed by a line for each attachment or photo with a `url`: a line feed, its number among them from 0, a space, and
the SHA-256 of its content in hex. Lines are sorted as bytes and yielded one by one, so that a caller can pause and a
million items need no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

import orjson

from kerio_mockserver.mailbox.blobs import hash_of
from kerio_mockserver.mailbox.folder_items import FolderItems


def lines(folders: Iterable[FolderItems]) -> Iterator[str]:
    """Yield the lines of all items in these folders, which must not change meanwhile."""
    for folder in sorted((folder for folder in folders if folder.kind), key=lambda folder: folder.home.item):
        for number in sorted(folder.numbers(), key=str):
            yield _line(folder, number)


def _line(folder: FolderItems, number: int) -> str:
    struct = folder.item(number)
    digest = sha256(orjson.dumps(struct, option=orjson.OPT_SORT_KEYS))
    references = (
        struct["attachments"] if folder.kind == "mail" else [struct["photo"]] if folder.kind == "contact" else []
    )
    named = [reference["id"] for reference in references if reference["url"]]
    contents = folder.contents(number) if named else {}
    for ordinal, attachment_id in enumerate(named):
        content = contents[attachment_id.rpartition("/")[2]]
        digest.update(f"\n{ordinal} {hash_of(content.blob)}".encode())
    return f"{folder.kind} {struct['id']} {struct['watermark']} {digest.hexdigest()}\n"
