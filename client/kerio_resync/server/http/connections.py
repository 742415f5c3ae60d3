"""Opens connections to the server, and maps their failures to our errors.

Every foreign exception becomes one of ours here. It names the server or the proxy, whichever failed, never a proxy's
password. Until the server has answered once, a wrong address, proxy or certificate is reported as an error to correct,
not retried; the error says what to change.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
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
PROBE_SECONDS = 3.0  # for finding out which protocol a port speaks
MAX_HEADERS = 1024
MAX_HEADER_BYTES = 64 * 1024  # of one header; some gateways send long ones
USUAL_ORIGINS = ("https://{}", "https://{}:8843")  # of a Kerio Connect server, from outside and inside

FOREIGN = (aiohttp.ClientError, OSError, TimeoutError, ValueError, EOFError)


class ReadTimeout(OutcomeUnknown):
    """No byte arrived within the request's timeout, or too few."""


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach the server.

    That is the proxy, the trusted certificates, and the client's own certificate.
    """

    proxy: Proxy | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    fingerprint: str = ""


def open_session(route: Route, url: str, *, connections: int, **options: Any) -> aiohttp.ClientSession:
    """Return a session for one server.

    BadSettings if a file is unusable or a package is missing.
    """
    trust: ssl.SSLContext | bool = True
    if url.startswith("https:"):
        trust = tls_context(route.ca_file, route.client_cert, route.fingerprint)
    settings: dict[str, Any] = {"limit": connections, "ssl": trust, "keepalive_timeout": KEEP_ALIVE_SECONDS}
    if route.proxy is not None and route.proxy.is_socks:
        connector = _socks_connector(route.proxy, settings)
    else:
        connector = aiohttp.TCPConnector(**settings)
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
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
    """Return the request options for an HTTP proxy.

    A SOCKS proxy is configured in the connector.
    """
    if proxy is None or proxy.is_socks:
        return {}
    options: dict[str, Any] = {"proxy": URL.build(scheme="http", host=proxy.host, port=proxy.port)}
    if proxy.user:
        login = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        options["proxy_headers"] = {
            "Authorization": f"Basic {login}"
        }  # aiohttp sends it to the proxy as Proxy-Authorization
    return options


def foreign_errors(proxy: Proxy | None) -> tuple[type[Exception], ...]:
    """Return the exceptions that a request may raise."""
    if proxy is None or not proxy.is_socks:
        return FOREIGN
    try:
        from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
    except ImportError:
        return FOREIGN  # opening the session reports the missing package
    return (*FOREIGN, ProxyError, ProxyConnectionError, ProxyTimeoutError)


def without_frames(error: BaseException) -> BaseException:
    """Remove requests and replies from an error and its causes, and return it.

    Their headers hold the session, and their text may quote bytes of the reply.
    """
    for cause in chain(error):
        if isinstance(cause, aiohttp.ClientResponseError):
            cause.request_info = aiohttp.RequestInfo(URL(), "", CIMultiDictProxy(CIMultiDict()), URL())
            cause.history, cause.headers, cause.message, cause.args = (), None, "", ()
        elif isinstance(cause, HttpProcessingError):
            vars(cause).clear()
            cause.args = ()
    return error


def _map_local_limit(error: BaseException, host: str) -> ResyncError | None:
    """DiskTrouble for a limit on open files, which waiting does not lift."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return DiskTrouble(describe(error, host))
    return None


def map_transport_error(
    error: BaseException, url: str, timeout: float, route: Route, *, reached: bool = False
) -> ResyncError:
    """Return our error for a foreign exception.

    `reached`: the server has answered before, so the settings are right, and a retry may succeed. The order of the
    cases matters: aiohttp's classes have several bases.
    """
    host, proxy = urlsplit(url).netloc, route.proxy
    if ours := _map_local_limit(error, host) or (_map_proxy_error(error, proxy, host, reached) if proxy else None):
        return ours
    tls = tls_error(error)
    match error:
        case _ if isinstance(tls, ssl.SSLCertVerificationError):
            why = untrusted(tls, host, own_trust=route.ca_file is not None)
            return Unreachable(why) if reached else CertificateError(why)
        case aiohttp.ClientConnectorDNSError():
            return Unreachable(f"the name {host} cannot be resolved")
        case aiohttp.ConnectionTimeoutError():
            return Unreachable(f"no connection to {host} in time")
        case aiohttp.ClientConnectorSSLError():
            return Unreachable(handshake_advice(tls_reason(error), host))
        case aiohttp.ClientConnectorError():
            return Unreachable(f"no connection to {host} ({reason_of(error.os_error)})")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return ProtocolError("an invalid URL")
        case TimeoutError():
            return ReadTimeout(f"{host} sent nothing for {timeout:.0f} s")
        case aiohttp.ClientResponseError():
            return ForeignReply(f"{host} does not answer in HTTP")
        case aiohttp.ClientPayloadError():
            return OutcomeUnknown("a reply was cut short")
        case aiohttp.ClientError() | OSError() | EOFError():
            return OutcomeUnknown(f"the connection to {host} broke")
        case _:
            return ForeignReply("a reply that is not HTTP")


