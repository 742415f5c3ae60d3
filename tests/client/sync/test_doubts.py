"""When a failure is believed, and when the run gives up."""

from __future__ import annotations

import pytest

from kerio_resync.errors import ForeignReply
from kerio_resync.sync.doubts import MIN_REFUSALS, Doubts

CONTENTS = ((b"a", 1), (b"b", 2))


def test_wait_after_a_round_that_outlasts_the_retry_timeout_allows_another() -> None:
    now = 0.0
    doubts = Doubts(lambda: now, retry_timeout=60.0)
    for key, content in enumerate(CONTENTS):
        doubts.believes(key, "odd", content)
    for rounds in range(MIN_REFUSALS):
        now += doubts.wait(rounds)
        doubts.begin_round(serving=False)
        for key, content in enumerate(CONTENTS):
            assert not doubts.believes(key, "odd", content)
        doubts.end_round()
    now += 50.0  # the round that began before the retry timeout was over ends after it
    now += doubts.wait(MIN_REFUSALS)
    doubts.begin_round(serving=False)
    assert doubts.believes(0, "odd", CONTENTS[0])


def test_wait_after_a_round_that_began_after_the_retry_timeout_gives_up() -> None:
    now = 0.0
    doubts = Doubts(lambda: now, retry_timeout=60.0)
    for key in range(2):
        doubts.believes(key, "odd", CONTENTS[0])
    for rounds in range(MIN_REFUSALS):
        now += doubts.wait(rounds)
        doubts.begin_round(serving=False)
        for key in range(2):
            doubts.believes(key, "odd", CONTENTS[0])
        doubts.end_round()
    now += doubts.wait(MIN_REFUSALS)
    doubts.begin_round(serving=False)
    with pytest.raises(ForeignReply, match="2 failures of this kind"):
        doubts.wait(MIN_REFUSALS + 1)
