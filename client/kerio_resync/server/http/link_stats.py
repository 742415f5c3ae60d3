"""How busy our side of the link is, and whether compression pays.

Two questions that look like one. How fast is the link? The median of what single bodies came at says that well enough:
it errs to the slow side when several come at once, and then compression is right anyway. Is the link (or are we) what a
reply waits for, or the server? Bodies say that too: on a link with too much to do some body is on its way at any time,
while a server with too much to do sends each in one go, late.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

SERVER_COMPRESSION_RATE = (
    100e6  # plain bytes/s that a server is taken to compress (gzip 50 to 100 MB/s, zstd 200 and more)
)
DECODING_RATE = 400e6  # plain bytes/s that we are taken to decompress until it is measured
COMPRESSION_RATIO = 0.3  # of mail text as JSON, until it is measured
MIN_BODY_BYTES = 16 * 1024  # bytes from which a body tells the link's rate
MAX_BODIES = 31  # the last so many of them
MIN_BODIES = 5  # bodies that tell nothing yet

COMPRESSED = "zstd, gzip"
PLAIN = "identity"


@dataclass(slots=True)
class LinkStats:
    """Of one run, all calls together. Times in seconds of one clock. `way`: the least until any reply's head came."""

    min_latency: float = float("inf")
    _packed: int = 0
    _unpacked: int = 0
    _decoding: float = 0.0
    _bodies: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_BODIES))
    _coming: int = 0
    _busy: float = 0.0
    _from: float = 0.0

    def began(self, now: float) -> None:
        """A reply's head has come, its body is on its way."""
        if self._coming == 0:
            self._from = now
        self._coming += 1

    def ended(self, now: float, n: int, seconds: float) -> None:
        """Its body of `n` bytes has come, `seconds` after the head; or it won't come any more."""
        self._coming -= 1
        if self._coming == 0:
            self._busy += now - self._from
        if n >= MIN_BODY_BYTES:
            self._bodies.append(n / max(seconds, 1e-4))

    def busy(self, now: float) -> float:
        """For how many seconds, in all, some body has been on its way."""
        return self._busy + (now - self._from if self._coming else 0.0)

    def decoded(self, packed: int, unpacked: int, seconds: float) -> None:
        """A compressed reply of `packed` bytes became `unpacked` in `seconds` of our processor's time."""
        self._packed += packed
        self._unpacked += unpacked
        self._decoding += seconds

    def accept_encoding(self) -> str:
        """The `Accept-Encoding` of the next reply."""
        rate = median(self._bodies) if len(self._bodies) >= MIN_BODIES else 0.0
        ratio = self._packed / self._unpacked if self._unpacked else COMPRESSION_RATIO
        decoding = self._unpacked / self._decoding if self._decoding > 0 else DECODING_RATE
        return COMPRESSED if worth_compressing(rate, ratio, decoding) else PLAIN


def worth_compressing(rate: float, ratio: float, decoding: float) -> bool:
    """Whether a plain byte comes sooner packed: what the link saves against what the server and we take for it.

    `rate` of the link in bytes/s (0: unknown, then yes), `ratio` packed to plain, `decoding` in plain bytes/s.
    """
    return rate <= 0 or (1 - ratio) / rate > 1 / SERVER_COMPRESSION_RATE + 1 / decoding
