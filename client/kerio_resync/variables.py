"""Names of environment variables that several modules use."""

from __future__ import annotations

from typing import Final

PROFILE_VARIABLE: Final = "KERIO_RESYNC_PROFILE"
PASSWORD_VARIABLE: Final = "KERIO_RESYNC_PASSWORD"
TOKEN_VARIABLE: Final = "KERIO_RESYNC_TOKEN"
SECRET_VARIABLES: Final = frozenset(
    {PASSWORD_VARIABLE, TOKEN_VARIABLE}
)  # removed from the environment of other programs
