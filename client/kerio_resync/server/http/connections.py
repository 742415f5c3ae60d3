"""How connections to the server are made, and what it means when they fail.

Promises: every foreign exception becomes one of ours here, naming the server or the proxy, whichever failed, and never
a proxy's password. Before the server has answered for the first time a mistake in the address, the proxy or the trust
is told from trouble that passes: then waiting does not help, and the error says what to change.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from kerio_resync.errors import (
    BadSettings,
    CertificateError,
    DiskTrouble,
    ForeignReply,
    Misconfigured,
    OutcomeUnknown,
    ProtocolError,
    ResyncError,
    Unreachable,
)
from kerio_resync.os_errors import describe
from kerio_resync.redaction import chain
from kerio_resync.server.http.proxies import Proxy
from kerio_resync.server.http.trust import handshake_advice, reason_of, tls_context, tls_error, tls_reason, untrusted

KEEP_ALIVE_SECONDS = 60.0
PROBE_SECONDS = 3.0  # for finding out what a port speaks
MAX_HEADERS = 1024
MAX_HEADER_BYTES = 64 * 1024  # of one header; some servers and gateways send long ones
USUAL_PLACES = ("https://{}", "https://{}:8843")  # where a server of this kind is reached, from outside and inside

FOREIGN = (aiohttp.ClientError, OSError, TimeoutError, ValueError, EOFError)


class ReadTimeout(OutcomeUnknown):
    """No byte came for as long as the request allows, or hardly any."""


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach the server: through which proxy, trusting whom, showing which certificate."""

    proxy: Proxy | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    fingerprint: str = ""


def open_session(way: Route, url: str, *, connections: int, **options: Any) -> aiohttp.ClientSession:
    """A session for one server. BadSettings if a file or a missing package makes that impossible."""
    trust: ssl.SSLContext | bool = True
    if url.startswith("https:"):
        trust = tls_context(way.ca_file, way.client_cert, way.fingerprint)
    settings: dict[str, Any] = {"limit": connections, "ssl": trust, "keepalive_timeout": KEEP_ALIVE_SECONDS}
    if way.proxy is not None and way.proxy.is_socks:
        connector = _socks_connector(way.proxy, settings)
    else:
        connector = aiohttp.TCPConnector(**settings)
    if "max_headers" in signature(aiohttp.ClientSession).parameters:  # aiohttp 3.14 and later
        options["max_headers"] = MAX_HEADERS
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        **options,
    )


def _socks_connector(proxy: Proxy, settings: Mapping[str, Any]) -> aiohttp.TCPConnector:
    try:
        from aiohttp_socks import ProxyConnector, ProxyType
    except ImportError:
        raise BadSettings(
            "a SOCKS proxy needs one more package: install it with `pip install 'kerio-resync[socks]'`"
        ) from None
    if not (proxy.user + proxy.password).isascii():
        raise BadSettings("the user name and the password for a SOCKS proxy must be ASCII")
    connector: aiohttp.TCPConnector = ProxyConnector(
        proxy.host,
        proxy.port,
        ProxyType.SOCKS5,
        proxy.user or None,
        proxy.password or None,
        proxy.scheme == "socks5h",
        **settings,
    )
    return connector


def request_options(proxy: Proxy | None) -> dict[str, Any]:
    """What each request says about an HTTP proxy; a SOCKS proxy is the connector's business."""
    if proxy is None or proxy.is_socks:
        return {}
    options: dict[str, Any] = {"proxy": URL.build(scheme="http", host=proxy.host, port=proxy.port)}
    if proxy.user:
        login = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        options["proxy_headers"] = {"Authorization": f"Basic {login}"}  # aiohttp renames it, and sends it to the proxy
    return options


def foreign_errors(proxy: Proxy | None) -> tuple[type[Exception], ...]:
    """What a request may raise."""
    if proxy is None or not proxy.is_socks:
        return FOREIGN
    try:
        from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
    except ImportError:
        return FOREIGN  # what is missing is said when the connection is made
    return (*FOREIGN, ProxyError, ProxyConnectionError, ProxyTimeoutError)


