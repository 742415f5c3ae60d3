"""The mock's relay as a program, in front of another server.

    python -m benchmarks.tools.relay LINK PORT

LINK is a `Link` as JSON, PORT that of a server on 127.0.0.1. It prints its port and ends at the end of its standard
input. Other programs are thus measured over the same code that shapes the mock's traffic.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.tools.machine import child
from kerio_mockserver.conditions.link import Link
from kerio_mockserver.conditions.relay import Relay


@contextlib.contextmanager
def before(port: int, link: Mapping[str, Any] | None) -> Iterator[int]:
    """Yield the port to use instead of `port`: a relay's, or the same without a link."""
    if link is None:
        yield port
        return
    with child("relay", "benchmarks.tools.relay", json.dumps(link), str(port)) as (_, line):
        yield int(line)


async def _relay(link: Link, port: int) -> None:
    relay = await Relay.start(link, ("127.0.0.1", port))
    print(relay.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await relay.aclose()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as _runner:
        _runner.run(_relay(Link.model_validate_json(sys.argv[1]), int(sys.argv[2])))
