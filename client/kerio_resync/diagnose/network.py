"""Checks the way to the server: names, TCP, TLS and HTTP, each once.

The first check that fails names the cause, and those after it are skipped. Nothing that is sent here holds a secret,
except the login for a proxy.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final, NamedTuple

from kerio_resync.diagnose.findings import Emit, failure, of_error, ok, skipped, warning
from kerio_resync.diagnose.tls import check_tls
from kerio_resync.diagnose.way import (
    CLOCK_SECONDS,
    STEP_SECONDS,
    Address,
    Way,
    clock_difference,
    error_of_request,
    in_thread,
    spoken_difference,
)
from kerio_resync.errors import Exit, ForeignReply, ResyncError
from kerio_resync.events import Checked
from kerio_resync.server.http.transport import Request
from kerio_resync.server.http.trust import reason_of

NETWORK_CHECKS: Final = ("dns", "tcp", "tls", "http", "protocol", "clock")
_FAMILIES: Final = ((socket.AF_INET, "IPv4"), (socket.AF_INET6, "IPv6"))
_NAME_ADVICE: Final = "Check this computer's network and its name servers"


async def check_way(way: Way, emit: Emit) -> bool:
    """Check each step to the first reply; return whether the server answers in HTTP."""
    addresses = await _check_names(way, emit)
    if not addresses:
        return _skip_after("dns", emit)
    reached = await _check_connections(way, addresses, emit)
    if reached is None:
        return _skip_after("tcp", emit)
    if not await check_tls(way, reached, emit):
        return _skip_after("tls", emit)
    if not await _check_http(way, emit):
        return _skip_after("http", emit)
    return True


def _skip_after(name: str, emit: Emit) -> bool:
    for later in NETWORK_CHECKS[NETWORK_CHECKS.index(name) + 1 :]:
        emit(skipped(later, f"not checked, because the check `{name}` failed"))
    return False


async def _check_names(way: Way, emit: Emit) -> list[Address]:
    """Resolve the first stop's name in both families."""
    host, port = way.first_stop
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def resolve(family: int) -> list[Address] | str:
        try:
            found = await in_thread(lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM), STEP_SECONDS)
        except socket.gaierror as error:
            absent = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None), getattr(socket, "EAI_ADDRFAMILY", None)}
            return "" if error.errno in absent else "no name server answers"
        except (TimeoutError, OSError):
            return f"no answer within {STEP_SECONDS:.0f} s"
        except UnicodeError:
            return "it is not a valid name"
        return [(int(entry[0]), tuple(entry[4])) for entry in found]

    results = await asyncio.gather(*(resolve(family) for family, _ in _FAMILIES))
    way.timings["dns"] = loop.time() - started
    addresses = [address for result in results if not isinstance(result, str) for address in result]
    data = {name: [a[1][0] for a in addresses if a[0] == family] for family, name in _FAMILIES}
    whose = "the proxy's name " if way.route.proxy else ""
    if addresses and addresses[0][1][0] == host:
        emit(ok("dns", f"{whose}{host} is an address", **data))
    elif not addresses:
        trouble = next((result for result in results if isinstance(result, str) and result), "")
        why = trouble or "there is no such name"
        advice = _NAME_ADVICE if trouble else f"Check the spelling in {'--proxy' if whose else '--server'}"
        emit(failure("dns", f"{whose}{host} cannot be resolved: {why}", advice, Exit.UNFINISHED))
    else:
        shown = "; ".join(f"{name} {', '.join(map(str, found))}" for name, found in data.items() if found)
        emit(ok("dns", f"{whose}{host}: {shown}", seconds=round(way.timings["dns"], 4), **data))
    return addresses


