"""Errors of the mailbox."""

from __future__ import annotations


class NoSuchItem(LookupError):
    """No item, attachment or upload has this id."""


class NoSuchFolder(LookupError):
    """No folder or shared mailbox has this id."""


class NotPermitted(Exception):
    """The folder or item does not allow it; the text says why."""


class NameTaken(NotPermitted):
    """The parent has a folder of this name; the text is the name."""


class QuotaReached(Exception):
    """The mailbox would exceed its quota."""
