"""Rates and times of a step, from what its clients reported."""

from __future__ import annotations

import pytest

from kerio_resync.fleet.capacity import MeasuredMailbox
from kerio_resync.fleet.measure import figures
from kerio_resync.fleet.measure.states import ClientState, Machine, Round
from kerio_resync.fleet.measure.step import Client, Sample

HERE, THERE = Machine("here", 2, 0, ""), Machine("there", 4, 0, "")
ROUNDS = (Round(2.0, 10, 1000), Round(4.0, 20, 3000))


def client(*samples: Sample, machine: Machine = HERE, **state: object) -> Client:
    last = samples[-1] if samples else Sample(0.0, 0, 0)
    values = {"stage": "ended", "elapsed": last.elapsed, "items": last.items, "bytes": last.bytes, "rounds": ()}
    return Client(machine, state=ClientState(**{**values, **state}), samples=list(samples))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("moment", "expected"), [(0.0, (0, 0)), (1.0, (5, 500)), (2.0, (10, 1000)), (3.0, (15, 3000)), (9.0, (20, 5000))]
)
def test_fetched_by_interpolates_between_samples(moment: float, expected: tuple[float, float]) -> None:
    samples = [Sample(2.0, 10, 1000), Sample(4.0, 20, 5000)]
    assert figures.fetched_by(samples, moment) == expected


def test_rates_count_until_the_first_client_ends() -> None:
    slow = client(Sample(2.0, 10, 1000), Sample(10.0, 20, 9000))
    quick = client(Sample(2.0, 20, 3000))
    assert figures.rates([slow, quick]) == (15.0, 2000.0)


def test_rates_of_a_failed_client_do_not_end_the_time() -> None:
    lost = client(Sample(1.0, 5, 1000), exit_code=4)
    good = client(Sample(10.0, 20, 9000))
    assert figures.rates([lost, good]) == (2.5, 1000.0)


def test_rates_of_no_success_are_zero() -> None:
    assert figures.rates([client(exit_code=4)]) == (0.0, 0.0)


def test_point_has_all_rounds_of_all_clients() -> None:
    one = client(Sample(6.0, 30, 4000), rounds=ROUNDS, refused=2, cpu=3.0)
    other = client(Sample(6.0, 1, 1), rounds=(Round(9.0, 1, 1),), exit_code=8, machine=THERE)
    point = figures.point_of([one, other], probe_p95_s=0.1, users_p95_s=0.2, users_alone_p95_s=0.3)
    assert point.seconds is not None
    assert (point.seconds.fastest, point.seconds.median, point.seconds.slowest) == (2.0, 4.0, 9.0)
    assert (point.clients, point.failed, point.refused) == (2, 1, 2)
    assert (point.probe_p95_s, point.users_p95_s, point.users_alone_p95_s) == (0.1, 0.2, 0.3)
    assert point.clients_busy == pytest.approx(3.0 / 6.0 / 6)


def test_point_of_clients_that_all_failed_has_no_seconds() -> None:
    point = figures.point_of([client(exit_code=4)])
    assert point.seconds is None
    assert (point.failed, point.clients_busy) == (1, None)


def test_mailbox_is_the_mean_of_complete_rounds() -> None:
    assert figures.mailbox_of([client(rounds=ROUNDS), client()]) == MeasuredMailbox(items=15, bytes=2000)
    assert figures.mailbox_of([client()]) is None
