"""Failures of single lists."""

from __future__ import annotations

from kerio_resync.errors import FolderDenied, ItemGone, ProtocolError, ResyncError


def concerns_this_list_only(error: ResyncError) -> bool:
    """Return whether an error concerns the list of one folder.

    That folder is gone or denied, or its list is invalid.
    """
    if isinstance(error, ProtocolError):
        return error.scope == "folder"
    return isinstance(error, ItemGone | FolderDenied)
