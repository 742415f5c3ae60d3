"""The way of a mailbox to its server: transport, limiter and retrier of one run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from kerio_resync.errors import BadSettings
from kerio_resync.events import Listener, Paused
from kerio_resync.server.http.bandwidth_limit import BandwidthLimit
from kerio_resync.server.http.link_stats import LinkStats
from kerio_resync.server.http.routes import route_of
from kerio_resync.server.http.transport import AiohttpTransport, Transport
from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit
from kerio_resync.server.pacing.limiter import Limiter
from kerio_resync.server.pacing.retry import Retrier
from kerio_resync.settings import Settings


class Channel(NamedTuple):
    """What the requests of one mailbox share."""

    transport: Transport
    limiter: Limiter
    retrier: Retrier


def make_channel(
    settings: Settings,
    listen: Listener,
    *,
    transport: Transport | None = None,
    clock: Callable[[], float] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
    limit: AdaptiveLimit | None = None,
) -> Channel:
    """Return the channel to the server of these settings.

    `transport`, `clock`, `sleep`, `chance` and `limit` replace the real ones in tests and measurements. BadSettings
    without a server or a user.
    """
    if not settings.server or not settings.user:
        raise BadSettings("a server and a user name are needed")
    stats = LinkStats()
    limiter = Limiter(
        limit or AdaptiveLimit(most=settings.max_in_flight),
        stats=stats,
        clock=clock,
        max_pause=settings.retry_timeout,
        on_pause=lambda seconds, reason: listen(Paused(seconds, reason)),
    )
    throttle = BandwidthLimit(settings.bwlimit, clock=clock, sleep=sleep) if settings.bwlimit else None
    transport = transport or AiohttpTransport(
        connections=settings.max_in_flight,
        route=route_of(settings),
        stats=stats,
        throttle=throttle,
        redactor=settings.redactor,
    )
    return Channel(transport, limiter, Retrier(settings.retry_timeout, listen, clock, sleep, chance))
