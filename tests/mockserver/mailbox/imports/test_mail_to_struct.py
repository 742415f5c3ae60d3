"""Any bytes become a mail, with nothing lost, in bounded time."""

from __future__ import annotations

import time

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kerio_mockserver.mailbox.api_structs import complete
from kerio_mockserver.mailbox.imports import mail_to_struct, mime_parts
from kerio_mockserver.mailbox.imports.mail_to_struct import Origin, read_mail
from tests.support.cases import EXAMPLES

PIECES = st.sampled_from(
    [b"\n", b"\r\n", b"\r", b"\0", b"From ", b"From: ", b"Subject: ", b"Date: ", b"=?utf-8?b?", b"=?big5?q?=A4", b"?=",
     b"Content-Type: multipart/mixed; boundary=b\n\n", b"--b\n", b"--b--", b"<a@b>, \"", b"(((", b" ", b":", b";", b"=",
     b"Content-Type: text/html; charset=utf-7\n\n", b"Content-Type: ; ; charset*0*=x''%; name*=utf-8''%ff\n", b"+2AA-",
     b"Content-Transfer-Encoding: base64\n", b"Content-Disposition: attachment; filename=\"\xff\"\n", b"\xff\xfe"]
)  # fmt: skip


@settings(max_examples=4 * EXAMPLES)
@given(
    st.one_of(st.binary(max_size=300), st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=40).map(b"".join))
)
@example(b"")
@example(b"\n")
@example(b"Content-Type: multipart/mixed; boundary=\n\n--\n--\n")
def test_any_bytes_become_a_mail(data: bytes) -> None:
    mail = read_mail(data)
    text = orjson.dumps(mail.struct).decode()  # refuses lone surrogates
    assert "\\u0000" not in text
    assert complete("Mail", mail.struct) == mail.struct
    assert mail_to_struct.UNREADABLE not in mail.warnings  # the last resort is not needed
    assert mail.struct["displayableParts"] or mail.blobs
    for blob in mail.blobs:
        blob.name.encode()
        assert "/" not in blob.name
        assert "\0" not in blob.name


def test_unparsable_mail_is_kept_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> object:
        raise IndexError("a fault of the library")

    monkeypatch.setattr(mime_parts, "leaves", fails)
    mail = read_mail("Subject: Grüße\n\nText".encode(), Origin("S", 1e9))
    assert mail.struct["displayableParts"][0]["content"] == "Subject: Grüße\n\nText"
    assert (mail.struct["receiveDate"], mail.struct["isSeen"]) == ("20010909T014640Z", True)
    assert mail.warnings[mail_to_struct.UNREADABLE] == 1


def nested(depth: int) -> bytes:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(depth))
    return head + b"\nthe innermost text\n"


@pytest.mark.parametrize("depth", [5, 31, 40, 100_000])
def test_nesting_is_bounded_and_nothing_in_it_is_lost(depth: int) -> None:
    started = time.process_time()
    mail = read_mail(nested(depth))
    assert time.process_time() - started < 5
    (part,) = mail.struct["displayableParts"]
    assert "the innermost text" in part["content"]
    assert (part["content"] == "the innermost text") == (depth <= 32)
    assert mail.warnings["MIME structure broken"] == (0 if depth <= 32 else 1)


@pytest.mark.parametrize(
    "head",
    [
        b"X-Huge: " + b"x" * 20_000_000 + b"\n",
        b"X-Folded: a\n" + b" b\n" * 200_000,
        b"To: " + b"(" * 500_000 + b"\n",
        b"To: " + b'"a, b" <a@example.com>, ' * 20_000 + b"\n",
        b"Subject: " + b"=?utf-8?q?" * 50_000 + b"\n",
        b"Subject: " + b" " * 500_000 + b"x\n",
        b"Content-Type: text/plain" + b";" * 500_000 + b"\n",
        b"Content-Type: text/plain; " + b'"' * 500_000 + b"\n",
        b"not a header at all\n" * 30_000 + b"From: a@b\n",
        b"Date: " + b"1 " * 500_000 + b"\n",
    ],
    ids=range(10),
)
def test_huge_header_takes_bounded_time(head: bytes) -> None:
    started = time.process_time()
    mail = read_mail(b"Message-ID: <1@x>\n" + head + b"Subject: last\n\nthe text\n")
    assert time.process_time() - started < 5
    assert mail.struct["headers"] == [{"type": "mhMessageID", "value": "<1@x>"}]
    assert "the text" in mail.struct["displayableParts"][-1]["content"]


def test_thousand_parts_and_no_more_are_taken_apart() -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\nContent-Type: image/png\n\nx\n" * 50_000
    mail = read_mail(data)
    assert len(mail.blobs) == 0
    assert mail.struct["displayableParts"][0]["content"].count("image/png") == 50_000
    assert mail.warnings["MIME structure broken"] == 1


