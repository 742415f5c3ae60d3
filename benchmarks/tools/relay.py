"""`python -m benchmarks.tools.relay LINK PORT`: the mock server's line, in front of a server that is not the mock.

LINK is a `Link` as JSON, PORT that of a server on 127.0.0.1. Prints the port that it listens on, and ends when its
standard input does. So a rival is measured over the very same code that shapes the mock server's own traffic.
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
    """The port to go to instead of `port`: the same if there is no link, else a relay's while inside. OSError."""
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
