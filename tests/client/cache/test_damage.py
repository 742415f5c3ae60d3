"""An old cache with bytes overwritten at random places.

Reuse and rescue never fail, bring nothing that was not there, and report what they could not read.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import AddChange, LocalChange, LocalFile, Mutation, PutItems, PutLocal
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.recovery.copy import copy_verified
from kerio_resync.cache.recovery.rescue_outbox import RescueReport, rescue_outbox
from kerio_resync.cache.store import Store
from kerio_resync.cache.swap import replace_cache
from simulation import virtual_time
from tests.support.cache import IDENTITY, attachment, filled, mail, size, whole

FILES = {n: Random(n).randbytes(30_000 + n * 9_000) for n in range(8)}
MAILS = {
    str(n): mail(
        str(n), n + 1, text=f"{n} " * (400 * (n % 7)), attached=(attachment("f", len(FILES[n])),) if n in FILES else ()
    )
    for n in range(120)
}
CHANGES = {
    f"u-{n}": AddChange(
        LocalChange(
            f"u-{n}", "create", "mail", folder_id="inbox", struct=b'{"subject":"%s"}' % (b"s" * 400 * (n % 5))
        ),
        (LocalFile("f", "t", Random(n).randbytes(n * 7_000)),) if n % 4 == 0 else (),
    )
    for n in range(30)
}  # fmt: skip


@dataclass
class Reused:
    """What came from the old cache. `items`: payloads; `contents`: complete attachments, by item."""

    rescued: RescueReport
    changes: dict[str, AddChange]
    items: dict[str, bytes]
    contents: dict[str, bytes]


async def write_old_cache(path: Path) -> None:
    mutations: list[Mutation] = [PutItems(tuple(MAILS.values())), *CHANGES.values()]
    mutations += [mutation for n, data in FILES.items() for mutation in whole(n + 1, data)]
    await (await filled(path, *mutations, PutLocal(mail("local:1", title="kept")))).close()


async def reuse(folder: Path) -> Reused:
    """Does what a rebuild does with an old cache: copy, rescue, swap. The result must be sound."""
    old, path = folder / "cache.db", folder / "cache.db.next"
    copied = await copy_verified(old, path, IDENTITY)
    new = await Store.open(path) if copied else await filled(path)
    rescued = await rescue_outbox(old, new)
    async with replace_cache(new, old):
        pass
    new = await Store.open(old)
    assert await new.check() == ()
    changes = await local_changes(new)
    items, contents = await items_and_contents(new)
    await new.close()
    return Reused(rescued, changes, items, contents)


async def local_changes(cache: Store) -> dict[str, AddChange]:
    outbox, changes = Outbox(cache), {}
    for each in await outbox.list():
        files = [(one, b"".join([piece async for piece in outbox.content(one)])) for one in each.files]
        changes[each.uuid] = AddChange(
            each._replace(number=0, files=()),
            tuple(LocalFile(one.name, one.content_type, data, one.content_id) for one, data in files),
        )
    return changes


async def items_and_contents(cache: Store) -> tuple[dict[str, bytes], dict[str, bytes]]:
    items, contents = {}, {}
    for item in await cache.read(queries.items, limit=10_000):
        items[item.id] = item.payload
        for one in item.attachments:
            data = b"".join([piece async for piece in cache.content(one.key)])
            if one.state == "done":
                contents[item.id] = data
            else:
                assert data == b""
    return items, contents


async def damage_and_reuse(pristine: Path, folder: Path, number: int) -> Reused:
    chance = Random(f"damage/{number}")
    shutil.copy(pristine, folder / "cache.db")
    total = size(pristine)
    length = int(2 ** chance.uniform(0, 15))
    start = chance.randrange(100) if chance.random() < 0.1 else chance.randrange(total)
    with (folder / "cache.db").open("r+b") as file:
        file.seek(start)
        noise = chance.choice([chance.randbytes(length), bytes(length), b"\xff" * length])
        file.write(noise[: total - start])
    found = await reuse(folder)
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
        assert rescued.backup is not None
        assert size(rescued.backup) > 0
    return found


def damage_many(tmp_path: Path, numbers: range) -> list[Reused]:
    """Runs in the loop's own thread: a thread per database call would take most of the time."""
    return virtual_time.run(_damage_many(tmp_path, numbers))


async def _damage_many(tmp_path: Path, numbers: range) -> list[Reused]:
    await write_old_cache(tmp_path / "pristine.db")
    found = []
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(await damage_and_reuse(tmp_path / "pristine.db", folder, number))
        shutil.rmtree(folder)
    return found


async def test_reuse_of_sound_cache_brings_everything(tmp_path: Path) -> None:
    await write_old_cache(tmp_path / "cache.db")
    found = await reuse(tmp_path)
    assert found.changes == CHANGES
    assert found.items == {each.id: each.payload for each in MAILS.values()}
    assert found.contents == {str(n): data for n, data in FILES.items()}
    assert found.rescued == RescueReport(changes=30, items=1)


def test_reuse_of_cache_damaged_at_twelve_places_brings_only_what_was_there(tmp_path: Path) -> None:
    found = damage_many(tmp_path, range(12))
    assert sum(len(each.changes) < 30 for each in found) > 1  # the damage is real
    assert sum(len(each.items) > 100 for each in found) > 9  # and most of the rest is reused


@pytest.mark.soak
@pytest.mark.timeout(24 * 3600)
def test_reuse_of_cache_damaged_at_a_thousand_places_brings_only_what_was_there(tmp_path: Path) -> None:
    found = damage_many(tmp_path, range(1000))
    complete = sum(len(each.changes) == 30 for each in found)
    print(f"1000 places: all changes came in {complete}, uncounted in {sum(each.rescued.uncounted for each in found)}")
