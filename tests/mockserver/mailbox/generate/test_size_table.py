from __future__ import annotations

import pytest

from kerio_mockserver.mailbox.generate.size_table import CYCLE, Sizes, draw_sizes, line_at

FOLDERS = [(17, 9_000), (4000, 700), (5, 0)]


def test_cycle_goes_through_every_line_once() -> None:
    assert sorted(line_at(k, 123) for k in range(50, 50 + CYCLE)) == list(range(CYCLE))


@pytest.mark.parametrize("count", [0, 1, 100, CYCLE, CYCLE + 1, 3 * CYCLE + 77])
def test_total_is_the_sum(count: int) -> None:
    sizes = draw_sizes(3, 0.2)
    assert sizes.total(99, count) == sum(sizes.lines[line_at(k, 99)].size for k in range(count))


def test_sizes_are_those_of_mailboxes() -> None:
    lines = draw_sizes(7, 0.2).lines
    by_size = sorted(line.size for line in lines)
    assert 5_000 < by_size[CYCLE // 2] < 7_500
    assert 5_000_000 < by_size[-1] <= 5 * 20_000_000
    assert max(part.size for line in lines for part in line.parts) * 1.37 <= 20_000_000
    assert sum(bool(line.parts) for line in lines) == pytest.approx(0.2 * CYCLE, abs=1)
    assert draw_sizes(7, 0.2).lines == Sizes(draw_sizes.__wrapped__(7, 0.2).lines).lines != draw_sizes(8, 0.2).lines


@pytest.mark.parametrize("attachments", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("mean", [1_500, 25_000, 200_000])
def test_scaled_table_meets_the_total(attachments: float, mean: int) -> None:
    total = mean * 9_700
    text, parts = draw_sizes(7, attachments).scaled(FOLDERS, total).content(FOLDERS)
    assert text + parts == pytest.approx(total, rel=0.02)
