"""Opens the mailbox that the settings name; imports its protocol when needed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from kerio_resync.errors import BadSettings
from kerio_resync.events import Listener, ignore_events
from kerio_resync.settings import Settings

if TYPE_CHECKING:
    from kerio_resync.server.http.transport import Transport
    from kerio_resync.server.mailbox import Mailbox
    from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit


async def open_mailbox(
    settings: Settings,
    listen: Listener = ignore_events,
    *,
    transport: Transport | None = None,
    chance: Callable[[], float] = random.random,
    limit: AdaptiveLimit | None = None,
) -> Mailbox:
    """Return a mailbox on the server of these settings; `Mailbox.open` connects to it.

    `transport`, `chance` and `limit` replace the real ones in measurements. BadSettings without a server or a user;
    Unreachable if the protocol has to be found out and nothing answers.
    """
    if not settings.server or not settings.user:
        raise BadSettings("a server and a user name are needed")
    protocol = settings.protocol
    if protocol == "auto":
        from kerio_resync.server.discovery import find_protocol

        protocol = await find_protocol(settings, listen, transport)
    if protocol == "jmap":
        from kerio_resync.server.jmap.mailbox import JmapMailbox

        return JmapMailbox(settings, listen, transport=transport, chance=chance, limit=limit)
    from kerio_resync.server.kerio.mailbox import KerioMailbox

    return KerioMailbox(settings, listen, transport=transport, chance=chance, limit=limit)
