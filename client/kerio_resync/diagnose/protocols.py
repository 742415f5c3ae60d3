"""Finds out which API a server offers, without a login.

Each protocol is one `Probe`: a request, and a function that recognises its reply. To add a protocol, add a probe to
`PROBES`; the first one that recognises its reply wins.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urljoin, urlsplit

from kerio_resync.diagnose.findings import Emit, failure, ok
from kerio_resync.diagnose.way import STEP_SECONDS, Reply, Way
from kerio_resync.errors import Exit, ResyncError, ServerRefused, words_of
from kerio_resync.events import Checked
from kerio_resync.server.http.content_type import looks_like_page
from kerio_resync.server.http.transport import Request
from kerio_resync.server.kerio import wire
from kerio_resync.server.kerio.replies import parse_response
from kerio_resync.server.kerio.rpc import PATH, WHO
from kerio_resync.settings import Settings

Recognise = Callable[[Reply], bool]


@dataclass(frozen=True, slots=True)
class Probe:
    """How to find out whether a server speaks a protocol.

    `protocol`: the value of the setting; `name`: for people. `recognises` sees the reply to a request without a login.
    """

    protocol: str
    name: str
    method: str
    path: str
    recognises: Recognise
    headers: Mapping[str, str] | None = None
    body: bytes | None = None


def recognises_kerio(reply: Reply) -> bool:
    """Return whether a reply to `Session.whoAmI` is Kerio Connect's.

    That is a result or an error of JSON-RPC.
    """
    try:
        parse_response(WHO, reply.status, reply.headers, reply.body, number=1)
    except ServerRefused:
        return True
    except ResyncError:
        return False
    return True


def recognises_jmap(reply: Reply) -> bool:
    """Return whether a reply is a JMAP session, or asks for its login, or leads to it.

    The criteria are those of `server.discovery`, which finds the protocol for a rebuild. See RFC 8620, section 2.
    """
    if reply.is_redirect:
        return "jmap" in urlsplit(urljoin("https://x", reply.headers.get("location", ""))).path.lower()
    return reply.status == 401 or (reply.status == 200 and is_jmap_session(reply.body))


def is_jmap_session(body: bytes) -> bool:
    """Return whether a body is a JMAP session: a JSON object with `apiUrl`."""
    try:
        session = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(session, dict) and isinstance(session.get("apiUrl"), str)


PROBES: Final[tuple[Probe, ...]] = (
    Probe("jmap", "JMAP", "GET", "/.well-known/jmap", recognises_jmap, {"Accept": "application/json"}),
    Probe(
        "kerio", "Kerio Connect", "POST", PATH, recognises_kerio,
        {"Content-Type": "application/json-rpc; charset=UTF-8", "Accept": "application/json"},
        wire.request(1, WHO, {}),
    ),
)  # fmt: skip


async def send(way: Way, probe: Probe) -> Reply:
    """Send a probe's request; follow redirects within the server.

    Raise the errors of the transport.
    """
    url = f"{way.server}{probe.path}"
    request = Request(probe.method, url, probe.headers or {}, probe.body, STEP_SECONDS)
    return await way.follow(request, until=probe.recognises)


def describe(reply: Reply) -> str:
    """Return what a reply is, in a few words."""
    what = "a web page" if looks_like_page(reply.body) else "no reply of this API"
    return f"{what} (status {reply.status})"


async def check_protocol(way: Way, settings: Settings, emit: Emit, probes: Sequence[Probe] = PROBES) -> Probe | None:
    """Find the server's API; return the probe that was answered."""
    chosen = [probe for probe in probes if settings.protocol in ("auto", probe.protocol)]
    if settings.path:
        chosen = [replace(probe, path=settings.path) if probe.protocol == "jmap" else probe for probe in chosen]
    seen: list[str] = []
    pages = 0
    for probe in chosen:
        try:
            reply = await send(way, probe)
        except ResyncError as error:
            seen.append(f"{probe.path}: {words_of(error)}")
            continue
        if probe.recognises(reply):
            emit(ok("protocol", f"{probe.name}, at {probe.path}", protocol=probe.protocol))
            return probe
        pages += looks_like_page(reply.body)
        seen.append(f"{probe.path}: {describe(reply)}")
    emit(_not_found(way, chosen, seen, pages))
    return None


def _not_found(way: Way, chosen: Sequence[Probe], seen: Sequence[str], pages: int) -> Checked:
    names = " or ".join(probe.name for probe in chosen)
    found = f"{way.host} does not answer as {names}: {'; '.join(seen)}"
    advice = "Check the address, and whether this network needs a login (open any web page in a browser) or a proxy"
    if not pages:
        advice = "Check the address and the port; tell the server's administrator"
    return failure("protocol", found, advice, Exit.UNEXPECTED_RESPONSE, seen=list(seen))
