"""Opens the mailbox that the settings name, by its protocol."""

from __future__ import annotations

import random
from collections.abc import Callable

from kerio_resync.events import Listener, ignore_events
from kerio_resync.server.http.transport import Transport
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings


def open_mailbox(
    settings: Settings,
    listen: Listener = ignore_events,
    *,
    transport: Transport | None = None,
    chance: Callable[[], float] = random.random,
) -> Mailbox:
    """Return a mailbox on the server of these settings; `Mailbox.open` connects to it.

    `transport` and `chance` replace the real ones in measurements. BadSettings without a server or a user.
    """
    from kerio_resync.server.kerio.mailbox import KerioMailbox

    return KerioMailbox(settings, listen, transport=transport, chance=chance)
