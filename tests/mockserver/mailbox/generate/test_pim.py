from __future__ import annotations

import zlib

import orjson
import pytest

from kerio_mockserver.mailbox.api_structs import complete
from kerio_mockserver.mailbox.blobs import PHOTO
from kerio_mockserver.mailbox.generate.pim import Contacts, Events, GeneratedItems, Notes, Tasks
from kerio_mockserver.mailbox.ids import FolderAddress, Kind

CASES: list[tuple[Kind, str, type[GeneratedItems]]] = [
    ("contact", "Contact", Contacts),
    ("event", "Event", Events),
    ("task", "Task", Tasks),
    ("note", "Note", Notes),
]


@pytest.mark.parametrize(("kind", "struct", "make"), CASES)
def test_items_are_complete_and_the_same_each_time(kind: Kind, struct: str, make: type[GeneratedItems]) -> None:
    home = FolderAddress("d", "u", "g", kind)
    source, again = make(home, 7, 300, 50), make(home, 7, 300, 50)
    found = [source.item(k) for k in range(300)]
    for k, item in enumerate(found):
        assert item == complete(struct, item) == again.item(k) == source.light(k) == orjson.loads(source.raw(k))
        assert (item["id"], item["watermark"], item["folderId"]) == (f"{home.item}{k + 1}", 51 + k, home.folder_id)
        assert item | source.brief(k) == item
    assert make(home, 8, 300, 50).item(5) != found[5]
    assert source.size == sum(map(source.size_of, range(300)))


def test_contacts_have_photos_and_lists_refer_to_contacts() -> None:
    source = Contacts(FolderAddress("d", "u", "g", "contact"), 7, 400, 0)
    lists = photos = 0
    for k in range(400):
        item, contents = source.item(k), source.contents(k)
        assert bool(item["photo"]["url"]) == bool(contents)
        if contents:
            photos += 1
            png = contents[PHOTO].blob.read(0, 1 << 20)
            assert png.startswith(b"\x89PNG\r\n\x1a\n")
            assert zlib.decompress(png[41:-16])
        if item["type"] == "ctDistributionList":
            lists += 1
            assert {one["type"] for one in item["emailAddresses"]} == {"RefContact"}
            assert all(0 < int(one["refId"].rpartition("/")[2]) <= k for one in item["emailAddresses"])
    assert photos > 20
    assert lists > 20


def test_events_are_of_every_sort() -> None:
    source = Events(FolderAddress("d", "u", "g", "event"), 7, 400, 0)
    found = [source.item(k) for k in range(400)]
    assert {one["rule"]["frequency"] for one in found if one["rule"]["isSet"]} == {
        "Daily",
        "Weekly",
        "Monthly",
        "Yearly",
    }
    assert {len(one["start"]) for one in found} == {8, 16, 20}
    assert any(one["attendees"] for one in found)
    assert {one["reminder"]["type"] for one in found if one["reminder"]["isSet"]} == {
        "ReminderRelative",
        "ReminderAbsolute",
    }
