"""Named conditions, and the sources of their figures.

Rates are what TCP delivers (as a speed test shows), not those of a tariff. The figures are typical: a preset is a
stable yardstick, not a claim about a provider.
"""

from __future__ import annotations

from kerio_mockserver.conditions.link import Link, LinkFault
from kerio_mockserver.conditions.model import (
    Churn,
    Conditions,
    Fault,
    Load,
    MailboxLock,
    RefusalWindow,
    Reindexing,
    Users,
)
from kerio_mockserver.conditions.values import parse_rate


def _link(down: str, up: str, rtt_ms: float, jitter_ms: float = 0, *breaks: LinkFault) -> Link:
    return Link(
        down_bytes_s=parse_rate(down),
        up_bytes_s=parse_rate(up),
        rtt_s=rtt_ms / 1000,
        jitter_s=jitter_ms / 1000,
        breaks=breaks,
    )


# 1 GB took about 5 minutes through the vendor's own connector, one call at a time: 0.3 ms for 1,000 bytes.
_KB_S = 0.0003
_CALL_S = 0.015
# 40 users a second keep 6 of 8 workers busy. At 0.12 s each their waits are so short (p95 39 ms) that two calls in
# flight double them; at 0.15 s a client can use three in flight, which gives 0.84 of the best throughput.
_OFFICE = Users(per_second=40, service_s=0.15)
# With fewer places a client with 64 calls in flight would keep the users out of the queue and use their workers.
_PLACES = 128

_NOTHING = Conditions()

_CHOICES: dict[str, tuple[str, Conditions]] = {
    "none": ("A perfect line and an idle server: what the two programs alone can do.", _NOTHING),
    "lan": (
        "Gigabit Ethernet in one building: TCP gets 940 Mbit/s of 1,000; half a millisecond is a switch or two.",
        Conditions(link=_link("940 Mbit/s", "940 Mbit/s", 0.5)),
    ),
    "office-dsl": (
        "A business line on copper, VDSL2 profile 17a sold as 50/10 with the interleaving that such lines have: 20 ms.",
        Conditions(link=_link("46 Mbit/s", "9 Mbit/s", 20, 2)),
    ),
    "home-cable": (
        "DOCSIS sold as 100/10; the modem asks for each slot of the way up, which makes its delay vary by some 10 ms.",
        Conditions(link=_link("95 Mbit/s", "9.5 Mbit/s", 25, 10)),
    ),
    "mobile-4g": (
        "WebPageTest's LTE profile: 12 Mbit/s each way, 70 ms; the jitter is that of a scheduler with frames of 10 ms.",
        Conditions(link=_link("12 Mbit/s", "12 Mbit/s", 70, 30)),
    ),
    "mobile-3g": (
        "WebPageTest's 3G profile: 1.6 Mbit/s down, 768 kbit/s up, 300 ms; radio states make the delay vary by 100 ms.",
        Conditions(link=_link("1.6 Mbit/s", "768 kbit/s", 300, 100)),
    ),
    "satellite": (
        "A geostationary one: up and down and back is 4 x 35,786 km, 477 ms of light, 600 with modems; 20/3 is sold.",
        Conditions(link=_link("20 Mbit/s", "3 Mbit/s", 600, 20)),
    ),
    "hotel-wifi": (
        "A shared and tired access point: 4/1 Mbit/s, 60 ms; connections stall for seconds, some break (guessed).",
        Conditions(
            link=_link(
                "4 Mbit/s",
                "1 Mbit/s",
                60,
                40,
                LinkFault(kind="stall", mean_bytes=3e6, chance=0.5, seconds=3),
                LinkFault(kind="reset", mean_bytes=8e6, chance=0.5),
            )
        ),
    ),
    "flaky": (
        "Everything on the way breaks now and then: a line of 20 Mbit/s and 40 ms with resets, cuts, stalls (guessed).",
        Conditions(
            link=_link(
                "20 Mbit/s",
                "5 Mbit/s",
                40,
                10,
                LinkFault(kind="reset", mean_bytes=6e6, chance=0.7),
                LinkFault(kind="truncate", mean_bytes=6e6, chance=0.3),
                LinkFault(kind="reset", way="up", mean_bytes=2e5, chance=0.2),
                LinkFault(kind="stall", mean_bytes=4e6, chance=0.3, seconds=2),
            ),
            faults=(Fault(kind="cut", chance=0.01), Fault(kind="reset-before-head", chance=0.01)),
        ),
    ),
    "monday-morning": (
        "40 webmail users a second on 8 workers, 0.15 s each (load 0.75 without the client); 128 may wait, then 503.",
        Conditions(
            load=Load(workers=8, call_s=_CALL_S, kb_s=_KB_S, places=_PLACES, status=503, retry_after_s=2, users=_OFFICE)
        ),
    ),
    "server-queues": (
        "The same office on a server that never refuses anyone: its queue has no end, only waits tell that it is busy.",
        Conditions(load=Load(workers=8, call_s=_CALL_S, kb_s=_KB_S, places=None, users=_OFFICE)),
    ),
    "server-dying": (
        "Two workers, no queue to speak of, 429 or 503 for seconds on end, error pages, lost replies, dead sessions.",
        Conditions(
            load=Load(
                workers=2,
                call_s=0.03,
                kb_s=_KB_S,
                places=4,
                status=429,
                retry_after_s=1,
                refusal_windows=(
                    RefusalWindow(first=40, every=300, seconds=4, status=503, retry_after_s=3),
                    RefusalWindow(first=150, every=400, seconds=2, status=503),
                ),
            ),
            faults=(
                Fault(kind="reset-before-head", chance=0.01),
                Fault(kind="cut", chance=0.01),
                Fault(kind="status", status=502, chance=0.01),
                Fault(kind="html", method="Mails.*", chance=0.005),
                Fault(kind="code", code=-32603, chance=0.01),
                Fault(kind="session-death", method="Mails.getById", nth=20, limit=1),
                Fault(kind="session-death", method="Mails.get", every=60),
            ),
        ),
    ),
    "reindexing": (
        "After a crash: a third of the folders rebuild their index for 4 s when first touched, the mailbox is held.",
        Conditions(
            load=Load(
                workers=8,
                call_s=_CALL_S,
                kb_s=_KB_S,
                reindexing=(Reindexing(seconds=4, share=0.34),),
                locks=(MailboxLock(first=60, every=500, seconds=2),),
            )
        ),
    ),
    "living-mailbox": (
        "Ten changes a second while the mailbox is read, over an office line: more than a large team makes.",
        Conditions(link=_link("46 Mbit/s", "9 Mbit/s", 20, 2), churn=Churn(per_second=10)),
    ),
}

PRESETS: dict[str, Conditions] = {name: conditions for name, (_, conditions) in _CHOICES.items()}
ABOUT: dict[str, str] = {name: about for name, (about, _) in _CHOICES.items()}
