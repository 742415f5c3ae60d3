"""The digest: one line per item, to compare a client's copy with.

    kind id watermark sha256

The hash is over the item's struct as JSON with sorted keys, without spaces, in UTF-8. In each attachment and photo,
`url` is left out; if it was not empty, `sha256` of the content is added. Lines are sorted as bytes and yielded one by
one, so that a caller can pause and a million items need no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import orjson

from kerio_mockserver.mailbox.blobs import Attached, hash_of
from kerio_mockserver.mailbox.folder_items import FolderItems


def lines(folders: Iterable[FolderItems]) -> Iterator[str]:
    """Yield the lines of all items in these folders, which must not change meanwhile."""
    for folder in sorted((folder for folder in folders if folder.kind), key=lambda folder: folder.home.item):
        for number in sorted(folder.numbers(), key=str):
            yield _line(folder, number)


def _line(folder: FolderItems, number: int) -> str:
    struct = folder.item(number)
    references = (
        struct["attachments"] if folder.kind == "mail" else [struct["photo"]] if folder.kind == "contact" else []
    )
    contents = folder.contents(number) if references else {}
    for reference in references:
        _resolve(reference, contents)
    body = orjson.dumps(struct, option=orjson.OPT_SORT_KEYS)
    return f"{folder.kind} {struct['id']} {struct['watermark']} {sha256(body).hexdigest()}\n"


def _resolve(reference: dict[str, Any], contents: Mapping[str, Attached]) -> None:
    """Replace an attachment's address by the hash of its content."""
    if reference.pop("url"):
        reference["sha256"] = hash_of(contents[reference["id"].rpartition("/")[2]].blob)
