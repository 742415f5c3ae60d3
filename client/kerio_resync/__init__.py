"""kerio-resync: rebuilds the local cache of a groupware client from its server.

    from kerio_resync import Settings, rebuild

    settings = Settings(profile=Path("profile"), server="https://mail.example.com", user="jane", password="…")
    report = await rebuild(settings)

Everything is imported on first use, so that the command line starts quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerio_resync.lazy import lazily

if TYPE_CHECKING:
    from kerio_resync.resync.inspect import Status, digest, status, verify
    from kerio_resync.resync.rebuild import rebuild
    from kerio_resync.resync.report import Report
    from kerio_resync.resync.verify import Verdict
    from kerio_resync.settings import Settings

__all__ = ["Report", "Settings", "Status", "Verdict", "digest", "rebuild", "status", "verify"]

__getattr__ = lazily(
    __name__,
    {
        "Report": "resync.report",
        "Settings": "settings",
        "Status": "resync.inspect",
        "Verdict": "resync.verify",
        "digest": "resync.inspect",
        "rebuild": "resync.rebuild",
        "status": "resync.inspect",
        "verify": "resync.inspect",
    },
)
