"""Finds out a server's protocol by at most two requests without credentials.

A JMAP server answers at its well-known address (RFC 8620, 2.2). Everything else is left to the Kerio side, which says
what is wrong.
"""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import urlsplit

from kerio_resync.errors import ResyncError, Unreachable
from kerio_resync.events import Listener, ignore_events
from kerio_resync.server.http.routes import route_of
from kerio_resync.server.http.transport import AiohttpTransport, Request, Transport
from kerio_resync.server.jmap.session import WELL_KNOWN, is_resource, redirect_target
from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit
from kerio_resync.server.pacing.limiter import Limiter
from kerio_resync.server.pacing.requests import Reply, Requests
from kerio_resync.server.pacing.retry import Retrier
from kerio_resync.settings import Settings

NAME: Final = "GET session"
CONTACT_SECONDS: Final = 15.0  # a wrong address should be reported soon
TIMEOUT_SECONDS: Final = 20.0  # without a byte
MAX_REPLY_BYTES: Final = 1 << 20


async def find_protocol(
    settings: Settings, listen: Listener = ignore_events, transport: Transport | None = None
) -> Literal["kerio", "jmap"]:
    """Return the protocol of the server at the settings' address.

    Unreachable, if nothing answers.
    """
    ours = transport or AiohttpTransport(connections=1, route=route_of(settings), redactor=settings.redactor)
    requests = Requests(
        ours,
        Limiter(AdaptiveLimit(most=1)),
        Retrier(min(settings.retry_timeout, CONTACT_SECONDS), listen),
        settings.redactor,
        timeout=TIMEOUT_SECONDS,
    )
    try:
        for url in dict.fromkeys((settings.address if settings.path else "", settings.server + WELL_KNOWN)):
            if url and await _is_jmap(requests, url, follows=not settings.path):
                return "jmap"
        return "kerio"
    finally:
        requests.limiter.close()
        if transport is None:
            await ours.aclose()


async def _is_jmap(requests: Requests, url: str, *, follows: bool) -> bool:
    """Return whether a JMAP server answers at `url`; `follows`: or where it redirects."""
    reply = await _get(requests, url)
    if reply is None:
        return False
    if reply.status in (301, 302, 303, 307, 308):
        try:
            target = redirect_target(url, reply.headers.get("location", ""))
        except ResyncError:
            return False
        if "jmap" in urlsplit(target).path.lower():
            return True
        reply = await _get(requests, target) if follows else None
    return reply is not None and (reply.status == 401 or (reply.status == 200 and is_resource(reply.data)))


async def _get(requests: Requests, url: str) -> Reply | None:
    """Return the reply to a request without credentials; None if it is unusable."""

    async def attempt() -> Reply:
        async with requests.limiter.slot(NAME) as slot:
            headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
            request = Request("GET", url, headers, timeout=requests.timeout, redirects=True)
            return await requests.exchange(slot, request, MAX_REPLY_BYTES)

    try:
        return await requests.repeat(attempt, NAME, idempotent=False)
    except Unreachable:
        raise
    except ResyncError:
        return None
