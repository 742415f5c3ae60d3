"""Mails for a mailbox behind IMAP, and the way they get there.

`sample_mailbox` has real mails, mails with odd structures and mails with attachments, in folders with odd names, with
flags and copies; equal arguments give equal mails. `fill` appends them in groups (MULTIAPPEND, RFC 3502) without
waiting for the server before each mail (LITERAL+, RFC 7888). One APPEND per mail with `imaplib` is a hundred times as
slow: it sends a mail in three pieces, and the last one waits for a delayed acknowledgement.
"""

from __future__ import annotations

import contextlib
import imaplib
import random
import re
import socket
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.tools.machine import ROOT
from kerio_mockserver.mailbox.imports.archives import Limits
from kerio_mockserver.mailbox.imports.sources import Piece, pieces

SAMPLE = ROOT / "tests" / "data" / "sample" / "sample-mail.tar.xz"
INBOX = "INBOX"
EMPTY_FOLDER = "Prázdná složka"
FOLDERS = (
    INBOX, "Drafts", "Sent", "Trash", "Junk", "Work", "Work/Projects", "Work/Projects/2002", "Lists", "Lists/ilug",
    "Lists/exmh", "Archive & old", "日本語",
)  # fmt: skip
_WEIGHTS = (40, 1, 6, 3, 8, 8, 6, 4, 4, 10, 8, 2, 1)
_SPECIAL_USE = {"Drafts": r"\Drafts", "Sent": r"\Sent", "Trash": r"\Trash", "Junk": r"\Junk"}
_FLAGS = ((r"\Seen", 0.7), (r"\Flagged", 0.07), (r"\Answered", 0.12), ("$Forwarded", 0.03))
_FIRST_MAIL = 1_700_000_000  # seconds since 1970
_HOUR = 3600
_ATTACHMENT_SIZES = (2_000, 40_000, 400_000, 2_500_000)
_GROUP_MAILS = 100
_GROUP_BYTES = 4 * 2**20


class Mail(NamedTuple):
    """A mail to append; `received` in seconds since 1970."""

    folder: str
    flags: tuple[str, ...]
    received: int
    source: bytes


def sample_mailbox(mails: int, attached: int = 0, source: Path = SAMPLE, *, seed: int = 7) -> list[Mail]:
    """Return `mails` mails, the odd ones first, and `attached` with attachments."""
    rng = random.Random(seed)
    texts = [*odd_sources(), *islice(shuffled(source, rng), max(0, mails))][: max(0, mails)]
    made = [
        _placed(rng, rng.choices(FOLDERS, _WEIGHTS)[0], number, text)
        for number, text in enumerate([*texts, *(attached_source(number) for number in range(attached))])
    ]
    rng.shuffle(made)  # the order of arrival is not that of the dates
    return made


def shuffled(source: Path, rng: random.Random) -> Iterator[bytes]:
    """Yield real mails in random order, as a server stores them.

    An mbox's "From " line is no part of a mail; a server refuses bare line feeds and NUL.
    """
    found = [piece.data for piece in pieces(source, Limits()) if isinstance(piece, Piece) and piece.kind == "mail"]
    rng.shuffle(found)
    for data in found:
        text = data.partition(b"\n")[2] if data.startswith(b"From ") else data
        yield re.sub(rb"\r?\n|\r", b"\r\n", text.replace(b"\0", b""))


def _placed(rng: random.Random, folder: str, number: int, source: bytes) -> Mail:
    flags = [flag for flag, probability in _FLAGS if rng.random() < probability]
    flags += [r"\Draft"] * (folder == "Drafts")
    return Mail(folder, tuple(flags), _FIRST_MAIL + number * _HOUR, source)


def attached_source(number: int) -> bytes:
    """Return a mail with one to three attachments of 2 KB to 2.5 MB, as MIME."""
    made = EmailMessage(policy=SMTP)
    made["From"] = "Anna Nováková <anna@example.com>"
    made["To"] = "user@example.com"
    made["Subject"] = f"Zpráva s přílohou {number}"
    made["Date"] = formatdate(_FIRST_MAIL + number * 2 * _HOUR)
    made["Message-ID"] = f"<attached-{number}@example.com>"
    made.set_content("Dobrý den,\n\nv příloze.\n" * 5)
    if number % 3 == 0:
        made.add_alternative('<p>Dobrý <b>den</b></p><img src="cid:picture">', subtype="html")
    for part in range(1 + number % 3):
        size = _ATTACHMENT_SIZES[(number + part) % 4 if number % 10 else 3]
        content = random.Random(number * 10 + part).randbytes(size)
        made.add_attachment(content, maintype="application", subtype="pdf", filename=f"soubor č. {number}-{part}.pdf")
    if number % 7 == 0:
        inner = EmailMessage()
        inner["From"], inner["To"], inner["Subject"] = "x@example.com", "y@example.com", "inner"
        inner.set_content("hello\n")
        made.add_attachment(inner)
    return _with_fixed_boundaries(bytes(made), number)


def _with_fixed_boundaries(source: bytes, number: int) -> bytes:
    """Replace the random boundaries of `email` by ones that are always the same."""
    for place, boundary in enumerate(dict.fromkeys(re.findall(rb'boundary="([^"]+)"', source))):
        source = source.replace(boundary, b"=_%d_%d_" % (number, place) + b"x" * 8)
    return source


