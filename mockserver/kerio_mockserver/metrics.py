"""The server's figures as Prometheus reads them.

Counters start again at 0 after `POST /reset`, which Prometheus takes for a restart. Waits are summaries without
quantiles plus gauges of the percentiles that `/stats` reports, so that both agree exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from kerio_mockserver.conditions.histogram import LatencyHistogram
from kerio_mockserver.server import MockServer

PREFIX = "kerio_mockserver_"
_PERCENTILES = (0.5, 0.95, 0.99)


class Metrics:
    """The metrics of one server and of its process."""

    def __init__(self, core: MockServer, traffic: Callable[[], tuple[int, int]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_ServerCollector(core, traffic))
        ProcessCollector(registry=self._registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return the text in a format that an Accept header asks for, and its type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _ServerCollector(Collector):
    def __init__(self, core: MockServer, traffic: Callable[[], tuple[int, int]]) -> None:
        self._core = core
        self._traffic = traffic

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._state()
        yield from self._load()

    def _requests(self) -> Iterator[Metric]:
        stats = self._core.stats
        down, up = self._traffic()
        statuses = {str(status): count for status, count in stats.statuses.items()}
        yield _counter("requests", "Requests answered.", stats.requests, "method")
        yield _counter("replies", "Replies sent.", statuses, "status")
        yield _counter("errors", "Error replies, by error code or HTTP status.", stats.errors, "kind")
        yield _counter("faults", "Replies hit by a fault of the conditions.", self._core.faults.by_kind, "kind")
        yield _counter("sent_bytes", "Bytes sent to clients.", down)
        yield _counter("received_bytes", "Bytes received from clients.", up)
        yield _counter("internal_errors", "Exceptions of the mock server itself.", len(stats.internal_errors))

    def _state(self) -> Iterator[Metric]:
        core, workers = self._core, self._core.load.load
        yield _gauge("requests_in_flight", "Requests received and not yet answered.", core.stats.in_flight)
        yield _gauge("sessions", "Open sessions.", len(core.sessions))
        yield _gauge("watermark", "The watermark of the mailbox's last change.", core.store.journal.watermark)
        yield _gauge("workers", "Workers of the load; 0 without one.", workers.workers if workers else 0)
        yield _gauge("workers_busy", "Workers that serve a call or a user.", core.load.busy)
        yield _gauge("queue_length", "Calls and users that wait for a worker.", core.load.queued)

    def _load(self) -> Iterator[Metric]:
        tally = self._core.load.tally
        yield _counter("calls_refused", "Calls refused by the load.", tally.refused)
        yield _counter("calls_in_pause", "Calls that came before the time of a Retry-After.", tally.in_pause)
        yield _counter("users_turned_away", "Webmail users who found no place.", tally.turned_away)
        yield _counter("busy_seconds", "Seconds that workers were occupied.", tally.busy_s)
        yield from _waits("call", "Waits of calls for a worker", tally.calls)
        yield from _waits("user", "Waits of webmail users for a worker", tally.users)
        yield from _waits("user_without_client", "The same users' waits without the client", tally.alone.waits)


def _counter(name: str, about: str, value: float | Mapping[str, int], label: str = "") -> Metric:
    family = CounterMetricFamily(PREFIX + name, about, labels=[label] if label else None)
    if isinstance(value, Mapping):
        for key, count in value.items():
            family.add_metric([key], count)
    else:
        family.add_metric([], value)
    return family


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, about, value=value)


def _waits(name: str, about: str, waits: LatencyHistogram) -> Iterator[Metric]:
    yield _counter(f"{name}_waits", f"{about}: number.", waits.count)
    yield _counter(f"{name}_wait_seconds", f"{about}: sum.", waits.total)
    family: Any = GaugeMetricFamily(
        f"{PREFIX}{name}_wait_percentile_seconds", f"{about}: percentiles since the last reset.", labels=["quantile"]
    )
    for share in _PERCENTILES:
        family.add_metric([f"{share:g}"], waits.percentile(share))
    yield family
