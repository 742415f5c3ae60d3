"""Fetches items by id, in batches, whatever a single item does to the reply.

A batch in which one item breaks the JSON of the whole reply is halved until that item is found and named. Items that a
reply leaves out are requested again.
"""

from __future__ import annotations

from collections.abc import Sequence

from kerio_resync.errors import ItemGone, ResyncError, SessionExpired, TransientServerError
from kerio_resync.model import Item, ItemBatch, Kind, MalformedItem
from kerio_resync.server.kerio import items, wire
from kerio_resync.server.kerio.replies import MalformedJson
from kerio_resync.server.kerio.rpc import LARGE_REPLY_BYTES, RpcClient, RpcResponse
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.server.pacing.requests import gather_or_raise_first, join_batches

MAX_REFETCHES = 2  # of items that a reply left out
MAX_ISOLATION_CALLS = 64  # to find the item that breaks a batch
MAX_STRAYS = 16  # items in a reply beyond twice those requested; later ones are ignored


async def fetch_batch(client: RpcClient, kind: Kind, ids: Sequence[str], held: HeldReservations | None) -> ItemBatch:
    """Return the items, as `Mailbox.items_by_id` describes."""
    if kind == "event":
        return join_batches(await gather_or_raise_first([_fetch_event(client, event_id, held) for event_id in ids]))
    if not ids:
        return ItemBatch(())
    batch = await _fetch_isolating(client, kind, ids, [MAX_ISOLATION_CALLS], held)
    for _ in range(MAX_REFETCHES):
        missing = unanswered_ids(ids, batch)
        if not missing:
            return batch
        batch = join_batches([batch, await _fetch_isolating(client, kind, missing, [MAX_ISOLATION_CALLS], held)])
    reason = "the server did not answer for it"
    unanswered = tuple(MalformedItem(item_id, reason, unanswered=True) for item_id in unanswered_ids(ids, batch))
    return batch._replace(malformed=batch.malformed + unanswered)


async def _fetch_isolating(
    client: RpcClient, kind: Kind, ids: Sequence[str], calls_left: list[int], held: HeldReservations | None
) -> ItemBatch:
    """Return the batch, or its joined halves if an item breaks the reply."""
    calls_left[0] -= 1
    try:
        return await _fetch(client, kind, ids, held)
    except MalformedJson as error:
        if len(ids) == 1:
            return ItemBatch((), malformed=(MalformedItem(ids[0], error.detail),))
        if calls_left[0] < 2:
            raise
    middle = len(ids) // 2
    halves = ids[:middle], ids[middle:]
    return join_batches([await _fetch_isolating(client, kind, half, calls_left, held) for half in halves])


async def _fetch(client: RpcClient, kind: Kind, ids: Sequence[str], held: HeldReservations | None) -> ItemBatch:
    method = f"{wire.SERVICES[kind]}.getById"
    answer = await client.call(method, {"ids": list(ids)}, limit=LARGE_REPLY_BYTES, check=_raise_transient, held=held)
    values = wire.require_list(method, answer.result, "result")[: 2 * len(ids) + MAX_STRAYS]
    parsed, malformed = items.parse_items(kind, values, answer.canonical)
    requested = set(ids)
    by_id = {item.id: item for item in parsed if item.id in requested}
    gone, refused = _split_errors(ids, wire.item_errors(method, answer.result))
    return _batch_of(answer, tuple(by_id.values()), gone, refused + malformed)


async def _fetch_event(client: RpcClient, event_id: str, held: HeldReservations | None) -> ItemBatch:
    """Return one event: the API has no call for several."""
    method = "Events.getById"
    try:
        answer = await client.call(method, {"id": event_id}, limit=LARGE_REPLY_BYTES, held=held)
    except ItemGone:
        return ItemBatch((), gone=(event_id,))
    except MalformedJson as error:
        return ItemBatch((), malformed=(MalformedItem(event_id, error.detail),))
    parsed, malformed = items.parse_items("event", [answer.result.get("result")], answer.canonical)
    if parsed and parsed[0].id != event_id:
        parsed, malformed = (), (MalformedItem(event_id, "the server sent another event"),)
    return _batch_of(answer, parsed, (), tuple(MalformedItem(event_id, item.reason) for item in malformed))


def _raise_transient(method: str, answer: RpcResponse) -> None:
    """Raise an item's error if it may pass: then the whole batch is requested again."""
    wire.require_list(method, answer.result, "result")
    for _, error in wire.item_errors(method, answer.result):
        if isinstance(error, TransientServerError | SessionExpired):
            raise error


def _split_errors(
    ids: Sequence[str], errors: Sequence[tuple[int, ResyncError]]
) -> tuple[tuple[str, ...], tuple[MalformedItem, ...]]:
    """Return the ids that are gone, and those refused for another reason."""
    gone: list[str] = []
    refused: list[MalformedItem] = []
    for index, error in errors:
        if not 0 <= index < len(ids):
            continue  # about an item that was not requested
        if isinstance(error, ItemGone):
            gone.append(ids[index])
        else:
            refused.append(MalformedItem(ids[index], error.detail))
    return tuple(gone), tuple(refused)


def _batch_of(
    answer: RpcResponse, parsed: tuple[Item, ...], gone: tuple[str, ...], malformed: tuple[MalformedItem, ...]
) -> ItemBatch:
    return ItemBatch(
        parsed,
        gone,
        malformed,
        answer.plain_bytes,
        answer.wire_bytes,
        answer.seconds,
        answer.server_seconds,
        answer.min_latency,
    )


def unanswered_ids(ids: Sequence[str], batch: ItemBatch) -> list[str]:
    """Return the ids that a batch says nothing about."""
    answered = {item.id for item in batch.items}.union(batch.gone, (item.id for item in batch.malformed))
    return [item_id for item_id in ids if item_id not in answered]
