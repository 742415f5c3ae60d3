"""HTTP as the rest of the client sees it: one method, one request, one streamed response.

`Transport` is the seam that tests replace. `AioTransport` (aiohttp) is the real one; the only module that imports aiohttp.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """`url` absolute; `headers` as they go out; `timeout` in seconds for the silence between two bytes."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout: float = 60.0


class Response(Protocol):
    """An answer whose head has arrived. `headers` has lower-case names. `wire_bytes`: body bytes as they travelled, so far."""

    status: int
    headers: Mapping[str, str]
    wire_bytes: int

    async def read(self, limit: int) -> bytes:
        """The whole body, decoded; ServerNonsense once it is longer than `limit` bytes, Interrupted if it is cut short."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces as they come, decoded; Interrupted if it is cut short."""
        ...


class Transport(Protocol):
    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        """Sends once. Raises Unreachable if surely nothing was processed, Interrupted if that is unknown. No redirects."""
        ...

    async def aclose(self) -> None: ...
