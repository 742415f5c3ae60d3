from __future__ import annotations

import time

import pytest

from kerio_mockserver.mailbox.dates import NOW, day, instant, utc, with_offset


@pytest.mark.parametrize("at", [0, 59, 86_399, 86_400, 951_782_399, NOW, NOW + 3723])
def test_times_are_those_of_the_library(at: int) -> None:
    assert utc(at) == time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
    assert day(at) == utc(at)[:8]
    assert instant(with_offset(at + 86_400, -7)) == instant(with_offset(at + 86_400, 12)) == utc(at + 86_400)


def test_instant_sorts_any_text() -> None:
    assert instant("20251217") == "20251217T000000Z"
    assert [instant(text) for text in ("", "soon", "20259999T000000-0700")] == ["", "soon", "20259999T000000-0700"]
