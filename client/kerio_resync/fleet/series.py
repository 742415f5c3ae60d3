"""From the steps of a simulation to series with equal steps, as pages draw them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from kerio_resync.fleet.model.fluid import Trace
from kerio_resync.fleet.plan import Series

Array = Any
MAX_STEPS: Final = 240
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)


def make_series(trace: Trace, begin: datetime, names: Sequence[str], links: Array) -> Series:
    """Return the series of a trace that begins `begin` + its first step.

    Values are means over time; the p95 is the highest of its step, because a short peak is felt too.
    """
    at = np.asarray(trace.at)
    first, last = float(at[0]), float(at[-1])
    step = next((step for step in _STEPS if (last - first) / step <= MAX_STEPS), _STEPS[-1])
    count = max(1, int(np.ceil((last - first) / step - 1e-9)))
    edges = first + step * np.arange(count + 1.0)
    edges[-1] = max(edges[-1], last)

    def mean(values: Array) -> tuple[float, ...]:
        whole = np.concatenate(([0.0], np.cumsum(np.asarray(values)[:-1] * np.diff(at)))) if len(at) > 1 else at * 0.0
        sums = np.diff(np.interp(edges, at, whole))
        spans = np.diff(np.minimum(edges, last))
        return tuple(np.round(sums / np.where(spans > 0, spans, 1.0), 5).tolist())

    bins = np.minimum(((at - first) / step).astype(int), count - 1)
    p95, alone = np.full(count, -1.0), np.full(count, -1.0)
    np.maximum.at(p95, bins, np.asarray(trace.p95))
    np.maximum.at(alone, bins, np.asarray(trace.alone))
    rates = np.asarray(trace.links)
    shares = {name: mean(rates[:, site] / links[site]) for site, name in enumerate(names)}
    return Series(
        start=begin + timedelta(seconds=first),
        step_s=step,
        active=mean(trace.active),
        server_load=mean(trace.load),
        webmail_load=mean(trace.webmail),
        users_p95_s=_filled(p95),
        alone_p95_s=_filled(alone),
        links=shares,
    )


def _filled(values: Array) -> tuple[float, ...]:
    """Give steps without a sample the value before them."""
    places = np.maximum.accumulate(np.where(values >= 0, np.arange(len(values)), 0))
    return tuple(np.round(np.maximum(values[places], 0.0), 5).tolist())


def seconds_where(trace: Trace, condition: Array) -> float:
    """Return the seconds of the steps for which a condition holds.

    The condition has one value per step.
    """
    at = np.asarray(trace.at)
    return float(np.diff(at)[np.asarray(condition)[:-1]].sum()) if len(at) > 1 else 0.0
