"""Conversion between the client's and the mock server's messages."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from kerio_mockserver.messages import Reply
from kerio_mockserver.messages import Request as ServerRequest
from kerio_resync.server.http.transport import Request

ORIGIN = "http://mail.test"


def server_request(request: Request, *, without: str = "") -> ServerRequest:
    """Return a client request as the server receives it, without one header."""
    parts = urlsplit(request.url)
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() != without}
    return ServerRequest(request.method, unquote(parts.path), headers, request.body or b"", parts.query, "10.0.0.1")


def reply_parts(reply: Reply) -> tuple[dict[str, str], bytes]:
    """Return a server reply as it is sent.

    Headers in lower case, with the length, and the body.
    """
    body = reply.body if isinstance(reply.body, bytes) else reply.body.read(0, len(reply.body))
    return {"content-length": str(len(body))} | {name.lower(): value for name, value in reply.headers.items()}, body
