"""Computed mails: the same each time, one definition for JSON, struct and listing, and totals that hold."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kerio_mockserver.mailbox.api_structs import complete, members
from kerio_mockserver.mailbox.blobs import hash_of
from kerio_mockserver.mailbox.generate.mails import GeneratedMails, Style
from kerio_mockserver.mailbox.generate.people import Person
from kerio_mockserver.mailbox.generate.size_table import draw_sizes
from kerio_mockserver.mailbox.ids import FolderAddress

ME = Person("Anna Müller", "anna@example.com", "de")


def mails(count: int = 4_500, seed: int = 7, style: Style = "received", share: float = 0.2) -> GeneratedMails:
    home = FolderAddress("example.com", "anna", "0a1b2c3d-0000-4000-8000-000000000001", "mail")
    return GeneratedMails(home, seed, count, 100, draw_sizes(seed, share), ME, style)


def test_mail_is_complete_and_the_same_however_it_is_asked_for() -> None:
    folder = mails()
    for k in range(0, 4_500, 7):
        mail = folder.item(k)
        assert mail.keys() == members("Mail").keys()
        assert mail == complete("Mail", mail)
        assert orjson.loads(folder.raw(k)) == mail == mails().item(k)
        light, brief = folder.light(k), folder.brief(k)
        assert light.keys() | {"displayableParts", "attachments", "headers", "signInfo", "encryptInfo"} == mail.keys()
        assert mail | light | brief == mail


def test_totals_hold_and_dates_rise() -> None:
    folder = mails()
    lights = [folder.light(k) for k in range(folder.count)]
    assert folder.size == sum(one["size"] for one in lights)
    assert folder.unread == sum(not one["isSeen"] for one in lights) == len(list(folder.unseen())) > 0
    dates = [one["receiveDate"] for one in lights]
    assert dates == sorted(set(dates))
    assert dates == [folder.when(k) for k in range(folder.count)]
    assert [one["watermark"] for one in lights] == list(range(101, 4_601))


def test_size_is_about_what_the_mail_holds() -> None:
    folder = mails()
    for k in range(0, 4_500, 11):
        mail = folder.item(k)
        body = sum(len(part["content"].encode()) for part in mail["displayableParts"])
        files = sum(one["size"] for one in mail["attachments"])
        assert abs(mail["size"] - body - files * 1.37) < 4_000 + 0.1 * mail["size"]
        assert mail["hasAttachment"] == bool(mail["attachments"])


def test_attachments_have_their_contents_and_inline_images_are_shown() -> None:
    folder, shown, kinds = mails(share=1.0), 0, set()
    for k in range(400):
        mail, contents = folder.item(k), folder.contents(k)
        assert [one["id"].rpartition("/")[2] for one in mail["attachments"]] == list(contents)
        html = "".join(part["content"] for part in mail["displayableParts"] if part["contentType"] == "ctTextHtml")
        for struct, one in zip(mail["attachments"], contents.values(), strict=True):
            assert (struct["size"], struct["name"]) == (len(one.blob), one.name)
            assert (struct["contentType"], struct["contentId"]) == (one.content_type, one.content_id)
            shown += f'"cid:{struct["contentId"]}"' in html
            kinds.add(one.content_type)
            assert not one.content_id or f"cid:{one.content_id}" in html
    assert shown > 50
    assert len(kinds) > 8


def test_no_two_attachments_are_alike() -> None:
    folder = mails(share=1.0)
    found = [one for k in range(200) for one in folder.contents(k).values() if len(one.blob) > 100]
    assert len({hash_of(one.blob, 200) for one in found}) == len({one.etag for one in found}) == len(found) > 200


def test_replies_name_a_mail_that_is_there() -> None:
    folder = mails()
    headers = [{one["type"]: one["value"] for one in folder.item(k)["headers"]} for k in range(1_000)]
    known: dict[Any, int] = {one["mhMessageID"]: k for k, one in enumerate(headers) if one}
    replies = [(k, known[one["mhInReplayTo"]]) for k, one in enumerate(headers) if "mhInReplayTo" in one]
    assert len(replies) > 200
    for k, parent in replies:
        assert parent < k
        bare = [
            folder.light(n)["subject"].removeprefix("AW: ").removeprefix("Re: ").removeprefix("回复: ")
            for n in (k, parent)
        ]
        assert bare[0] == bare[1]
    assert {} in headers


@pytest.mark.parametrize(
    ("style", "flags"), [("draft", (True, False, 0)), ("junk", (False, True, 256)), ("sent", (False, False, 0))]
)
def test_styles_set_drafts_sent_and_junk(style: Style, flags: tuple[bool, bool, int]) -> None:
    folder = mails(1024, style=style)
    light = folder.light(3)
    assert (light["isDraft"], light["isJunk"]) == flags[:2]
    assert folder.unread == pytest.approx(flags[2], abs=40)
    author = light["from"] if style != "junk" else light["to"][0]
    assert author["address"] == ME.address


def test_seeds_differ_and_languages_are_many() -> None:
    assert mails(seed=8).item(5)["displayableParts"] != mails().item(5)["displayableParts"]
    text = "".join(part["content"] for k in range(300) for part in mails().item(k)["displayableParts"])
    assert all(word in text for word in ("Projekt", "проект", "プロジェクト", "项目", "équipe", "المشروع"))
