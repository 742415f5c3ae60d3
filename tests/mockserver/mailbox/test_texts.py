"""Text that a person reads is right: real mails of the sample, and charsets that the sample lacks.

What must come out was decided from the raw bytes, as someone who reads the language would read them.
"""

from __future__ import annotations

import html
import re
import tarfile
from functools import cache
from pathlib import Path

import pytest

from kerio_mockserver.mailbox.imports.mail_to_struct import ReadMail, read_mail

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "sample-mail.tar.xz"


@cache
def sample() -> dict[str, bytes]:
    with tarfile.open(SAMPLE) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]


def read(start: str) -> ReadMail:
    (name,) = (name for name in sample() if name.startswith(start))
    return read_mail(sample()[name])


def visible(mail: ReadMail) -> str:
    """The last displayable part as a reader sees it: without markup, white space as single spaces."""
    part = mail.struct["displayableParts"][-1]
    text = part["content"]
    if part["contentType"] == "ctTextHtml":
        text = html.unescape(re.sub(r"(?is)<!--.*?-->|<(style|script|title)\b.*?</\1>|<[^>]*>", " ", text))
    return " ".join(text.split())


# (mail, what is odd about it, subject, sender's name, how the text begins, what else stands in it)
MAILS = [
    (
        "easy-ham-1/00011",
        "an encoded word within a word",
        "[SAdev] Interesting approach to Spam handling..",
        "David Höhn",
        "Hello, have you seen and discussed this article and his approach? Thank you",
        "",
    ),
    (
        "easy-ham-1/00236",
        "euro sign in windows-1251",
        "[ILUG] Hayes Accura ISDN PCI",
        "HAMILTON,DAVID (HP-Ireland,ex2)",
        "Does anyone know if this is supported under 2.4.18 kernels or higher?",
        "in stock for €65. Thanks",
    ),
    (
        "easy-ham-1/01199",
        "8-bit iso-8859-1",
        "apt 0.5.7 on RH 7.x",
        "Ralf Ertzinger",
        "Hi. Are there any reasons _not_ to use the new apt releases on RH 7.x?",
        "fsck ist bekannt dafür, daß es leere Dateisysteme zurückläßt.",
    ),
    (
        "easy-ham-1/01306",
        "8-bit utf-8 below a header in iso-8859-1",
        "dvd::rip on Red Hat 8.0?",
        "Michèl Alexandre Salim",
        "Hello, Has anyone made a working source RPM for dvd::rip for Red Hat 8.0?",
        "Thanks, -- Michèl Alexandre Salim Web:",
    ),
    (
        "easy-ham-2/00434",
        "euro sign in iso-8859-15",
        "Re: [ILUG] Backup solutions",
        "Cathal A. Ferris",
        "As far as I know, there are ide add-in cards that support hot-plugging of drives",
        "of data for about €250 (2 * 80GB/5400 drives",
    ),
    (
        "easy-ham-2/00548",
        "another mail's header in the text",
        "[Razor-users] Content-Type: message/rfc822  supported ?",
        "Jørgen Thomsen",
        "I cannot determine if a verbatim forwarded message from Agent is handled correct",
        "- Jørgen Return-Path: <un@s.jth.net>",
    ),
    (
        "hard-ham-1/00149",
        "windows-1252 that claims to be iso-8859-1",
        "Matrox Parhelia™ now available",
        "Matrox In-the-Loop newsletter",
        "Matrox Parhelia - available now! The Matrox Parhelia graphics board is now avail",
        "",
    ),
    (
        "hard-ham-1/00158",
        "HTML without a charset",
        "When to Sell Online Seminar, Lesson 2: Companies Gone Wrong",
        "The Motley Fool",
        "Lesson 2: Companies Gone Wrong Instructors: Bill Mann, TMF Otter (with Matt Rich",
        "Copyright © 1995-2002 The Motley Fool.",
    ),
    (
        "hard-ham-1/00181",
        "8-bit, no MIME header at all",
        "SOURCEFORGE.NET UPDATE: August 14, 2002",
        "Mailer",
        "(You are receiving this email because you subscribed to it (honest).",
        "Portierbarkeit, Flexibilität und Performance",
    ),
    (
        "spam-1/00277",
        "us-ascii that is windows-1252",
        "[ILUG] Do NOT Drop your Life Insurance",
        "Wesley Gee",
        "Dear ilug@linux.ie Life Partners are life insurance apprai",
        "Life Partners ‘Living Solutions’",
    ),
    (
        "spam-1/00035",
        "raw EUC-KR in the header, ks_c_5601-1987 in the text",
        "[광고] 요즘 뜨는 직종 Best 5 & 자격증 따기 열풍",
        "교육팀",
        "요즘 뜨는 직종 Best 5 : 금융 / IT / 방송 / 뷰티 / 인테리어 20대 젊은이들이 뽑은",
        "",
    ),
    (
        "spam-1/00244",
        "raw windows-1254 in the header, named by the text only",
        "[WM] GREEN CARD CEKİLİSİ  KACIRMAYIN",
        "GREENCARD TÜRKİYE SERVİSİ",
        "-------------------------------------------------------",
        "",
    ),
    (
        "spam-1/00252",
        "Big5: quoted-printable subject, base64 text",
        "不看會後悔",
        "",
        "有一隻烏鴉整天就坐在樹上，但就是不做事。 之後就有一隻兔子看到烏鴉",
        "",
    ),
    (
        "spam-1/00311",
        "Big5 whose second byte is an underscore, which means a space in an encoded word",
        "re:我知道你需要更多機會,一起來吧!",
        "",
        "這是委託由專業廣告公司代發勿直接回信無法接收 呦",
        "好朋友啊! 許多人能力沒有比你好",
    ),
    (
        "spam-1/00313",
        "base64 with a mailing list's lines after it, charset in the page only",
        "[WM] özür dileriz",
        "Erim Ay",
        "Degerli SMSTR kullanicimiz SMS programimiz çesitli aksakliklar sebebi ile",
        "This sf.net email is sponsored by:ThinkGeek",
    ),
    (
        "spam-1/00322",
        "GBK in base64 subject",
        "Sunfrom lighting 您的满意是我们追求的目标",
        "",
        "WEBSITE: www.chinalightingmarket.com TEL: 00-86-760-2345350",
        "",
    ),
    (
        "spam-1/00397",
        "8-bit GB2312",
        "50元获得一亿五千万EMAIL地址的机会",
        "全球EMAIL地址销售网",
        "您好： 如果此信打扰到您，我们深感抱歉，请将此信删除。",
        "",
    ),
    (
        "spam-1/00467",
        "a boundary other than the header says",
        "Printer Cartridges as low as $1.21 each!",
        "Affordable Computer Supply",
        "You are receiving this email because you opted-in to receive special offers from",
        "",
    ),
    (
        "spam-2/00410",
        "quoted-printable iso-8859-1 in header and texts",
        "Fw: CD Nua do dhamhsaí Chéilí",
        "rathcairn",
        "----- Original Message ----- From: rathcairn To: Automail Script ; Automail Scri",
        "; Åse Tobin ;",
    ),
    (
        "spam-2/00588",
        "EUC-KR: raw in the header, base64 with lines after it in the text",
        "(광---고) 이멜리스트 500만개 추출한 거 구입기회 드립니다" + " " * 33 + "1735jSOB8-522qsvT41-18",
        "",
        "0229Zgzv2-568HGJT2626iKKT6-981euQC8554l36 이멜리스트 500만개 4만원에 팝니다.",
        "Spamassassin-Sightings mailing list",
    ),
    (
        "spam-2/00777",
        "Vietnamese in quoted-printable utf-8, images within the text",
        "[SA] Chuong trinh khuyen mai he 2002",
        "Sao Viet Consulting Co., Ltd",
        "| Finance | Invesment | Technology | Sao Viet Consulting Co.,Ltd",
        "29 Ngô Tất Tố - Hà nội - Việt Nam",
    ),
    (
        "spam-2/00789",
        "KOI8-R that only the page names",
        "[ILUG] BNIMANIE !!!",
        "",
        "ЗДЕСЬ РЕАЛЬНЫЕ ДЕНЬГИ!!!",
        "",
    ),
    (
        "spam-2/00853",
        "raw GB2312 in the header, base64 without its end in the text",
        "黄山旅游天天发,南京特价宾馆任你选",
        "zoufu@yangg.net",
        "黄山旅游天天发 http://www.njchina.com/skttf.htm 南京特价宾馆任你选",
        "",
    ),
    (
        "spam-2/00880",
        "a Content-Type of a hundred semicolons",
        "最新台灣省工商名錄-1-167-",
        "",
        "最新台灣省工商名錄－成功的契機／致勝的先機 景氣不佳你想短期致富突破現狀嗎 ?",
        "",
    ),
    (
        "spam-2/00983",
        "a charset called DEFAULT",
        "Notification for Payment Received!",
        "",
        "Notification for Payment Received !!!, This email confirms that you may receive",
        "Let’s say that you have one hour a day",
    ),
]


