"""Damages replies a little: types, duplicates, single bits, headers."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from kerio_resync.server.http.transport import Request, Response
from simulation.direct_transport import DirectResponse, DirectTransport

VALUES: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 10**40, 1.5, float("nan"), float("inf"), "", "\0",
    "..", "../../etc/passwd", "a\nb", "\ud800", "x" * 5000, "20269999T999999Z", "http://evil.test/steal",
    "//evil.test/steal", [], {}, [None], [[[[]]]], {"id": "x"}, {"code": -32001}, "keriostorage://mail/x/y/z/1",
)  # fmt: skip
HEADS: Final = (
    ("content-range", "bytes 5-2/9"), ("content-range", "bytes 0-1/999999999999999999"), ("content-range", "x"),
    ("content-length", "99999999999999"), ("content-length", "-1"), ("etag", '"other"'), ("etag", "\xff"),
    ("content-encoding", "gzip"), ("content-encoding", "zstd"), ("content-type", "text/html"), ("retry-after", "7"),
    ("retry-after", "315360000"), ("retry-after", "never"), ("location", "http://evil.test/"), ("set-cookie", "a=b"),
)  # fmt: skip
STATUSES: Final = (201, 204, 206, 301, 302, 400, 401, 403, 404, 413, 416, 429, 500, 502, 503, 504, 600)


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Each (container, key) in a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found.append((value, key))
        places(value[key], found)
    return found


def swap(value: Any, rng: random.Random) -> None:
    container, key = rng.choice(places(value, []))
    container[key] = rng.choice(VALUES)


def drop(value: Any, rng: random.Random) -> None:
    container, key = rng.choice(places(value, []))
    del container[key]


def double(value: Any, rng: random.Random) -> None:
    """A line of a list again, or a member's value in another member's place."""
    container, key = rng.choice(places(value, []))
    if isinstance(container, list):
        container.insert(rng.randrange(len(container) + 1), container[key])
    else:
        container[rng.choice([*container])] = container[key]


def empty(value: Any, rng: random.Random) -> None:
    lists = [container[key] for container, key in places(value, []) if isinstance(container[key], list | dict)]
    if lists:
        rng.choice(lists).clear()


_NESTED: Final = re.compile(rb'"nested (\d+)"')


def nest(value: Any, rng: random.Random) -> None:
    container, key = rng.choice(places(value, []))
    # brackets are put in once it is text: no writer goes so deep
    container[key] = f"nested {rng.choice((10, 300, 900))}"


EDITS: Final[tuple[Callable[[Any, random.Random], None], ...]] = (swap, swap, swap, drop, double, empty, nest)


def edited(body: bytes, rng: random.Random) -> bytes:
    """JSON with one thing wrong in it; what is no JSON, with a bit turned over."""
    try:
        value = json.loads(body)
    except ValueError:
        return flipped(body, rng)
    if not places(value, []):
        return flipped(body, rng)
    rng.choice(EDITS)(value, rng)
    return _NESTED.sub(lambda found: b"[" * int(found[1]) + b"]" * int(found[1]), json.dumps(value).encode())


def flipped(body: bytes, rng: random.Random) -> bytes:
    found = bytearray(body)
    for _ in range(rng.randint(1, 3) if found else 0):
        found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def cut(body: bytes, rng: random.Random) -> bytes:
    return body[: rng.randrange(len(body) + 1)]


def mutated(response: DirectResponse, rng: random.Random) -> DirectResponse:
    how = rng.random()
    if how < 0.65:
        response.body = edited(response.body, rng)
    elif how < 0.75:
        response.body = flipped(response.body, rng)
    elif how < 0.85:
        response.body = cut(response.body, rng)
    elif how < 0.95:
        name, value = rng.choice(HEADS)
        response.headers = {**response.headers, name: value}
    else:
        response.status = rng.choice(STATUSES)
    return response


@dataclass
class MutatingTransport(DirectTransport):
    """Spoils a `share` of the replies. `spoilt` counts them by method."""

    rng: random.Random = field(default_factory=random.Random)
    share: float = 0.3
    spoilt: Counter[str] = field(default_factory=Counter)
    most: int = 20_000  # requests that one run may take before it counts as endless

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        async with super().send(request) as response:
            assert isinstance(response, DirectResponse)
            assert len(self.requests) < self.most, "a run that does not end"
            if self.rng.random() < self.share:
                mutated(response, self.rng)
                self.spoilt[self.requests[-1]] += 1
            yield response
