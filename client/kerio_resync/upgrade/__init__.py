"""The upgrade procedure: what a start of the mail program has to do about the database, and doing it.

    from kerio_resync.upgrade import upgrade

    step = await upgrade(Settings(profile=Path("profile")), listen=print)
    if step.ready: ...

`decide` says which step is next, `look` what the file is, `procedure` takes the step, `migrate` carries an old database
over, `gate` lets the mail program start only then, `forecast` says beforehand how long it will take. Everything is
imported on first use: at most starts there is nothing to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kerio_resync._lazy import lazy_getattr

if TYPE_CHECKING:
    from kerio_resync.upgrade.decide import UpgradeDecision
    from kerio_resync.upgrade.estimation.forecast import Estimate, estimate
    from kerio_resync.upgrade.procedure import start, upgrade

__all__ = ["Estimate", "UpgradeDecision", "estimate", "start", "upgrade"]

__getattr__ = lazy_getattr(
    __name__,
    {
        "Estimate": "estimation.forecast",
        "UpgradeDecision": "decide",
        "estimate": "estimation.forecast",
        "start": "procedure",
        "upgrade": "procedure",
    },
)
