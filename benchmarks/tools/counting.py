"""A relay in front of a server that counts what passes.

Only for runs whose time is not measured: each byte passes through this process's interpreter.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

# a request may follow the end of a body without a line feed
HTTP_REQUEST = re.compile(rb"(?:GET|HEAD|POST|PUT) \S+ HTTP/1\.[01]\r$", re.MULTILINE)
IMAP_COMMAND = re.compile(rb"^[A-Za-z0-9]+ [A-Z]+[^\r\n]*\r$", re.MULTILINE)
_PIECE = 1 << 16
_END_SECONDS = 10


@dataclass
class Counts:
    """Connections, requests, and bytes of TCP payload in both directions."""

    connections: int = 0
    requests: int = 0
    up_bytes: int = 0
    down_bytes: int = 0


@contextlib.contextmanager
def before(port: int, request: re.Pattern[bytes]) -> Iterator[tuple[int, Counts]]:
    """Yield the port to use instead of `port`, and what passes; exact after the end.

    `request` matches the first line of a request, without its line feed.
    """
    relay = _Relay(port, request)
    try:
        yield relay.listener.getsockname()[1], relay.counts
    finally:
        relay.close()


class _Relay:
    def __init__(self, port: int, request: re.Pattern[bytes]) -> None:
        self.counts = Counts()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self._port, self._request = port, request
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Stop accepting and wait until the connections have ended."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        for thread in self._threads:
            thread.join(_END_SECONDS)
        for each in (self.listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += (near, far)
                self.counts.connections += 1
                for carry, source, target in ((self._carry_up, near, far), (self._carry_down, far, near)):
                    target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._threads.append(threading.Thread(target=carry, args=(source, target), daemon=True))
                    self._threads[-1].start()

    def _carry_up(self, source: socket.socket, target: socket.socket) -> None:
        inflater, rest = None, b""
        for data in _pieces(source, target):
            complete, end, rest = (rest + (inflater.decompress(data) if inflater else data)).rpartition(b"\n")
            if complete.endswith(b" COMPRESS DEFLATE\r"):  # RFC 4978: from here on a raw deflate stream
                inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            with self._lock:
                self.counts.requests += len(self._request.findall(complete + end))
                self.counts.up_bytes += len(data)

    def _carry_down(self, source: socket.socket, target: socket.socket) -> None:
        for data in _pieces(source, target):
            with self._lock:
                self.counts.down_bytes += len(data)


def _pieces(source: socket.socket, target: socket.socket) -> Iterator[bytes]:
    """Pass on what `source` sends; yield each piece."""
    with contextlib.suppress(OSError):
        while data := source.recv(_PIECE):
            target.sendall(data)
            yield data
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
