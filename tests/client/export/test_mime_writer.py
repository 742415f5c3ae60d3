"""Messages as bytes, read back by the standard library."""

from __future__ import annotations

import base64
import binascii
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kerio_resync.export import mime_writer
from kerio_resync.export.mime_writer import ContentEncoder, Rendering, StoredPiece, encode_text
from kerio_resync.export.read_cache import ContentRow
from kerio_resync.model import Attachment
from kerio_resync.server.mime import AttachedPart, MailMessage, Multipart, Part, TextPart


def content(data: bytes | None, *, problem: str = "", key: int = 1) -> ContentRow:
    return ContentRow(key, Attachment("id", "url", "name"), "attachment", len(data or b""), problem, data)


def rendered(body: Part, *contents: ContentRow, clean: bool = True) -> tuple[EmailMessage, Rendering]:
    rendering = Rendering(contents, lambda _: clean, "0123")
    rendering.message(MailMessage((("Subject", "x"),), body))
    data = b"".join(piece for piece in rendering.pieces if isinstance(piece, bytes))
    return message_from_bytes(data, policy=policy.default), rendering  # type: ignore[return-value, unused-ignore]


def decoded(encoding: bytes, data: bytes) -> bytes:
    if encoding == b"base64":
        return base64.b64decode(data)
    return binascii.a2b_qp(data) if encoding == b"quoted-printable" else data


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=500))
@example("no line end")
@example("From here\nFrom there\n>From\n" + "x" * 80)
@example("x" * 1200 + "\n")
@example("blank at the end \n\0\n")
@example("žluťoučký kůň\n" * 20)
def test_text_keeps_every_character(text: str) -> None:
    charset, encoding, data = encode_text(text)
    assert data.isascii()
    assert decoded(encoding, data).decode(charset.decode()) == text
    assert not any(line.startswith(b"From ") or len(line) > 998 for line in data.split(b"\n"))


def test_text_has_line_feeds() -> None:
    assert encode_text("a\r\nb\rc\n") == (b"us-ascii", b"7bit", b"a\nb\nc\n")


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_content_in_chunks_is_encoded_as_the_whole(chunks: list[bytes]) -> None:
    encoder = ContentEncoder("base64")
    coded = b"".join(map(encoder.feed, chunks)) + encoder.end()
    assert coded == base64.encodebytes(b"".join(chunks))


def test_parts_are_found_in_their_places() -> None:
    image_part = AttachedPart(0, "image/png", "a.png", "a", inline=True)
    body = Multipart(
        "mixed",
        (
            Multipart(
                "alternative",
                (
                    TextPart("plain", "Hi"),
                    Multipart("related", (TextPart("html", '<img src="cid:a">'), image_part)),
                ),
            ),
            AttachedPart(1, "application/pdf", "Plan č. 1.pdf"),
        ),
    )  # fmt: skip
    found, _ = rendered(body, content(b"\x89PNG"), content(b"%PDF" * 100, key=2))
    assert [part.get_content_type() for part in found.walk()] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
        "application/pdf",
    ]  # fmt: skip
    image, pdf = list(found.walk())[-2:]
    assert (image["content-id"], image.get_content_disposition()) == ("<a>", "inline")
    assert (pdf.get_filename(), pdf.get_content_disposition()) == ("Plan č. 1.pdf", "attachment")
    assert [image.get_payload(decode=True), pdf.get_payload(decode=True)] == [b"\x89PNG", b"%PDF" * 100]


def test_attached_mail_is_written_as_it_is() -> None:
    inner = b"Subject: inner\n\nfrom me\n"
    body = Multipart("mixed", (TextPart("plain", ""), AttachedPart(0, "message/rfc822", "inner.eml")))
    found, rendering = rendered(body, content(inner))
    [attached] = found.iter_attachments()
    assert attached.get_content().as_bytes() == inner
    assert rendering.lost == []


@pytest.mark.parametrize("kind", ["message/rfc822", "multipart/mixed", "no type", "text/plain; x\nBcc: y"])
def test_type_that_does_not_fit_becomes_a_plain_file_and_is_told(kind: str) -> None:
    found, rendering = rendered(AttachedPart(0, kind, "x"), content(b"\0" * 10), clean=False)
    assert found.get_content_type() == "application/octet-stream"
    assert found.get_payload(decode=True) == b"\0" * 10
    assert rendering.lost == [mime_writer.TYPE_LOST]
    assert found["bcc"] is None


def test_missing_content_leaves_a_note_and_is_told() -> None:
    found, rendering = rendered(AttachedPart(0, "application/pdf", "a.pdf"), content(None, problem="left out"))
    assert found.get_filename() == "a.pdf (missing).txt"
    assert "left out" in found.get_content()
    assert rendering.lost == [mime_writer.CONTENT_MISSING]


def test_large_content_is_left_to_be_streamed() -> None:
    large = content(None)
    _, rendering = rendered(AttachedPart(0, "application/pdf", "a.pdf"), large)
    assert rendering.pieces[-1] == StoredPiece(large, "base64")


def test_invalid_content_id_is_told() -> None:
    found, rendering = rendered(AttachedPart(0, "image/png", "a", "x>\nBcc: y"), content(b"x"))
    assert (found["content-id"], found["bcc"], rendering.lost) == (None, None, [mime_writer.CONTENT_ID_LOST])


@pytest.mark.parametrize(
    ("data", "is_clean"),
    [
        (b"a\r\nb\n", True),
        (b"\xff\n", True),
        (b"a\0", False),
        (b"a\rb", False),
        (b"x" * 999, False),
        (b"x" * 998, True),
    ],
)
def test_only_lines_that_mime_allows_are_clean(data: bytes, is_clean: bool) -> None:
    assert mime_writer.is_clean(data) is is_clean