def test_alternatives_related_images_and_forwarded_mails() -> None:
    forwarded = b"From: x@example.com\nSubject: Alt & neu\n\nan 8-bit \xff inside\n"
    data = (
        b"Content-Type: multipart/mixed; boundary=m\n\npreamble\n--m\n"
        b"Content-Type: multipart/related; boundary=r\n\n--r\n"
        b"Content-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain\n\nplain\n--a\n"
        b"Content-Type: text/html\n\n<p>html\n--a--\n--r\n"
        b"Content-Type: image/png\nContent-ID: <logo@1>\n\n\x89PNG\r\n\n--r--\n--m\n"
        b"Content-Type: message/rfc822\n\n" + forwarded + b"\n--m\n"
        b"Content-Type: text/plain; name=notes.txt\n\na file\n--m\n"
        b"Content-Type: text/html\nContent-Disposition: attachment\n\n<p>file\n--m--\nepilogue\n"
    )
    mail = read_mail(data)
    assert [(part["contentType"], part["content"]) for part in mail.struct["displayableParts"]] == [
        ("ctTextPlain", "plain"),
        ("ctTextHtml", "<p>html"),
    ]
    assert [(blob.name, blob.content_type, blob.content_id, blob.data) for blob in mail.blobs] == [
        ("part-3.png", "image/png", "logo@1", b"\x89PNG\r\n"),
        ("Alt & neu.eml", "message/rfc822", "", forwarded),
        ("notes.txt", "text/plain", "", b"a file"),
        ("part-6.html", "text/html", "", b"<p>file"),
    ]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"Content-Disposition: attachment; filename=\"=?utf-8?q?=C3=9Cber.pdf?=\"", "Über.pdf"),
        (b"Content-Disposition: attachment; filename*0*=utf-8''%C3%9C; filename*1=ber.pdf", "Über.pdf"),
        (b"Content-Disposition: attachment; filename=\"\xdcber.pdf\"", "Über.pdf"),
        (b"Content-Disposition: attachment; filename=\"../../etc/passwd\"", "passwd"),
        (b"Content-Disposition: attachment; filename=\"C:\\\\temp\\\\a.txt\"", "a.txt"),
        (b"Content-Disposition: attachment; filename=\"a\x07b.txt\"", "ab.txt"),
        (b"Content-Disposition: attachment; filename=\"\"", "part-1.pdf"),
        (b"Content-Disposition: attachment; filename*=nonsense''%C3%9C.pdf", "Ü.pdf"),
    ],
)  # fmt: skip
def test_name_of_an_attachment(head: bytes, name: str) -> None:
    (blob,) = read_mail(b"Content-Type: application/pdf\n" + head + b"\n\nx").blobs
    assert blob.name == name


@pytest.mark.parametrize(
    ("head", "sent", "received"),
    [
        (b"Date: Thu, 22 Aug 0102 12:07:35 +0800\n", "20020822T040735Z", "20020822T040735Z"),
        (b"Date: yesterday\n", "", "20010909T014640Z"),
        (b"", "", "20010909T014640Z"),
        (b"Date: 99 Foo 99999 99:99\n", "", "20010909T014640Z"),
        (b"Date: yesterday\nReceived: x; Tue, 3 Mar 2026 10:00:00 GMT\n", "", "20260303T100000Z"),
        (b"Date: Mon, 2 Mar 2026 10:00:00\nReceived: garbage\n", "20260302T100000Z", "20260302T100000Z"),
        (b"Date: Mon, 2 Mar 2026 10:00:00 +9999\n", "20260226T052100Z", "20260226T052100Z"),
    ],
)
def test_dates(head: bytes, sent: str, received: str) -> None:
    struct = read_mail(head + b"Subject: x\n\n", Origin(modified=1e9)).struct
    assert (struct["sendDate"], struct["receiveDate"]) == (sent, received)


def test_from_line_dates_a_mail_without_a_date() -> None:
    struct = read_mail(b"From a@b  Thu Aug 22 12:36:23 2002\nSubject: x\n\n").struct
    assert struct["receiveDate"] == "20020822T123623Z"


@pytest.mark.parametrize(
    ("data", "subject", "text"),
    [
        (b"Subject : spaced\n\nbody", "spaced", "body"),
        (b"Subject: a\nnonsense line\nFrom: b@c\n\nbody", "a", "body"),
        (b"Subject: a\nDear friend,\nthe body follows", "a", "Dear friend,\nthe body follows"),
        (b"no header at all\nsecond line", "", "no header at all\nsecond line"),
        (b"Subject: lone\rreturn\n\nbody", "lone return", "body"),
        (b"Subject: a\r\n\r\nline\r\nline\r\n", "a", "line\nline\n"),
        (b">From x\nSubject: a\n\nbody", "a", "body"),
        (b"Subject: folded\n\tover\n two lines\n\nbody", "folded over two lines", "body"),
    ],
)
def test_broken_header_blocks(data: bytes, subject: str, text: str) -> None:
    struct = read_mail(data).struct
    assert (struct["subject"], struct["displayableParts"][0]["content"]) == (subject, text)


def test_signed_and_encrypted_mails_say_so() -> None:
    signed = read_mail(
        b"Content-Type: multipart/signed; boundary=b\n\n"
        b"--b\n\ntext\n--b\nContent-Type: application/pgp-signature\n\nx\n--b--"
    ).struct
    sealed = read_mail(b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nx").struct
    assert (signed["signInfo"]["isSigned"], signed["encryptInfo"]["isEncrypted"]) == (True, False)
    assert (sealed["signInfo"]["isSigned"], sealed["encryptInfo"]["isEncrypted"]) == (False, True)
