"""Names of environment variables that several modules use."""

from __future__ import annotations

from typing import Final

PASSWORD_VARIABLE: Final = "KERIO_RESYNC_PASSWORD"
SECRET_VARIABLES: Final = frozenset({PASSWORD_VARIABLE})  # removed from the environment of other programs
