"""kerio-resync: rebuilds the local cache of a groupware client from its server.

    from kerio_resync import Settings, rebuild

    settings = Settings(
        profile=Path("profile"), server="https://mail.example.com", user="jane", password=SecretStr("…")
    )
    report = await rebuild(settings)

Everything is imported on first use, so that the command line starts quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerio_resync._lazy import lazy_getattr

if TYPE_CHECKING:
    from kerio_resync.settings import Settings
    from kerio_resync.sync.converge.compare_lists import VerifyReport
    from kerio_resync.sync.rebuild import rebuild
    from kerio_resync.sync.report import Report
    from kerio_resync.sync.status import Status, digest, status, verify

__all__ = ["Report", "Settings", "Status", "VerifyReport", "digest", "rebuild", "status", "verify"]

__getattr__ = lazy_getattr(
    __name__,
    {
        "Report": "sync.report",
        "Settings": "settings",
        "Status": "sync.status",
        "VerifyReport": "sync.converge.compare_lists",
        "digest": "sync.status",
        "rebuild": "sync.rebuild",
        "status": "sync.status",
        "verify": "sync.status",
    },
)
