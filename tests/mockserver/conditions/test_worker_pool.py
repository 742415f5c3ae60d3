"""Calls and users share the workers; waits are what theory says; all in virtual time."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Any

import pytest

from kerio_mockserver.conditions.model import Cost, Load, MailboxLock, RefusalWindow, Reindexing, Users
from kerio_mockserver.conditions.webmail_users import BaselineWaits, arrivals
from kerio_mockserver.conditions.worker_pool import WorkerPool
from simulation.virtual_time import run

USERS = Users(per_second=40, service_s=0.12)
FOLDER = "keriostorage://folder/example.com/anna/aaaa"
OTHER = "keriostorage://mail/example.com/anna/bbbb/17"


async def call(workers: WorkerPool, method: str = "Mails.get", size: int = 0, params: Any = None) -> tuple[Any, float]:
    """What came of a call, and when it ended."""
    async with workers.slot(method, params) as turn:
        if turn.refusal is not None:
            return turn.refusal, now()
        if turn.code is None:
            await turn.serve(size)
        return turn.code, now()


def now() -> float:
    return asyncio.get_running_loop().time()


def test_workers_serve_calls_in_order() -> None:
    async def main() -> list[float]:
        workers = WorkerPool(Load(workers=2, call_s=1, kb_s=0.5, spread="fixed"))
        ends = await asyncio.gather(*(call(workers, size=2000) for _ in range(5)))
        assert workers.tally.calls.longest == 4.0
        assert workers.tally.longest_queue == 3
        return [end for _, end in ends]

    assert run(main()) == [2.0, 2.0, 4.0, 4.0, 6.0]


def test_methods_can_cost_differently() -> None:
    load = Load(call_s=1, spread="fixed", costs=(Cost(method="GET *", call_s=0.25), Cost(method="*.get", call_s=3)))
    workers = WorkerPool(load)
    costs = [workers.service_s(method, 10_000) for method in ("GET attachment", "Mails.get", "Mails.getById")]
    assert costs == [0.25, 3.0, 1.0]


def test_without_load_calls_do_not_wait() -> None:
    async def main() -> None:
        workers = WorkerPool()
        assert await asyncio.gather(*(call(workers, size=10**9) for _ in range(100))) == [(None, 0.0)] * 100

    run(main())


def test_service_times_are_a_function_of_the_seed() -> None:
    load = Load(call_s=0.1)

    def times(seed: int) -> list[float]:
        workers = WorkerPool(load, seed=seed)
        return [workers.service_s("m", 0) for _ in range(2000)]

    assert times(1) == times(1) != times(2)
    assert sum(times(1)) / 2000 == pytest.approx(0.1, rel=0.1)


def test_full_queue_refuses_with_retry_after() -> None:
    async def main() -> None:
        workers = WorkerPool(Load(workers=1, call_s=1, spread="fixed", places=1, status=429, retry_after_s=7))
        first, second, third = await asyncio.gather(*(call(workers) for _ in range(3)))
        assert (first, second) == ((None, 1.0), (None, 2.0))
        assert (third[0].status, third[0].headers["Retry-After"], third[0].rpc) == (429, "7", "Mails.get")
        assert third[1] == 0.0
        assert workers.tally.refused == 1
        assert (await call(workers))[0] is None

    run(main())


def test_calls_during_the_requested_pause_are_counted() -> None:
    async def main() -> None:
        workers = WorkerPool(Load(refusal_windows=(RefusalWindow(seconds=0.1, first=1, retry_after_s=5),)), grace_s=0.5)
        assert (await call(workers))[0].status == 503
        for at, counted in [(0.4, 0), (0.9, 1), (4.9, 2), (5.0, 2), (9.0, 2)]:
            await asyncio.sleep(at - now())
            await call(workers)
            assert workers.tally.in_pause == counted, at

    run(main())


def test_cancelled_call_releases_place_and_worker() -> None:
    async def main() -> None:
        workers = WorkerPool(Load(workers=1, call_s=10, spread="fixed", places=1))
        serving, waiting = (asyncio.ensure_future(call(workers)) for _ in range(2))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.sleep(1)
        third = asyncio.ensure_future(call(workers))
        await asyncio.sleep(1)
        serving.cancel()
        assert await third == (None, 13.0)
        assert workers.tally.refused == 0
        await asyncio.gather(serving, waiting, return_exceptions=True)
        assert await call(workers) == (None, 23.0)

    run(main())


def test_cancelled_call_passes_its_new_worker_on() -> None:
    async def main() -> None:
        workers = WorkerPool(Load(workers=1))
        await workers.take()
        second, third = (asyncio.ensure_future(workers.take()) for _ in range(2))
        await asyncio.sleep(1)
        workers.give_back()
        second.cancel()
        await third
        assert second.cancelled() or isinstance(second.exception(), asyncio.CancelledError)

    run(main())


def test_calls_that_are_cancelled_together_all_end() -> None:
    async def main() -> None:
        workers = WorkerPool(Load(workers=1, call_s=10, spread="fixed"))
        calls = [asyncio.ensure_future(call(workers)) for _ in range(3)]
        await asyncio.sleep(1)
        for each in calls:
            each.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in ended] == [asyncio.CancelledError] * 3
        assert await call(workers) == (None, 11.0)

    run(main())


def test_users_are_the_same_in_every_run() -> None:
    first, again, other = (list(islice(arrivals(USERS, seed), 5000)) for seed in (1, 1, 2))
    assert first == again != other
    assert first[-1].at == pytest.approx(5000 / 40, rel=0.05)
    assert sum(one.service_s for one in first) / 5000 == pytest.approx(0.12, rel=0.05)


def test_users_without_client_wait_as_computed() -> None:
    async def main() -> None:
        workers = WorkerPool(Load(workers=6, users=USERS), seed=4)
        workers.start()
        await asyncio.sleep(200)
        workers.stop()
        users, alone = workers.tally.users, workers.tally.alone.waits
        assert users.count == pytest.approx(8000, rel=0.1)
        assert users.mean == pytest.approx(alone.mean, rel=1e-2)
        assert users.percentile(0.95) == pytest.approx(alone.percentile(0.95), rel=0.05)

    run(main())


def test_client_makes_users_wait_longer_than_alone() -> None:
    async def main() -> None:
        workers = WorkerPool(Load(workers=8, call_s=0.1, users=USERS), seed=4)
        workers.start()

        async def greedy() -> None:
            while now() < 60:
                await call(workers)

        await asyncio.gather(*(greedy() for _ in range(32)))
        workers.stop()
        shown = workers.tally.as_json()["users"]
        assert shown["wait"]["p95"] > 5 * shown["without_client"]["wait"]["p95"]
        assert shown["response"]["mean"] > shown["wait"]["mean"] + 0.1

    run(main())


def test_waits_of_calls_and_users_are_those_of_erlang() -> None:
    """M/M/1 at load 0.5: half of all wait, and the mean wait is that of a service."""

    async def main() -> None:
        workers = WorkerPool(Load(workers=1, call_s=0.1, users=Users(per_second=2.5, service_s=0.1)), seed=1)
        workers.start()
        async with asyncio.TaskGroup() as group:
            for arrival in islice(arrivals(Users(per_second=2.5, service_s=1), "calls"), 20_000):
                await asyncio.sleep(arrival.at - now())
                group.create_task(call(workers))
        workers.stop()
        assert workers.tally.users.mean == pytest.approx(0.1, rel=0.1)
        assert workers.tally.calls.mean == pytest.approx(0.1, rel=0.1)

    run(main())


def test_baseline_waits_equal_a_simulated_queue() -> None:
    alone = BaselineWaits(2)
    for at, service in [(0, 4), (0, 2), (1, 1), (1, 1)]:
        alone.add(type(next(arrivals(USERS, 0)))(at, service))
    assert alone.waits.total == pytest.approx(0 + 0 + 1 + 2)


def test_refusal_window_refuses_all_calls() -> None:
    async def main() -> list[int]:
        workers = WorkerPool(Load(refusal_windows=(RefusalWindow(seconds=2.5, first=3, every=10, status=429),)))
        refused = []
        for number in range(1, 25):
            answer, _ = await call(workers)
            if answer is not None:
                assert (answer.status, "Retry-After" in answer.headers) == (429, False)
                refused.append(number)
            await asyncio.sleep(1)
        return refused

    assert run(main()) == [3, 4, 5, 13, 14, 15, 23, 24]


def test_folders_reindex_when_first_touched() -> None:
    async def main() -> None:
        workers = WorkerPool(Load(reindexing=(Reindexing(seconds=5),)))
        folders = {"folderIds": [FOLDER], "query": {"limit": 5}}
        assert (await call(workers, params=folders))[0] == 4100
        await asyncio.sleep(4)
        assert (await call(workers, params=folders))[0] == 4100
        assert (await call(workers, "Mails.getById", params={"ids": [OTHER]}))[0] == 4100
        assert (await call(workers, "Session.whoAmI", params={}))[0] is None
        await asyncio.sleep(1)
        assert (await call(workers, params=folders))[0] is None
        assert (await call(workers, "Mails.getById", params={"ids": [OTHER]}))[0] == 4100

    run(main())


def test_reindexing_hits_its_share_or_the_named_folder() -> None:
    async def main() -> None:
        some = WorkerPool(Load(reindexing=(Reindexing(seconds=5, share=0.3),)), seed=1)
        ids = [f"keriostorage://folder/example.com/anna/{n}" for n in range(300)]
        busy = [(await call(some, params={"folderIds": [one]}))[0] == 4100 for one in ids]
        assert 60 < sum(busy) < 120
        for name in (FOLDER, "aaaa"):
            one = WorkerPool(Load(reindexing=(Reindexing(seconds=5, folder=name),)))
            assert (await call(one, params={"folderIds": [FOLDER]}))[0] == 4100
            assert (await call(one, params={"ids": [OTHER]}))[0] is None

    run(main())


def test_lock_answers_4101() -> None:
    async def main() -> list[int]:
        workers = WorkerPool(Load(locks=(MailboxLock(seconds=2.5, first=2, every=5),)))
        held = []
        for number in range(1, 11):
            assert (await call(workers, "Session.login"))[0] is None
            if (await call(workers))[0] == 4101:
                held.append(number)
            await asyncio.sleep(1)
        return held

    assert run(main()) == [2, 3, 4, 7, 8, 9]


def test_load_changes_while_it_runs() -> None:
    async def main() -> None:
        workers = WorkerPool(Load(workers=1, call_s=10, spread="fixed", users=USERS))
        workers.start()
        calls = [asyncio.ensure_future(call(workers)) for _ in range(4)]
        await asyncio.sleep(1)
        workers.change(Load(workers=4, call_s=5, spread="fixed"))
        await asyncio.sleep(0)
        assert workers.tally.users.count == 0
        assert [end for _, end in await asyncio.gather(*calls)] == [10.0, 6.0, 6.0, 6.0]
        workers.change(None)
        assert await call(workers) == (None, 10.0)
        workers.change(Load(users=USERS))
        await asyncio.sleep(10)
        assert workers.tally.users.count > 200
        workers.stop()

    run(main())


def test_reset_restarts_counts_while_users_come() -> None:
    async def main() -> None:
        workers = WorkerPool(Load(users=USERS))
        workers.start()
        await asyncio.sleep(10)
        workers.reset()
        assert workers.tally.users.count == 0
        await asyncio.sleep(10)
        assert workers.tally.users.count > 200
        workers.stop()

    run(main())


def test_refused_user_returns_and_counts_all_waiting() -> None:
    async def main() -> None:
        users = Users(per_second=1, service_s=0.1, spread="fixed")
        workers = WorkerPool(Load(workers=1, call_s=30, spread="fixed", places=0, retry_after_s=5, users=users), seed=2)
        await workers.take()
        workers.start()
        await asyncio.sleep(30)
        assert (workers.tally.users.count, workers.tally.alone.waits.count > 15) == (0, True)
        first = workers.tally.turned_away
        assert first > 50, "each of them some times"
        workers.give_back()
        await asyncio.sleep(30)
        assert 30 <= workers.tally.users.longest <= 60
        workers.stop()

    run(main())
