"""Chooses the mails of `sample/sample-mail.tar.xz` out of the SpamAssassin public corpus.

    python tests/data/choose_sample.py spamassassin.tar.xz

Promises: the same corpus gives the same bytes. Of everything that makes mail hard to read (charsets, transfer
encodings, broken MIME, odd headers, attachments) there are some mails, of each of the five folders its share, and no
subject twice. Leaves out mails that a demonstration should not show, and attachments that a virus scanner
would find.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kerio_mockserver.mailbox.imports.mail_to_struct import ReadMail, read_mail

SHARES = {"easy-ham-1": 90, "easy-ham-2": 60, "hard-ham-1": 40, "spam-1": 50, "spam-2": 60}
PER_TRAIT = 5
LARGEST = 120_000
_TRAITS = (
    re.compile(rb"charset\s*=\s*\"?([\w.:-]{2,30})", re.IGNORECASE),
    re.compile(rb"^content-transfer-encoding:[ \t]*([\w-]+)", re.IGNORECASE | re.MULTILINE),
    re.compile(rb"^content-type:[ \t]*([\w/.+-]+)", re.IGNORECASE | re.MULTILINE),
    re.compile(rb"=\?([\w-]+\?[bq])\?", re.IGNORECASE),
)
_COARSE = re.compile(
    r"sex|porn|xxx|viagra|penis|nude|naked|teen|lesbian|gay\b|erect|erotic|orgasm|fuck|cunt|nigger|rape|adult"
    r"|girl|lolita|bukkake|cialis|phentermine|breast|hooker|slut|whore|ロリ|しじみ|色|情|美女|大人|성인|섹스|性",
    re.IGNORECASE,
)
_PROGRAM = re.compile(r"\.(exe|pif|scr|bat|com|vbs|js|hta|zip|doc|xls)$", re.IGNORECASE)


def corpus(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """(folder, file name, bytes) of each mail."""
    with tarfile.open(path) as archive:
        for info in archive:
            content = archive.extractfile(info)
            if content is not None:
                folder, name = info.name.split("/")[-2:]
                yield folder, name, content.read()


def presentable(data: bytes, mail: ReadMail) -> bool:
    texts = [mail.struct["subject"], mail.struct["from"]["name"], mail.struct["from"]["address"]]
    texts += [part["content"] for part in mail.struct["displayableParts"]]
    if len(data) > LARGEST or any(_COARSE.search(text) for text in texts):
        return False
    return not any(_PROGRAM.search(blob.name) for blob in mail.blobs)


def traits(data: bytes, mail: ReadMail) -> set[str]:
    """What is odd about a mail, in words."""
    found = {match[1].decode("latin-1").lower() for pattern in _TRAITS for match in pattern.finditer(data)}
    found |= set(mail.warnings)
    head = data.partition(b"\n\n")[0]
    said = {
        "8-bit header": not head.isascii(),
        "8-bit": not data.isascii(),
        "attachment": bool(mail.blobs),
        "inline image": any(blob.content_id for blob in mail.blobs),
        "two texts": len(mail.struct["displayableParts"]) > 1,
        "no text": not mail.struct["displayableParts"],
        "no sender": not mail.struct["from"]["address"],
        "no subject": not mail.struct["subject"],
        "no From line": not data.startswith(b"From "),
        "CRLF": b"\r\n" in data,
        "many recipients": len(mail.struct["to"]) + len(mail.struct["cc"]) > 8,
    }
    return found | {name for name, holds in said.items() if holds}


def choose(path: Path) -> dict[str, bytes]:
    """The chosen mails by "folder/name": the rarest traits first, then by the hash of their bytes."""
    mails: dict[str, bytes] = {}
    marks: dict[str, set[str]] = {}
    subjects: dict[str, str] = {}
    for folder, name, data in corpus(path):
        mail = read_mail(data)
        if folder in SHARES and presentable(data, mail):
            mails[f"{folder}/{name}"] = data
            marks[f"{folder}/{name}"] = traits(data, mail)
            subjects[f"{folder}/{name}"] = mail.struct["subject"].lower().removeprefix("re: ")
    order = sorted(mails, key=lambda name: hashlib.sha256(mails[name]).digest())
    rarity = Counter(trait for found in marks.values() for trait in found)
    left = dict(SHARES)
    chosen: dict[str, bytes] = {}
    covered: Counter[str] = Counter()
    taken: set[str] = set()

    def take(name: str) -> None:
        folder = name.partition("/")[0]
        if left[folder] and subjects[name] not in taken:
            taken.add(subjects[name])
            left[folder] -= 1
            chosen[name] = mails[name]
            covered.update(marks[name])

    for trait, _ in sorted(rarity.items(), key=lambda item: (item[1], item[0])):
        for name in order:
            if covered[trait] >= PER_TRAIT:
                break
            if trait in marks[name]:
                take(name)
    for name in order:
        take(name)
    return dict(sorted(chosen.items()))


def pack(mails: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz", preset=9, format=tarfile.USTAR_FORMAT) as archive:
        for name, data in mails.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


if __name__ == "__main__":
    target = Path(__file__).parent / "sample" / "sample-mail.tar.xz"
    target.write_bytes(pack(choose(Path(sys.argv[1]))))
    print(target, target.stat().st_size)
