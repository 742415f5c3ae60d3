"""Renders stored mails.

A mail comes from its source byte by byte, else from the server's struct.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from kerio_resync.export.dialect import ForwardedReader, MailMaker
from kerio_resync.export.mime_writer import Piece, Rendering, StoredPiece, boundary_of, is_clean, is_unencodable
from kerio_resync.export.read_cache import CacheReader, ContentRow, ItemRow
from kerio_resync.version import VERSION

NO_SOURCE: Final = "its source is not in the cache"
FLAGS_LOST: Final = "flags, which an .eml file with the mail's exact source cannot have"


class RenderedMail(NamedTuple):
    """A mail's pieces; `exact`: they are its source. `lost`: what they do not express."""

    pieces: list[Piece]
    exact: bool
    forwarded: bool
    lost: list[str]


@dataclass(frozen=True, slots=True)
class MailRenderer:
    """Renders the mails of one cache; `make`: None if only sources can be exported.

    `is_forwarded`: reads that flag of a mail with a source from its payload.
    """

    reader: CacheReader
    make: MailMaker | None
    is_forwarded: ForwardedReader | None = None

    async def render(self, item: ItemRow) -> RenderedMail:
        """Return a mail's pieces. ValueError says why it cannot be exported."""
        source = next((content for content in item.contents if content.role == "source"), None)
        if source is not None and not source.problem:
            piece = source.data if source.data is not None else StoredPiece(source, "identity")
            forwarded = self.is_forwarded is not None and self.is_forwarded(item.payload)
            return RenderedMail([piece], True, forwarded, [])
        if self.make is None:
            raise ValueError(NO_SOURCE)
        contents = [content for content in item.contents if content.role == "attachment"]
        message = self.make(item.payload, [content.attachment for content in contents])
        clean = {
            content.key: await self._is_clean(content)
            for content in contents
            if not content.problem and is_unencodable(content.attachment.content_type)
        }
        rendering = Rendering(contents, lambda content: clean.get(content.key, False), boundary_of(item.id))
        rendering.message(message, self._trace(message.received))
        return RenderedMail(rendering.pieces, False, message.forwarded, rendering.lost)

    def _trace(self, received: datetime | None) -> bytes:
        """Return the headers that say when the mail arrived, and that it was composed."""
        server = urlsplit(self.reader.identity.server).hostname or "localhost"
        trace = f"Received: by {server};\n {format_datetime(received)}\n" if received is not None else ""
        trace += f"X-Exported-By: kerio-resync {VERSION}, composed from the server's data\n"
        return trace.encode("ascii", "replace")

    async def _is_clean(self, content: ContentRow) -> bool:
        if content.data is not None:
            return is_clean(content.data)
        left = b""
        async for chunk in self.reader.content(content):
            data = left + chunk
            left = data[data.rfind(b"\n") + 1 :]
            if not is_clean(data.removesuffix(b"\r")) or len(left) > len(data) // 2 > 1024:
                return False
        return is_clean(left)


def maildir_flags(item: ItemRow, *, forwarded: bool = False) -> str:
    """Return the letters of a Maildir name, in ASCII order."""
    letters = (("D", item.draft), ("F", item.flagged), ("P", forwarded), ("R", item.answered), ("S", item.seen))
    return "".join(letter for letter, is_set in letters if is_set)


def status_lines(item: ItemRow, *, forwarded: bool = False) -> bytes:
    """Return the flags as the headers that mbox readers know."""
    lines = b"Status: RO\n" if item.seen else b"Status: O\n"
    if letters := "A" * item.answered + "F" * item.flagged + "T" * item.draft:
        lines += f"X-Status: {letters}\n".encode()
    return lines + b"X-Keywords: $Forwarded\n" * forwarded


def time_of(item: ItemRow) -> datetime:
    """Return when a mail arrived; the beginning of 1970 if that is unknown."""
    try:
        moment = datetime.fromisoformat(item.date or "")
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