def without_frames(error: BaseException) -> BaseException:
    """The same error without what aiohttp puts into it and those behind it: the request and the reply, whose headers
    hold the session, and the bytes that are not HTTP."""
    for each in chain(error):
        if isinstance(each, aiohttp.ClientResponseError):
            each.request_info = aiohttp.RequestInfo(URL(), "", CIMultiDictProxy(CIMultiDict()), URL())
            each.history, each.headers, each.message, each.args = (), None, "", ()
        elif isinstance(each, HttpProcessingError):
            vars(each).clear()
            each.args = ()
    return error


def _of_machine(error: BaseException, host: str) -> ResyncError | None:
    """A limit on open files: to wait for it does not help."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return DiskTrouble(describe(error, host))
    return None


def map_transport_error(
    error: BaseException, url: str, timeout: float, way: Route, *, reached: bool = False
) -> ResyncError:
    """A foreign exception in our own words. `reached`: the server has answered before, so that what is wrong now was
    right then, and passes. The order matters: aiohttp's classes inherit from several sides."""
    host, proxy = urlsplit(url).netloc, way.proxy
    if ours := _of_machine(error, host) or (_of_proxy(error, proxy, host, reached) if proxy is not None else None):
        return ours
    tls = tls_error(error)
    match error:
        case _ if isinstance(tls, ssl.SSLCertVerificationError):
            why = untrusted(tls, host, own_trust=way.ca_file is not None)
            return Unreachable(why) if reached else CertificateError(why)
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(f"there is no server of the name {host}")
        case aiohttp.ConnectionTimeoutError():
            return Unreachable(f"no connection to {host} in time")
        case aiohttp.ClientConnectorSSLError():
            return Unreachable(handshake_advice(tls_reason(error), host))
        case aiohttp.ClientConnectorError():
            return Unreachable(f"no connection to {host} ({reason_of(error.os_error)})")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return ProtocolError("an address that is none")
        case TimeoutError():
            return ReadTimeout(f"{host} said nothing for {timeout:.0f} s")
        case aiohttp.ClientResponseError():
            return ForeignReply(f"{host} does not answer in HTTP")
        case aiohttp.ClientPayloadError():
            return OutcomeUnknown("a reply was cut short")
        case aiohttp.ClientError() | OSError() | EOFError():
            return OutcomeUnknown(f"the connection to {host} broke")
        case _:
            return ForeignReply("a reply that is not HTTP")


def _of_proxy(error: BaseException, proxy: Proxy, host: str, reached: bool) -> ResyncError | None:
    """The error that is the proxy's, not the server's."""
    kind = type(error).__name__
    match error:
        case aiohttp.ClientHttpProxyError() if error.status in (401, 407):  # some proxies say 401 to a wrong password
            return proxy_refusal(proxy, error.headers or {}, reached)
        case aiohttp.ClientHttpProxyError():
            why = f"the proxy {proxy.place} does not connect to {host} (status {error.status})"
            wrong = not reached and error.status in (400, 403, 404, 405)
            return Misconfigured(f"{why}; check --proxy, or ask its administrator") if wrong else Unreachable(why)
        case aiohttp.ClientConnectorError() if (error.host, error.port) == (proxy.host, proxy.port):
            return Unreachable(f"no connection to the proxy {proxy.place} ({reason_of(error.os_error)}); check --proxy")
        case _ if not proxy.is_socks:
            return None
        case _ if kind == "ProxyTimeoutError":
            return Unreachable(f"no connection through the proxy {proxy.place} in time")
        case _ if kind == "ProxyConnectionError":
            return Unreachable(f"no connection to the proxy {proxy.place}; check --proxy")
        case _ if kind == "ProxyError" and "uthentic" in str(error):
            return proxy_refusal(proxy, {}, reached)
        case _ if kind == "ProxyError":
            return Unreachable(f"the proxy {proxy.place} does not connect to {host}")
    return None


