r"""Reads a mailbox by IMAP, and a cache by SQL, for a comparison of the two.

The reader knows nothing of JMAP. What IMAP has as several messages with equal bytes is one mail to JMAP: it is in all
their folders, is seen if all of them are, and has each other flag that one of them has (RFC 8621, section 4.1.1).
Messages marked \Deleted do not exist for JMAP.
"""

from __future__ import annotations

import hashlib
import imaplib
import re
import sqlite3
from base64 import b64decode
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.rivals.imap_mailbox import check, quoted
from kerio_resync.cache.store import Store


@dataclass(frozen=True)
class Mail:
    """What both sides say of one mail."""

    folders: frozenset[str]
    size: int
    seen: bool = False
    flagged: bool = False
    answered: bool = False
    draft: bool = False


def by_imap(imap: imaplib.IMAP4) -> dict[str, Mail]:
    """Every mail by the SHA-1 of its source."""
    found: dict[str, Mail] = {}
    for name in folder_names(imap):
        check(imap.select(quoted(name), readonly=True))
        _, rows = imap.uid("FETCH", "1:*", "(FLAGS RFC822.SIZE BODY.PEEK[])")
        for row in rows:
            if isinstance(row, tuple):
                _add(found, "Inbox" if name == "INBOX" else name, *row)
    return found


def _add(found: dict[str, Mail], folder: str, head: bytes, source: bytes) -> None:
    match = re.search(rb"RFC822\.SIZE (\d+)", head)
    assert match is not None
    assert int(match[1]) == len(source)
    flags = set(imaplib.ParseFlags(head))
    if rb"\Deleted" in flags:
        return
    seen, flagged, answered, draft = (flag in flags for flag in (rb"\Seen", rb"\Flagged", rb"\Answered", rb"\Draft"))
    mail = Mail(frozenset([folder]), len(source), seen, flagged, answered, draft)
    key = hashlib.sha1(source).hexdigest()
    if other := found.get(key):
        mail = replace(
            other, folders=other.folders | mail.folders, seen=other.seen and seen, flagged=other.flagged or flagged,
            answered=other.answered or answered, draft=other.draft or draft,
        )  # fmt: skip
    found[key] = mail


def folder_names(imap: imaplib.IMAP4) -> list[str]:
    """Every folder that can be selected."""
    names = []
    for line in check(imap.list()):
        assert isinstance(line, bytes)
        match = re.fullmatch(rb'\(([^)]*)\) "/" "?(.*?)"?', line)
        assert match is not None, line
        if rb"\Noselect" not in match[1]:
            names.append(re.sub(r"&([^-]*)-", _unshifted, match[2].decode("ascii")))
    return names


def _unshifted(match: re.Match[str]) -> str:
    """Decode a part in modified UTF-7."""
    text = match[1].replace(",", "/")
    return b64decode(text + "=" * (-len(text) % 4)).decode("utf-16-be") if text else "&"


def sources(imap: imaplib.IMAP4, folder: str) -> list[bytes]:
    """The sources of the mails in one folder."""
    check(imap.select(quoted(folder), readonly=True))
    _, rows = imap.uid("FETCH", "1:*", "(BODY.PEEK[])")
    return [row[1] for row in rows if isinstance(row, tuple)]


def places(imap: imaplib.IMAP4) -> dict[str, tuple[str, str]]:
    """Folder and UID of a message of each mail, by Cyrus's JMAP id, which begins as the SHA-1 does."""
    found = {}
    for name in folder_names(imap):
        check(imap.select(quoted(name), readonly=True))
        _, rows = imap.uid("FETCH", "1:*", "(BODY.PEEK[])")
        for row in rows:
            if isinstance(row, tuple) and (match := re.search(rb"UID (\d+)", row[0])):
                found[f"M{hashlib.sha1(row[1]).hexdigest()[:24]}"] = (name, match[1].decode())
    return found


def flagged(mail: Mail) -> Mail:
    """The mail with the flag."""
    return replace(mail, flagged=True)


async def in_cache(profile: Path) -> dict[str, Mail]:
    """Every mail of a cache by the SHA-1 of its source, which the server's id of the source names, too."""
    store = await Store.open(profile / "cache.db", readonly=True)
    found: dict[str, Mail] = {}
    try:
        for row, folders in _rows(profile):
            source = b"".join([piece async for piece in store.content(row["source"])])
            key = hashlib.sha1(source).hexdigest()
            assert row["blob"] == f"G{key}", "the source is not that which the server named"
            assert key not in found
            flags = (bool(row[name]) for name in ("seen", "flagged", "answered", "draft"))
            found[key] = Mail(folders, len(source), *flags)
    finally:
        await store.close()
    return found


def _rows(profile: Path) -> list[tuple[Any, frozenset[str]]]:
    with closing(sqlite3.connect(profile / "cache.db")) as db:
        db.row_factory = sqlite3.Row
        items = db.execute(
            "SELECT item.number AS number, attachment.number AS source, attachment.url AS blob,"
            " seen, flagged, answered, draft FROM item"
            " LEFT JOIN attachment ON attachment.item = item.number AND attachment.role = 'source'"
            " WHERE item.kind = 'mail' AND item.id NOT LIKE 'local:%'"
        ).fetchall()
        folders: dict[int, set[str]] = {}
        for item, path in db.execute("SELECT item, path FROM placement JOIN folder ON folder.number = folder"):
            folders.setdefault(item, set()).add(path)
    return [(row, frozenset(folders[row["number"]])) for row in items]


async def differences(imap: imaplib.IMAP4, profile: Path) -> list[str]:
    """What differs between server and cache, one line per mail."""
    theirs, ours = by_imap(imap), await in_cache(profile)
    lines = [f"{key}: only on the server, {theirs[key]}" for key in theirs.keys() - ours.keys()]
    lines += [f"{key}: only in the cache, {ours[key]}" for key in ours.keys() - theirs.keys()]
    lines += [
        f"{key}: {theirs[key]} on the server, {ours[key]} in the cache"
        for key in theirs.keys() & ours.keys()
        if theirs[key] != ours[key]
    ]
    return lines
