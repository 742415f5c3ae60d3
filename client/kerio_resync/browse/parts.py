"""Sends attachments, photos and sources from the cache, chunk by chunk.

What a mail says about its files is not trusted: everything is a download of no type, which no browser renders. Pictures
that a mail shows are part of the document of its frame, as `data:` URIs, because the frame may not load anything.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from datasette.utils.asgi import NotFound

from kerio_resync.browse.guard import Send
from kerio_resync.browse.metadata import DATABASE
from kerio_resync.browse.page_queries import CONTENT
from kerio_resync.cache.export_queries import content_chunk

PART_PATH: Final = "/-/part/"
MAX_NAME_CHARS: Final = 150
MAX_IMAGES_BYTES: Final = 16 * 1024 * 1024  # of the pictures that one mail shows
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069"*/:<>?\\|]+')


class Parts:
    """The pages of single contents."""

    async def send(self, datasette: Any, request: Any, send: Send) -> None:
        """Send the content with the number `content`; NotFound if it is not stored."""
        database = datasette.get_database(DATABASE)
        row = (await database.execute(CONTENT, {"content": int(request.url_vars["content"])})).first()
        if row is None or row["state"] != "done":
            reason = (row["reason"] or row["state"]) if row else "there is none with this number"
            raise NotFound(f"This attachment is not stored: {reason}.")
        headers = {
            "content-type": "application/octet-stream",
            "content-length": str(row["received"]),
            "content-disposition": disposition(file_name(row)),
            "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        }
        first = await database.execute_fn(partial(_chunk, key=row["number"], offset=0))
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        offset, data = 0, first
        while data and request.method != "HEAD":
            await send({"type": "http.response.body", "body": data, "more_body": True})
            offset += len(data)
            data = await database.execute_fn(partial(_chunk, key=row["number"], offset=offset))
        await send({"type": "http.response.body", "body": b""})


async def data_addresses(database: Any, contents: Iterable[Any]) -> dict[int, str]:
    """Return a `data:` URI for each of these pictures.

    Pictures that are too large together are left out.
    """
    addresses: dict[int, str] = {}
    room = MAX_IMAGES_BYTES
    for row in contents:
        if row["received"] > room:
            continue
        room -= row["received"]
        content = await database.execute_fn(partial(_content, key=row["number"]))
        media_type = row["content_type"].partition(";")[0].strip().lower()
        addresses[row["number"]] = f"data:{media_type};base64,{b64encode(content).decode()}"
    return addresses


def _content(connection: Any, key: int) -> bytes:
    content = b""
    while chunk := content_chunk(connection, key, len(content)):
        content += chunk
    return content


def _chunk(connection: Any, key: int, offset: int) -> bytes:
    return content_chunk(connection, key, offset)


def file_name(row: Any) -> str:
    """Return a name for the downloaded file that no system takes for anything else."""
    name = _UNSAFE.sub("_", row["name"]).strip(" .")
    if not name:
        name = f"mail-{row['number']}.eml" if row["role"] == "source" else f"{row['role']}-{row['number']}"
    if len(name) > MAX_NAME_CHARS:
        stem, dot, extension = name.rpartition(".")
        keep = f".{extension}" if dot and len(extension) < 12 else ""
        name = (stem if keep else name)[: MAX_NAME_CHARS - len(keep)] + keep
    return name


def disposition(name: str) -> str:
    """Return the Content-Disposition header (RFC 6266)."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    encoded = quote(name, safe="", errors="replace")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
