"""What came over the wire, how fast the link is, and whether compression pays.

The link's rate is the best that was seen lately over `SPAN` seconds of arriving bytes: the best, because the link is
seldom busy all the time; over a span, because what piled up in the kernel while we were busy comes at once. It fades
with a half-life, since links change.
"""

from __future__ import annotations

from dataclasses import dataclass

SPAN = 0.2  # seconds
HALF_LIFE = 60.0  # seconds
SERVER = 100e6  # plain bytes/s that a server is taken to compress (gzip 50 to 100 MB/s, zstd 200 and more)
DECODING = 400e6  # plain bytes/s that we are taken to decompress until it is measured
RATIO = 0.3  # of mail text as JSON, until it is measured
PROBE = 64  # every so many replies are asked for plain on a link that may be fast, since compressing hides its rate
PROBE_FROM = 8e6  # bytes/s

COMPRESSED = "zstd, gzip"
PLAIN = "identity"


@dataclass(slots=True)
class Meter:
    """`total` body bytes as they travelled; `rate` of the link in bytes/s, 0 while unknown."""

    total: int = 0
    rate: float = 0.0
    replies: int = 0
    _since: float | None = None
    _bytes: int = 0
    _packed: int = 0
    _unpacked: int = 0
    _decoding: float = 0.0

    def add(self, n: int, now: float) -> None:
        """`n` bytes have come. The first of a span only starts it: they have been on their way before."""
        self.total += n
        if self._since is None:
            self._since, self._bytes = now, 0
            return
        self._bytes += n
        span = now - self._since
        if span >= SPAN:
            self.rate = best(self.rate, self._bytes / span, span)
            self._since, self._bytes = now, 0

    def decoded(self, packed: int, unpacked: int, seconds: float) -> None:
        """A compressed reply of `packed` bytes became `unpacked` in `seconds` of our processor's time."""
        self._packed += packed
        self._unpacked += unpacked
        self._decoding += seconds

    def link_share(self, before: int, wait: float) -> float:
        """How many seconds of `wait` the bytes explain that have come since `total` was `before`."""
        return min(wait, (self.total - before) / self.rate) if self.rate else 0.0

    def accept(self) -> str:
        """The `Accept-Encoding` of the next reply."""
        self.replies += 1
        probe = self.rate > PROBE_FROM and self.replies % PROBE == 0
        ratio = self._packed / self._unpacked if self._unpacked else RATIO
        decoding = self._unpacked / self._decoding if self._decoding > 0 else DECODING
        return PLAIN if probe or not worth_compressing(self.rate, ratio, decoding) else COMPRESSED


def best(rate: float, seen: float, span: float) -> float:
    """The link's rate after `seen` bytes/s were seen over a `span` in seconds."""
    return float(max(seen, rate * 0.5 ** (span / HALF_LIFE)))


def worth_compressing(rate: float, ratio: float, decoding: float) -> bool:
    """Whether a plain byte comes sooner packed: what the link saves against what the server and we take for it.

    `rate` of the link in bytes/s (0: unknown, then yes), `ratio` packed to plain, `decoding` in plain bytes/s.
    """
    return rate <= 0 or (1 - ratio) / rate > 1 / SERVER + 1 / decoding
