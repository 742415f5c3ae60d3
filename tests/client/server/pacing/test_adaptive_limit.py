"""The adaptive limit by table, and against a model of a server with a queue and users."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from kerio_resync.server.pacing.adaptive_limit import (
    BASE_SECONDS,
    INITIAL_IN_FLIGHT,
    LEARNED_REPLIES,
    LOSS_FACTOR,
    MIN_PROBE_REPLIES,
    PROBE_BYTES,
    PROBE_IN_FLIGHT,
    WINDOW_REPLIES,
    AdaptiveLimit,
    Outcome,
    Sample,
    link_share,
)


def fed(limit: AdaptiveLimit, samples: Iterable[Sample]) -> AdaptiveLimit:
    for sample in samples:
        limit = limit.after(sample)
    return limit


def replies(n: int, *, at: float, wait: float = 0.1, used: int = 64, busy: float = 0.0, size: int = 9) -> list[Sample]:
    return [Sample("ok", at, at + wait, wait, busy, used, size, "get") for _ in range(n)]


def window(*, at: float, wait: float = 0.1, used: int = 64, busy: float = 0.0, size: int = 9) -> list[Sample]:
    return replies(WINDOW_REPLIES, at=at, wait=wait, used=used, busy=busy, size=size)


def measured(value: float) -> AdaptiveLimit:
    """A limit beyond its start, on a server with a minimum latency of 10 ms and a base wait of 100 ms."""
    known = AdaptiveLimit(value=value, starting=False, min_latency=0.01, base_at=0.0)
    return known._replace(units={("get", 2): (LEARNED_REPLIES, 0.1)})


def test_ignored_outcome_changes_nothing() -> None:
    assert AdaptiveLimit().after(Sample("ignored", 1.0, 2.0, 1.0)) == AdaptiveLimit()


def test_refusals_of_one_episode_cut_once() -> None:
    cut = fed(AdaptiveLimit(value=40.0), [Sample("dropped", 1.0, 2.0 + n / 100) for n in range(40)])
    assert cut.value == 40.0 * LOSS_FACTOR
    assert not cut.starting
    again = cut.after(Sample("dropped", 2.5, 3.0))
    assert again.value == pytest.approx(40.0 * LOSS_FACTOR**2)


def test_limit_stays_between_one_and_the_most() -> None:
    limit = AdaptiveLimit(value=2.0, most=8)
    for n in range(20):
        limit = limit.after(Sample("dropped", float(n), n + 0.5))
    assert limit.slots == 1
    for n in range(100):
        limit = fed(limit, window(at=100.0 + n))
    assert limit.slots == 8


def test_limit_doubles_each_round_trip_while_waits_are_near_the_minimum() -> None:
    limit, seen = AdaptiveLimit(), [int(INITIAL_IN_FLIGHT)]
    for n in range(3):
        limit = fed(limit, replies(limit.slots, at=float(n), wait=0.5 + n / 100))
        seen.append(limit.slots)
    assert seen == [8, 16, 32, 64]
    cut = limit.after(Sample("dropped", 9.0, 9.5))
    assert fed(cut, replies(64, at=10.0, wait=0.5)).slots == 64  # also after the start


def test_limit_grows_slowly_beyond_its_start() -> None:
    assert fed(measured(10.0), window(at=1.0)).value == pytest.approx(11.0)
    assert fed(measured(1.0), window(at=1.0)).value == pytest.approx(1.25)


def test_probe_ends_early_after_large_replies() -> None:
    large = int(PROBE_BYTES / MIN_PROBE_REPLIES)
    probing = measured(PROBE_IN_FLIGHT)._replace(resume=16.0, changed=0.0)
    assert fed(probing, replies(MIN_PROBE_REPLIES - 1, at=1.0, size=2 * large)).resume == 16.0
    assert fed(probing, replies(MIN_PROBE_REPLIES, at=1.0, size=large)).resume == 0.0
    assert fed(probing, replies(WINDOW_REPLIES - 1, at=1.0, size=large // 10)).resume == 16.0
    assert fed(measured(16.0), replies(WINDOW_REPLIES - 1, at=1.0, wait=1.0, size=large)).slots == 16


def test_unused_limit_does_not_grow() -> None:
    for start in (AdaptiveLimit(), measured(8.0)):
        limit = fed(start, [sample for n in range(9) for sample in window(at=float(n), used=7)])
        assert limit.slots == 8
    assert fed(measured(8.0), window(at=1.0, used=8)).slots > 8


def test_fewer_replies_than_a_window_change_nothing() -> None:
    limit = fed(measured(16.0), replies(WINDOW_REPLIES - 1, at=1.0, wait=1.0))
    assert limit.slots == 16
    assert fed(limit, replies(1, at=2.0, wait=1.0)).slots == 8


def test_delay_of_the_server_shrinks_the_limit_and_that_of_the_link_does_not() -> None:
    assert fed(measured(16.0), window(at=1.0, wait=0.9, busy=0.3)).slots == 8
    assert fed(measured(16.0), window(at=1.0, wait=0.9, busy=1.0)).slots >= 16


def test_long_queue_on_the_link_cuts_the_limit() -> None:
    assert fed(measured(16.0), window(at=1.0, wait=5.0, busy=1.0)).value == pytest.approx(16 * LOSS_FACTOR)


@pytest.mark.parametrize(("busy", "share"), [(0.0, 0.0), (0.5, 0.0), (0.75, 0.5), (1.0, 1.0)])
def test_link_share_rises_from_half_busy(busy: float, share: float) -> None:
    assert link_share(busy) == pytest.approx(share)


def test_server_is_learned_once_the_link_is_no_longer_busy() -> None:
    limit = fed(AdaptiveLimit(value=4.0), [s for n in range(9) for s in replies(16, at=float(n), wait=0.5, busy=1.0)])
    assert not limit.units
    assert fed(limit, window(at=20.0, wait=0.5)).units


def test_each_class_of_calls_has_its_own_unit() -> None:
    pairs = zip(replies(40, at=1.0), replies(40, at=1.0, wait=2.0, size=10**6), strict=True)
    both = fed(measured(16.0), [sample for pair in pairs for sample in pair])
    assert both.slots >= 16
    assert fed(both, window(at=30.0, wait=2.0, size=10**6)).slots >= both.slots
    assert fed(both, window(at=30.0, wait=2.0)).slots < both.slots


def test_base_is_measured_again_when_it_is_old() -> None:
    limit, seen = measured(32.0), []
    for at in (10.0, BASE_SECONDS + 10, BASE_SECONDS + 11):
        limit = fed(limit, window(at=at))
        seen.append(limit.slots)
    # The second window starts a measurement. A wait of ten minimum latencies: nine tenths of it in the server.
    assert seen == [35, round(PROBE_IN_FLIGHT / 0.9), 35]
    assert limit.base_at > BASE_SECONDS


def test_new_limit_on_a_busy_server_measures_the_base_first() -> None:
    limit = fed(AdaptiveLimit(min_latency=0.01), window(at=1.0, wait=0.4))
    assert limit.slots == PROBE_IN_FLIGHT
    assert fed(limit, window(at=2.0, wait=0.1)).slots < INITIAL_IN_FLIGHT  # the first waits were a queue
    assert fed(limit, window(at=2.0, wait=0.4)).slots == INITIAL_IN_FLIGHT


def test_units_learned_under_a_queue_are_those_of_an_idle_server() -> None:
    busy = fed(measured(8.0), window(at=1.0, wait=0.2))
    new = fed(busy, [sample._replace(kind="other") for sample in window(at=2.0, wait=0.2)])
    assert new.units["other", 2][1] == pytest.approx(0.1)


def test_permanently_slower_server_becomes_the_new_base() -> None:
    limit = measured(16.0)
    for n in range(200):
        limit = fed(limit, window(at=1.0 + 4 * n, wait=0.5))
    assert limit.slots > 8


@dataclass
class Crowd:
    """M/M/c with a first come, first served queue, Poisson users, and a client that keeps its limit in flight."""

    limit: AdaptiveLimit
    workers: int = 8
    users: float = 40.0
    service: float = 0.1
    rtt: float = 0.02
    refuse_at: int | None = None
    fixed: bool = False
    seed: int = 1
    now: float = 0.0
    busy: int = 0
    in_flight: int = 0
    done: int = 0
    queue: list[tuple[str, float, float, int]] = field(default_factory=list)
    events: list[tuple[float, int, str, float, int]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    order: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def run(self, seconds: float) -> tuple[float, float]:
        """(our replies a second, the users' 95th percentile from click to answer)."""
        self.after(0.0, "user")
        self.fill()
        while self.events[0][0] < seconds:
            self.now, _, kind, started, used = heapq.heappop(self.events)
            self.step(kind, started, used)
        return self.done / seconds, sorted(self.times)[int(0.95 * len(self.times))]

    def step(self, kind: str, started: float, used: int) -> None:
        match kind:
            case "user":
                self.after(self.rng.expovariate(self.users), "user")
                self.arrive("user", started, used)
            case "call":
                self.arrive("us", started, used)
            case "end us" | "end user":
                self.leave()
                if kind == "end us":
                    self.after(self.rtt / 2, "reply", started, used)
            case "again":
                self.fill()
            case _:
                self.in_flight -= 1
                self.learn(kind, started, used)

    def learn(self, kind: str, started: float, used: int) -> None:
        outcome: Outcome = "ok" if kind == "reply" else "dropped"
        if not self.fixed:
            self.limit = self.limit.after(Sample(outcome, started, self.now, self.now - started, 0.0, used, 9, "x"))
        if outcome == "ok":
            self.done += 1
            self.fill()
        else:
            self.after(1.0, "again")

    def after(self, seconds: float, kind: str, started: float = 0.0, used: int = 0) -> None:
        self.order += 1
        heapq.heappush(self.events, (self.now + seconds, self.order, kind, started, used))

    def fill(self) -> None:
        while self.in_flight < self.limit.slots:
            self.in_flight += 1
            self.after(self.rtt / 2, "call", self.now, self.in_flight)

    def arrive(self, who: str, started: float, used: int) -> None:
        if self.busy < self.workers:
            self.busy += 1
            self.serve(who, self.now, started, used)
        elif self.refuse_at is None or len(self.queue) < self.refuse_at:
            self.queue.append((who, self.now, started, used))
        elif who == "us":
            self.after(self.rtt / 2, "refused", started, used)

    def leave(self) -> None:
        self.busy -= 1
        if self.queue:
            self.busy += 1
            self.serve(*self.queue.pop(0))

    def serve(self, who: str, came: float, started: float, used: int) -> None:
        took = self.rng.expovariate(1 / self.service)
        if who == "user":
            self.times.append(self.now - came + took)
        self.after(took, f"end {who}", started, used)


def alone(**options: float) -> float:
    """The users' 95th percentile without us."""
    return Crowd(AdaptiveLimit(value=0.0, least=0), fixed=True, **options).run(180.0)[1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("service", "rtt", "refuse_at"),
    [
        (0.1, 0.2, None),
        (0.05, 0.02, 32),
        pytest.param(0.1, 0.02, None, marks=pytest.mark.soak),
        pytest.param(0.1, 0.02, 32, marks=pytest.mark.soak),
    ],
)
def test_limit_uses_what_is_left_and_at_most_doubles_the_users_waits(
    service: float, rtt: float, refuse_at: int | None
) -> None:
    bound = 2 * alone(service=service, rtt=rtt)
    fixed = [
        Crowd(AdaptiveLimit(value=n), service=service, rtt=rtt, fixed=True, refuse_at=refuse_at).run(180.0)
        for n in (2, 4, 8, 16, 64)
    ]
    ours, theirs = Crowd(AdaptiveLimit(), service=service, rtt=rtt, refuse_at=refuse_at).run(180.0)
    assert theirs <= bound
    # a fixed limit that drives the users away gets more, but that is no merit
    assert ours >= 0.8 * max(rate for rate, time in fixed if time <= bound)


def test_fixed_limit_of_64_would_starve_the_users() -> None:
    """The model can tell: what the adaptive limit avoids does happen without it."""
    assert Crowd(AdaptiveLimit(value=64.0), fixed=True).run(180.0)[1] > 5 * alone()