@pytest.mark.parametrize(
    ("name", "oddity", "subject", "sender", "begins", "holds"), MAILS, ids=[one[0] for one in MAILS]
)
def test_real_mail_reads_as_it_was_meant(
    name: str, oddity: str, subject: str, sender: str, begins: str, holds: str
) -> None:
    mail = read(name)
    assert mail.struct["subject"] == subject, oddity
    assert mail.struct["from"]["name"] == sender, oddity
    assert visible(mail).startswith(begins), oddity
    assert holds in visible(mail), oddity
    assert "\ufffd" not in visible(mail)


def test_sample_shows_every_kind_of_trouble() -> None:
    seen = {trouble for data in sample().values() for trouble in read_mail(data).warnings}
    assert seen >= {"charset missing", "charset wrong", "charset unknown", "base64 broken", "MIME structure broken"}
    assert len(sample()) == 300
    assert {name.partition("/")[0] for name in sample()} == {
        "easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2",
    }  # fmt: skip


SENTENCES = [
    ("koi8-r", "Привет, мир! Съешь ещё этих мягких французских булок."),
    ("windows-1251", "Широкая электрификация южных губерний даст мощный толчок."),
    ("gb2312", "今天天气很好，我们去公园散步吧。"),
    ("iso-2022-jp", "いろはにほへと ちりぬるを 我が世誰ぞ"),
    ("shift_jis", "色は匂へど散りぬるを、表示できますか。"),
    ("euc-jp", "日本語の文章です。"),
    ("euc-kr", "키스의 고유조건은 입술끼리 만나야 하고"),
    ("big5", "許功蓋教授的文章"),
    ("iso-8859-2", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
    ("iso-8859-7", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία"),
    ("windows-1255", "דג סקרן שט בים מאוכזב"),
    ("tis-620", "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า"),
    ("utf-7", "Grüße – naïve £"),
    ("utf-16", "Gödel, Escher, Bach 一"),
    ("hz-gb-2312", "己所不欲，勿施于人。"),
    ("utf-8", "Zażółć gęślą jaźń 🎆"),
]


@pytest.mark.parametrize(("charset", "sentence"), SENTENCES, ids=[charset for charset, _ in SENTENCES])
def test_charset_is_read(charset: str, sentence: str) -> None:
    body = sentence.encode({"hz-gb-2312": "hz"}.get(charset, charset))
    mail = read_mail(b"Subject: x\nContent-Type: text/plain; charset=" + charset.encode() + b"\n\n" + body)
    assert mail.struct["displayableParts"][0]["content"] == sentence
    assert not {name for name in mail.warnings if name.startswith("charset")}


@pytest.mark.parametrize(
    ("head", "body", "text", "trouble"),
    [
        (b"charset=us-ascii", "Příliš žluťoučký".encode(), "Příliš žluťoučký", "charset wrong"),
        (b"charset=iso-8859-1", "naïve – “quoted”".encode("cp1252"), "naïve – “quoted”", ""),
        (b"charset=iso-8859-1", "日本語テキスト".encode(), "日本語テキスト", "charset wrong"),
        (b"charset=gb2312", "统一码万国码单一码".encode(), "统一码万国码单一码", "charset wrong"),
        (b"charset=gb2312", "联通".encode("gbk"), "联通", ""),
        (b"charset=utf-8", b"caf\xe9", "café", "charset wrong"),
        (b"charset=utf-8", "ein Wort mit Ümläuten ".encode() * 20 + b"\xc3", "", "charset wrong"),
        (b"charset=rot13", "Grün".encode(), "Grün", "charset unknown"),
        (b"charset=base64", b"SGFsbG8=", "SGFsbG8=", ""),
        (b"charset=idna", b"gr\xfcn", "grün", "charset unknown"),
        (b'charset="utf-8" ; charset=utf-8', "Grün".encode(), "Grün", ""),
        (b"charset=utf-16", b"plain text", "plain text", ""),
        (b"charset=utf-7", b"a lone +2AA- surrogate", "a lone \ufffd surrogate", "charset wrong"),
        (b"x=y", "Grün".encode(), "Grün", ""),
        (b"x=y", b"\x81\x8d\xff", "\x81\x8dÿ", "charset missing"),
        (b"x=y", b"a\0b", "ab", "NUL left out"),
    ],
)
def test_claim_that_does_not_hold(head: bytes, body: bytes, text: str, trouble: str) -> None:
    mail = read_mail(b"Date: Thu, 1 Jan 2004 00:00:00 +0000\nContent-Type: text/plain; " + head + b"\n\n" + body)
    assert mail.struct["displayableParts"][0]["content"].startswith(text)
    assert set(mail.warnings) == ({trouble} if trouble else set())


def test_cut_character_does_not_spoil_the_text() -> None:
    body = "ein Wort mit Ümläuten ".encode() * 20 + b"\xc3"
    mail = read_mail(b"Content-Type: text/plain; charset=utf-8\n\n" + body)
    assert mail.struct["displayableParts"][0]["content"] == "ein Wort mit Ümläuten " * 20 + "\ufffd"


def test_text_of_a_mail_without_a_charset_is_in_the_one_its_header_names() -> None:
    subject = "=?iso-2022-jp?B?GyRCRnxLXDhsGyhC?="
    mail = read_mail(b"Subject: " + subject.encode() + b"\n\n" + "色は匂へど散りぬるを".encode("shift_jis"))
    assert mail.struct["subject"] == "日本語"
    assert mail.struct["displayableParts"][0]["content"] == "色は匂へど散りぬるを"
