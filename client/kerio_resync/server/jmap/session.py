"""The session of a JMAP user: the server's addresses, and the user's credentials.

The proof is a password (Basic) or a token (Bearer). It goes to the server that the user named, to where that server
redirects over TLS, and to the origins that its session resource names. It never goes from https to http. A 401 is
believed at once and for all requests: accounts are locked after a few wrong passwords.
"""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import urljoin, urlsplit

from kerio_resync.errors import (
    BadCredentials,
    ForeignAddress,
    ForeignReply,
    Misconfigured,
    ProtocolError,
    UnknownServer,
)
from kerio_resync.server.http.transport import Request
from kerio_resync.server.jmap.methods import request_error
from kerio_resync.server.jmap.resource import Resource, origin_of, parse_resource
from kerio_resync.server.json_codec import parse_json
from kerio_resync.server.pacing.requests import Reply, Requests
from kerio_resync.settings import Settings

WELL_KNOWN: Final = "/.well-known/jmap"
SESSION_NAME: Final = "GET session"
MAX_REDIRECTS: Final = 4
MAX_RESOURCE_BYTES: Final = 4 << 20


def resource_url(server: str) -> str:
    """Return where to look for the session resource of a server's address."""
    parts = urlsplit(server)
    return server if parts.path.strip("/") else f"{origin_of(server)}{WELL_KNOWN}"


def is_resource(data: bytes) -> bool:
    """Return whether a reply is a session resource."""
    try:
        value, _ = parse_json(data)
    except ValueError:
        return False
    return isinstance(value, dict) and isinstance(value.get("apiUrl"), str) and "capabilities" in value


def authorization(settings: Settings) -> str:
    """Return the Authorization header; the redactor learns its secrets."""
    if settings.token is not None and (secret := settings.token.get_secret_value()):
        settings.redactor.keep(secret)
        return f"Bearer {secret}"
    proof = f"{settings.user}:{settings.password.get_secret_value()}"
    coded = base64.b64encode(proof.encode()).decode()
    settings.redactor.keep(settings.password.get_secret_value(), coded)
    return f"Basic {coded}"


def redirect_target(url: str, location: str) -> str:
    """Return where a redirect of the session resource leads.

    ForeignReply if the proof of identity must not go there: to another server from a connection without TLS, or from
    TLS to a connection without it.
    """
    try:
        target = urljoin(url, location)
        here, there = origin_of(url), origin_of(target)
    except (ValueError, ForeignAddress):
        raise ForeignReply("a redirect to an invalid address", status=301) from None
    same_host = urlsplit(here).hostname == urlsplit(there).hostname
    if here == there or (there.startswith("https:") and (here.startswith("https:") or same_host)):
        return target.partition("#")[0]
    raise ForeignReply(f"a redirect to another server ({there[:100]}), which is not followed", status=301)


class Session:
    """The proof of identity, and the session resource once `open` has returned."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._authorization = authorization(settings)
        self._origins = frozenset({origin_of(settings.server)}) if settings.server else frozenset()
        self._refused: BadCredentials | None = None
        self._resource: Resource | None = None

    def __repr__(self) -> str:
        return f"Session({self._settings.server!r}, {'open' if self._resource else 'closed'})"

    @property
    def resource(self) -> Resource:
        """The session resource. ProtocolError before `open`."""
        if self._resource is None:
            raise ProtocolError("the session is not open")
        return self._resource

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers that prove who the user is.

        ForeignAddress if `url` is on another server. BadCredentials if they were refused before.
        """
        if self._refused is not None:
            raise self._refused
        if origin_of(url) not in self._origins:
            raise ForeignAddress("a URL on another server")
        return {"Authorization": self._authorization}

    def refused(self, error: BadCredentials) -> None:
        """Record that the server refused the credentials."""
        self._refused = self._refused or error

    async def open(self, requests: Requests) -> None:
        """Fetch the session resource; give up early if nothing answers."""
        await requests.first_contact(lambda seconds: self._contact(requests, seconds))

    async def _contact(self, requests: Requests, retry_timeout: float) -> None:
        try:
            await self._fetch(requests, retry_timeout)
        except ForeignReply as error:
            raise UnknownServer(error.detail, protocol=self._settings.protocol) from error
        except UnknownServer as error:
            error.protocol = self._settings.protocol
            raise

    async def _fetch(self, requests: Requests, retry_timeout: float) -> None:
        """Fetch the session resource, following redirects."""
        url = resource_url(self._settings.address)
        origins = self._origins
        for _ in range(MAX_REDIRECTS + 1):
            reply = await self._get(requests, url, retry_timeout)
            if reply.status not in (301, 302, 303, 307, 308):
                break
            url = redirect_target(url, reply.headers.get("location", ""))
            self._origins = origins | {origin_of(url)}
        else:
            raise Misconfigured("the JMAP server redirects without end")
        if reply.status == 404:
            raise UnknownServer(f"there is no JMAP session resource at {urlsplit(url).path} (status 404)")
        try:
            value, _ = parse_json(reply.data)
        except ValueError:
            value = None
        self._resource = parse_resource(value, url)
        self._origins = origins | {origin_of(url)} | self._resource.origins

    async def _get(self, requests: Requests, url: str, retry_timeout: float) -> Reply:
        async def attempt() -> Reply:
            async with requests.limiter.slot(SESSION_NAME) as slot:
                headers = {"Accept": "application/json", "Accept-Encoding": "gzip", **self.headers(url)}
                request = Request("GET", url, headers, timeout=requests.timeout, redirects=True)
                reply = await requests.exchange(slot, request, MAX_RESOURCE_BYTES)
                if reply.status not in (200, 404) and not 300 <= reply.status < 400:
                    raise self._error(reply)
                return reply

        return await requests.repeat(attempt, SESSION_NAME, retry_timeout=retry_timeout, outwaits=False)

    def _error(self, reply: Reply) -> Exception:
        error = request_error(SESSION_NAME, reply.status, reply.headers, None, redactor=self._settings.redactor)
        if isinstance(error, BadCredentials):
            self.refused(error)
        return error
