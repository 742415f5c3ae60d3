"""The signals that ask the server to end."""

from __future__ import annotations

import signal

TERMINATION = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
