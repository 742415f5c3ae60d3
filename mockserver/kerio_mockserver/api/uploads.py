"""Uploads: files for the mail or contact that the client creates or changes next.

`POST /webmail/api/jsonrpc/attachment-upload/` takes multipart/form-data, whose part must have a `Content-Description`
header as real servers require, or the raw bytes with their `Content-Type` and the file's name in a header
(`Content-Description`, `Content-Disposition` or `X-Filename`). The reply is a JSON-RPC envelope with `{"fileUpload":
{"id", "name"}}`. The client then gives the id in the `attachments` of a create or set, or as a contact's `photo`; until
then the file's address is `/webmail/api/download/attachment/tmp/<id>/<name>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from email import message_from_string
from email.message import Message
from urllib.parse import unquote

import orjson

from kerio_mockserver.api.call import Server
from kerio_mockserver.api.errors import INVALID_PARAMS, TOO_LARGE, ApiError
from kerio_mockserver.messages import Reply, Request

_UPLOAD = "/webmail/api/jsonrpc/attachment-upload"
UPLOADS = frozenset({_UPLOAD, f"{_UPLOAD}/"})
NAME = "POST upload"  # name of an upload in statistics and conditions


def upload(server: Server, request: Request, max_bytes: int, now: float) -> Reply:
    """Keep a file; raise ApiError -32001, 413, or -32602 without a file or name."""
    server.sessions.find(request.headers, request.peer, now)
    if len(request.body) > max_bytes:
        raise ApiError(TOO_LARGE, "The file is too large.")
    name, content_type, data = parse_upload(request.headers, request.body)
    result = {"fileUpload": {"id": server.store.upload(name, content_type, data, now), "name": name}}
    body = orjson.dumps({"jsonrpc": "2.0", "id": None, "result": result})
    return Reply(200, {"Content-Type": "application/json; charset=UTF-8", "Cache-Control": "no-store"}, body, NAME)


def parse_upload(headers: Mapping[str, str], body: bytes) -> tuple[str, str, bytes]:
    """Return (name, content type, bytes) of an upload; raise ApiError -32602."""
    head = _head("\r\n".join(f"{name}: {value}" for name, value in headers.items() if name in _TELLING))
    if head.get_content_type() != "multipart/form-data":
        name = _name(head)
        if not name:
            raise _missing("Content-Description")
        return name, headers.get("content-type", "application/octet-stream"), body
    part, data = _file_part(body, head.get_boundary(""))
    if not str(part.get("content-description", "")).strip():
        raise _missing("Content-Description")
    return _name(part), part.get_content_type(), data


_TELLING = frozenset({"content-type", "content-description", "content-disposition", "x-filename"})


def _file_part(body: bytes, boundary: str) -> tuple[Message, bytes]:
    """Return the first part with a file: its header, and its bytes exactly as sent."""
    mark = b"\r\n--" + boundary.encode("utf-8", "replace")
    body = b"\r\n" + body
    at = body.find(mark) if boundary else -1
    while at >= 0:
        start = at + len(mark)
        end = body.find(mark, start)
        if body.startswith(b"--", start) or end < 0:
            break
        header, blank, data = body[start:end].partition(b"\r\n\r\n")
        part = _head(header.strip(b"\r\n").decode("utf-8", "replace"))
        if blank and (part.get_filename() is not None or part.get("content-description")):
            return part, data
        at = end
    raise _missing("file")


def _head(text: str) -> Message:
    return message_from_string(text + "\r\n\r\n")


def _name(head: Message) -> str:
    """Return the file's name from the disposition, the description or the like header."""
    name = head.get_filename() or head.get("content-description") or unquote(str(head.get("x-filename", "")))
    return str(name).strip()


def _missing(what: str) -> ApiError:
    return ApiError(INVALID_PARAMS, "Invalid params: %1 is missing.", what)
