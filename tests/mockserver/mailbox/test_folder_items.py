"""The shelf, held against a dict of whole structs."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from kerio_mockserver.mailbox.dates import instant
from kerio_mockserver.mailbox.folder_items import FolderItems, light_members, sort_key
from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox


def a_shelf(mails: int = 60) -> FolderItems:
    store = generate_mailbox(
        SeedOptions(3, mails, folders=6, biggest=0, contacts=0, events=0, tasks=0, notes=0, shared=False)
    )
    return max((store.folder(one["id"]) for one in store.folders()), key=len)


def churned(seed: int) -> tuple[FolderItems, dict[int, dict[str, Any]]]:
    """A shelf and what ought to be in it, after sixty random touches."""
    shelf, dice = a_shelf(), Random(seed)
    plain = {number: shelf.item(number) for number in shelf.numbers()}
    for watermark in range(10_000, 10_060):
        number = dice.choice(sorted(plain))
        match dice.randrange(4):
            case 0:
                shelf.drop(number)
                del plain[number]
            case 1:
                new = shelf.take_number()
                plain[new] = plain[number] | {
                    "id": f"{shelf.home.item}{new}",
                    "watermark": watermark,
                    "size": watermark,
                }
                shelf.put(new, plain[new], {})
            case 2:
                flags = {"isSeen": dice.random() < 0.5, "isFlagged": True, "watermark": watermark}
                plain[number] = plain[number] | flags
                shelf.patch(number, flags)
            case 3:
                date = {"receiveDate": f"20{dice.randint(10, 29)}0101T000000Z", "watermark": watermark}
                plain[number] = plain[number] | date
                shelf.patch(number, date)
    return shelf, plain


@pytest.mark.parametrize("seed", range(12))
def test_folder_equals_a_dict_after_random_changes(seed: int) -> None:
    shelf, plain = churned(seed)
    assert (len(shelf), shelf.numbers()) == (len(plain), sorted(plain))
    assert shelf.size == sum(one["size"] for one in plain.values())
    assert shelf.unread == sum(not one["isSeen"] for one in plain.values())
    assert shelf.unseen() == sorted(number for number, one in plain.items() if not one["isSeen"])
    for number, struct in plain.items():
        light = {name: value for name, value in struct.items() if name in light_members("mail")}
        assert shelf.has(number)
        assert shelf.item(number) == struct
        assert shelf.light(number) == light
        assert shelf.project(number, {"size", "isSeen", "id", "watermark"}).items() <= light.items()
        assert shelf.project(number, {"subject", "headers"}) == {one: struct[one] for one in ("subject", "headers")}
        assert shelf.watermark_of(number) == struct["watermark"]
    assert not shelf.has(0)
    assert not shelf.has(10_000)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "column", ["receiveDate", "id", "watermark", "size", "isSeen", "subject", "from", "to", "sendDate"]
)
def test_ordered_equals_sorting(column: str, seed: int) -> None:
    shelf, plain = churned(seed)

    def key(number: int) -> Any:
        if column == "id":
            return number
        return sort_key(plain[number][column], date=column.endswith("Date"))

    wanted = [plain[number]["id"] for number in sorted(plain, key=lambda number: (key(number), number))]
    assert list(shelf.ordered(column)) == wanted
    assert list(shelf.ordered(column, descending=True)) == wanted[::-1]


def test_order_is_a_snapshot() -> None:
    shelf = a_shelf()
    before = shelf.ordered("receiveDate")
    ids = list(before)
    shelf.drop(1)
    assert list(before) == ids
    assert list(shelf.ordered("receiveDate")) == ids[1:]


def test_sort_key_folds_text_and_uses_instants() -> None:
    assert sort_key("Äb") == sort_key("äB")
    assert sort_key([{"name": "", "address": "Z@x"}]) == "z@x"
    assert sort_key([]) == ""
    assert sort_key("20250101T000000-0100", date=True) == instant("20250101T010000Z")
