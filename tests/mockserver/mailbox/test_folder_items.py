"""The folder, held against a dict of whole structs."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from kerio_mockserver.mailbox.dates import instant
from kerio_mockserver.mailbox.folder_items import FolderItems, light_members, sort_key
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox


def a_folder(mails: int = 60) -> FolderItems:
    store = generate_mailbox(
        SeedOptions(3, mails, folders=6, biggest=0, contacts=0, events=0, tasks=0, notes=0, shared=False)
    )
    return max((store.folder(one["id"]) for one in store.folders()), key=len)


def churned(seed: int) -> tuple[FolderItems, dict[int, dict[str, Any]]]:
    """A folder and what ought to be in it, after sixty random touches."""
    folder, dice = a_folder(), Random(seed)
    plain = {number: folder.item(number) for number in folder.numbers()}
    for watermark in range(10_000, 10_060):
        number = dice.choice(sorted(plain))
        match dice.randrange(4):
            case 0:
                folder.drop(number)
                del plain[number]
            case 1:
                new = folder.take_number()
                plain[new] = plain[number] | {
                    "id": f"{folder.home.item}{new}",
                    "watermark": watermark,
                    "size": watermark,
                }
                folder.put(new, plain[new], {})
            case 2:
                flags = {"isSeen": dice.random() < 0.5, "isFlagged": True, "watermark": watermark}
                plain[number] = plain[number] | flags
                folder.patch(number, flags)
            case 3:
                date = {"receiveDate": f"20{dice.randint(10, 29)}0101T000000Z", "watermark": watermark}
                plain[number] = plain[number] | date
                folder.patch(number, date)
    return folder, plain


@pytest.mark.parametrize("seed", range(12))
def test_folder_equals_a_dict_after_random_changes(seed: int) -> None:
    folder, plain = churned(seed)
    assert (len(folder), folder.numbers()) == (len(plain), sorted(plain))
    assert folder.size == sum(one["size"] for one in plain.values())
    assert folder.unread == sum(not one["isSeen"] for one in plain.values())
    assert folder.unseen() == sorted(number for number, one in plain.items() if not one["isSeen"])
    for number, struct in plain.items():
        light = {name: value for name, value in struct.items() if name in light_members("mail")}
        assert folder.has(number)
        assert folder.item(number) == struct
        assert folder.light(number) == light
        assert folder.project(number, {"size", "isSeen", "id", "watermark"}).items() <= light.items()
        assert folder.project(number, {"subject", "headers"}) == {one: struct[one] for one in ("subject", "headers")}
        assert folder.watermark_of(number) == struct["watermark"]
    assert not folder.has(0)
    assert not folder.has(10_000)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "column", ["receiveDate", "id", "watermark", "size", "isSeen", "subject", "from", "to", "sendDate"]
)
def test_ordered_equals_sorting(column: str, seed: int) -> None:
    folder, plain = churned(seed)

    def key(number: int) -> Any:
        if column == "id":
            return number
        return sort_key(plain[number][column], date=column.endswith("Date"))

    wanted = [plain[number]["id"] for number in sorted(plain, key=lambda number: (key(number), number))]
    assert list(folder.ordered(column)) == wanted
    assert list(folder.ordered(column, descending=True)) == wanted[::-1]


def test_order_is_a_snapshot() -> None:
    folder = a_folder()
    before = folder.ordered("receiveDate")
    ids = list(before)
    folder.drop(1)
    assert list(before) == ids
    assert list(folder.ordered("receiveDate")) == ids[1:]


def test_sort_key_folds_text_and_uses_instants() -> None:
    assert sort_key("Äb") == sort_key("äB")
    assert sort_key([{"name": "", "address": "Z@x"}]) == "z@x"
    assert sort_key([]) == ""
    assert sort_key("20250101T000000-0100", date=True) == instant("20250101T010000Z")
