"""Calls that change the mailbox, for the replay of local changes.

Each item of a call has its own result, in the order of the call. A call that must not be executed twice is not repeated
after a lost reply: OutcomeUnknown is raised. Creating a mail does not send it: `send` is removed. An item whose result
is missing in the reply has failed with ProtocolError.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote

from kerio_resync.errors import ItemGone, ProtocolError
from kerio_resync.model import Item, Kind, WriteResult
from kerio_resync.server.http.transport import Request
from kerio_resync.server.json_codec import parse_json
from kerio_resync.server.kerio import items, outgoing_structs, wire
from kerio_resync.server.kerio.replies import Clean, parse_response
from kerio_resync.server.kerio.rpc import LARGE_REPLY_BYTES, SMALL_REPLY_BYTES, RpcClient, RpcResponse

UPLOAD = "/webmail/api/jsonrpc/attachment-upload/"
UPLOAD_NAME = "POST upload"
CANDIDATES_PER_PAGE = 100
MAX_CANDIDATES = 20_000
MAX_SCANS = 3  # of a list with fewer items than its total
PAGE_OVERLAP = 10  # items of the previous page that a page repeats, since the folder may change in between


async def create(caller: RpcClient, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
    """Create items. A lost reply is OutcomeUnknown."""
    method = f"{wire.SERVICES[kind]}.create"
    values = [outgoing_structs.for_create(kind, folder_id, struct) for struct in structs]
    for value in values:
        value.pop("send", None)
    answer = await caller.call(method, {wire.SERVICES[kind].lower(): values}, idempotent=False)
    return wire.parse_write_results(method, answer.result, len(values), names_successes=True)


async def update(caller: RpcClient, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
    """Set members of items.

    This is idempotent, so the call is repeated after a lost reply.
    """
    method = f"{wire.SERVICES[kind]}.set"
    values = [outgoing_structs.for_update(kind, struct) for struct in structs]
    for value in values:
        value.pop("send", None)
    answer = await caller.call(method, {wire.SERVICES[kind].lower(): values})
    return wire.parse_write_results(method, answer.result, len(values), names_successes=True)


async def move(caller: RpcClient, kind: Kind, ids: Sequence[str], folder_id: str) -> tuple[WriteResult, ...]:
    """Move items.

    A lost reply is OutcomeUnknown: the ids change, so that a repeated call would not find the items.
    """
    method = f"{wire.SERVICES[kind]}.move"
    answer = await caller.call(method, {"ids": list(ids), "folder": folder_id}, idempotent=False)
    return wire.parse_write_results(method, answer.result, len(ids), names_successes=True)


async def remove(caller: RpcClient, kind: Kind, ids: Sequence[str]) -> tuple[WriteResult, ...]:
    """Delete items.

    An item that is gone counts as deleted, because the call is repeated after a lost reply.
    """
    method = f"{wire.SERVICES[kind]}.remove"
    answer = await caller.call(method, {"ids": list(ids)})
    results = wire.parse_write_results(method, answer.result, len(ids), names_successes=False)
    return tuple(WriteResult(result.index) if isinstance(result.error, ItemGone) else result for result in results)


async def upload(caller: RpcClient, name: str, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
    """Upload a file as multipart/form-data and return its id.

    The server keeps it as a temporary file, so the call may be repeated. Real servers require a `Content-Description`.
    """
    parts = [chunk async for chunk in chunks]
    if sum(map(len, parts)) != size:
        raise ProtocolError(f"a file of {size:,} bytes has another length", scope="item")
    url = caller.session.origin + UPLOAD
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{_quoted(name)}"\r\n'
        f"Content-Description: {_header_text(name)}\r\n"
        f"Content-Type: {_media_type(content_type)}\r\n\r\n"
    )
    body = b"".join([head.encode(), *parts, f"\r\n--{boundary}--\r\n".encode()])

    async def attempt() -> str:
        async with caller.limiter.slot(UPLOAD_NAME) as slot:
            headers = {
                "Content-Type": f"multipart/form-data; boundary={boundary}",
                "Accept-Encoding": "identity",
                **caller.session.headers(url),
            }
            request = Request("POST", url, headers, body, caller.timeout)
            async with caller.transport.send(request) as response:
                slot.answered(response.connect_seconds)
                data = await response.read(SMALL_REPLY_BYTES)
                caller.wire_bytes += response.wire_bytes
                slot.complete(response.wire_bytes)
            return _uploaded(response.status, response.headers, data, caller.session.redactor.value)

    return await caller.with_retries(attempt, UPLOAD_NAME)


def _uploaded(status: int, headers: Any, data: bytes, clean: Clean) -> str:
    """Return the id in the reply to an upload.

    A reply that does not come from the server's API is a ProtocolError of the run: it says nothing about the file,
    which a later run uploads again.
    """
    try:
        value, _ = parse_json(data)
    except ValueError:
        value = None
    is_json_rpc = isinstance(value, dict) and ("result" in value or "error" in value)
    if not is_json_rpc and status in (400, 403, 404, 405):
        raise ProtocolError(f"{UPLOAD_NAME} is answered with something that is not JSON-RPC (status {status})")
    result, _ = parse_response(UPLOAD_NAME, status, headers, data, clean=clean)
    file = result.get("fileUpload")
    if isinstance(file, dict) and (file_id := wire.require_text(file.get("id"))):
        return file_id
    raise ProtocolError(f"{UPLOAD_NAME} is answered without an id")


async def find_candidates(caller: RpcClient, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
    """Return the ids of items in the item's folder that look created from it.

    ProtocolError if there are too many. A list with fewer items than its total is requested again: an overlooked item
    would be created twice. `renamed`: it may have been edited, so only its Message-ID is compared.
    """
    matches: dict[str, bool] = {}
    for _ in range(MAX_SCANS):
        scanned, total = await _scan_folder(caller, item, renamed)
        matches |= scanned
        if len(matches) >= total:
            break
    return tuple(item_id for item_id, is_match in matches.items() if is_match)


async def _scan_folder(caller: RpcClient, item: Item, renamed: bool) -> tuple[dict[str, bool], int]:
    """Return by id which items look created from `item`, and the server's count."""
    method = f"{wire.SERVICES[item.kind]}.get"
    fields = outgoing_structs.search_fields(item.kind)
    like = () if renamed else outgoing_structs.search_conditions(item)
    matches: dict[str, bool] = {}
    start = 0
    while start < MAX_CANDIDATES:
        query = wire.query(fields, start, CANDIDATES_PER_PAGE, "id", like=like)
        answer: RpcResponse = await caller.call(
            method, {wire.FOLDERS_PARAMETER[item.kind]: [item.folder_id], "query": query}, limit=LARGE_REPLY_BYTES
        )
        values = wire.require_list(method, answer.result)
        total = wire.require_int(answer.result.get("totalItems"))
        page, malformed = items.parse_items(item.kind, values, answer.canonical)
        for current in page:
            same_message_id = current.message_id == item.message_id
            matches[current.id] = same_message_id if renamed else outgoing_structs.is_same_content(item, current)
        matches |= {entry.id: False for entry in malformed}
        if not values or start + len(values) >= total:
            return matches, total
        start += max(1, len(values) - PAGE_OVERLAP)
    raise ProtocolError(f"more than {MAX_CANDIDATES:,} items may be the created one", scope="item")


def _quoted(name: str) -> str:
    """Return a file name for a form's header.

    Like in browsers, it percent-encodes what could end quotes or line.
    """
    return "".join(quote(c) if c in '"\\\r\n\0%' else c for c in wire.require_text(name))


def _header_text(name: str) -> str:
    """Return a file name as the value of a header."""
    return "".join(c if c.isprintable() else " " for c in wire.require_text(name)).strip() or "attachment"


def _media_type(content_type: str) -> str:
    clean = "".join(c for c in content_type if c.isascii() and c.isprintable())
    return clean if "/" in clean else "application/octet-stream"
