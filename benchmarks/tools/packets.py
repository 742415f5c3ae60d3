"""A packet-level link between two network namespaces.

The kernel's netem is used if available, else an emulator at $LINK_EMULATOR: a program that understands
`link up NAME RATE_BPS ONEWAY_US QUEUE_BYTES` and `link down NAME`, creates the namespaces NAME-s (10.99.9.1) and NAME-c
(10.99.9.2), and joins them. Both need root. `missing` says why there is no such link.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from typing import NamedTuple

SERVER = "10.99.9.1"
_PACKET = 1500
_BUFFERS = "4096 262144 67108864"  # a socket's buffers must exceed the bytes in flight
_SETTINGS = (
    f"tcp_rmem={_BUFFERS}",
    f"tcp_wmem={_BUFFERS}",
    "tcp_no_metrics_save=1",  # connections keep no metrics of earlier ones
)


class Sides(NamedTuple):
    """The prefixes of commands that run on one side of the link."""

    server: tuple[str, ...]
    client: tuple[str, ...]


async def missing() -> str:
    """Return why there is no packet-level link here; empty if there is one."""
    if os.geteuid() != 0:
        return "it needs root"
    if shutil.which("ip") is None:
        return "it needs iproute2"
    emulator = os.environ.get("LINK_EMULATOR")
    if emulator:
        return "" if os.access(emulator, os.X_OK) else f"$LINK_EMULATOR ({emulator}) cannot be run"
    return "" if await _has_netem() else "this kernel has no netem and $LINK_EMULATOR names no emulator"


@contextlib.asynccontextmanager
async def link(rate_bits: float, rtt_s: float) -> AsyncIterator[Sides]:
    """Yield the link: `rate_bits` of IP packets, a queue of twice the bytes in flight."""
    name = f"kr{os.getpid()}"
    queue = max(int(2 * rate_bits / 8 * rtt_s), 64 * _PACKET)
    emulator = os.environ.get("LINK_EMULATOR")
    if emulator:
        await _run(emulator, "up", name, f"{rate_bits:.0f}", f"{rtt_s / 2 * 1e6:.0f}", str(queue))
    else:
        await _netem_up(name, rate_bits, rtt_s, queue)
    try:
        for side in ("s", "c"):
            inside = ("ip", "netns", "exec", f"{name}-{side}")
            await _run(*inside, "ip", "link", "set", "lo", "up")
            for setting in _SETTINGS:
                await _run(*inside, "sysctl", "-q", f"net.ipv4.{setting}")
            with contextlib.suppress(OSError):  # the choice of nearly all servers (RFC 9438), if available
                await _run(*inside, "sysctl", "-q", "net.ipv4.tcp_congestion_control=cubic")
        yield Sides(("ip", "netns", "exec", f"{name}-s"), ("ip", "netns", "exec", f"{name}-c"))
    finally:
        if emulator:
            await _run(emulator, "down", name)
        else:
            for side in ("s", "c"):
                await _run("ip", "netns", "del", f"{name}-{side}")


async def _has_netem() -> bool:
    name = f"kr{os.getpid()}-probe"
    try:
        await _run("ip", "netns", "add", name)
    except OSError:
        return False
    try:
        await _run("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    except OSError:
        return False
    else:
        return True
    finally:
        await _run("ip", "netns", "del", name)


async def _netem_up(name: str, rate_bits: float, rtt_s: float, queue: int) -> None:
    """Create two namespaces and a pair of interfaces that shape what leaves them."""
    limit = (queue + rate_bits / 8 * rtt_s / 2) / _PACKET
    for side in ("s", "c"):
        await _run("ip", "netns", "add", f"{name}-{side}")
    await _run(
        "ip", "link", "add", "em0", "netns", f"{name}-s", "type", "veth", "peer", "name", "em0", "netns", f"{name}-c"
    )
    for number, side in enumerate(("s", "c"), 1):
        inside = ("ip", "netns", "exec", f"{name}-{side}")
        await _run(*inside, "ip", "addr", "add", f"10.99.9.{number}/24", "dev", "em0")
        await _run(*inside, "ip", "link", "set", "em0", "up", "mtu", str(_PACKET), "gso_max_segs", "1")
        shape = ("delay", f"{rtt_s / 2 * 1e6:.0f}us", "rate", f"{rate_bits:.0f}bit", "limit", f"{limit:.0f}")
        await _run(*inside, "tc", "qdisc", "add", "dev", "em0", "root", "netem", *shape)


async def _run(*command: str) -> None:
    """Run a command; raise OSError with its output if it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, output = await process.communicate()
    if process.returncode:
        raise OSError(f"{' '.join(command)}: {output.decode(errors='replace').strip()}")
