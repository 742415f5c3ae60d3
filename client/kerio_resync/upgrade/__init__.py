"""The upgrade procedure: what a start of the mail program does to the database.

    from kerio_resync.upgrade import upgrade

    decision = await upgrade(Settings(profile=Path("profile")), listen=print)
    if decision.ready: ...

`formats` finds the format of a file and lists the migrations, `decide` decides, `procedure` does what was decided,
`migration` has the migrations, `launcher` starts the mail program, `estimation` measures how long an upgrade and a
rebuild would take. Everything is imported on first use, because most starts have nothing to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerio_resync._lazy import lazy_getattr

if TYPE_CHECKING:
    from kerio_resync.upgrade.decide import UpgradeDecision
    from kerio_resync.upgrade.estimation import Estimate, estimate
    from kerio_resync.upgrade.procedure import start, upgrade

__all__ = ["Estimate", "UpgradeDecision", "estimate", "start", "upgrade"]

__getattr__ = lazy_getattr(
    __name__,
    {
        "Estimate": "estimation",
        "UpgradeDecision": "decide",
        "estimate": "estimation",
        "start": "procedure",
        "upgrade": "procedure",
    },
)
