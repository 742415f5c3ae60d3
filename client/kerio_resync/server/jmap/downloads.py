"""Downloads blobs: sources and attachments, streamed, and resumed where the server honours ranges.

A blob's content never changes, so every reply with a range fits the bytes that are here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from kerio_resync.errors import BadCredentials, DownloadRefused, ForeignAddress, ResyncError
from kerio_resync.model import Attachment, ContentChunk
from kerio_resync.server.http.transport import Response
from kerio_resync.server.jmap.client import JmapClient
from kerio_resync.server.jmap.methods import request_error
from kerio_resync.server.kerio.downloads import MAX_ERROR_BODY_BYTES, REFUSALS, Download
from kerio_resync.server.kerio.json_codec import parse_json
from kerio_resync.server.kerio.replies import foreign_download

DOWNLOAD_NAME: Final = "GET blob"


class BlobDownload(Download):
    """One download of a blob."""

    def __init__(self, client: Any, attachment: Attachment, offset: int, etag: str) -> None:
        resource = client.resource
        if not resource.download_url:
            raise ForeignAddress("the server names no address for downloads")
        account, blob_id = resource.split(attachment.url)
        url = resource.blob_url(account, blob_id, attachment.name, attachment.content_type)
        super().__init__(client, attachment, url, offset, etag)

    async def _refusal(self, response: Response) -> ResyncError:
        """Return the error for a reply without the blob."""
        client: Any = self._client
        status, value = response.status, None
        if "json" in response.headers.get("content-type", "").lower():
            try:
                value, _ = parse_json(await response.read(MAX_ERROR_BODY_BYTES))
            except ValueError:
                value = None
        if status in REFUSALS:
            return DownloadRefused(f"the server answers with status {status}", code=status, method=DOWNLOAD_NAME)
        if status in (200, 413):
            return foreign_download("something other than its content", status)
        error = request_error(DOWNLOAD_NAME, status, response.headers, value, redactor=client.redactor)
        if isinstance(error, BadCredentials):
            client.session.refused(error)
        return error


async def download(
    client: JmapClient, attachment: Attachment, offset: int = 0, etag: str = ""
) -> AsyncIterator[ContentChunk]:
    """Yield the bytes of a blob, as `Mailbox.download` describes."""
    transfer = BlobDownload(client, attachment, offset, etag)
    try:
        while (chunk := await transfer.next_chunk()) is not None:
            yield chunk
    finally:
        await transfer.close()
