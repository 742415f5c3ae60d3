"""The same mails for both sides.

A Maildir that dovecot serves and the mock imports.

They come from a generated mailbox, written as MIME, or from files and archives of real mail, whose bytes are kept
except for an mbox's "From " line. Every mail is read, so that no program has flags to write back. Folders are side by
side under plain names, since the spelling of names is not measured.
"""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import Iterator
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NamedTuple

from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.imports.archives import Limits
from kerio_mockserver.mailbox.imports.sources import Piece, pieces

_END = "\r\n"
_INTO_MIME = 0.777  # decoded bytes per stored byte, attachments being in base64


class Written(NamedTuple):
    """The contents of a Maildir: bytes and mails by folder; "" is the Inbox."""

    mails: int
    bytes: int
    folders: dict[str, tuple[int, int]]


def write_seeded(folder: Path, seed: int, mails: int, total_bytes: int) -> Written:
    """Write generated mails of about `total_bytes` as stored, with base64."""
    return _write(folder, seeded(seed, mails, total_bytes))


def write_real(folder: Path, source: Path) -> Written:
    """Write the mails of `source`: an archive, a folder, an mbox."""
    return _write(folder, _real(source))


def seeded(seed: int, mails: int, total_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield generated mails as MIME with their folders' names; "" is the Inbox."""
    store = generate_mailbox(SeedOptions(seed, mails, total_bytes=int(total_bytes * _INTO_MIME), shared=False))
    boxes = [folder for folder in store.folders() if folder["type"] == "FMail"]
    for place, box in enumerate(boxes):
        shelf = store.folder(box["id"])
        name = "" if box["subType"] == "FSubInbox" else f"box-{place:02}"
        for number in shelf.numbers():
            mail = shelf.item(number)
            yield name, _mime(mail, shelf.contents(number) if mail["attachments"] else {})


def _real(source: Path) -> Iterator[tuple[str, bytes]]:
    for found in pieces(source, Limits()):
        if isinstance(found, Piece) and found.kind == "mail":
            data = found.data.partition(b"\n")[2] if found.data.startswith(b"From ") else found.data
            yield "-".join(found.folder), data


def _write(folder: Path, mails: Iterator[tuple[str, bytes]]) -> Written:
    totals: dict[str, tuple[int, int]] = {}
    for number, (name, data) in enumerate(mails):
        box = folder / name if name else folder
        if name not in totals:
            for part in ("cur", "new", "tmp"):
                (box / part).mkdir(parents=True, exist_ok=True)
            totals[name] = (0, 0)
        (box / "cur" / f"{1_600_000_000 + number}.M{number}P1.bench:2,S").write_bytes(data)
        size, count = totals[name]
        totals[name] = (size + len(data), count + 1)
    for part in ("cur", "new", "tmp"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return Written(sum(count for _, count in totals.values()), sum(size for size, _ in totals.values()), totals)


def _mime(mail: dict[str, Any], contents: dict[str, Any]) -> bytes:
    """Return a mail as MIME, by hand: `email` takes ten times as long for the headers."""
    moment = datetime.strptime(mail["receiveDate"][:15] + "+0000", "%Y%m%dT%H%M%S%z")
    head = [
        f"From: <{mail['from']['address']}>",
        f"To: {', '.join('<' + person['address'] + '>' for person in mail['to'])}",
        f"Subject: {Header(''.join(filter(str.isprintable, mail['subject'])), 'utf-8', 76).encode(linesep=_END)}",
        f"Date: {format_datetime(moment)}",
        *(f"Message-ID: {header['value']}" for header in mail["headers"] if header["type"] == "mhMessageID"),
        "MIME-Version: 1.0",
    ]
    texts = [_text(part["content"], part["contentType"]) for part in mail["displayableParts"]]
    files = [_file(attachment, contents, place) for place, attachment in enumerate(mail["attachments"])]
    body = texts[0] if len(texts) == 1 else _several("alternative", texts)
    return _END.join(head).encode() + b"\r\n" + (_several("mixed", [body, *files]) if files else body)


def _text(content: str, kind: str) -> bytes:
    sub = "plain" if kind == "ctTextPlain" else "html"
    head = f"Content-Type: text/{sub}; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return head.encode() + _END.join(content.splitlines()).encode() + b"\r\n"


def _file(attachment: dict[str, Any], contents: dict[str, Any], place: int) -> bytes:
    blob = contents[attachment["id"].rpartition("/")[2]].blob
    kind = attachment["contentType"].partition(";")[0]
    if kind.startswith(("text/", "message/", "multipart/")):
        kind = "application/octet-stream"
    head = (
        f"Content-Type: {kind}\r\nContent-Disposition: attachment; filename=file-{place}.bin\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n"
    )
    return head.encode() + encodebytes(blob.read(0, len(blob))).replace(b"\n", b"\r\n")


def _several(how: str, parts: list[bytes]) -> bytes:
    """Join parts with a boundary that none of them contains."""
    line = f"=_{how}_{sum(map(len, parts))}".encode()
    head = b'Content-Type: multipart/%s; boundary="%s"\r\n\r\n' % (how.encode(), line)
    return head + b"".join(b"--%s\r\n%s" % (line, part) for part in parts) + b"--%s--\r\n" % line
