from __future__ import annotations

from pathlib import Path

import pytest

from kerio_resync.cache.mutations import PutItems, PutSalvaged
from kerio_resync.cache.recovery.salvage import OldCache
from kerio_resync.cache.store import Store
from kerio_resync.model import Item
from tests.support.cache import attachment, change, filled, items, mail, wanted, whole

DATA = bytes(range(256)) * 3000
MAIL = mail("1", 5, attached=(attachment("a", len(DATA)), attachment("b", 3), attachment("c", 9)), extra=b'{"x":1}')


async def old_cache(path: Path, *more: Item) -> None:
    await (await filled(path, PutItems((MAIL, *more)), *whole(1, DATA), *whole(2, b"123"))).close()


async def take_all(path: Path, new: Store, *rows: Item) -> int:
    old = OldCache.open(path)
    assert old is not None
    found = await old.read_items([wanted(each) for each in rows])
    for each in found:
        await new.apply(PutSalvaged(each))
    await new.flush()
    await old.close()
    return len(found)


async def states(new: Store) -> list[str]:
    return [each.state for item in await new.items() for each in item.attachments]


async def test_an_item_comes_over_with_the_contents_it_had(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    new = await filled(tmp_path / "new.db")
    assert await take_all(tmp_path / "old.db", new, MAIL) == 1
    (item,) = await new.items()
    assert (item.payload, item.extra, item.watermark) == (MAIL.payload, MAIL.extra, 5)
    assert [each.state for each in item.attachments] == ["done", "done", "wanted"]
    assert b"".join([piece async for piece in new.content(item.attachments[0].key)]) == DATA
    assert await new.check() == ()
    await new.close()


@pytest.mark.parametrize(
    "row",
    [
        MAIL._replace(id="2"), MAIL._replace(watermark=6), MAIL._replace(watermark=4), MAIL._replace(folder_id="work"),
        MAIL._replace(kind="note"), MAIL._replace(watermark=0),
    ],
)  # fmt: skip
async def test_only_just_what_is_wanted_is_taken(tmp_path: Path, row: Item) -> None:
    await old_cache(tmp_path / "old.db")
    new = await filled(tmp_path / "new.db")
    assert await take_all(tmp_path / "old.db", new, row) == 0
    await new.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE item SET payload = replace(payload, 'Hello', 'Hallo')",
        "UPDATE item SET title = 'other'",
        "UPDATE item SET seen = 0",
        "UPDATE attachment SET name = 'x' WHERE ordinal = 1",
        "DELETE FROM attachment WHERE ordinal = 2",
    ],
)
async def test_an_item_whose_sum_does_not_hold_is_not_taken(tmp_path: Path, damage: str) -> None:
    await old_cache(tmp_path / "old.db")
    change(tmp_path / "old.db", damage)
    new = await filled(tmp_path / "new.db")
    assert await take_all(tmp_path / "old.db", new, MAIL) == 0
    await new.close()


@pytest.mark.parametrize(
    "damage",
    [
        'UPDATE chunk SET data = zeroblob(length(data)) WHERE attachment = 1 AND "offset" > 0',
        'DELETE FROM chunk WHERE attachment = 1 AND "offset" > 0',
        "UPDATE attachment SET sha256 = zeroblob(32) WHERE number = 1",
        "UPDATE attachment SET received = received - 1 WHERE number = 1",
        "UPDATE chunk SET data = CAST(data || x'00' AS BLOB) WHERE attachment = 1",
        "DROP TABLE chunk",
    ],
)
async def test_a_content_whose_sum_does_not_hold_stays_wanted(tmp_path: Path, damage: str) -> None:
    await old_cache(tmp_path / "old.db")
    change(tmp_path / "old.db", damage)
    new = await filled(tmp_path / "new.db")
    assert await take_all(tmp_path / "old.db", new, MAIL) == 1
    assert (await states(new))[0] == "wanted"
    assert all(row.received == 0 for row in await new.queued_attachments(9))
    assert await new.check() == ()
    await new.close()


