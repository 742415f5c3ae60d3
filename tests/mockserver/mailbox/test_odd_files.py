"""Files as the world's programs write them: every entry found is in, or counted and named.

The counts do not come from the importer: they are taken from the bytes by other means.
"""

from __future__ import annotations

import email
import os
import random
import re
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kerio_mockserver.mailbox.imports.importer import Imported, load
from kerio_mockserver.mailbox.store import MailboxStore

DATA = Path(__file__).parents[2] / "data"
ODD = DATA / "odd"
ENTRY = re.compile(
    rb"^BEGIN:(?:VEVENT|VTODO|VJOURNAL|VCARD)[ \t]*\r?$|^(?:\xef\xbb\xbf)?Subject: [mx=].*$", re.MULTILINE
)


def imported(path: Path) -> tuple[Imported, dict[str, list[dict[str, Any]]]]:
    """The report, and the items by their folder's name."""
    store = MailboxStore()
    report = load(store, [path])
    return report, {
        folder["name"]: [store.item(one) for one in store.folder(folder["id"]).ordered("id")]
        for folder in store.folders()
        if folder["type"] != "FRoot"
    }


def every(path: Path) -> list[dict[str, Any]]:
    return [item for items in imported(path)[1].values() for item in items]


def texts(path: Path) -> dict[str, str]:
    """The first text of each mail by its subject."""
    return {item["subject"]: item["displayableParts"][0]["content"] for item in every(path)}


FILES = sorted(path for path in ODD.rglob("*") if path.is_file() and path.suffix != ".msf")


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_every_entry_found_is_in_or_counted(path: Path) -> None:
    report, _ = imported(path)
    assert report.items + sum(report.skipped.values()) == len(ENTRY.findall(path.read_bytes()))
    assert len(report.names) == sum(report.skipped.values())
    assert bool(report.simplified) == bool(report.undecodable)


@pytest.mark.parametrize(
    "name", ["bare-from.mbox", "takeout.mbox", "crlf.mbox", "quoted.mbox", "counted.mbox", "miscounted.mbox"]
)
def test_mbox_gives_its_mails_whatever_its_dialect(name: str) -> None:
    report, folders = imported(ODD / name)
    found = folders[name.removesuffix(".mbox")]
    assert sorted(item["subject"] for item in found) == [f"m{number}" for number in range(1, len(found) + 1)]
    assert len(found) == (3 if name.startswith("bare") else 2)
    assert report.skipped == {}


def test_from_within_a_text_starts_no_mail_and_loses_its_quotation() -> None:
    assert texts(ODD / "takeout.mbox")["m2"] == "From here on\n\nFrom what I saw it is prose\nnot: a mail\n\ntext 2\n"
    assert texts(ODD / "quoted.mbox")["m1"] == "From the start\n>From twice 1\n"
    assert "From b@example.com Fri Jan  5" in texts(ODD / "counted.mbox")["m1"]
    assert texts(ODD / "miscounted.mbox")["m1"] == "one\n"


def test_thunderbirds_folders_are_as_thunderbird_shows_them() -> None:
    report, folders = imported(ODD / "thunderbird")
    assert [(one["subject"], one["isSeen"], one["isFlagged"]) for one in folders["Inbox"]] == [
        ("m1", True, False),
        ("m3", False, False),
        ("m4", True, True),
    ]
    assert (folders["Inbox"][2]["isAnswered"], folders["Inbox"][2]["isForwarded"]) == (True, True)
    assert [one["subject"] for one in folders["Work"]] == ["m5"]
    assert not [name for name in folders if "sbd" in name or name == "thunderbird"]
    assert report.names == [
        "Inbox, mail 2: deleted, but not yet removed by the mail program",
        "Inbox.msf: a mail program's index",
    ]


def test_calendar_entries_without_their_end_are_in_and_named() -> None:
    report, folders = imported(ODD / "no-ends.ics")
    assert sorted(one["summary"] for one in folders["Calendar"]) == ["e1", "e2", "e3"]
    assert report.simplified == [
        "no-ends.ics, entry 1: END missing",
        "no-ends.ics, entry 3: END missing",
        "no-ends.ics: END missing",
    ]


def test_line_folded_within_a_character_spoils_nothing() -> None:
    (event,) = every(ODD / "folded-in-utf8.ics")
    assert event["summary"] == "Müller"


def test_broken_rule_costs_the_rule_and_is_named() -> None:
    report, folders = imported(ODD / "bad-rules.ics")
    rules = {one["summary"]: one["rule"] for one in folders["Calendar"]}
    assert (rules["e1"]["frequency"], rules["e1"]["preciseBy"]["byDay"]) == ("Weekly", [2, 4])
    assert not rules["e2"]["isSet"]
    assert report.undecodable == {"recurrence simplified": 3}