def _map_proxy_error(error: BaseException, proxy: Proxy, host: str, reached: bool) -> ResyncError | None:
    """Return the error if the proxy caused it, else None."""
    kind = type(error).__name__
    match error:
        case aiohttp.ClientHttpProxyError() if error.status in (
            401,
            407,
        ):  # some send 401
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
    """Return the error for a proxy that asks for credentials (407)."""
    offered = headers.get("Proxy-Authenticate", "").lower()
    code = "" if proxy.is_socks else " (407)"
    if proxy.user:
        why = f"the proxy {proxy.place} refuses the user name or password given for it{code}; check both in --proxy"
    elif offered and "basic" not in offered:
        why = (
            f"the proxy {proxy.place} wants an authentication method that is not supported (407); use a local"
            " proxy that logs in to it, such as cntlm or px"
        )
    else:
        why = (
            f"the proxy {proxy.place} wants a user name and password{code}; put them into the proxy's address:"
            f" {proxy.scheme}://USER:PASSWORD@{proxy.place}"
        )
    return Unreachable(why) if reached else Misconfigured(why)


async def diagnose(
    error: BaseException, ours: ResyncError, session: aiohttp.ClientSession, url: str, route: Route
) -> ResyncError:
    """Return the error of a first contact: `ours`, or a mistake in the address.

    Probing the port reveals such a mistake.
    """
    if isinstance(ours, CertificateError | Misconfigured | BadSettings):
        return ours
    parts, tls = urlsplit(url), tls_reason(error)
    host = parts.netloc
    refused = isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError)
    answered = not isinstance(error, aiohttp.ClientConnectorError | TimeoutError)
    if parts.scheme == "http" and answered and await speaks_http(session, f"https://{host}", route):
        return Misconfigured(f"{host} speaks TLS; did you mean https://{host}?")
    reset = isinstance(getattr(error, "os_error", None), ConnectionResetError)
    if parts.scheme == "https" and (
        tls or reset or isinstance(ours, OutcomeUnknown) or isinstance(error, TimeoutError)
    ):
        if await speaks_http(session, f"http://{host}", route):
            return Misconfigured(
                f"{host} does not speak TLS; did you mean http://{host}? The password and all mail would then travel"
                " unencrypted"
            )
        if tls:
            return Misconfigured(handshake_advice(tls, host))
        if isinstance(ours, OutcomeUnknown) and route.client_cert is None:
            ours.detail += "; if it wants a client certificate, use --client-cert"
    if isinstance(error, aiohttp.ClientResponseError) and error.message.startswith("Bad status line"):
        return Misconfigured(f"{host} is not a web server; check the port (without one it is https://{parts.hostname})")
    if refused and route.proxy is None:
        for origin in await _find_server(session, parts.hostname or "", url, route):
            return Misconfigured(f"nothing answers at {host} (connection refused); did you mean {origin}?")
    return ours


async def _find_server(session: aiohttp.ClientSession, name: str, url: str, route: Route) -> list[str]:
    """Return the usual origins on the same host at which a web server answers."""
    try:
        is_local = name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        is_local = False
    origins = [] if is_local else [origin.format(name) for origin in USUAL_ORIGINS]
    origins = [origin for origin in origins if not url.startswith(f"{origin}/")]
    answers = await asyncio.gather(*(speaks_http(session, origin, route) for origin in origins))
    return [origin for origin, answered in zip(origins, answers, strict=True) if answered]


async def speaks_http(session: aiohttp.ClientSession, origin: str, route: Route) -> bool:
    """Return whether a web server answers at this origin.

    The probe sends no secret, and accepts any certificate.
    """
    try:
        async with session.get(
            URL(f"{origin}/"),
            ssl=False,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=PROBE_SECONDS),
            trace_request_ctx=SimpleNamespace(deadline=None),
            **request_options(route.proxy),
        ):
            return True
    except aiohttp.ClientConnectorSSLError as error:
        return "ALERT" in tls_reason(error)  # only a TLS server sends an alert
    except (aiohttp.ClientHttpProxyError, aiohttp.ClientConnectorError):
        return False
    except (aiohttp.ClientResponseError, aiohttp.ServerDisconnectedError):
        return origin.startswith("https:")  # after the handshake
    except foreign_errors(route.proxy):
        return False
