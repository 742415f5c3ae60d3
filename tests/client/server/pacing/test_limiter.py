from __future__ import annotations

import asyncio

import pytest

from kerio_resync.errors import ItemGone, OutcomeUnknown, Overloaded, ProtocolError, SessionExpired, Unreachable
from kerio_resync.server.http.transport import ReadTimeout
from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit, Outcome, Sample
from kerio_resync.server.pacing.limiter import Limiter, outcome_of
from simulation.virtual_time import run


def fixed(n: int) -> Limiter:
    return Limiter(AdaptiveLimit(value=float(n), most=n, least=n))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (Overloaded("x"), "dropped"),
        (ReadTimeout("x"), "dropped"),
        (OutcomeUnknown("x"), "ignored"),
        (Unreachable("x"), "ignored"),
        (ItemGone("x"), "ok"),
        (SessionExpired("x"), "ok"),
        (ProtocolError("x"), "ok"),
        (asyncio.CancelledError(), "ignored"),
        (KeyError("x"), "ignored"),
    ],
)
def test_outcomes(error: BaseException | None, outcome: Outcome) -> None:
    assert outcome_of(error) == outcome


def test_never_more_than_the_limit_and_in_the_order_of_asking() -> None:
    async def main() -> tuple[list[int], int]:
        limiter, order, most = fixed(3), [], 0

        async def work(n: int) -> None:
            nonlocal most
            async with limiter.slot():
                order.append(n)
                most = max(most, limiter.in_flight)
                await asyncio.sleep(1)

        await asyncio.gather(*(work(n) for n in range(20)))
        assert limiter.in_flight == 0
        return order, most

    order, most = run(main())
    assert order == list(range(20))
    assert most == 3


def test_a_pause_holds_everyone_and_then_nobody() -> None:
    async def main() -> list[float]:
        limiter, loop, began = fixed(2), asyncio.get_running_loop(), []

        async def work() -> None:
            async with limiter.slot():
                began.append(loop.time())
                await asyncio.sleep(1)

        first = [asyncio.create_task(work()) for _ in range(4)]
        await asyncio.sleep(0.5)
        limiter.pause_until(10.0)
        limiter.pause_until(5.0)  # an earlier end changes nothing
        late = [asyncio.create_task(work()) for _ in range(2)]
        await asyncio.gather(*first, *late)
        assert limiter.paused == 0
        limiter.close()
        return began

    assert run(main()) == [0.0, 0.0, 10.0, 10.0, 11.0, 11.0]


def test_a_pause_that_begins_while_a_slot_is_handed_over_still_holds() -> None:
    async def main() -> list[tuple[str, float]]:
        limiter, loop, began = fixed(1), asyncio.get_running_loop(), []

        async def work(name: str) -> None:
            async with limiter.slot():
                began.append((name, loop.time()))

        async def holder() -> None:
            async with limiter.slot():
                await asyncio.sleep(1)
            limiter.pause_until(loop.time() + 7)  # the next one has the slot, but has not run yet

        tasks = [asyncio.create_task(one) for one in (holder(), work("a"), work("b"))]
        await asyncio.gather(*tasks)
        assert limiter.in_flight == 0
        return began

    assert run(main()) == [("a", 8.0), ("b", 8.0)]


@pytest.mark.parametrize("just_served", [False, True])
def test_who_is_cancelled_loses_no_slot(just_served: bool) -> None:
    async def main() -> None:
        limiter = fixed(1)

        async def work() -> None:
            async with limiter.slot():
                await asyncio.sleep(1)

        tasks = [asyncio.create_task(work()) for _ in range(5)]
        await asyncio.sleep(0.5)
        if just_served:
            tasks[0].cancel()
            await asyncio.sleep(0)  # the slot goes to the next one, who has not heard of it yet
        tasks[1].cancel()
        tasks[3].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limiter.in_flight == 0
        async with asyncio.timeout(0.1), limiter.slot():
            assert limiter.in_flight == 1

    run(main())


