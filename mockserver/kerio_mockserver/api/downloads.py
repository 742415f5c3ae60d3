"""Downloads by GET: attachments, uploaded files, and archives of attachments.

A download needs the session cookie; an `X-Token` header is optional but must be right. The reply has a
`Content-Length`, a file name that cannot break a header or a path, and, unless switched off, `ETag` and ranges: one
range gives 206, an unsatisfiable one 416, several ranges or a stale `If-Range` the whole file. An uploaded file that is
not used yet has an address of its own, below `tmp/`.

Open (chosen here): without a session a download answers 401 with the JSON-RPC error -32001 in its body.
"""

from __future__ import annotations

import asyncio
import io
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from kerio_mockserver.api.call import Call, Server, method
from kerio_mockserver.api.errors import FAILED, INVALID_PARAMS, ApiError, no_such_item
from kerio_mockserver.mailbox.blobs import Bytes
from kerio_mockserver.mailbox.ids import is_upload
from kerio_mockserver.mailbox.store import NoSuchFolder, NoSuchItem
from kerio_mockserver.messages import Blob, Reply, Request

ATTACHMENT = "/webmail/api/download/attachment/"
ARCHIVE = "/webmail/api/download/archive/"
MAX_EXPORT_FILES = 1000
MAX_EXPORT_BYTES = 64 << 20
_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\Z", re.ASCII)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of another blob."""

    whole: Blob
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, start: int, stop: int) -> bytes:
        return self.whole.read(self.start + start, min(self.start + stop, self.stop))


@dataclass(frozen=True, slots=True)
class File:
    """A file to send; `etag` includes its quotes."""

    blob: Blob
    name: str
    content_type: str
    etag: str


def download(server: Server, request: Request, now: float) -> Reply:
    """Answer a GET or HEAD of an attachment or an archive."""
    rpc = rpc_of(request.path)
    try:
        server.sessions.find(request.headers, request.peer, now, header_needed=False)
        file = _find(server, request.path)
    except ApiError as error:
        body = orjson.dumps({"jsonrpc": "2.0", "id": None, "error": error.as_error()})
        return Reply(401, {"Content-Type": "application/json; charset=UTF-8"}, body, rpc)
    except (LookupError, ValueError):
        return Reply(404, {"Content-Type": "text/html; charset=UTF-8"}, b"<html><body>Not found</body></html>", rpc)
    return file_reply(file, request, rpc, ranges=server.quirks.ranges, etags=server.quirks.etags)


def rpc_of(path: str) -> str:
    """Return the name of a download in statistics and conditions."""
    return "GET attachment" if path.startswith(ATTACHMENT) else "GET archive"


def _find(server: Server, path: str) -> File:
    if is_upload(path):
        attached = server.store.blob(path)
        return File(attached.blob, attached.name, attached.content_type, attached.etag)
    if path.startswith(ATTACHMENT):
        guid, number, part, _name = path[len(ATTACHMENT) :].split("/", 3)
        attached = server.store.blob_at(guid, number, part)
        return File(attached.blob, attached.name, attached.content_type, attached.etag)
    key, name = path[len(ARCHIVE) :].split("/", 1)
    return File(Bytes(server.archives.get(key)), name, "application/zip", f'"{key}"')


def file_reply(file: File, request: Request, rpc: str, *, ranges: bool = True, etags: bool = True) -> Reply:
    """Return the reply to a GET of `file`, with conditional headers and ranges."""
    total = len(file.blob)
    headers = {
        "Content-Type": file.content_type if _TYPE.match(file.content_type) else "application/octet-stream",
        "Content-Disposition": disposition(file.name),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private",
    }
    if etags:
        headers["ETag"] = file.etag
        if file.etag in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
            return Reply(304, headers, b"", rpc)
    wanted = None
    if ranges:
        headers["Accept-Ranges"] = "bytes"
        if request.headers.get("if-range", file.etag) == file.etag:
            wanted = parse_range(request.headers.get("range", ""), total)
    if wanted is None:
        return Reply(200, headers, file.blob, rpc)
    start, stop = wanted
    if start >= stop:
        return Reply(416, {"Content-Range": f"bytes */{total}", "Accept-Ranges": "bytes"}, b"", rpc)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{total}"
    return Reply(206, headers, Slice(file.blob, start, stop), rpc)


def parse_range(header: str, total: int) -> tuple[int, int] | None:
    """Return the (start, stop) of a `Range` header.

    None means the whole, an empty range an unsatisfiable one (416).
    """
    match = _RANGE.match(header.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return (max(total - int(last), 0), total) if int(last) else (0, 0)
    start = int(first)
    if last and int(last) < start:
        return None
    stop = min(int(last) + 1, total) if last else total
    return (start, stop) if start < total else (0, 0)


def disposition(name: str) -> str:
    """Return a `Content-Disposition` that keeps any name safely (RFC 6266)."""
    clean = safe_name(name)
    plain = re.sub(r"[^ !#-\[\]-~]", "_", clean)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(clean, safe='')}"


def safe_name(name: str) -> str:
    """Return a safe file name: no folders or control characters, never empty or dots."""
    clean = "".join(
        "_" if ch in "/\\" or ord(ch) < 32 or 0x7F <= ord(ch) < 0xA0 or 0xD800 <= ord(ch) < 0xE000 else ch
        for ch in name
    )
    return clean if clean.strip(". ") else "attachment"


@method("Mails.exportAttachments")
async def export_attachments(call: Call) -> dict[str, Any]:
    """Pack attachments into one archive.

    Error 1002 if one does not exist, 1000 if they are too many or too large.
    """
    server = call.server
    files: list[tuple[str, Blob]] = []
    ids = call.params["attachmentIds"]
    if len(ids) > MAX_EXPORT_FILES:
        raise ApiError(INVALID_PARAMS, "Invalid params: %1 holds too many attachments.", "attachmentIds")
    size = 0
    for attachment_id in ids:
        try:
            attached = server.store.blob(attachment_id)
        except (NoSuchItem, NoSuchFolder):
            raise no_such_item(attachment_id) from None
        files.append((attached.name, attached.blob))
        size += len(attached.blob)
        if size > MAX_EXPORT_BYTES:
            raise ApiError(FAILED, "The attachments hold more than %1 bytes.", str(MAX_EXPORT_BYTES))
    data = await asyncio.to_thread(zip_files, files)
    key = server.archives.put(data)
    return {"fileDownload": {"url": f"{ARCHIVE}{key}/attachments.zip", "name": "attachments.zip", "length": len(data)}}


def zip_files(files: Iterable[tuple[str, Blob]]) -> bytes:
    """Return a zip archive of the files under safe and distinct names."""
    out = io.BytesIO()
    taken: set[str] = set()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, blob in files:
            free = unique_name(safe_name(name), taken)
            taken.add(free)
            archive.writestr(zipfile.ZipInfo(free), blob.read(0, len(blob)), zipfile.ZIP_DEFLATED, 1)
    return out.getvalue()


def unique_name(name: str, taken: set[str]) -> str:
    """Return `name`, or `name (2)` and so on, whichever is not taken."""
    stem, dot, suffix = name.rpartition(".")
    number = 1
    free = name
    while free in taken:
        number += 1
        free = f"{stem} ({number}).{suffix}" if dot and stem else f"{name} ({number})"
    return free
