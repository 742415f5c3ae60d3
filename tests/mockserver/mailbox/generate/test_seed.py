from __future__ import annotations

import time

import psutil
import pytest

from kerio_mockserver.mailbox.generate.seed import SeedOptions, Shape, generate_mailbox
from kerio_mockserver.mailbox.store import MailboxStore


def counts(store: MailboxStore) -> dict[str, int]:
    return {one["name"]: one["messageCount"] for one in store.folders() if one["type"] == "FMail"}


@pytest.mark.parametrize("mails", [0, 1, 25, 1000, 50_000, 1_000_000])
def test_mails_are_counted_exactly(mails: int) -> None:
    found = counts(generate_mailbox(SeedOptions(7, mails)))
    assert sum(found.values()) == mails
    assert found["empty"] == found["empty below"] == 0
    assert found["Newsletters"] >= 0
    assert max(n for name, n in found.items() if name != "Inbox") >= min(12_000, mails // 4)
    if mails == 1_000_000:
        assert 12_000 in found.values()


def test_same_seed_gives_the_same_mailbox() -> None:
    first, second, other = (
        "".join(generate_mailbox(SeedOptions(seed, 300, contacts=20, events=20)).digest()) for seed in (5, 5, 6)
    )
    assert first == second != other


def test_million_mails_cost_nothing_until_they_are_read() -> None:
    generate_mailbox(SeedOptions(7, 10))
    before, began = psutil.Process().memory_info().rss, time.process_time()
    store = generate_mailbox(SeedOptions(7, 1_000_000))
    inbox = store.folder(next(one["id"] for one in store.folders() if one["subType"] == "FSubInbox"))
    page = inbox.ordered("receiveDate", descending=True)[100_000:100_500]
    assert len({store.light(one)["receiveDate"] for one in page}) == 500
    assert time.process_time() - began < 5
    assert psutil.Process().memory_info().rss - before < 40 << 20


@pytest.mark.parametrize(("shape", "deepest"), [("usual", 15), ("deep", 50), ("wide", 1)])
def test_many_folders(shape: Shape, deepest: int) -> None:
    store = generate_mailbox(SeedOptions(7, 20_000, folders=1_000, shape=shape, biggest=10_000))
    found = [one for one in store.folders() if one["type"] == "FMail"]
    assert len(found) == 1_000
    assert sum(one["messageCount"] for one in found) == 20_000
    assert 10_000 in (one["messageCount"] for one in found)
    depth = max(one["nestingLevel"] for one in found)
    assert depth == deepest or (shape == "usual" and depth >= 3)
    assert len({(one["parentId"], one["name"]) for one in found}) == 1_000


def test_total_bytes_are_met() -> None:
    store = generate_mailbox(SeedOptions(3, 2_000, total_bytes=50_000_000, shared=False))
    content = 0
    for folder in store.folders():
        if folder["type"] == "FMail":
            for mail in (store.item(one) for one in store.folder(folder["id"]).ordered("id")):
                content += sum(len(part["content"].encode()) for part in mail["displayableParts"])
                content += sum(one["size"] for one in mail["attachments"])
    assert content == pytest.approx(50_000_000, rel=0.05)


def test_mailbox_has_every_kind_and_shared_folders() -> None:
    store = generate_mailbox(SeedOptions(7, 200, contacts=30, events=20, tasks=5, notes=4))
    by_type: dict[str, int] = {}
    for one in store.folders():
        by_type[one["type"]] = by_type.get(one["type"], 0) + one["messageCount"]
    assert by_type == {"FRoot": 0, "FMail": 200, "FContact": 30, "FCalendar": 20, "FTask": 5, "FNote": 4}
    assert {one["placeType"] for one in store.folders("public")} == {"FPlacePublic"}
    mailbox = store.shared_mailboxes()[0]
    assert store.shared_folders(mailbox["mailboxId"]) == mailbox["folders"]
    assert sum(one["messageCount"] for one in mailbox["folders"]) > 10
    assert not generate_mailbox(SeedOptions(7, 200, shared=False)).shared_mailboxes()


@pytest.mark.parametrize(
    "wrong", [{"mails": -1}, {"attachments": 1.5}, {"folders": 3}, {"mails": 5, "biggest": 6}, {"events": -2}]
)
def test_invalid_options_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at least|negative|biggest"):
        generate_mailbox(SeedOptions(7, **wrong))  # type: ignore[arg-type]  # the point of the test


def test_names_of_folders_are_odd() -> None:
    names = counts(generate_mailbox(SeedOptions(7, 100))).keys()
    assert {"Q1/Q2", "Rechnungen", "Rechnungen ", ".hidden", "..", "日本語", "Русский", "العربية"} <= names
