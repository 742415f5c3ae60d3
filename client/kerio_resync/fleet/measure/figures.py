"""Turns what the clients of a step reported into a point of the capacity curve."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from statistics import median

from kerio_resync.fleet.capacity import ClientSeconds, MeasuredMailbox, Point
from kerio_resync.fleet.measure.step import Client, Sample


def point_of(
    clients: Sequence[Client],
    *,
    users_p95_s: float | None = None,
    users_alone_p95_s: float | None = None,
    probe_p95_s: float | None = None,
) -> Point:
    """Return the point for the clients of one step."""
    rounds = [entry.seconds for client in clients for entry in client.state.rounds]
    seconds = ClientSeconds(fastest=min(rounds), median=median(rounds), slowest=max(rounds)) if rounds else None
    items, size = rates(clients)
    return Point(
        clients=len(clients),
        seconds=seconds,
        items_per_s=items,
        bytes_per_s=size,
        failed=sum(client.state.failed for client in clients),
        refused=sum(client.state.refused for client in clients),
        users_p95_s=users_p95_s,
        users_alone_p95_s=users_alone_p95_s,
        probe_p95_s=probe_p95_s,
        clients_busy=busy(clients),
    )


def rates(clients: Sequence[Client]) -> tuple[float, float]:
    """Return items and bytes per second of all clients, while all of them ran.

    The time ends when the first of them ended. Those that failed do not end it.
    """
    ends = [client.state.elapsed for client in clients if not client.state.failed and client.state.elapsed > 0]
    if not ends:
        return 0.0, 0.0
    window = min(ends)
    fetched = [fetched_by(client.samples, window) for client in clients]
    return sum(items for items, _ in fetched) / window, sum(size for _, size in fetched) / window


def fetched_by(samples: Sequence[Sample], moment: float) -> tuple[float, float]:
    """Return the items and bytes that a client had fetched after `moment` seconds."""
    known = [Sample(0.0, 0, 0), *samples]
    at = bisect_left(known, moment, key=lambda sample: sample.elapsed)
    if at == len(known):
        return known[-1].items, known[-1].bytes
    if at == 0:
        return 0.0, 0.0
    before, after = known[at - 1], known[at]
    share = (moment - before.elapsed) / (after.elapsed - before.elapsed)
    return (
        before.items + share * (after.items - before.items),
        before.bytes + share * (after.bytes - before.bytes),
    )


def busy(clients: Sequence[Client]) -> float | None:
    """Return the share of their processors that the clients used.

    None if unknown.
    """
    cores = {client.machine.host: client.machine.cores for client in clients if client.machine.cores}
    wall = max((client.state.elapsed for client in clients), default=0.0)
    if not cores or not wall:
        return None
    return min(1.0, sum(client.state.cpu for client in clients) / wall / sum(cores.values()))


def mailbox_of(clients: Sequence[Client]) -> MeasuredMailbox | None:
    """Return the mean of the mailboxes that were rebuilt; None if none was completely."""
    rounds = [entry for client in clients for entry in client.state.rounds]
    if not rounds:
        return None
    return MeasuredMailbox(
        items=round(sum(entry.items for entry in rounds) / len(rounds)),
        bytes=round(sum(entry.bytes for entry in rounds) / len(rounds)),
    )