async def test_contents_can_be_left_out(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    new = await filled(tmp_path / "new.db")
    old = OldCache(tmp_path / "old.db")
    (found,) = await old.read_items([wanted(MAIL)])
    await new.apply(PutSalvaged(found, omit_attachments=True))
    assert await states(new) == ["omitted"] * 3
    await old.close()
    await new.close()


async def test_told_twice_it_is_there_once(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    new = await filled(tmp_path / "new.db")
    for _ in range(2):
        await take_all(tmp_path / "old.db", new, MAIL)
    assert await states(new) == ["done", "done", "wanted"]
    assert await new.check() == ()
    await new.close()


async def test_many_rows_at_once(tmp_path: Path) -> None:
    some = [mail(f"m{n}") for n in range(1200)]
    await old_cache(tmp_path / "old.db", *some)
    new = await filled(tmp_path / "new.db")
    assert await take_all(tmp_path / "old.db", new, *some) == 1200
    await new.close()


@pytest.mark.parametrize("content", [b"", b"text" * 5000, b"SQLite format 3\0" + bytes(9000)])
async def test_a_useless_file_gives_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "old.db").write_bytes(content)
    old = OldCache(tmp_path / "old.db")
    for _ in range(2):
        assert await old.read_items([wanted(MAIL)]) == ()
    await old.close()


async def test_no_file_no_old_cache(tmp_path: Path) -> None:
    assert OldCache.open(tmp_path / "missing.db") is None


async def test_after_closing_there_is_nothing(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    old = OldCache(tmp_path / "old.db")
    await old.close()
    assert await old.read_items([wanted(MAIL)]) == ()


async def test_what_does_not_hold_is_counted(tmp_path: Path) -> None:
    await (await filled(tmp_path / "old.db", items("1", "2", "3"))).close()
    change(tmp_path / "old.db", "UPDATE item SET title = 'other' WHERE id = '2'")
    old = OldCache(tmp_path / "old.db")
    assert len(await old.read_items([wanted(mail(each)) for each in "123"])) == 2
    assert old.unreadable == 1
    await old.close()


async def test_what_is_newer_here_already_stays(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    newer = MAIL._replace(watermark=9, title="newer")
    new = await filled(tmp_path / "new.db", PutItems((newer,)))
    assert await take_all(tmp_path / "old.db", new, MAIL) == 1
    assert await new.watermarks([MAIL.id]) == {MAIL.id: 9}
    assert await states(new) == ["wanted"] * 3
    await new.close()


async def test_an_old_cache_that_is_gone_meanwhile_costs_its_contents_alone(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    new = await filled(tmp_path / "new.db")
    old = OldCache(tmp_path / "old.db")
    (found,) = await old.read_items([wanted(MAIL)])
    await old.close()
    (tmp_path / "old.db").unlink()
    await new.apply(PutSalvaged(found))
    assert await states(new) == ["wanted"] * 3
    assert await new.check() == ()
    await new.close()


async def test_rows_are_taken_around_the_pages_that_can_not_be_read(tmp_path: Path) -> None:
    some = [mail(f"m{n:03}", text="y" * 1500) for n in range(60)]
    await old_cache(tmp_path / "old.db", *some)
    data = bytearray((tmp_path / "old.db").read_bytes())
    places = [at for at in range(0, len(data), 16384) if data[at : at + 16384].count(b"yyyyyyyy") > 500]
    data[places[2] : places[2] + 16384] = b"\xff" * 16384
    (tmp_path / "old.db").write_bytes(data)
    old = OldCache(tmp_path / "old.db")
    found = await old.read_items([wanted(each) for each in some])
    assert 1 <= old.unreadable <= 12
    assert len(found) + old.unreadable == 60
    await old.close()


async def test_an_item_whose_contents_can_not_be_looked_up_is_counted(tmp_path: Path) -> None:
    await old_cache(tmp_path / "old.db")
    change(tmp_path / "old.db", "ALTER TABLE attachment RENAME COLUMN sha256 TO gone")
    old = OldCache(tmp_path / "old.db")
    assert await old.read_items([wanted(MAIL)]) == ()
    assert old.unreadable == 1
    await old.close()
