"""Changes to the server's mailbox: what a replay of local changes needs.

Promises: each item of a call has its own outcome, in the order given; what must not happen twice is not repeated when
the reply got lost (`Interrupted` comes out); no mail is sent by creating it (`send` is taken out). Refuses to guess: an
item whose outcome the reply leaves out counts as failed with `ProtocolError`.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote

from kerio_resync.errors import ItemGone, ProtocolError
from kerio_resync.model import Item, Kind, WriteResult
from kerio_resync.server.http.transport import Request
from kerio_resync.server.kerio import items, outgoing_structs, wire
from kerio_resync.server.kerio.replies import Clean, parse_response
from kerio_resync.server.kerio.rpc import LARGE_REPLY_BYTES, SMALL_REPLY_BYTES, RpcClient, RpcResponse

UPLOAD = "/webmail/api/jsonrpc/attachment-upload/"
UPLOAD_NAME = "POST upload"
CANDIDATES_PER_PAGE = 100  # items that a search looks at in one page
MAX_CANDIDATES = 20_000
MAX_SCANS = 3  # times that a list is looked through which shows less than it promises
PAGE_OVERLAP = 10  # items that a page repeats of the one before, since the folder may change in between


async def create(caller: RpcClient, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
    method = f"{wire.SERVICES[kind]}.create"
    values = [outgoing_structs.for_create(kind, folder_id, struct) for struct in structs]
    for value in values:
        value.pop("send", None)
    answer = await caller.call(method, {wire.SERVICES[kind].lower(): values}, idempotent=False)
    return wire.parse_write_results(method, answer.result, len(values), told=True)


async def update(caller: RpcClient, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
    """Setting the same members again does no harm, so a lost reply is asked for again."""
    method = f"{wire.SERVICES[kind]}.set"
    values = [outgoing_structs.for_change(kind, struct) for struct in structs]
    for value in values:
        value.pop("send", None)
    answer = await caller.call(method, {wire.SERVICES[kind].lower(): values})
    return wire.parse_write_results(method, answer.result, len(values), told=True)


async def move(caller: RpcClient, kind: Kind, ids: Sequence[str], folder_id: str) -> tuple[WriteResult, ...]:
    """A move changes the id, so that a second one would not find the item: not repeated."""
    method = f"{wire.SERVICES[kind]}.move"
    answer = await caller.call(method, {"ids": list(ids), "folder": folder_id}, idempotent=False)
    return wire.parse_write_results(method, answer.result, len(ids), told=True)


async def remove(caller: RpcClient, kind: Kind, ids: Sequence[str]) -> tuple[WriteResult, ...]:
    """What is gone already counts as removed: that is how a repeated call finds it."""
    method = f"{wire.SERVICES[kind]}.remove"
    answer = await caller.call(method, {"ids": list(ids)})
    found = wire.parse_write_results(method, answer.result, len(ids), told=False)
    return tuple(WriteResult(one.index) if isinstance(one.error, ItemGone) else one for one in found)


async def upload(caller: RpcClient, name: str, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
    """Sends a file as multipart/form-data. Only a temporary file comes of it, so it may be repeated.

    Real servers want the part to have a `Content-Description`."""
    parts = [chunk async for chunk in chunks]
    if sum(map(len, parts)) != size:
        raise ProtocolError(f"a file of {size:,} bytes that has another length", scope="item")
    url = caller.session.origin + UPLOAD
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{_quoted(name)}"\r\n'
        f"Content-Description: {_line(name)}\r\n"
        f"Content-Type: {_header(content_type)}\r\n\r\n"
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
    """The id in an upload's reply. ProtocolError (of the run) for a reply that does not come from the server's API:
    it says nothing of the file, which is sent again at another time."""
    try:
        value, _ = wire.parse_json(data)
    except ValueError:
        value = None
    ours = isinstance(value, dict) and ("result" in value or "error" in value)
    if not ours and status in (400, 403, 404, 405):
        raise ProtocolError(f"{UPLOAD_NAME} is answered with something that is not JSON-RPC (status {status})")
    result, _ = parse_response(UPLOAD_NAME, status, headers, data, clean=clean)
    file = result.get("fileUpload")
    if isinstance(file, dict) and (file_id := wire.require_text(file.get("id"))):
        return file_id
    raise ProtocolError(f"{UPLOAD_NAME} is answered without an id")


async def find_candidates(caller: RpcClient, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
    """Ids of the items in the item's folder that look created from it. ProtocolError if too many may be.

    A list that shows fewer items than its total promises is asked for again: what is overlooked here is made twice.
    `renamed`: whatever it is called now, since somebody may have written on it; only its Message-ID tells it then."""
    found: dict[str, bool] = {}
    for _ in range(MAX_SCANS):
        met, total = await _scan_folder(caller, item, renamed)
        found |= met
        if len(found) >= total:
            break
    return tuple(one for one, alike in found.items() if alike)


async def _scan_folder(caller: RpcClient, item: Item, renamed: bool) -> tuple[dict[str, bool], int]:
    """(by id whether it looks created from `item`, how many the server says there are)."""
    method = f"{wire.SERVICES[item.kind]}.get"
    fields, like = (
        outgoing_structs.search_fields(item.kind),
        () if renamed else outgoing_structs.search_conditions(item),
    )
    met: dict[str, bool] = {}
    start = 0
    while start < MAX_CANDIDATES:
        query = wire.query(fields, start, CANDIDATES_PER_PAGE, "id", like=like)
        answer: RpcResponse = await caller.call(
            method, {wire.FOLDERS_PARAMETER[item.kind]: [item.folder_id], "query": query}, limit=LARGE_REPLY_BYTES
        )
        values = wire.require_list(method, answer.result)
        total = wire.require_int(answer.result.get("totalItems"))
        some, malformed = items.parse_items(item.kind, values, answer.canonical)
        met |= {
            one.id: one.message_id == item.message_id if renamed else outgoing_structs.is_same_content(item, one)
            for one in some
        }
        met |= {one.id: False for one in malformed}
        if not values or start + len(values) >= total:
            return met, total
        start += max(1, len(values) - PAGE_OVERLAP)
    raise ProtocolError(f"more than {MAX_CANDIDATES:,} items may be the one that is looked for", scope="item")


def _quoted(name: str) -> str:
    """A file name in a form's header: what could end the quotes or the line is percent-encoded, as browsers do."""
    return "".join(quote(c) if c in '"\\\r\n\0%' else c for c in wire.require_text(name))


def _line(name: str) -> str:
    """A file name as a header's value."""
    return "".join(c if c.isprintable() else " " for c in wire.require_text(name)).strip() or "attachment"


def _header(content_type: str) -> str:
    clean = "".join(c for c in content_type if c.isascii() and c.isprintable())
    return clean if "/" in clean else "application/octet-stream"