def test_a_lower_limit_lets_those_in_flight_finish() -> None:
    async def main() -> list[float]:
        limiter, loop, began = Limiter(AdaptiveLimit(value=8.0)), asyncio.get_running_loop(), []

        async def work(n: int) -> None:
            async with limiter.slot() as slot:
                began.append(loop.time())
                await asyncio.sleep(1)
                slot.answered()
                if n < 8:
                    raise Overloaded("busy")

        await asyncio.gather(*(work(n) for n in range(16)), return_exceptions=True)
        return began

    began = run(main())
    assert began[:8] == [0.0] * 8
    assert began[8:] == [1.0] * 6 + [2.0] * 2  # 8 * 0.7 = 5.6, once


def test_an_attempt_without_an_answer_says_nothing() -> None:
    async def main() -> None:
        limiter = Limiter(AdaptiveLimit())
        for _ in range(100):
            async with limiter.slot():
                pass
        assert limiter.limit == AdaptiveLimit()

    run(main())


def test_what_a_slot_tells_of_its_attempt() -> None:
    async def main() -> None:
        limiter = Limiter(AdaptiveLimit())
        seen: list[Sample] = []

        class Watching(AdaptiveLimit):
            def after(self, sample: Sample) -> AdaptiveLimit:
                seen.append(sample)
                return self

        limiter.limit = Watching(value=4.0)

        async def work(wait: float, body: float, size: int) -> None:
            async with limiter.slot("get") as slot:
                await asyncio.sleep(wait)
                slot.answered()
                await asyncio.sleep(body)
                slot.complete(size)
                await asyncio.sleep(0.5)  # parsing is neither waiting nor coming

        await asyncio.gather(work(1.0, 3.0, 50_000), work(2.0, 0.0, 10))
        assert [(one.wait, one.size, one.used, one.kind) for one in seen] == [
            (2.0, 10, 2, "get"),
            (1.0, 50_000, 1, "get"),
        ]
        assert [one.busy for one in seen] == [0.5, 0.0]
        assert limiter.stats.busy(99.0) == 3.0

    run(main())


def test_who_leaves_just_as_its_turn_comes_takes_it_from_nobody() -> None:
    async def main() -> list[str]:
        limiter, began = fixed(1), list[str]()

        async def work(name: str) -> None:
            async with limiter.slot():
                began.append(name)

        async with limiter.slot():
            tasks = [asyncio.create_task(work(name)) for name in ("second", "third")]
            await asyncio.sleep(0)
            tasks[0].cancel()  # and the slot is free before the task runs
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (limiter.in_flight, tasks[0].cancelled()) == (0, True)
        return began

    assert run(main()) == ["third"]


def test_a_pause_may_be_made_longer() -> None:
    async def main() -> float:
        limiter = fixed(2)
        limiter.pause_until(5.0)
        limiter.pause_until(8.0)
        async with limiter.slot():
            return asyncio.get_running_loop().time()

    assert run(main()) == 8.0


def test_a_timer_that_is_early_by_the_clock_does_not_end_a_pause() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        limiter = Limiter(AdaptiveLimit(), clock=lambda: loop.time() - (0.25 if loop.time() == 10.0 else 0.0))
        limiter.pause_until(10.0)
        async with limiter.slot():
            return loop.time()

    assert run(main()) == 10.25


def test_making_a_connection_is_no_wait_for_the_server() -> None:
    async def main() -> tuple[float, float, bool]:
        limiter = Limiter(AdaptiveLimit(value=4.0))

        async def work(connect_seconds: float) -> None:
            async with limiter.slot("get") as slot:
                await asyncio.sleep(connect_seconds + 0.5)
                slot.answered(connect_seconds)
                await asyncio.sleep(0)
                assert slot.server_seconds == 0.0

        for _ in range(3):  # the first ones on new connections, each twice the latency
            await asyncio.gather(*(work(0.5) for _ in range(4)), *(work(0.0) for _ in range(4)))
        return limiter.min_latency, limiter.limit.min_latency, limiter.limit.starting

    assert run(main()) == (0.5, 0.5, True)


def test_a_server_holds_nothing_before_it_has_answered() -> None:
    async def main() -> None:
        limiter = fixed(2)
        for wait, held in ((1.0, 0.0), (3.0, 2.0)):
            async with limiter.slot() as slot:
                await asyncio.sleep(wait)
                assert slot.server_seconds == 0.0
                slot.answered()
                await asyncio.sleep(1)
                assert slot.server_seconds == held

    run(main())
