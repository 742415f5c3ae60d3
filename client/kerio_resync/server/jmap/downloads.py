"""Streams blobs: sources and attachments; resumes where ranges are honoured.

A blob's content never changes, so every reply with a range fits the bytes that are here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from kerio_resync.errors import BadCredentials, ForeignAddress, ResyncError
from kerio_resync.model import Attachment, ContentChunk
from kerio_resync.server.http.transport import Response
from kerio_resync.server.jmap.client import JmapClient
from kerio_resync.server.jmap.methods import request_error
from kerio_resync.server.json_codec import parse_json
from kerio_resync.server.pacing.downloads import REFUSALS, Download, chunks_of

DOWNLOAD_NAME: Final = "GET blob"
MAX_ERROR_BODY_BYTES: Final = 64 * 1024


class _Download(Download):
    name = DOWNLOAD_NAME

    def __init__(self, client: JmapClient, attachment: Attachment, offset: int, etag: str) -> None:
        resource = client.resource
        if not resource.download_url:
            raise ForeignAddress("the server names no address for downloads")
        account, blob_id = resource.split(attachment.url)
        url = resource.blob_url(account, blob_id, attachment.name, attachment.content_type)
        super().__init__(client, attachment, url, offset, etag)
        self._jmap = client

    def accept_encoding(self) -> str:
        if self._attachment.role != "source":
            return super().accept_encoding()
        return self._jmap.limiter.stats.accept_encoding_of_source()

    async def refusal(self, response: Response) -> ResyncError:
        status, value = response.status, None
        if status in REFUSALS or status in (200, 413):
            return await super().refusal(response)
        if "json" in response.headers.get("content-type", "").lower():
            try:
                value, _ = parse_json(await response.read(MAX_ERROR_BODY_BYTES))
            except ValueError:
                value = None
        error = request_error(self.name, status, response.headers, value, redactor=self._jmap.redactor)
        if isinstance(error, BadCredentials):
            self._jmap.session.refused(error)
        return error


def download(
    client: JmapClient, attachment: Attachment, offset: int = 0, etag: str = ""
) -> AsyncIterator[ContentChunk]:
    """Yield the bytes of a blob, as `Mailbox.download` describes."""
    return chunks_of(_Download(client, attachment, offset, etag))
