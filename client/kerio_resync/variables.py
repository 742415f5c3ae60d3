"""Names of environment variables that several modules use."""

from __future__ import annotations

from typing import Final

PROFILE_VARIABLE: Final = "KERIO_RESYNC_PROFILE"
PASSWORD_VARIABLE: Final = "KERIO_RESYNC_PASSWORD"
TOKEN_VARIABLE: Final = "KERIO_RESYNC_TOKEN"
SECRET_VARIABLES: Final = frozenset(
    {PASSWORD_VARIABLE, TOKEN_VARIABLE}
)  # removed from the environment of other programs
# Settings that a scheduler may give to all of its runs; the command line precedes them, and they precede the file.
SETTING_VARIABLES: Final = {
    "splay": "KERIO_RESYNC_SPLAY",
    "not_before": "KERIO_RESYNC_NOT_BEFORE",
    "not_after": "KERIO_RESYNC_NOT_AFTER",
}
