"""Counts the work that is done and estimates what is left, in bytes. Pure.

A listing gives a mail's size as MIME, which is neither the size of its text as JSON nor that of its attachments. The
estimate learns from the items fetched so far how many bytes of text and of attachments a listed byte stands for, and
how many bytes on the wire a byte of text costs (replies may be compressed).
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Bytes per listed byte until the first items are here.
TEXT_RATIO = 1.2  # text of mails without attachments
TEXT_RATIO_WITH_ATTACHMENTS = 0.2
ATTACHMENT_RATIO = 0.6
TEXT_RATIO_UNLISTED = 0.5  # of folders whose listing has not come yet
ATTACHMENT_RATIO_UNLISTED = 0.4


@dataclass(slots=True)
class SizeRatio:
    """The contents of listed bytes, for mails either with or without attachments.

    All sizes are in bytes.
    """

    listed: float = 0.0
    text: float = 0.0
    attached: float = 0.0

    def expect(self, listed: float, *, text: float, attached: float) -> tuple[float, float]:
        """Return the expected (text, attachment) bytes of `listed` bytes.

        `text` and `attached` are the ratios to use until an item has been seen.
        """
        if self.listed < 1:
            return listed * text, listed * attached
        return listed * self.text / self.listed, listed * self.attached / self.listed


@dataclass(slots=True)
class WorkEstimate:
    """Counts of a run, and bytes.

    `queued_*`: listed sizes of items that are queued and not here yet.
    """

    folders_total: int = 0
    folders_done: int = 0
    items_total: int = 0
    items_done: int = 0
    attachments_total: int = 0
    attachments_done: int = 0
    bytes_done: int = 0
    bytes_reused: int = 0  # part of `bytes_done` that an earlier run fetched or the old cache had
    attachment_bytes_left: float = 0.0
    queued_plain: float = 0.0  # items without attachments
    queued_rich: float = 0.0  # items with attachments
    unlisted_bytes: float = 0.0  # of folders, as the server states their sizes, that are not listed yet
    plain: SizeRatio = field(default_factory=SizeRatio)
    rich: SizeRatio = field(default_factory=SizeRatio)
    text_bytes: float = 0.0
    text_wire_bytes: float = 0.0

    def bytes_left(self) -> tuple[float, float]:
        """Return the (text, attachment) bytes still to fetch."""
        plain_text, _ = self.plain.expect(self.queued_plain, text=TEXT_RATIO, attached=0.0)
        rich_text, rich_attached = self.rich.expect(
            self.queued_rich, text=TEXT_RATIO_WITH_ATTACHMENTS, attached=ATTACHMENT_RATIO
        )
        text, attached = TEXT_RATIO_UNLISTED, ATTACHMENT_RATIO_UNLISTED
        listed = self.plain.listed + self.rich.listed
        if listed >= 1:
            text, attached = (self.plain.text + self.rich.text) / listed, self.rich.attached / listed
        return (
            plain_text + rich_text + self.unlisted_bytes * text,
            rich_attached + self.unlisted_bytes * attached + self.attachment_bytes_left,
        )

    def wire_bytes_left(self) -> float:
        """Return the bytes still to come as they travel."""
        text, attached = self.bytes_left()
        ratio = self.text_wire_bytes / self.text_bytes if self.text_bytes else 1.0
        return text * ratio + attached

    def queue(self, size: int, has_attachment: bool, sign: int = 1) -> None:
        """Add an item's listed size to what is queued; with `sign` -1 subtracts it.

        An earlier run that could not tell may have counted the item with the other kind, or not at all.
        """
        change = sign * size
        if has_attachment:
            rich = self.queued_rich + change
            plain = self.queued_plain + min(rich, 0)
        else:
            plain = self.queued_plain + change
            rich = self.queued_rich + min(plain, 0)
        self.queued_rich, self.queued_plain = max(rich, 0.0), max(plain, 0.0)

    def finish_queued(self) -> None:
        """Nothing is queued any more: the estimates that are left were wrong."""
        self.queued_plain = self.queued_rich = self.attachment_bytes_left = self.unlisted_bytes = 0.0
