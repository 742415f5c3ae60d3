"""The limit as a pure value, by table and against a model of a server with a queue and users."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from kerio_resync.server.pacing.adaptive_limit import DROP, WINDOW, Limit, Outcome, Sample, blame


def fed(limit: Limit, samples: Iterable[Sample]) -> Limit:
    for sample in samples:
        limit = limit.after(sample)
    return limit


def replies(n: int, *, at: float, wait: float = 0.1, used: int = 64, busy: float = 0.0, size: int = 9) -> list[Sample]:
    return [Sample("ok", at, at + wait, wait, busy, used, size, "get", used == 64) for _ in range(n)]


def varying(value: float) -> Limit:
    """A limit beyond its start, on a server whose replies once came in a tenth of the time: waits may be a queue's."""
    return Limit(value=value, starting=False, way=0.01, looked=0.0)


@pytest.mark.parametrize("outcome", ["ignored"])
def test_what_says_nothing_changes_nothing(outcome: Outcome) -> None:
    assert Limit().after(Sample(outcome, 1.0, 2.0, 1.0)) == Limit()


def test_forty_refusals_of_one_episode_cut_once() -> None:
    limit = Limit(value=40.0)
    cut = fed(limit, [Sample("dropped", 1.0, 2.0 + n / 100) for n in range(40)])
    assert cut.value == 40.0 * DROP
    assert not cut.starting
    again = cut.after(Sample("dropped", 2.5, 3.0))
    assert again.value == pytest.approx(40.0 * DROP * DROP)


def test_it_never_falls_below_one_nor_rises_above_the_most() -> None:
    limit = Limit(value=2.0, most=8)
    for n in range(20):
        limit = limit.after(Sample("dropped", float(n), n + 0.5))
    assert limit.slots == 1
    for n in range(100):
        limit = fed(limit, replies(WINDOW, at=100.0 + n))
    assert limit.slots == 8


def test_it_doubles_while_it_starts_and_creeps_afterwards() -> None:
    limit = Limit(value=4.0)
    seen = []
    for n in range(4):
        limit = fed(limit, replies(limit.slots, at=float(n)))  # one round trip
        seen.append(limit.slots)
    assert seen == [8, 16, 32, 64]
    slow = fed(varying(8.0), replies(WINDOW, at=0.0))
    assert slow.slots == 9


def test_calls_of_a_kind_never_seen_are_no_reason_to_grow() -> None:
    limit = fed(varying(8.0)._replace(starting=True, opening=False), replies(WINDOW, at=1.0))
    assert limit.slots == 16
    kinds = [one._replace(kind=f"get {n}") for n, one in enumerate(replies(WINDOW, at=2.0, wait=0.4))]
    new = fed(limit, kinds)  # are they slow, or is there a queue?
    assert new.slots == 16
    assert new.starting
    assert fed(new, replies(WINDOW, at=3.0)).slots == 32


def test_where_waits_are_those_of_the_way_a_few_replies_are_enough() -> None:
    limit, seen = Limit(value=2.0, opening=False), []
    for n in range(5):
        limit = fed(limit, replies(max(4, limit.slots), at=float(n), wait=0.5 + n / 100))
        seen.append(limit.slots)
    assert seen == [4, 8, 16, 32, 64]
    again = fed(limit._cut(DROP, 9.0), replies(64, at=10.0, wait=0.5))  # also beyond the start
    assert again.slots == 64


def test_nothing_grows_that_is_not_used() -> None:
    for start in (Limit(value=8.0), Limit(value=8.0, opening=False)):
        limit = fed(start, [one for n in range(9) for one in replies(WINDOW, at=float(n), used=7)])
        assert limit.slots == 8
    assert fed(Limit(value=8.0, opening=False), replies(WINDOW, at=0.0, used=8)).slots > 8


def test_the_opening_ends_with_the_first_replies_that_wait_for_more_than_the_way() -> None:
    limit = fed(Limit(value=4.0), replies(4, at=0.0, wait=0.1))
    assert limit.slots == 8
    later = fed(limit, replies(8, at=1.0, wait=0.2))
    assert later.slots < 11
    assert not later.opening
    assert not fed(limit, replies(8, at=1.0, wait=2.0, busy=1.0)).opening  # the link has enough to do


def test_fewer_replies_than_a_window_decide_nothing() -> None:
    steady = Limit(value=16.0)._replace(starting=False)
    quick = fed(steady, replies(WINDOW, at=0.0))
    slow = fed(quick, replies(WINDOW - 1, at=10.0, wait=1.0))
    assert slow.slots == quick.slots
    assert fed(slow, replies(1, at=11.0, wait=1.0)).slots < quick.slots


def test_delay_of_the_link_is_no_delay_of_the_server() -> None:
    steady = fed(Limit(value=16.0)._replace(starting=False), replies(WINDOW, at=0.0))
    ours = fed(steady, replies(WINDOW, at=10.0, wait=2.1, busy=0.95))
    assert ours.slots == steady.slots  # no cut, but no growth either: the link has enough to do
    theirs = fed(steady, replies(WINDOW, at=10.0, wait=2.1, busy=0.3))
    assert theirs.slots < steady.slots


