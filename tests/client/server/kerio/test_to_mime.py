"""Messages from Kerio's structs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kerio_resync.model import Attachment
from kerio_resync.server.kerio import to_mime
from kerio_resync.server.kerio.to_mime import mail_message
from kerio_resync.server.mime import AttachedPart, MailMessage, Multipart, Person, TextPart

PLAIN = {"contentType": "ctTextPlain", "content": "Hi"}
HTML = {"contentType": "ctTextHtml", "content": '<img src="cid:a%40b">'}


def message(*attachments: Attachment, **struct: Any) -> MailMessage:
    return mail_message(json.dumps(struct).encode(), attachments)


def file(name: str, kind: str = "image/png", content_id: str = "") -> Attachment:
    return Attachment(name, "/x", name, kind, content_id, 3)


def test_plain_text_and_html_are_alternatives_with_their_image() -> None:
    found = message(file("a.png", content_id="<a@b>"), file("b.pdf"), displayableParts=[PLAIN, HTML]).body
    image = AttachedPart(0, "image/png", "a.png", "a@b", inline=True)
    related = Multipart("related", (TextPart("html", HTML["content"]), image), (("type", "text/html"),))
    alternative = Multipart("alternative", (TextPart("plain", "Hi"), related))
    assert found == Multipart("mixed", (alternative, AttachedPart(1, "image/png", "b.pdf")))


def test_lone_parts_need_no_multipart() -> None:
    assert message().body == TextPart("plain", "")
    assert message(displayableParts=[PLAIN]).body == TextPart("plain", "Hi")
    assert message(file("a.png")).body == AttachedPart(0, "image/png", "a.png")


def test_encrypted_mail_can_be_decrypted_again() -> None:
    parts = (file("1", "application/pgp-encrypted"), file("2", "application/octet-stream"))
    body = message(*parts).body
    assert isinstance(body, Multipart)
    assert (body.subtype, body.parameters) == ("encrypted", (("protocol", "application/pgp-encrypted"),))
    smime = message(file("smime.p7m", "application/pkcs7-mime")).body
    assert isinstance(smime, AttachedPart)
    assert smime.parameters == (("smime-type", "enveloped-data"),)


def test_headers_have_what_people_see() -> None:
    found = message(
        **{"from": {"name": "Ann", "address": "a@b"}, "to": [{"address": "c@d"}, None, {}], "subject": "S"},
        priority="High", isJunk=True, requestDSN=True, headers=[{"type": "mhMessageID", "value": "<1@b>"}],
    )  # fmt: skip
    ann = (Person("Ann", "a@b"),)
    assert found.headers == (
        ("From", ann), ("To", (Person("", "c@d"),)), ("Subject", "S"), ("Message-ID", "<1@b>"),
        ("Return-Receipt-To", ann), ("X-Priority", "1 (Highest)"), ("Importance", "high"), ("X-Spam-Flag", "YES"),
    )  # fmt: skip


def test_signature_is_named_as_lost() -> None:
    assert message(signInfo={"isSigned": True}).lost == (to_mime.SIGNATURE_LOST,)


def test_invalid_members_are_left_out() -> None:
    found = message(
        to=3, cc=[7], subject=None, sendDate="x", displayableParts=[{"content": 3}], headers="x", signInfo=[]
    )
    assert (found.headers, found.body) == ((), TextPart("plain", ""))
    with pytest.raises(ValueError, match="not an object"):
        mail_message(b"[]", ())