def test_raw_line_ends_of_a_text_stay_in_it() -> None:
    (event,) = every(ODD / "raw-line-ends.ics")
    assert event["description"] == "first\nsecond\nAgenda: third\n\nhttps://example.com/fourth"
    assert event["location"] == "here"


def test_broken_zone_costs_the_zone_of_the_entries_that_name_it() -> None:
    report, folders = imported(ODD / "bad-zone.ics")
    assert {one["summary"]: one["start"] for one in folders["Calendar"]} == {
        "e1": "20240705T100000Z",
        "e2": "20240105T100000Z",
        "e3": "20240705T100000+0330",
        "e4": "20240705T100000+0200",
    }
    assert report.simplified == ["bad-zone.ics, entry 1: time zone unknown"]


def test_zones_of_another_file_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "a.ics").write_bytes((ODD / "bad-zone.ics").read_bytes())
    (tmp_path / "b.ics").write_bytes(
        b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;TZID=Fine:20240705T100000\nSUMMARY:other\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    (other,) = (one for one in every(tmp_path) if one["summary"] == "other")
    assert other["start"] == "20240705T100000Z"


def test_vcalendar_1_0_with_quoted_printable() -> None:
    event, _ = every(ODD / "old.vcs")
    assert event["summary"] == "Grüße"
    assert event["rule"]["endBy"]["date"] == "20240313T100000Z"


def test_broken_property_of_a_card_costs_only_itself() -> None:
    cards = {one["commonName"]: one for one in every(ODD / "broken-properties.vcf")}
    assert [cards[name]["phoneNumbers"][0]["number"] for name in ("Jo Doe", "No End", "Last")] == ["1", "2", "3"]
    jo = cards["Jo Doe"]
    assert (jo["postalAddresses"][0]["locality"], jo["comment"]) == ("Town", "")
    assert jo["photo"]["url"]
    assert not cards["Last"]["photo"]["url"]


def test_names_and_types_that_are_written_badly() -> None:
    (mail,) = every(ODD / "names.eml")
    assert [(one["name"], one["size"]) for one in mail["attachments"]] == [
        ("in-text.txt", 3),
        ("日.pdf", 1),
        ("coded.txt", 3),
    ]
    assert mail["displayableParts"][0]["content"] == "hello\n\n"


def test_byte_order_mark_and_characters_of_japanese_vendors() -> None:
    (mail,) = every(ODD / "vendor-characters.eml")
    assert (mail["from"], mail["subject"]) == ({"name": "㈱", "address": "a@example.com", "contactId": ""}, "①②")
    assert mail["displayableParts"][0]["content"] == "①日本㈱髙橋\n"


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    mail, real = tmp_path / "mail", tmp_path / "real"
    (mail / "own").mkdir(parents=True)
    real.mkdir()
    (real / "a.eml").write_bytes(b"From: a@b.c\nSubject: linked\n\nx\n")
    (mail / "own" / "b.eml").write_bytes(b"From: a@b.c\nSubject: own\n\nx\n")
    (mail / "archive").symlink_to(real)
    (mail / "again").symlink_to(mail / "own")
    (real / "round").symlink_to(mail)
    report, folders = imported(mail)
    assert [one["subject"] for one in folders["archive"]] == ["linked"]
    assert [one["subject"] for one in folders["own"]] == ["own"]
    assert report.mails == 2
    assert sorted(name.rpartition("/")[2] for name in report.names) == [
        "again: a link to a folder that is read already",
        "round: a link to a folder that is read already",
    ]


def calendars(count: int) -> bytes:
    """So many calendars in one file, each with a zone of its own."""
    return b"".join(
        b"BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:Z%d\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\n"
        b"TZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE\nBEGIN:VEVENT\nDTSTART;TZID=Z%d:20240105T100000\n"
        b"END:VEVENT\nEND:VCALENDAR\n" % (number, number)
        for number in range(count)
    )


SHAPES: dict[str, Callable[[int], bytes]] = {
    "calendars.ics": calendars,
    "events.ics": lambda count: b"BEGIN:VEVENT\nDTSTART:20240101\nRRULE:FREQ=DAILY;COUNT=9999\nEND:VEVENT\n" * count,
    "no-ends.ics": lambda count: b"BEGIN:VEVENT\nDTSTART:20240101\n" * count,
    "alarms.ics": lambda count: b"BEGIN:VEVENT\nDTSTART:20240101\n" + b"BEGIN:VALARM\n" * count + b"END:NO\n" * count,
    "stray.ics": lambda count: b"BEGIN:VEVENT\nDTSTART:20240101\nDESCRIPTION:x\n" + b"stray line\n" * count,
    "cards.vcf": lambda count: b"BEGIN:VCARD\nFN:x\nTEL;TYPE=a;TYPE=b:1\n" * count,
    "lengths.mbox": lambda count: b"From a\nFrom: a@b\nContent-Length: 60000\n\nx\n\n" * count,
    "begins.eml": lambda count: b"From: a@b\n\n" + b"begin 644 x\n`\n" * count,
    "parameters.eml": lambda count: b"From: a@b\nContent-Type: text/plain; " + b'a="' * count + b"\n\nx",
    "boundaries.eml": lambda count: b"".join(
        b"Content-Type: multipart/mixed; boundary=z%d\n\njunk\n--z%d\nbad\n" % (number, number)
        for number in range(count)
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_time_is_proportional_to_the_size(name: str, tmp_path: Path) -> None:
    spent = []
    for count in (150, 1200):
        path = tmp_path / f"{count}-{name}"
        path.write_bytes(SHAPES[name](count))
        best = []
        for _ in range(2 if count < 1000 else 1):
            started = time.process_time()
            report, _ = imported(path)
            best.append(time.process_time() - started)
        assert report.items >= 1
        spent.append(min(best))
    assert spent[1] < 25 * max(spent[0], 0.004)  # eight times the size; its square would be 64 times


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The same with a few bytes lost, doubled, or replaced."""
    for _ in range(chance.randrange(1, 6)):
        at, length = chance.randrange(len(data) + 1), chance.randrange(40)
        other = chance.choice(
            [b"", b"\n", b"\r", b"\0", b'"', b";", b"=?utf-8?b?", b"\x1b$B", b"BEGIN:", b"END:", b"From "]
        )
        data = (
            data[:at] + chance.choice([other, data[at : at + length] * 2]) + data[at + chance.randrange(length + 1) :]
        )
    return data


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_lose_no_entry_silently(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    for path in FILES:
        for turn in range(12):
            data = damaged(path.read_bytes(), chance)
            target = tmp_path / f"{turn}{path.suffix or '.mbox'}"
            target.write_bytes(data)
            report, _ = imported(target)
            if path.suffix in (".ics", ".vcs", ".vcf"):
                least = len(re.findall(rb"(?m)^BEGIN:(?:VEVENT|VTODO|VJOURNAL|VCARD)\r?$", data))
                assert report.items + sum(report.skipped.values()) >= min(least, 1)
            else:
                assert report.items + sum(report.skipped.values()) >= 1


def mails_of(archive: Path) -> Iterator[bytes]:
    with tarfile.open(archive) as files:
        for info in files:
            content = files.extractfile(info) if info.name.endswith(".eml") or "." in Path(info.name).name else None
            if info.isfile() and content is not None:
                yield content.read()


def counted_otherwise(archive: Path) -> Counter[tuple[int, str]]:
    """Size and Message-ID of each mail of an archive, by the standard library alone."""
    found: Counter[tuple[int, str]] = Counter()
    for data in mails_of(archive):
        message = email.message_from_bytes(data)
        found[len(data), re.sub(r"\s+", " ", str(message.get("message-id", ""))).strip()] += 1
    return found


def counted_in_the_mailbox(archive: Path) -> Counter[tuple[int, str]]:
    store = MailboxStore()
    report = load(store, [archive])
    assert report.skipped == {}
    found: Counter[tuple[int, str]] = Counter()
    for folder in store.folders():
        for item in map(store.item, store.folder(folder["id"]).ordered("id") if folder["type"] == "FMail" else ()):
            made = any(header["value"].endswith("@example.com>") for header in item["headers"][:1])
            told = next((one["value"] for one in item["headers"] if one["type"] == "mhMessageID"), "")
            found[item["size"], "" if made and "example.com" in told else told] += 1
    return found


def test_sample_is_in_whole_by_another_count() -> None:
    archive = DATA / "sample" / "sample-mail.tar.xz"
    other, ours = counted_otherwise(archive), counted_in_the_mailbox(archive)
    assert Counter(size for size, _ in other.elements()) == Counter(size for size, _ in ours.elements())
    assert sum((other - ours).values()) <= 3  # Message-IDs that the two read differently
    assert sum(ours.values()) == 300


@pytest.mark.corpus
@pytest.mark.skipif("KERIO_CORPUS" not in os.environ, reason="KERIO_CORPUS does not name the corpus")
@pytest.mark.timeout(600)
def test_corpus_is_in_whole_by_another_count() -> None:
    archive = Path(os.environ["KERIO_CORPUS"])
    other, ours = counted_otherwise(archive), counted_in_the_mailbox(archive)
    assert Counter(size for size, _ in other.elements()) == Counter(size for size, _ in ours.elements())
    assert sum(ours.values()) == 6046
    assert sum((other - ours).values()) <= 60  # as above