@pytest.mark.parametrize(("busy", "share"), [(0.0, 0.0), (0.5, 0.0), (0.7, 0.5), (0.9, 1.0), (1.0, 1.0)])
def test_what_the_link_is_to_blame_for(busy: float, share: float) -> None:
    assert blame(busy) == pytest.approx(share)


def test_a_link_that_is_busy_from_the_first_reply_is_no_queue_either() -> None:
    """Nothing is known of the server then; and once the link is free, its pace is learnt as it is."""
    limit = fed(
        Limit(value=4.0), [one for n in range(9) for one in replies(16, at=float(n), wait=0.5, busy=1.0, used=4)]
    )
    assert limit.slots >= 4
    free = fed(limit, replies(WINDOW, at=20.0, wait=0.5))
    assert free.slots >= limit.slots


def test_a_long_queue_on_the_link_is_cut_in_the_end() -> None:
    steady = fed(Limit(value=16.0)._replace(starting=False), replies(WINDOW, at=0.0))
    assert fed(steady, replies(WINDOW, at=10.0, wait=9.1, busy=1.0)).slots < steady.slots


def test_large_replies_are_no_delay() -> None:
    """A class of calls has its own unit: what takes long by itself is not a queue."""
    limit = varying(16.0)
    small, large = replies(WINDOW, at=20.0), replies(WINDOW, at=30.0, wait=2.0, size=10**6)
    pairs = zip(replies(40, at=1.0), replies(40, at=1.0, wait=2.0, size=10**6), strict=True)
    both = fed(limit, [one for pair in pairs for one in pair])
    assert fed(both, small).slots >= both.slots
    assert fed(both, large).slots >= both.slots
    assert fed(both, [one._replace(size=9) for one in large]).slots < both.slots


def test_the_floor_is_looked_at_afresh() -> None:
    limit, seen = varying(32.0), []
    for at in (10.0, 20.0, 200.0, 200.5, 201.0, 300.0, 400.0, 400.5):
        limit = fed(limit, replies(WINDOW, at=at))
        seen.append(limit.slots)
    assert seen == [35, 39, 2, 39, 43, 47, 2, 47]  # twice it dips, for one window each, and comes back


@pytest.mark.parametrize(("wait", "slots"), [(0.095, 16), (0.105, 4)])
def test_no_look_at_the_floor_where_most_of_a_wait_is_the_way(wait: float, slots: int) -> None:
    limit = Limit(value=8.0, opening=False, way=0.05)
    assert fed(limit, replies(WINDOW, at=0.0, wait=wait)).slots == slots


def test_a_look_at_the_floor_that_finds_no_queue_there_does_not_go_back_into_it() -> None:
    limit = fed(varying(32.0)._replace(looked=float("-inf")), replies(WINDOW, at=10.0, wait=0.4))
    assert limit.slots == 2
    assert fed(limit, replies(WINDOW, at=20.0, wait=0.1)).slots < 16


def test_a_server_that_has_become_slower_is_believed_in_the_end() -> None:
    limit = fed(Limit(value=16.0)._replace(starting=False), replies(WINDOW, at=0.0))
    seen = []
    for n in range(200):
        limit = fed(limit, replies(WINDOW, at=1.0 + n, wait=0.5))  # five times as slow, whatever we do
        seen.append(limit.slots)
    assert seen[0] == 2
    assert seen[-1] > 16


@dataclass
class Crowd:
    """M/M/c with a first come, first served queue, Poisson users, and a client that keeps its limit in flight."""

    limit: Limit
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
            sample = Sample(
                outcome,
                started,
                self.now,
                self.now - started,
                0.0,
                used,
                9,
                "x",
                self.in_flight + 1 >= self.limit.slots,
            )
            self.limit = self.limit.after(sample)
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
    return Crowd(Limit(value=0.0, least=0), fixed=True, **options).run(180.0)[1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("service", "rtt", "refuse_at"), [(0.1, 0.02, None), (0.1, 0.02, 32), (0.1, 0.2, None), (0.05, 0.02, 32)]
)
def test_it_takes_what_is_left_and_leaves_the_users_in_peace(service: float, rtt: float, refuse_at: int | None) -> None:
    bound = 2 * alone(service=service, rtt=rtt)
    fixed = [
        Crowd(Limit(value=n), service=service, rtt=rtt, fixed=True, refuse_at=refuse_at).run(180.0)
        for n in (2, 4, 8, 16, 64)
    ]
    ours, theirs = Crowd(Limit(), service=service, rtt=rtt, refuse_at=refuse_at).run(180.0)
    assert theirs <= bound
    # a fixed limit that drives the users away gets more, but that is no merit
    assert ours >= 0.8 * max(rate for rate, time in fixed if time <= bound)


def test_a_fixed_sixty_four_would_starve_them() -> None:
    """The model can tell: what the adaptive limit avoids does happen without it."""
    assert Crowd(Limit(value=64.0), fixed=True).run(180.0)[1] > 5 * alone()