async def _check_connections(way: Way, addresses: list[Address], emit: Emit) -> Address | None:
    """Connect to every address; return the first that answers."""
    loop = asyncio.get_running_loop()
    host, port = way.first_stop
    started = loop.time()

    async def connect(address: Address) -> str:
        sock = socket.socket(address[0], socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(STEP_SECONDS):
                await loop.sock_connect(sock, address[1])
        except TimeoutError:
            return f"no answer within {STEP_SECONDS:.0f} s"
        except OSError as error:
            return os.strerror(error.errno).lower() if error.errno else reason_of(error)
        finally:
            sock.close()
        way.timings.setdefault("tcp", loop.time() - started)
        return ""

    troubles = await asyncio.gather(*(connect(address) for address in addresses))
    attempts = _Attempts(host, tuple(zip(addresses, troubles, strict=True)))
    place = f"the proxy {host} at port {port}" if way.route.proxy else f"port {port} of {host}"
    if not attempts.good:
        emit(await _explain_unreachable(way, place, troubles))
        return None
    emit(_describe_connections(attempts, place, way.timings["tcp"]))
    return attempts.good[0]


class _Attempts(NamedTuple):
    """The attempts to connect to a host: each address, with its trouble or ""."""

    host: str
    results: tuple[tuple[Address, str], ...]

    @property
    def good(self) -> list[Address]:
        return [address for address, trouble in self.results if not trouble]

    @property
    def bad(self) -> list[str]:
        return [f"{address[1][0]} ({trouble})" for address, trouble in self.results if trouble]


def _describe_connections(attempts: _Attempts, place: str, seconds: float) -> Checked:
    """Return the finding for a port that answers at one address or more."""
    good, bad = attempts.good, attempts.bad
    data = {"seconds": round(seconds, 4), "reached": [str(address[1][0]) for address in good], "failed": bad}
    if not bad:
        return ok("tcp", f"connected to {place} in {seconds * 1000:.0f} ms", **data)
    families = {address[0] for address, _ in attempts.results} - {address[0] for address in good}
    if broken := next((name for family, name in _FAMILIES if family in families), ""):
        found = f"{broken} does not work: no connection to {', '.join(bad)}; the other family does"
        advice = f"Have {broken} repaired or switched off: connections try it first, and wait for it"
    else:
        found, advice = f"some addresses of {attempts.host} do not answer: {', '.join(bad)}", "Tell its administrator"
    return warning("tcp", found, advice, **data)


async def _explain_unreachable(way: Way, place: str, troubles: list[str]) -> Checked:
    """Return the finding for a port that does not answer.

    It has the transport's advice, if there is some.
    """
    reason = troubles[0]
    advice = "Check the address and the port; a firewall may be in the way"
    if way.route.proxy is None and "refused" in reason:
        error = await error_of_request(way)
        if error is not None and "did you mean" in str(error):
            return of_error("tcp", error)
        advice = "Check the address and the port, and whether the server runs"
    elif way.route.proxy is not None:
        advice = "Check --proxy, and whether the proxy runs"
    elif "unreachable" in reason:
        advice = "Check this computer's network connection"
    return failure("tcp", f"no connection to {place} ({reason})", advice, Exit.UNFINISHED)


async def _check_http(way: Way, emit: Emit) -> bool:
    """Send one request for the start page."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(STEP_SECONDS + 1):
            reply = await way.follow(Request("GET", f"{way.server}/", timeout=STEP_SECONDS))
    except ForeignReply as error:
        emit(of_error("http", error, "Open any web page in a browser: this network may need a login"))
        return False
    except ResyncError as error:
        name = "proxy" if "the proxy" in str(error) else "http"
        emit(of_error(name, error, "Check the address, and run again later"))
        return False
    except TimeoutError:
        advice = "The server is overloaded or hangs: tell its administrator"
        emit(failure("http", f"{way.host} does not answer within {STEP_SECONDS:.0f} s", advice, Exit.UNFINISHED))
        return False
    seconds = way.timings["http"] = loop.time() - started
    way.difference = clock_difference(reply.headers.get("date", ""))
    server = "".join(letter for letter in reply.headers.get("server", "")[:60] if letter.isprintable())
    finding = _describe_reply(reply.status, seconds, server)
    emit(finding)
    return finding.level != "failure"


def _describe_reply(status: int, seconds: float, server: str) -> Checked:
    found = f"status {status} in {seconds * 1000:.0f} ms"
    data = {"status": status, "seconds": round(seconds, 4), "server": server}
    if status == 511:
        advice = "Open any web page in a browser and log in to this network"
        return failure("http", f"{found}: this network needs a login", advice, Exit.UNFINISHED, **data)
    if status >= 500:
        advice = "The server or a gateway before it is in trouble: tell its administrator, or run again later"
        return failure("http", found, advice, Exit.UNFINISHED, **data)
    return ok("http", f"{found}, by {server}" if server else found, **data)


def check_clock(way: Way) -> Checked:
    """Compare this computer's clock with the server's."""
    if way.difference is None:
        return skipped("clock", "the server does not state its time")
    data = {"seconds": round(way.difference, 1)}
    if abs(way.difference) > CLOCK_SECONDS:
        found = f"this computer's clock is {spoken_difference(way.difference)}"
        return warning("clock", found, "Set the date and the time of this computer", **data)
    return ok(
        "clock", "within a second or so" if abs(way.difference) < 2 else spoken_difference(way.difference), **data
    )