def odd_sources() -> list[bytes]:
    """Return mails with the structures that readers of mail stumble over."""
    head = b"From: a@example.com\r\nTo: b@example.com\r\nDate: Tue, 3 Mar 2026 10:00:00 +0100\r\n"
    nested = b"Subject: innermost\r\n\r\nthe innermost text\r\n"
    for depth in range(12):
        nested = b"Subject: level %d\r\nContent-Type: message/rfc822\r\n\r\n" % depth + nested
    parts = b"".join(
        b"--p\r\nContent-Type: text/plain; name=%d.txt\r\nContent-Disposition: attachment\r\n\r\npart %d\r\n" % (n, n)
        for n in range(60)
    )
    twice = b"--d\r\nContent-Type: application/pdf; name=same.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n"
    return [
        head + b"Subject: no body\r\n\r\n",
        b"Subject: only a subject\r\n\r\nx\r\n",
        head + b"Subject: 8-bit text \xe1\xe8\xef without a charset\r\n\r\n\xe1\xe8\xef \xff\xfe\r\n",
        head + b"Subject: unknown charset\r\nContent-Type: text/plain; charset=x-none\r\n\r\n\xe1\xe8\xef\r\n",
        head + b"Subject: a long line\r\n\r\n" + b"word " * 20_000 + b"\r\n",
        head + b"Subject: no end\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nthe first\r\n--b\r\n",
        head + b"Subject: no boundary\r\nContent-Type: multipart/mixed\r\n\r\n--b\r\n\r\ntext\r\n--b--\r\n",
        head + b"Subject: broken base64\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVs*bG8=\r\n=\r\nQQ\r\n",
        head + nested,
        head + b"Subject: many\r\nContent-Type: multipart/mixed; boundary=p\r\n\r\n" + parts + b"--p--\r\n",
        head + b"Subject: twice\r\nContent-Type: multipart/mixed; boundary=d\r\n\r\n"
        + twice % b"QUFBQQ==" + twice % b"QUFBQQ==" + b"--d--\r\n",
        head + b"Subject: html only\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>\xc5\x99eka</p>\r\n",
        head + b"Subject: same id, first\r\nMessage-ID: <same@example.com>\r\n\r\none\r\n",
        head + b"Subject: same id, second\r\nMessage-ID: <same@example.com>\r\n\r\ntwo\r\n",
        head + b"Subject: =?utf-8?B?xb7DrWF0?= =?utf-8?Q?_broken=?= =?x?\r\n folded\r\n\r\nx\r\n",
        head.replace(b"2026", b"26 99:99") + b"Subject: an invalid date\r\n\r\nx\r\n",
        head + b"Subject: attachment only\r\nContent-Type: application/zip\r\nContent-Disposition: attachment;"
        b" filename*=utf-8''p%C5%99%C3%ADloha.zip\r\nContent-Transfer-Encoding: base64\r\n\r\nUEsFBgAAAAA=\r\n",
        head + b"Subject: no line end at the end\r\n\r\nx",
    ]  # fmt: skip


@contextlib.contextmanager
def login(port: int, user: str, password: str) -> Iterator[imaplib.IMAP4]:
    """Yield a connection to a server on 127.0.0.1, which may be stopped meanwhile."""
    connection = imaplib.IMAP4("127.0.0.1", port)
    try:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.login(user, password)
        yield connection
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            connection.logout()
        with contextlib.suppress(OSError):
            connection.shutdown()


def check(reply: tuple[str, Sequence[object]]) -> Sequence[object]:
    """Return the data of a reply; raise OSError unless the server agreed."""
    kind, data = reply
    if kind != "OK":
        raise OSError(f"the IMAP server refused: {data!r}")
    return data


def create_folder(imap: imaplib.IMAP4, name: str) -> None:
    """Create a folder, with its special use if its name says one; the Inbox is there."""
    if name == INBOX:
        return
    use = f" (USE ({_SPECIAL_USE[name]}))" if name in _SPECIAL_USE else ""
    check(imap.create(quoted(name) + use))


def fill(imap: imaplib.IMAP4, mails: Sequence[Mail]) -> None:
    """Create the folders and append the mails; raise OSError if one is refused."""
    for folder in (*FOLDERS, EMPTY_FOLDER):
        create_folder(imap, folder)
    for folder in dict.fromkeys(mail.folder for mail in mails):
        append(imap, folder, [mail for mail in mails if mail.folder == folder])


def append(imap: imaplib.IMAP4, folder: str, mails: Iterable[Mail]) -> None:
    """Append mails to one folder, many with one command."""
    group: list[bytes] = []
    for mail in mails:
        date = imaplib.Time2Internaldate(mail.received)
        group.append(b"(%s) %s {%d+}\r\n" % (" ".join(mail.flags).encode(), date.encode(), len(mail.source)))
        group[-1] += mail.source
        if len(group) == _GROUP_MAILS or sum(map(len, group)) > _GROUP_BYTES:
            _append_group(imap, folder, group)
            group = []
    if group:
        _append_group(imap, folder, group)


def _append_group(imap: imaplib.IMAP4, folder: str, group: Sequence[bytes]) -> None:
    # `imaplib` waits before it sends a literal, and knows one per command
    tag = imap._new_tag()
    imap.send(b"%s APPEND %s %s\r\n" % (tag, quoted(folder).encode(), b" ".join(group)))
    kind, data = imap._command_complete("APPEND", tag)
    check((kind, data))


def quoted(name: str) -> str:
    """Return a folder's name for a command: modified UTF-7 (RFC 3501, 5.1.3), quoted."""
    encoded = re.sub(r"[^\x20-\x7e]+", lambda match: _shifted(match[0]), name.replace("&", "&-"))
    return '"' + encoded.replace("\\", r"\\").replace('"', r"\"") + '"'


def _shifted(text: str) -> str:
    return "&" + b64encode(text.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",").decode() + "-"
