"""One way of a line in virtual time: rates, sharing, delays, breaks and back-pressure to the microsecond."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kerio_mockserver.conditions.link import Link, LinkFault
from kerio_mockserver.conditions.shaper import GRAIN, Flow, Mark, Shaper
from simulation.virtual_time import VirtualLoop, run

MBIT = 125_000.0


class Receiver:
    """Keeps what came out, and when."""

    def __init__(self) -> None:
        self.pieces: list[tuple[float, int]] = []
        self.data = bytearray()
        self.mark: tuple[float, Mark] | None = None
        self.holds: list[bool] = []

    def deliver(self, data: bytes | memoryview | Mark) -> None:
        at = asyncio.get_running_loop().time()
        if isinstance(data, Mark):
            self.mark = (at, data)
            return
        self.pieces.append((at, len(data)))
        self.data += data

    def hold_sender(self, hold: bool) -> None:
        self.holds.append(hold)

    @property
    def last(self) -> float:
        return self.pieces[-1][0]


def line(link: Link, seed: int = 0) -> Shaper:
    loop = asyncio.get_running_loop()
    timer: list[asyncio.TimerHandle] = []

    def set_alarm(at: float) -> None:
        for old in timer:
            old.cancel()
        timer[:] = [loop.call_at(at, made.wake)] if at != float("inf") else []

    made = Shaper(link, "down", seed=seed, clock=loop.time, set_alarm=set_alarm)
    return made


def flow(made: Shaper, begins: float = 0.0, breaks: list[tuple[int, LinkFault]] | None = None) -> tuple[Flow, Receiver]:
    receiver = Receiver()
    return Flow(made, receiver, begins, breaks or []), receiver


def virtually(main: Callable[[], Any]) -> Any:
    return run(main(), start=1000.0)


def at() -> float:
    return asyncio.get_running_loop().time() - 1000.0


@pytest.mark.parametrize("rate", [1 * MBIT, 20 * MBIT, 100 * MBIT])
@pytest.mark.parametrize("rtt", [0.01, 0.5])
@pytest.mark.parametrize("flows", [1, 8])
def test_rate_and_delay(rate: float, rtt: float, flows: int) -> None:
    async def main() -> None:
        made = line(Link(down_bytes_s=rate, rtt_s=rtt))
        pairs = [flow(made) for _ in range(flows)]
        size = int(rate * 2 / flows)
        for one, _ in pairs:
            one.offer(b"x" * size)
        await asyncio.sleep(60)
        assert [len(receiver.data) for _, receiver in pairs] == [size] * flows
        assert max(receiver.last for _, receiver in pairs) - 1000 == pytest.approx(2 + rtt / 2, rel=0.002)
        assert made.bytes == size * flows

    virtually(main)


def test_small_piece_arrives_at_its_due_time() -> None:
    async def main() -> None:
        one, receiver = flow(line(Link(down_bytes_s=MBIT, rtt_s=0.1)))
        one.offer(b"x" * 125)
        await asyncio.sleep(1)
        ((arrival, size),) = receiver.pieces
        assert arrival == pytest.approx(1000.051, abs=1e-6)
        assert size == 125

    virtually(main)


def test_small_reply_does_not_wait_for_a_large_one() -> None:
    async def main() -> None:
        made = line(Link(down_bytes_s=10 * MBIT))
        (large, _), (small, receiver) = flow(made), flow(made)
        large.offer(b"x" * 1_000_000)
        await asyncio.sleep(0.1)
        small.offer(b"y" * 1000)
        await asyncio.sleep(1)
        assert receiver.last - 1000.1 < 0.01

    virtually(main)


def test_bytes_keep_their_order_and_the_end_comes_last() -> None:
    async def main() -> None:
        one, receiver = flow(line(Link(down_bytes_s=MBIT, rtt_s=0.05, jitter_s=0.04), seed=3))
        sent = b"".join(n.to_bytes(2, "big") for n in range(30_000))
        for start in range(0, len(sent), 777):
            one.offer(sent[start : start + 777])
            await asyncio.sleep(0.001)
        one.offer(Mark.END)
        await asyncio.sleep(5)
        assert bytes(receiver.data) == sent
        assert receiver.mark is not None
        assert receiver.mark[1] is Mark.END
        assert receiver.mark[0] >= receiver.last
        assert receiver.last - 1000 == pytest.approx(60_000 / MBIT + 0.025, abs=0.021)

    virtually(main)


def test_jitter_moves_arrivals_within_its_bounds() -> None:
    async def main() -> None:
        one, receiver = flow(line(Link(rtt_s=0.1, jitter_s=0.04), seed=3))
        delays = []
        for _ in range(100):
            began = asyncio.get_running_loop().time()
            one.offer(b"x")
            await asyncio.sleep(0.25)
            delays.append(receiver.last - began)
        assert 0.029 < min(delays) < 0.035
        assert 0.065 < max(delays) < 0.072

    virtually(main)


def test_full_link_holds_the_sender() -> None:
    async def main() -> None:
        link = Link(down_bytes_s=10 * MBIT, rtt_s=0.4)
        one, receiver = flow(line(link))
        one.offer(b"x" * (link.room("down") - 1))
        assert receiver.holds == []
        one.offer(b"x")
        assert receiver.holds == [True]
        await asyncio.sleep(1)
        assert receiver.holds == [True, False]

    virtually(main)


def test_blocked_receiver_stops_only_its_stream() -> None:
    async def main() -> None:
        made = line(Link(down_bytes_s=10 * MBIT))
        (slow, held), (other, free) = flow(made), flow(made)
        slow.offer(b"x" * 500_000)
        await asyncio.sleep(0.1)
        slow.block(True)
        await asyncio.sleep(0.1)
        before = len(held.data)
        other.offer(b"y" * 125_000)
        await asyncio.sleep(0.2)
        assert len(free.data) == 125_000
        assert len(held.data) == before
        assert free.last - 1000.2 == pytest.approx(0.1, abs=0.01)
        slow.block(False)
        await asyncio.sleep(1)
        assert len(held.data) == 500_000

    virtually(main)


def test_nothing_enters_before_the_connection_is_made() -> None:
    async def main() -> None:
        made = line(Link(down_bytes_s=10 * MBIT, rtt_s=0.2))
        (late, waiting), (early, going) = flow(made, begins=1000.2), flow(made)
        late.offer(b"x" * 1250)
        early.offer(b"y" * 1250)
        await asyncio.sleep(1)
        assert waiting.last == pytest.approx(1000.301, abs=1e-6)
        assert going.last == pytest.approx(1000.101, abs=1e-6)

    virtually(main)


def test_conditions_change_while_bytes_are_waiting() -> None:
    async def main() -> None:
        made = line(Link(down_bytes_s=MBIT))
        one, receiver = flow(made)
        one.offer(b"x" * 1_125_000)
        await asyncio.sleep(1)
        made.change(Link(down_bytes_s=8 * MBIT))
        await asyncio.sleep(5)
        assert receiver.last - 1000 == pytest.approx(2.0, rel=0.01)

    virtually(main)


@pytest.mark.parametrize(("kind", "mark"), [("reset", Mark.RESET), ("truncate", Mark.TRUNCATED)])
def test_breaks_come_at_their_byte(kind: Any, mark: Mark) -> None:
    async def main() -> None:
        made = line(Link(down_bytes_s=MBIT))
        one, receiver = flow(made, breaks=[(10_001, LinkFault(kind=kind, at=10_001))])
        one.offer(b"x" * 60_000)
        one.offer(Mark.END)
        await asyncio.sleep(5)
        assert len(receiver.data) == 10_001
        assert receiver.mark == (receiver.last, mark)
        assert made.breaks == {kind: 1}
        one.offer(b"more")
        await asyncio.sleep(1)
        assert len(receiver.data) == 10_001

    virtually(main)


def test_stall_holds_one_stream_for_a_while() -> None:
    async def main() -> None:
        made = line(Link(down_bytes_s=MBIT))
        one, receiver = flow(made, breaks=[(12_500, LinkFault(kind="stall", at=12_500, seconds=3))])
        other, free = flow(made)
        one.offer(b"x" * 25_000)
        other.offer(b"y" * 12_500)
        await asyncio.sleep(1)
        assert (len(receiver.data), len(free.data)) == (12_500, 12_500)
        await asyncio.sleep(9)
        assert receiver.last - 1000 == pytest.approx(3.3, abs=0.02)

    virtually(main)


def test_stall_for_ever() -> None:
    async def main() -> None:
        one, receiver = flow(line(Link()), breaks=[(5, LinkFault(kind="stall", at=5))])
        one.offer(b"123456789")
        await asyncio.sleep(1e6)
        assert bytes(receiver.data) == b"12345"

    virtually(main)


def test_reset_drops_what_has_not_left_and_keeps_what_is_on_its_way() -> None:
    async def main() -> None:
        one, receiver = flow(line(Link(down_bytes_s=MBIT, rtt_s=1.0)))
        one.offer(b"x" * 125_000)
        await asyncio.sleep(0.4)
        one.reset()
        await asyncio.sleep(5)
        assert len(receiver.data) == pytest.approx(50_000, abs=2000)
        assert receiver.mark is not None
        assert receiver.mark[1] is Mark.RESET

    virtually(main)


def test_abandoned_stream_uses_no_rate() -> None:
    async def main() -> None:
        made = line(Link(down_bytes_s=MBIT))
        (gone, nothing), (other, receiver) = flow(made), flow(made)
        gone.offer(b"x" * 1_000_000)
        other.offer(b"y" * 125_000)
        gone.abandon()
        await asyncio.sleep(10)
        assert len(nothing.data) <= 2000
        assert receiver.last - 1000 == pytest.approx(1.0, abs=0.03)

    virtually(main)


def test_wake_ups_are_few() -> None:
    async def main() -> int:
        made = line(Link(down_bytes_s=100 * MBIT, rtt_s=0.05))
        wakes = [0]
        original = made.wake

        def counted() -> None:
            wakes[0] += 1
            original()

        made.wake = counted  # type: ignore[method-assign]  # only to count
        one, _ = flow(made)
        one.offer(b"x" * 12_500_000)
        await asyncio.sleep(2)
        return wakes[0]

    assert virtually(main) <= 1.1 / GRAIN


def test_late_timers_are_set_earlier() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        timer: list[asyncio.TimerHandle] = []

        def set_alarm(when: float) -> None:
            for old in timer:
                old.cancel()
            timer[:] = [loop.call_at(when + 0.0002, made.wake)] if when != float("inf") else []

        made = Shaper(Link(rtt_s=0.02), "down", seed=0, clock=loop.time, set_alarm=set_alarm)
        one, receiver = flow(made)
        delays = []
        for _ in range(60):
            began = loop.time()
            one.offer(b"x")
            await asyncio.sleep(0.1)
            delays.append(receiver.last - began)
        assert delays[0] == pytest.approx(0.0102)
        assert delays[-1] == pytest.approx(0.0100, abs=1e-5)

    virtually(main)
