"""An old cache with bytes overwritten at random places: rescue and salvage never fail, bring nothing in that was not
there, and say what they could not read."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from benchmarks import virtual_time
from kerio_resync.cache.mutations import AddChange, LocalChange, LocalFile, Mutation, PutItems, PutLocal, PutSalvaged
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.recovery.copy import copy_verified
from kerio_resync.cache.recovery.rescue_outbox import RescueReport, rescue_outbox
from kerio_resync.cache.recovery.salvage import OldCache
from kerio_resync.cache.store import Store
from kerio_resync.cache.swap import swap
from kerio_resync.model import Item
from tests.support.cache import IDENTITY, attachment, filled, mail, size, wanted, whole

FILES = {n: Random(n).randbytes(30_000 + n * 9_000) for n in range(8)}
MAILS = {
    str(n): mail(
        str(n), n + 1, text=f"{n} " * (400 * (n % 7)), attached=(attachment("f", len(FILES[n])),) if n in FILES else ()
    )
    for n in range(120)
}
CHANGES = {
    f"u-{n}": LocalChange(
        f"u-{n}", "create", "mail", folder_id="inbox", struct=b'{"subject":"%s"}' % (b"s" * 400 * (n % 5)),
        files=(LocalFile("f", "t", Random(n).randbytes(n * 7_000)),) if n % 4 == 0 else (),
    )
    for n in range(30)
}  # fmt: skip


@dataclass
class Found:
    rescued: RescueReport
    changes: dict[str, LocalChange]
    items: dict[str, bytes]
    contents: dict[str, bytes]
    unreadable: int
    copied: dict[str, bytes]


async def old_cache(path: Path) -> None:
    facts: list[Mutation] = [PutItems(tuple(MAILS.values())), *(AddChange(each) for each in CHANGES.values())]
    facts += [fact for n, data in FILES.items() for fact in whole(n + 1, data)]
    await (await filled(path, *facts, PutLocal(mail("local:1", title="kept")))).close()


async def look(path: Path, rescued: RescueReport, unreadable: int, copied: dict[str, bytes]) -> Found:
    """What the new cache holds now; it must be sound."""
    new = await Store.open(path)
    assert await new.check() == ()
    outbox, changes = Outbox(new), {}
    for each in await outbox.list():
        files = [(one, b"".join([piece async for piece in outbox.file(one.key)])) for one in each.files]
        changes[each.uuid] = LocalChange(
            each.uuid, each.action, each.kind, each.item_id, each.folder_id, each.target_id, each.watermark, each.made,
            each.struct, tuple(LocalFile(one.name, one.content_type, data, one.content_id) for one, data in files),
        )  # fmt: skip
    items, contents = await held(new)
    await new.close()
    return Found(rescued, changes, items, contents, unreadable, copied)


async def held(cache: Store) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Payloads, and whole contents; what is there of others must be their beginning."""
    items, contents = {}, {}
    for item in await cache.items(limit=10_000):
        items[item.id] = item.payload
        for one in item.attachments:
            data = b"".join([piece async for piece in cache.content(one.key)])
            if one.state == "done":
                contents[item.id] = data
            assert FILES[int(item.id)].startswith(data)
    return items, contents


async def copy(folder: Path) -> dict[str, bytes]:
    """What comes over page by page, which must be sound and as it was."""
    if await copy_verified(folder / "cache.db", folder / "copy.db", IDENTITY) is None:
        return {}
    made = await Store.open(folder / "copy.db")
    assert await made.check() == ()
    items, contents = await held(made)
    await made.close()
    assert all(payload == MAILS[name].payload for name, payload in items.items())
    assert all(content == FILES[int(name)] for name, content in contents.items())
    return items


async def carry(folder: Path, mails: dict[str, Item]) -> Found:
    """What a rebuild does with an old cache: rescue, salvage, swap."""
    copied = await copy(folder)
    new = await filled(folder / "cache.db.next")
    rescued = await rescue_outbox(folder / "cache.db", new)
    old = OldCache(folder / "cache.db")
    for salvaged in await old.read_items([wanted(each) for each in mails.values()]):
        await new.apply(PutSalvaged(salvaged))
    await new.flush()
    await old.close()
    await swap(new, folder / "cache.db")
    return await look(folder / "cache.db", rescued, old.unreadable, copied)


async def damage_once(pristine: Path, folder: Path, number: int) -> Found:
    chance = Random(f"damage/{number}")
    shutil.copy(pristine, folder / "cache.db")
    total = size(pristine)
    length = int(2 ** chance.uniform(0, 15))
    start = chance.randrange(100) if chance.random() < 0.1 else chance.randrange(total)
    with (folder / "cache.db").open("r+b") as file:
        file.seek(start)
        noise = chance.choice([chance.randbytes(length), bytes(length), b"\xff" * length])
        file.write(noise[: total - start])
    found = await carry(folder, MAILS)
    for uuid, change in found.changes.items():
        assert change == CHANGES[uuid]
    for name, payload in found.items.items():
        assert payload == MAILS[name].payload
    for name, content in found.contents.items():
        assert content == FILES[int(name)]
    lost = len(CHANGES) - len(found.changes)
    rescued = found.rescued
    assert rescued.uncounted or lost <= rescued.unreadable
    if lost:
        assert rescued.aside is not None
        assert size(rescued.aside) > 0
    return found


def damage_many(tmp_path: Path, numbers: range) -> list[Found]:
    """In the loop itself: for each of the many calls of a database the way to its thread would take longest."""
    return virtual_time.run(_damage_many(tmp_path, numbers))


async def _damage_many(tmp_path: Path, numbers: range) -> list[Found]:
    await old_cache(tmp_path / "pristine.db")
    found = []
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(await damage_once(tmp_path / "pristine.db", folder, number))
        shutil.rmtree(folder)
    return found


async def test_without_damage_everything_comes_over(tmp_path: Path) -> None:
    await old_cache(tmp_path / "cache.db")
    found = await carry(tmp_path, MAILS)
    assert found.changes == CHANGES
    assert found.items == {each.id: each.payload for each in MAILS.values()}
    assert found.contents == {str(n): data for n, data in FILES.items()}
    assert found.rescued == RescueReport(changes=30, items=1)
    assert (found.copied, found.unreadable) == (found.items, 0)


def test_damage_at_thirty_places(tmp_path: Path) -> None:
    found = damage_many(tmp_path, range(30))
    assert sum(len(each.changes) < 30 for each in found) > 2  # the damage is real
    assert sum(len(each.items) > 100 for each in found) > 15  # and most of the rest comes over
    assert sum(len(each.copied) > 100 for each in found) > 25  # above all page by page


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_damage_at_a_thousand_places(tmp_path: Path) -> None:
    found = damage_many(tmp_path, range(1000))
    whole_ = sum(len(each.changes) == 30 for each in found)
    print(f"1000 places: all changes came in {whole_}, uncounted in {sum(each.rescued.uncounted for each in found)}")
