"""Finds out which API a server offers, without a login.

Each protocol is one `Probe`: a request, and a function that recognises its reply. To add a protocol, add a probe to
`PROBES`; the first one that recognises its reply wins.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from kerio_resync.diagnose.findings import Emit, failure, ok
from kerio_resync.diagnose.way import STEP_SECONDS, Way
from kerio_resync.errors import Exit, ForeignReply, ResyncError, ServerRefused, words_of
from kerio_resync.events import Checked
from kerio_resync.server.http.content_type import looks_like_page
from kerio_resync.server.http.transport import Request
from kerio_resync.server.kerio.replies import parse_response
from kerio_resync.server.kerio.rpc import PATH, WHO
from kerio_resync.server.kerio.wire import request
from kerio_resync.settings import Settings

MAX_REPLY_BYTES: Final = 1 << 20
MAX_REDIRECTS: Final = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of any service."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def describe(self) -> str:
        """Return what it is in a few words."""
        what = "a web page" if looks_like_page(self.body) else "no reply of this API"
        return f"{what} (status {self.status})"


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
    """Return whether a reply is a JMAP session, or asks for its login.

    See RFC 8620, section 2.
    """
    if reply.status == 401:
        return not looks_like_page(reply.body) or "www-authenticate" in reply.headers
    return reply.status == 200 and is_jmap_session(reply.body)


def is_jmap_session(body: bytes) -> bool:
    """Return whether a body is a JMAP session: a JSON object with `apiUrl`."""
    try:
        session = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(session, dict) and isinstance(session.get("apiUrl"), str)


PROBES: Final[tuple[Probe, ...]] = (
    Probe(
        "kerio", "Kerio Connect", "POST", PATH, recognises_kerio,
        {"Content-Type": "application/json-rpc; charset=UTF-8", "Accept": "application/json"}, request(1, WHO, {}),
    ),
    Probe("jmap", "JMAP", "GET", "/.well-known/jmap", recognises_jmap, {"Accept": "application/json"}),
)  # fmt: skip


async def send(way: Way, probe: Probe, headers: Mapping[str, str] | None = None) -> Reply:
    """Send a probe's request; follow redirects within the server.

    Raise the errors of the transport.
    """
    url = f"{way.server}{probe.path}"
    for _ in range(MAX_REDIRECTS):
        try:
            sent = {**(probe.headers or {}), **(headers or {})}
            async with way.transport.send(Request(probe.method, url, sent, probe.body, STEP_SECONDS)) as response:
                return Reply(response.status, response.headers, await response.read(MAX_REPLY_BYTES))
        except ForeignReply as error:
            if not error.location or urlsplit(error.location)[:2] != urlsplit(way.server)[:2]:
                raise
            url = error.location
    raise ForeignReply("a chain of redirects")


async def check_protocol(way: Way, settings: Settings, emit: Emit, probes: Sequence[Probe] = PROBES) -> Probe | None:
    """Find the server's API; return the probe that was answered."""
    wanted = str(getattr(settings, "protocol", "auto"))
    chosen = [probe for probe in probes if wanted in ("auto", probe.protocol)]
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
        seen.append(f"{probe.path}: {reply.describe()}")
    emit(_not_found(way, chosen, seen, pages))
    return None


def _not_found(way: Way, chosen: Sequence[Probe], seen: Sequence[str], pages: int) -> Checked:
    names = " or ".join(probe.name for probe in chosen)
    found = f"{way.host} does not answer as {names}: {'; '.join(seen)}"
    advice = "Check the address, and whether this network needs a login (open any web page in a browser) or a proxy"
    if not pages:
        advice = "Check the address and the port; tell the server's administrator"
    return failure("protocol", found, advice, Exit.UNEXPECTED_RESPONSE, seen=list(seen))


def basic_login(settings: Settings) -> dict[str, str]:
    """Return the header that carries user and password (RFC 7617)."""
    pair = f"{settings.user}:{settings.password.get_secret_value()}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
