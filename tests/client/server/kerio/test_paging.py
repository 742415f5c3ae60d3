"""The listing of a living folder: anchors, stepping back, totals that lie, lists without end."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerio_resync.errors import ProtocolError
from kerio_resync.model import Folder, ListedItem, ListingPage, MalformedItem
from kerio_resync.server.kerio.paging import ANCHOR_IDS, Page, Position, advance, list_folder, next_offset
from tests.support.cases import EXAMPLES

FOLDER = Folder("f", "", "Inbox", "mail", count=10)


def page(ids: range | list[int], total: int) -> Page:
    return Page(tuple(ListedItem(str(each), "1") for each in ids), total)


@dataclass
class Living:
    """A folder that changes between pages: `disturb` is called before each page with the ids, newest first."""

    ids: list[int]
    disturb: Callable[[list[int]], None] = lambda ids: None
    most: int | None = None
    total: Callable[[int], int] = lambda true: true
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def page(self, start: int, limit: int) -> Page:
        self.disturb(self.ids)
        self.asked.append((start, limit))
        limit = min(limit, self.most or limit)
        return page(self.ids[start : start + limit], self.total(len(self.ids)))


async def listing(living: Living, *, limit: int, overlap: int = 3, position: Position | None = None) -> set[int]:
    seen: set[int] = set()
    folder = Folder("f", "", "Inbox", "mail", count=len(living.ids))
    async for each in list_folder(living.page, folder, position or Position(), limit=limit, overlap=overlap):
        seen |= {int(row.id) for row in each.rows}
    return seen


async def test_quiet_folder_takes_one_request_a_page() -> None:
    living = Living(list(range(100)))
    assert await listing(living, limit=25) == set(range(100))
    assert [start for start, _ in living.asked] == [0, 22, 44, 66, 88]


@pytest.mark.parametrize("count", [0, 1, 2, 24, 25, 26, 50])
async def test_every_size_is_listed_whole(count: int) -> None:
    living = Living(list(range(count)))
    assert await listing(living, limit=25) == set(range(count))


async def test_safety_limit_of_the_server_is_no_end() -> None:
    for most in (1, 2, 3, 4, 7):
        living = Living(list(range(100)), most=most)
        assert await listing(living, limit=25) == set(range(100))


async def test_steps_back_when_no_anchor_is_on_the_page() -> None:
    def remove_ten(ids: list[int]) -> None:
        if len(living.asked) == 2:
            del ids[:10]

    living = Living(list(range(100)), remove_ten)
    assert await listing(living, limit=25) >= set(range(10, 100))


@settings(max_examples=4 * EXAMPLES)
@given(seed=st.integers(0, 2**32), rate=st.sampled_from([0.3, 1.0, 4.0]), limit=st.integers(12, 30))
async def test_no_unchanged_item_is_missed(seed: int, rate: float, limit: int) -> None:
    """What was there all the time is listed, however many others come and go between the pages."""
    living, stayed = disturbed(seed, rate)
    assert await listing(living, limit=limit) >= stayed


async def test_plain_offsets_do_miss_items() -> None:
    """The comparison: without overlap the same disturbances lose items, so the test above can fail."""
    lost = 0
    for seed in range(100):
        living, stayed = disturbed(seed, 1.0)
        lost += not (await listing(living, limit=10, overlap=0) >= stayed)
    assert lost > 20


def disturbed(seed: int, rate: float) -> tuple[Living, set[int]]:
    rng = random.Random(seed)
    ids = list(range(1000, 1120))
    stayed = set(ids)

    def disturb(ids: list[int]) -> None:
        for _ in range(int(rate) + (rng.random() < rate % 1)):
            if rng.random() < 0.6 and ids:
                stayed.discard(ids.pop(rng.randrange(len(ids))))
            else:
                ids.insert(0, len(stayed) + rng.randrange(10**9) + 2000)

    return Living(ids, disturb), stayed


async def test_list_that_repeats_for_ever_ends_in_an_error() -> None:
    class Repeating(Living):
        async def page(self, start: int, limit: int) -> Page:
            self.asked.append((start, limit))
            return page(range(start * 2, start * 2 + limit), 10**12)

    living = Repeating(list(range(10)))
    with pytest.raises(ProtocolError) as caught:
        await listing(living, limit=10)
    assert caught.value.scope == "folder"
    assert len(living.asked) < 200


async def test_list_that_ignores_the_offset_ends() -> None:
    class Deaf(Living):
        async def page(self, start: int, limit: int) -> Page:
            self.asked.append((start, limit))
            return page(range(10), 10**6)

    living = Deaf(list(range(10)))
    with suppress(ProtocolError):
        await listing(living, limit=10)
    assert len(living.asked) < 200


@pytest.mark.parametrize("lie", [0, 3, 10**9])
async def test_totals_that_lie_lose_nothing(lie: int) -> None:
    living = Living(list(range(40)), total=lambda true: lie)
    assert await listing(living, limit=10) == set(range(40))


def test_position_survives_storage() -> None:
    position = Position(seen=7, tail=("a", "b"), step_back=3, pages=2)
    assert Position.from_bytes(position.to_bytes()) == position


@pytest.mark.parametrize("data", [None, b"", b"nonsense", b'{"seen":"x","odd":1}', b'{"seen":"x"}', b"[]", b"7"])
def test_unreadable_position_is_the_beginning(data: bytes | None) -> None:
    assert Position.from_bytes(data) == Position()


def test_stepping_back_reaches_further_each_time_and_ends_at_zero() -> None:
    position = Position(seen=5000, tail=("gone",))
    starts = []
    for _ in range(6):
        start = next_offset(position, 3)
        starts.append(start)
        position = advance(position, page(range(10), 9000), start=start, limit=10, overlap=3)
    assert starts[0] == 4997
    assert starts[1] == 4997 - ANCHOR_IDS
    assert starts[-1] <= 10


async def test_a_list_in_circles_ends_whatever_the_folder_is_said_to_hold() -> None:
    class Circling(Living):
        async def page(self, start: int, limit: int) -> Page:
            self.asked.append((start, limit))
            return page([(start + n) % 500 for n in range(limit)], 2**62)

    living = Circling([])
    folder = Folder("f", "", "Inbox", "mail", count=10**12)

    async def list_all() -> None:
        async for _ in list_folder(living.page, folder, Position(), limit=10, overlap=3):
            assert len(living.asked) < 2000

    with pytest.raises(ProtocolError):
        await list_all()


async def test_a_page_of_which_nothing_can_be_read_is_no_end() -> None:
    class Broken(Living):
        async def page(self, start: int, limit: int) -> Page:
            found = await super().page(start, limit)
            return found if start else Page((), found.total, malformed=(MalformedItem("", "broken"),) * len(found.rows))

    assert await listing(Broken(list(range(40))), limit=10) >= set(range(10, 40))


async def test_a_total_that_ends_after_each_page_is_not_believed_against_the_folder() -> None:
    living = Living(list(range(40)))
    living.total = lambda true: min(true, sum(living.asked[-1]))
    assert await listing(living, limit=10) == set(range(40))


async def pages_of(living: Living, position: Position) -> list[ListingPage]:
    return [each async for each in list_folder(living.page, FOLDER, position, limit=4, overlap=1)]


async def test_pages_tell_new_rows_and_how_many_were_listed() -> None:
    pages = await pages_of(Living(list(range(10))), Position())
    assert [[row.id for row in each.fresh] for each in pages] == [list("0123"), list("456"), list("789")]
    assert [row.id for row in pages[1].rows] == list("3456")
    assert [(each.listed, each.done) for each in pages] == [(4, False), (7, False), (10, True)]


async def test_listing_resumes_after_each_position() -> None:
    pages = await pages_of(Living(list(range(10))), Position())
    for n, page in enumerate(pages):
        assert await pages_of(Living(list(range(10))), Position.from_bytes(page.position)) == pages[n + 1 :]
