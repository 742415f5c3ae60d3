"""Values of older formats in today's words.

All files of older formats are caches of a Kerio server: a version is a number (`watermark`), and flags have the names
of its API.
"""

from __future__ import annotations

import json
from typing import Final

from kerio_resync.cache.mutations import Action

_FLAGS: Final = {"isSeen": "seen", "isFlagged": "flagged", "isAnswered": "answered", "isDraft": "draft"}


def version_text(watermark: int) -> str:
    """Return the version that a number stands for, "" if it is unknown."""
    return str(watermark) if watermark > 0 else ""


def neutral_change(action: Action, struct: bytes) -> tuple[Action, bytes]:
    """Return action and struct of a local change, with today's names of flags.

    A change of flags that sets other members too becomes an edit, which sets the same.
    """
    if action != "flags":
        return action, struct
    try:
        members = json.loads(struct)
    except ValueError:
        members = None
    if not isinstance(members, dict) or members.keys() - _FLAGS:
        return "edit", struct
    return action, json.dumps({_FLAGS[name]: value for name, value in members.items()}, separators=(",", ":")).encode()
