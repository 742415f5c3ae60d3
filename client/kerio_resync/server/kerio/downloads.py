"""Downloads attachments. A JSON-RPC error in place of one is the server's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

from kerio_resync.errors import ForeignReply, ProtocolError, ResyncError, TooLarge
from kerio_resync.model import Attachment, ContentChunk
from kerio_resync.server.http.transport import Response
from kerio_resync.server.kerio.replies import parse_response
from kerio_resync.server.kerio.rpc import RpcClient
from kerio_resync.server.kerio.session import resolve_url
from kerio_resync.server.pacing.downloads import Download, chunks_of

DOWNLOAD_METHOD = "GET attachment"
MAX_ERROR_BODY_BYTES = 64 * 1024


class _Download(Download):
    name = DOWNLOAD_METHOD

    def __init__(self, client: RpcClient, attachment: Attachment, offset: int, etag: str) -> None:
        super().__init__(client, attachment, resolve_url(client.session.origin, attachment.url), offset, etag)
        self._rpc = client

    async def refusal(self, response: Response) -> ResyncError:
        if "json" in response.headers.get("content-type", "").lower():
            try:
                clean, envelope = self._rpc.session.redactor.value, self._rpc.envelope
                body = await response.read(MAX_ERROR_BODY_BYTES)
                parse_response(self.name, response.status, response.headers, body, clean=clean, envelope=envelope)
            except ResyncError as error:
                if not isinstance(error, ForeignReply | ProtocolError | TooLarge):
                    return error
        return await super().refusal(response)


def download(client: RpcClient, attachment: Attachment, offset: int = 0, etag: str = "") -> AsyncIterator[ContentChunk]:
    """Yield the bytes of an attachment, as `Mailbox.download` describes."""
    return chunks_of(_Download(client, attachment, offset, etag))
