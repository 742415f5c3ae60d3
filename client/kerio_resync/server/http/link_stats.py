"""Measures how busy the link is, and whether compression pays.

The link's rate is the median rate of single bodies. With several bodies at once it errs to the slow side, where
compression is right anyway. Bodies also tell what a reply waits for: on an overloaded link some body is arriving at any
time, while an overloaded server sends each body at once, late.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median

SERVER_COMPRESSION_RATE = 100e6  # assumed, plain bytes/s (gzip 50 to 100 MB/s, zstd 200 and more)
DECODING_RATE = 400e6  # plain bytes/s, until it is measured
COMPRESSION_RATIO = 0.3  # of mail text as JSON, until it is measured
SOURCE_COMPRESSION_RATIO = 0.76  # of mails with large attachments, which are in base64
MIN_BODY_BYTES = 16 * 1024  # a smaller body does not tell the rate
MAX_BODIES = 31  # the latest ones
MIN_BODIES = 5  # until then the rate is unknown

COMPRESSED = "zstd, gzip"
COMPRESSED_SOURCE = "zstd"  # gzip takes some servers ten times as long, for the same ratio
PLAIN = "identity"


@dataclass(slots=True)
class LinkStats:
    """Statistics of all replies of one run. Times are seconds of one clock.

    `min_latency`: seconds until the head of the fastest reply.
    """

    min_latency: float = float("inf")
    _packed: int = 0
    _unpacked: int = 0
    _decoding: float = 0.0
    _rates: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_BODIES))
    _arriving: int = 0
    _busy: float = 0.0
    _busy_since: float = 0.0

    def began(self, now: float) -> None:
        """Record that the head of a reply has arrived; its body follows."""
        if self._arriving == 0:
            self._busy_since = now
        self._arriving += 1

    def ended(self, now: float, n: int, seconds: float) -> None:
        """Record the end of a body of `n` bytes, `seconds` after its head."""
        self._arriving -= 1
        if self._arriving == 0:
            self._busy += now - self._busy_since
        if n >= MIN_BODY_BYTES:
            self._rates.append(n / max(seconds, 1e-4))

    def busy(self, now: float) -> float:
        """Return the seconds, in all, in which some body was arriving."""
        return self._busy + (now - self._busy_since if self._arriving else 0.0)

    def decoded(self, packed: int, unpacked: int, seconds: float) -> None:
        """Record that `packed` bytes became `unpacked` in `seconds` of processor time."""
        self._packed += packed
        self._unpacked += unpacked
        self._decoding += seconds

    def accept_encoding(self) -> str:
        """Return the `Accept-Encoding` of the next request for JSON."""
        ratio = self._packed / self._unpacked if self._unpacked else COMPRESSION_RATIO
        return COMPRESSED if self._is_worth_compressing(ratio) else PLAIN

    def accept_encoding_of_source(self) -> str:
        """Return the `Accept-Encoding` of the next download of a mail's source."""
        return COMPRESSED_SOURCE if self._is_worth_compressing(SOURCE_COMPRESSION_RATIO) else PLAIN

    def _is_worth_compressing(self, ratio: float) -> bool:
        rate = median(self._rates) if len(self._rates) >= MIN_BODIES else 0.0
        decoding = self._unpacked / self._decoding if self._decoding > 0 else DECODING_RATE
        return worth_compressing(rate, ratio, decoding)


def worth_compressing(rate: float, ratio: float, decoding: float) -> bool:
    """Return whether a plain byte arrives sooner if it is compressed.

    It does if the time saved on the link exceeds that of both processors.

    `rate` of the link in bytes/s (0: unknown, then True), `ratio` packed to plain, `decoding` in plain bytes/s.
    """
    return rate <= 0 or (1 - ratio) / rate > 1 / SERVER_COMPRESSION_RATE + 1 / decoding
