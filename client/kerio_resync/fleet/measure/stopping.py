"""Decides whether a measurement continues with more clients."""

from __future__ import annotations

from collections.abc import Sequence

from kerio_resync.errors import Exit
from kerio_resync.fleet.capacity import Point

MAX_WAIT = 2.0  # times the wait without clients, unless the options say otherwise
CUT_FACTOR = 2.0  # times that, and
CUT_SECONDS = 1.0  # so many seconds: the step is ended before its time
UNNOTICED_SECONDS = 0.01  # a wait without clients that is shorter counts as this long
MANY_REFUSALS = 3.0  # refused requests per client
MORE_REFUSALS = 2.0  # times those of the step before
# The server's answer to load, rather than a fault of this client or its machine.
OVERLOADED = frozenset({Exit.UNFINISHED, Exit.UNEXPECTED_RESPONSE, Exit.UNVERIFIED})


def has_grown(wait: float | None, alone: float | None, factor: float) -> bool:
    """Return whether a wait is more than `factor` times that without clients."""
    return wait is not None and alone is not None and wait > factor * max(alone, UNNOTICED_SECONDS)


def must_cut(wait: float | None, alone: float | None, max_wait: float) -> bool:
    """Return whether the users wait so long that a step must not go on."""
    return wait is not None and wait > CUT_SECONDS and has_grown(wait, alone, CUT_FACTOR * max_wait)


def reason_to_stop(
    points: Sequence[Point],
    users_alone: float | None,
    probe_alone: float | None,
    failures: Sequence[str],
    max_wait: float = MAX_WAIT,
) -> str:
    """Return why the last point is the last one, as a sentence; "" to go on.

    `users_alone`, `probe_alone`: the p95 waits without clients. `failures`: sentences of the last point's clients that
    the server failed. `max_wait`: times the wait without clients.
    """
    last, with_clients = points[-1], beside(points[-1].clients)
    users_alone = last.users_alone_p95_s if last.users_alone_p95_s is not None else users_alone
    if failures:
        return f"{len(failures)} of {last.clients} clients failed: {failures[0]}"
    for what, wait, alone in (
        ("The webmail users'", last.users_p95_s, users_alone),
        ("The probe's", last.probe_p95_s, probe_alone),
    ):
        if has_grown(wait, alone, max_wait):
            assert wait is not None
            assert alone is not None
            grew = "more than doubled" if max_wait == 2 else f"grew more than {max_wait:g} times"
            return f"{what} p95 wait {grew} {with_clients}: {_ms(wait)} instead of {_ms(alone)}."
    before = points[-2].refused / points[-2].clients if len(points) > 1 else 0.0
    refused = last.refused / last.clients
    if refused >= MANY_REFUSALS and refused >= MORE_REFUSALS * before:
        return f"The server refused {last.refused:,} requests {with_clients}, and the number is growing."
    return ""


def beside(clients: int) -> str:
    """Return `with 4 clients`."""
    return "with 1 client" if clients == 1 else f"with {clients:,} clients"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"
