"""What the mailbox refuses."""

from __future__ import annotations


class NoSuchItem(LookupError):
    """No item, attachment or upload has this id (any more)."""


class NoSuchFolder(LookupError):
    """No folder or shared mailbox has this id (any more)."""


class NotPermitted(Exception):
    """It can't be done to this folder or item; the text says why."""


class NameTaken(NotPermitted):
    """A folder of this name is there already; the text is the name."""


class QuotaReached(Exception):
    """The mailbox would hold more than it may."""
