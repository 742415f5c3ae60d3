"""Statistics of requests and replies.

Bytes are those of bodies: `plain` before compression, `wire` as they leave the server (a fault or a link may still
lose some). Errors are counted by JSON-RPC or application code, refusals without a code by HTTP status.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Stats:
    """Counts since the start or the last reset.

    `internal_errors` are exceptions of the mock itself.
    """

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out_plain: int = 0
    bytes_out_wire: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    internal_errors: list[str] = field(default_factory=list)

    def began(self, body: bytes) -> None:
        """Count the start of a request."""
        self.bytes_in += len(body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def ended(self, rpc: str, status: int, plain: int, wire: int) -> None:
        """Count the end of a request."""
        self.in_flight -= 1
        self.requests[rpc] += 1
        self.statuses[status] += 1
        self.bytes_out_plain += plain
        self.bytes_out_wire += wire

    def internal_error(self, error: Exception) -> None:
        """Keep the type and place of an exception, not its text, which may contain mail."""
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else ""
        self.internal_errors.append(f"{type(error).__name__} at {where}")

    def reset(self) -> None:
        """Set all counts to 0 except the requests in flight."""
        in_flight = self.in_flight
        self.__init__()  # type: ignore[misc]
        self.in_flight = self.most_in_flight = in_flight

    def as_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "requests": dict(self.requests),
            "requests_total": self.requests.total(),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "errors": dict(self.errors),
            "bytes": {
                "in": self.bytes_in,
                "out_plain": self.bytes_out_plain,
                "out_wire": self.bytes_out_wire,
            },
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "mistakes": len(self.internal_errors),
            "mistakes_at": self.internal_errors[-20:],
        }
