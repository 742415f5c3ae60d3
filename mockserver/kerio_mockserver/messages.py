"""A request and a reply as values: the API is a function from one to the other.

`aiohttp.web` is one shell around that function (`app.py`); a test's in-process transport is another. What a fault does
to a reply on its way (a reset, a cut, a stall) is said in `Reply.mishap`, which each shell acts out in its own medium.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """`path` is decoded and without the query; `query` the raw query string; `headers` have lower-case names."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    query: str = ""
    peer: str = ""


class Blob(Protocol):
    """Bytes that need not be in memory at once, such as a large attachment."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to before `stop`."""
        ...


@dataclass(frozen=True, slots=True)
class TransportFault:
    """What happens to a reply on its way: `at` in body bytes, `seconds` for a stall, `rate` in bytes/s for a drip."""

    kind: Literal["reset-before-head", "reset-after-head", "cut", "stall", "drip", "wrong-length"]
    at: int = 0
    seconds: float = 0.0
    rate: float = 0.0


@dataclass(slots=True)
class Reply:
    """`rpc` names the method it answers ("GET attachment" for downloads): what faults and statistics go by.

    `headers` have each name once; several `Set-Cookie` stand in one value, a line each.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Blob = b""
    rpc: str = ""
    fault: TransportFault | None = None