def proxy_refusal(proxy: Proxy, headers: Mapping[str, str], reached: bool) -> ResyncError:
    """The error for a proxy that wants to know who is asking (407)."""
    offered = headers.get("Proxy-Authenticate", "").lower()
    code = "" if proxy.is_socks else " (407)"
    if proxy.user:
        why = f"the proxy {proxy.place} refuses the user name or password given for it{code}; check both in --proxy"
    elif offered and "basic" not in offered:
        why = (
            f"the proxy {proxy.place} wants a kind of login that is not supported here (407); use a local proxy that"
            " logs in, such as cntlm or px"
        )
    else:
        why = (
            f"the proxy {proxy.place} wants a user name and password{code}; put them into the proxy's address:"
            f" {proxy.scheme}://USER:PASSWORD@{proxy.place}"
        )
    return Unreachable(why) if reached else Misconfigured(why)


async def diagnose(
    error: BaseException, ours: ResyncError, session: aiohttp.ClientSession, url: str, way: Route
) -> ResyncError:
    """The error of a first contact: `ours`, or the mistake in the address that a look at the port shows."""
    if isinstance(ours, CertificateError | Misconfigured | BadSettings):
        return ours
    parts, tls = urlsplit(url), tls_reason(error)
    host = parts.netloc
    refused = isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError)
    answered = not isinstance(error, aiohttp.ClientConnectorError | TimeoutError)
    if parts.scheme == "http" and answered and await speaks_http(session, f"https://{host}", way):
        return Misconfigured(f"{host} speaks TLS; did you mean https://{host}?")
    broken = isinstance(error, OSError) and isinstance(getattr(error, "os_error", error), ConnectionResetError)
    if parts.scheme == "https" and (tls or broken or isinstance(error, aiohttp.ServerDisconnectedError | TimeoutError)):
        if await speaks_http(session, f"http://{host}", way):
            return Misconfigured(
                f"{host} does not speak TLS; did you mean http://{host}? The password and the mail could then be read"
                " on the way"
            )
        if tls:
            return Misconfigured(handshake_advice(tls, host))
        if isinstance(ours, OutcomeUnknown) and way.client_cert is None:
            ours.detail += "; if it wants a client certificate, use --client-cert"
    if isinstance(error, aiohttp.ClientResponseError) and error.message.startswith("Bad status line"):
        return Misconfigured(f"{host} is not a web server; check the port (without one it is https://{parts.hostname})")
    if refused and way.proxy is None:
        for place in await _elsewhere(session, parts.hostname or "", url, way):
            return Misconfigured(f"nothing answers at {host} (connection refused); did you mean {place}?")
    return ours


async def _elsewhere(session: aiohttp.ClientSession, name: str, url: str, way: Route) -> list[str]:
    """Addresses of the same host where a web server answers, instead of a port where nothing does."""
    try:
        here = name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        here = False
    places = [] if here else [place.format(name) for place in USUAL_PLACES]
    places = [place for place in places if not url.startswith(f"{place}/")]
    found = await asyncio.gather(*(speaks_http(session, place, way) for place in places))
    return [place for place, there in zip(places, found, strict=True) if there]


async def speaks_http(session: aiohttp.ClientSession, origin: str, way: Route) -> bool:
    """Whether a web server answers at this origin. It gets no secret, and need not be trusted for this question."""
    limits = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    try:
        async with session.get(
            URL(f"{origin}/"),
            ssl=False,
            allow_redirects=False,
            timeout=limits,
            trace_request_ctx=SimpleNamespace(deadline=None),
            **request_options(way.proxy),
        ):
            return True
    except aiohttp.ClientConnectorSSLError as error:
        return "ALERT" in tls_reason(error)  # only what speaks TLS sends one
    except (aiohttp.ClientHttpProxyError, aiohttp.ClientConnectorError):
        return False
    except (aiohttp.ClientResponseError, aiohttp.ServerDisconnectedError):
        return origin.startswith("https:")  # after the handshake
    except foreign_errors(way.proxy):
        return False
