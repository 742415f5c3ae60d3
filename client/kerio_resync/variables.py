"""The names of the variables of the environment that matter in more than one place."""

from __future__ import annotations

from typing import Final

PASSWORD_VARIABLE: Final = "KERIO_RESYNC_PASSWORD"
SECRET_VARIABLES: Final = frozenset({PASSWORD_VARIABLE})  # which no other program is to see
