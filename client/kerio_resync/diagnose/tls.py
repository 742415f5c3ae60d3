"""Checks the TLS handshake and the certificate, and says why one is not trusted."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from kerio_resync.diagnose import certificates
from kerio_resync.diagnose.findings import Emit, failure, of_error, ok, skipped, warning
from kerio_resync.diagnose.way import (
    CLOCK_SECONDS,
    STEP_SECONDS,
    Address,
    Way,
    clock_difference,
    error_of_request,
    spoken_difference,
)
from kerio_resync.errors import BadSettings, CertificateError, Exit
from kerio_resync.events import Checked
from kerio_resync.server.http.trust import reason_of

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
CERTIFICATE_DAYS: Final = 14  # a certificate that expires earlier is named


async def check_tls(way: Way, address: Address, emit: Emit) -> bool:
    """Check the handshake and the certificate."""
    if not way.is_tls:
        found = "the connection is not encrypted (http://)"
        is_local = way.host in LOOPBACK
        emit(ok("tls", found) if is_local else warning("tls", found, "Use https:// if the server offers it"))
        return True
    proxy = way.route.proxy
    if proxy is not None and proxy.is_socks:
        emit(skipped("tls", "checked with the first request, through the SOCKS proxy"))
        return True
    started = asyncio.get_running_loop().time()
    try:
        context = certificates.context_of(way.route)
        async with asyncio.timeout(STEP_SECONDS):
            peer = await certificates.handshake(way.route, way.host, way.port, address, context)
    except BadSettings as error:
        emit(of_error("tls", error))
        return False
    except certificates.TunnelRefused as refused:
        emit(of_error("proxy", await error_of_request(way) or refused, "Check --proxy"))
        return False
    except (OSError, ssl.SSLError, EOFError, TimeoutError, ValueError) as foreign:
        emit(await _explain_tls(way, address, foreign, emit))
        return False
    way.timings["tls"] = asyncio.get_running_loop().time() - started
    emit(_describe_certificate(peer, way))
    return True


def _describe_certificate(peer: certificates.Peer, way: Way) -> Checked:
    cert, seconds = peer.certificate, round(way.timings["tls"], 4)
    data = {"seconds": seconds, "version": peer.version, "cipher": peer.cipher, "sha256": peer.sha256}
    if cert is None:
        return ok("tls", f"{peer.version}, certificate with the fingerprint that was given", **data)
    data |= {"names": list(cert.names), "issuer": cert.issuer}
    days = (cert.until - datetime.now(UTC)).days
    found = (
        f"{peer.version}, certificate for {', '.join(cert.names[:3])}, by {cert.issuer}, until {cert.until:%Y-%m-%d}"
    )
    if days < CERTIFICATE_DAYS:
        advice = "Remind the server's administrator to renew it"
        return warning("tls", f"{found}: it expires in {days} days", advice, **data, days_left=days)
    return ok("tls", found, **data, days_left=days)


async def _explain_tls(way: Way, address: Address, foreign: Exception, emit: Emit) -> Checked:
    """Return the finding for a failed handshake.

    If the clock is the cause, emit that first.
    """
    if isinstance(foreign, TimeoutError):
        return failure(
            "tls", f"{way.host} accepts the connection and then says nothing for {STEP_SECONDS:.0f} s",
            "Check the port; a firewall or an overloaded server can be the cause", Exit.UNFINISHED,
        )  # fmt: skip
    error = await error_of_request(way)
    if error is None:
        return failure("tls", f"the TLS handshake failed ({reason_of(foreign)})", "Run again", Exit.UNFINISHED)
    if not isinstance(error, CertificateError):
        return of_error("tls", error, "Check the address and the port")
    peer, date = None, ""
    with suppress(OSError, ssl.SSLError, EOFError, TimeoutError, ValueError):
        async with asyncio.timeout(STEP_SECONDS):
            peer, date = await certificates.examine(way.route, way.host, way.port, address)
    found = of_error("tls", error)
    if peer is None or peer.certificate is None:
        return found
    cert, way.difference = peer.certificate, clock_difference(date)
    if way.difference is not None and _clock_is_the_cause(cert, way.difference):
        emit(_clock_failure(way.difference))
    dates = f"{cert.since:%Y-%m-%d} to {cert.until:%Y-%m-%d}"
    shown = f"for {', '.join(cert.names[:3])}, by {cert.issuer}, {dates}, SHA-256 {peer.sha256}"
    return failure(
        "tls", f"{found.found} (it is {shown})", found.advice, Exit.UNFINISHED,
        sha256=peer.sha256, names=list(cert.names), issuer=cert.issuer,
    )  # fmt: skip


def _clock_is_the_cause(cert: certificates.Certificate, difference: float) -> bool:
    """Return whether the certificate is valid by the server's clock only."""
    ours = datetime.now(UTC)
    theirs = ours + timedelta(seconds=difference)
    return (
        abs(difference) > CLOCK_SECONDS and cert.since <= theirs <= cert.until and not cert.since <= ours <= cert.until
    )


def _clock_failure(difference: float) -> Checked:
    return failure(
        "clock", f"this computer's clock is {spoken_difference(difference)}, so certificates look invalid",
        "Set the date and the time of this computer", Exit.UNFINISHED, seconds=round(difference, 1),
    )  # fmt: skip
