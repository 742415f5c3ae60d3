"""Fetches mails by id, and the sources of small ones in the same request.

A GET per mail is what a long link punishes. Where the server offers Blob/get (RFC 9404), a request brings a few hundred
kilobytes of mails: each Email with its texts, and its source. Larger sources are downloaded apart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from kerio_resync.errors import ProtocolError
from kerio_resync.model import Item, ItemBatch, MalformedItem
from kerio_resync.server.jmap import emails
from kerio_resync.server.jmap.client import Answer, JmapClient
from kerio_resync.server.jmap.methods import Call, result_of
from kerio_resync.server.memory_budget import HeldReservations

INLINE_BYTES: Final = 192 * 1024  # a larger source is downloaded apart
REQUEST_BYTES: Final = 800 * 1024  # of sources in one reply
MAX_REFETCHES: Final = 2  # of mails that a reply left out


async def fetch_emails(
    client: JmapClient,
    account: str,
    sizes: Mapping[str, int],
    *,
    sources: bool,
    held: HeldReservations | None = None,
) -> list[ItemBatch]:
    """Return the mails whose server's ids are the keys of `sizes`; size 0: unknown."""
    found = [await _fetch(client, account, group, sources=sources, held=held) for group in _groups(client, sizes)]
    for _ in range(MAX_REFETCHES):
        missing = _unanswered(client, account, sizes, found)
        if not missing:
            return found
        found.append(await _fetch(client, account, missing, sources=sources, held=held))
    scope, reason = partial(client.resource.scoped, account), "the server did not answer for it"
    missing = _unanswered(client, account, sizes, found)
    found.append(ItemBatch((), malformed=tuple(MalformedItem(scope(one), reason, unanswered=True) for one in missing)))
    return found


def _groups(client: JmapClient, sizes: Mapping[str, int]) -> list[dict[str, int]]:
    """Split mails into requests of at most so many objects and bytes of sources."""
    most = client.resource.limits.objects_in_get
    groups: list[dict[str, int]] = []
    room = 0
    for email_id, size in sizes.items():
        inline = size if size <= INLINE_BYTES else 0
        if not groups or inline > room or len(groups[-1]) >= most:
            groups.append({})
            room = REQUEST_BYTES
        groups[-1][email_id] = size
        room -= inline
    return groups


async def _fetch(
    client: JmapClient, account: str, sizes: Mapping[str, int], *, sources: bool, held: HeldReservations | None
) -> ItemBatch:
    """Return the mails of one request."""
    resource = client.resource
    inline = [one for one, size in sizes.items() if sources and resource.blob and 0 < size <= INLINE_BYTES]
    others = [one for one in sizes if one not in frozenset(inline)]
    calls = [_get(account, ids) for ids in (inline, others) if ids]
    if inline:
        properties = ["data", "size", *([resource.digest] if resource.digest else [])]
        blobs = {"accountId": account, "#ids": result_of(0, calls[0], "/list/*/blobId"), "properties": properties}
        calls.append(Call("Blob/get", blobs))
    answer = await client.call(calls, using=[resource.blob] if inline else (), check=_check, held=held)
    contents = _contents(answer.results.pop()["list"]) if inline else {}
    return _batch(client, account, sizes, answer, contents, sources=sources)


def _get(account: str, ids: Sequence[str]) -> Call:
    return Call(
        "Email/get",
        {
            "accountId": account,
            "ids": ids,
            "properties": emails.WHOLE,
            "bodyProperties": emails.PART,
            "fetchTextBodyValues": True,
            "fetchHTMLBodyValues": True,
        },
    )


def _check(results: list[dict[str, Any]]) -> None:
    if not all(isinstance(result.get("list"), list) for result in results):
        raise ProtocolError("Email/get is answered without a list")


def _contents(values: Iterable[Any]) -> dict[str, bytes]:
    """Return the contents of a Blob/get by blob id, without inconsistent ones.

    They are downloaded apart then.
    """
    found: dict[str, bytes] = {}
    for value in values:
        if not isinstance(value, dict) or value.get("isTruncated") is True or value.get("isEncodingProblem") is True:
            continue
        text, coded = value.get("data:asText"), value.get("data:asBase64")
        try:
            if isinstance(text, str):
                data = text.encode()
            elif isinstance(coded, str):
                data = base64.b64decode(coded, validate=True)
            else:
                continue
        except (binascii.Error, ValueError):
            continue
        digest = value.get("digest:sha-256")
        is_size = value.get("size") in (None, len(data))
        if is_size and (not digest or digest == base64.b64encode(hashlib.sha256(data).digest()).decode()):
            found[str(value.get("id"))] = data
    return found


def _batch(
    client: JmapClient,
    account: str,
    requested: Mapping[str, int],
    answer: Answer,
    contents: Mapping[str, bytes],
    *,
    sources: bool,
) -> ItemBatch:
    scope = partial(client.resource.scoped, account)
    items: dict[str, Item] = {}
    gone: dict[str, None] = {}
    malformed: list[MalformedItem] = []
    for result in answer.results:
        for email in result["list"]:
            email_id = email.get("id") if isinstance(email, dict) else None
            if not isinstance(email_id, str) or email_id not in requested:
                continue
            size = email.get("size")
            data = contents.get(str(email.get("blobId")))
            if data is not None and size not in (None, len(data)):
                data = None
            item = emails.item_of(email, scope, answer.canonical, sources=sources, data=data)
            if item.version and item.folder_ids:
                items[email_id] = item
            else:
                malformed.append(MalformedItem(scope(email_id), "the server sent it without mailboxes or keywords"))
        absent = result.get("notFound")
        gone |= dict.fromkeys(map(str, absent)) if isinstance(absent, list) else {}
    return ItemBatch(
        tuple(items.values()),
        tuple(scope(one) for one in gone if one in requested and one not in items),
        tuple(malformed),
        answer.plain_bytes,
        answer.wire_bytes,
        answer.seconds,
        answer.server_seconds,
        answer.min_latency,
    )


def _unanswered(
    client: JmapClient, account: str, sizes: Mapping[str, int], batches: Sequence[ItemBatch]
) -> dict[str, int]:
    scope = partial(client.resource.scoped, account)
    answered = {item.id for batch in batches for item in batch.items}
    answered |= {one for batch in batches for one in batch.gone}
    answered |= {item.id for batch in batches for item in batch.malformed}
    return {one: size for one, size in sizes.items() if scope(one) not in answered}
