"""A mail as headers and MIME parts in plain values, before anything is encoded.

A server's package builds it from what the server sent; the export encodes it. The content of an attachment is not part
of it: `AttachedPart` has the place of the attachment in its item.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class Person(NamedTuple):
    """A name and an address; either may be empty."""

    name: str
    address: str


HeaderValue = str | datetime | tuple[Person, ...]


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text that is displayed; `subtype`: plain or html."""

    subtype: str
    text: str


@dataclass(frozen=True, slots=True)
class AttachedPart:
    """An attachment; `ordinal`: its place in the item, from 0.

    `inline`: an HTML text shows it by its content id. `parameters`: of the content type.
    """

    ordinal: int
    content_type: str
    name: str = ""
    content_id: str = ""
    inline: bool = False
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Multipart:
    """Several parts; `subtype`: mixed, alternative, related or encrypted."""

    subtype: str
    parts: tuple[Part, ...]
    parameters: tuple[tuple[str, str], ...] = ()


Part = TextPart | AttachedPart | Multipart


@dataclass(frozen=True, slots=True)
class MailMessage:
    """A mail; `lost` names what the server's data has and a mail cannot express.

    `received`: when it arrived. `forwarded`: a flag that the database has no column for.
    """

    headers: tuple[tuple[str, HeaderValue], ...]
    body: Part
    received: datetime | None = None
    forwarded: bool = False
    lost: tuple[str, ...] = field(default=())
