"""Requests and replies as values; the API is a function from one to the other.

`http_adapter.py` serves that function over sockets; the transports of `simulation/` call it directly. `Reply.fault`
says what a fault does to a reply on its way (a reset, a cut, a stall); each of them applies it in its own way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """A request with a decoded path and header names in lower case."""

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
        """Return the bytes from `start` to before `stop`, fewer past the end."""
        ...


@dataclass(frozen=True, slots=True)
class TransportFault:
    """A fault of the transport.

    `at` in body bytes, `seconds` of a stall, `rate` of a drip in bytes per second.
    """

    kind: Literal["reset-before-head", "reset-after-head", "cut", "stall", "drip", "wrong-length"]
    at: int = 0
    seconds: float = 0.0
    rate: float = 0.0


@dataclass(slots=True)
class Reply:
    """A reply; `rpc` is its method ("GET attachment" for downloads) in statistics.

    `headers` has each name once; several `Set-Cookie` headers are the lines of one value.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Blob = b""
    rpc: str = ""
    fault: TransportFault | None = None
