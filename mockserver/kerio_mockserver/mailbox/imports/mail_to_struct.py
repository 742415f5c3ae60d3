"""A mail's bytes as a Mail struct and its attachments.

Any bytes become a mail, and no text is lost: what cannot be parsed stays as text and is counted by its reason. Line
ends in texts are line feeds. `sendDate` is the sender's claim; `receiveDate` is that of the first Received line, else
of the mbox "From " line, else the claim, else the file's time. Flags come from the Maildir name, Thunderbird's
X-Mozilla-Status or the Status lines; a mail without any of them gets plausible ones, the same each time.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from mimetypes import MimeTypes

from kerio_mockserver.mailbox.api_structs import Struct, blank
from kerio_mockserver.mailbox.blobs import NewBlob
from kerio_mockserver.mailbox.imports import header_parameters, headers, mime_parts
from kerio_mockserver.mailbox.imports.charsets import SAME_LANGUAGE, Warnings, cleaned, decode, known_charset
from kerio_mockserver.mailbox.imports.headers import BAD_DATE, addresses, header_text, stamped, utc
from kerio_mockserver.mailbox.imports.mime_parts import Leaf, Part

UNREADABLE = "mail kept as raw text"

_TEXTS = {"text/plain": "ctTextPlain", "text/html": "ctTextHtml"}
_LONGEST_NAME = 200
_MOZILLA = ((0x0001, "S"), (0x0002, "R"), (0x0004, "F"), (0x1000, "P"))
_EXPUNGED = 0x0008
_DELETED_ON_SERVER = 0x00200000
_PRIORITIES = {"1": "High", "2": "High", "4": "Low", "5": "Low", "high": "High", "urgent": "High", "low": "Low"}
_PRIORITIES["non-urgent"] = "Low"
# without the machine's own tables, so that names are the same everywhere
_TYPES = MimeTypes()
_EXTENSIONS = {
    "application/pgp-signature": ".asc",
    "application/pgp-encrypted": ".asc",
    "application/ms-tnef": ".dat",
    "image/jpeg": ".jpg",
    "text/calendar": ".ics",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known besides the bytes: Maildir letters (None: unknown), file time."""

    flags: str | None = None
    modified: float = 0.0


@dataclass(slots=True)
class ReadMail:
    """A mail without ids, watermark and attachments, which the store adds.

    `deleted`: the mail program no longer shows it, though it is still in the file.
    """

    struct: Struct
    blobs: list[NewBlob]
    warnings: Warnings = field(default_factory=Warnings)
    deleted: bool = False


def read_mail(data: bytes, origin: Origin = Origin()) -> ReadMail:
    """Parse a mail; what no parser understands is kept as raw text."""
    warnings = Warnings()
    try:
        return _read(data, origin, warnings)
    except Exception:  # an error in a parser must not lose a mail
        return _raw(data, origin)


def _read(data: bytes, origin: Origin, warnings: Warnings) -> ReadMail:
    head, from_line = mime_parts.parse(data, warnings)
    found = mime_parts.leaves(head, warnings)
    hints = _hints(head, found)
    struct: Struct = blank("Mail")
    struct["size"] = len(data)
    struct["subject"] = header_text(head.get("subject", ""), hints, warnings)
    _put_people(struct, head, hints, warnings)
    _put_dates(struct, head, from_line, origin, warnings)
    _put_marks(struct, head, data, origin, hints, warnings)
    blobs = _put_contents(struct, found, hints, warnings)
    return ReadMail(struct, blobs, warnings, bool(_mozilla(head) & _EXPUNGED))


def _raw(data: bytes, origin: Origin) -> ReadMail:
    warnings = Warnings({UNREADABLE: 1})
    struct: Struct = blank("Mail")
    struct["size"] = len(data)
    struct["receiveDate"] = struct["modifiedDate"] = stamped(origin.modified)
    struct["isSeen"] = "S" in (origin.flags or "")
    struct["displayableParts"] = [_displayable("text/plain", decode(data, None, (), warnings))]
    return ReadMail(struct, [], warnings)


def _hints(head: Part, found: Sequence[Leaf]) -> list[str]:
    """Return the charsets named anywhere in the mail."""
    named: dict[str, None] = {}
    for leaf in islice(found, 20):
        if (charset := known_charset(leaf.parameters.get("charset", ""))) is not None:
            named[charset] = None
    for name in ("subject", "from", "to"):
        named.update(dict.fromkeys(headers.word_charsets(head.get(name, ""))))
    kin = (relative for charset in named for relative in (charset, *SAME_LANGUAGE.get(charset, ())))
    # these are always tried, first and last
    return [charset for charset in dict.fromkeys(kin) if charset not in ("cp1252", "utf-8", "ascii")]


def _put_people(struct: Struct, head: Part, hints: Sequence[str], warnings: Warnings) -> None:
    def named(*names: str) -> list[Struct]:
        return addresses([value for name in names for value in head.get_all(name, [])], hints, warnings)

    struct["to"] = named("to")
    struct["cc"] = named("cc")
    struct["bcc"] = named("bcc")
    struct["replyTo"] = named("reply-to")
    for member, header in (("from", "from"), ("sender", "sender"), ("notificationTo", "disposition-notification-to")):
        struct[member] = next(iter(named(header)), struct[member])


def _put_dates(struct: Struct, head: Part, from_line: str, origin: Origin, warnings: Warnings) -> None:
    claimed = head.get("date", "")
    struct["sendDate"] = utc(claimed)
    if not struct["sendDate"]:
        warnings[BAD_DATE] += 1
    received = head.get("received", "").rpartition(";")[2]
    delivered = from_line.rstrip().partition(" ")[2].lstrip().partition(" ")[2]
    candidates = (utc(received), utc(delivered), struct["sendDate"], stamped(origin.modified))
    struct["receiveDate"] = struct["modifiedDate"] = next(filter(None, candidates), "")


def _put_marks(
    struct: Struct, head: Part, data: bytes, origin: Origin, hints: Sequence[str], warnings: Warnings
) -> None:
    flags = _flags(head, data, origin)
    struct["isSeen"] = "S" in flags
    struct["isAnswered"] = "R" in flags
    struct["isFlagged"] = "F" in flags
    struct["isForwarded"] = "P" in flags
    struct["isDraft"] = "D" in flags
    keys = head.get("x-mozilla-keys", "").lower().split()
    struct["isJunk"] = "junk" in keys or (
        "nonjunk" not in keys and head.get("x-spam-flag", "").strip().lower() == "yes"
    )
    struct["requestDSN"] = "return-receipt-to" in head
    for header in ("x-priority", "priority", "importance"):
        word = head.get(header, "").strip().lower()
        if (found := _PRIORITIES.get(word) or _PRIORITIES.get(word[:1])) is not None:
            struct["priority"] = found
            break
    for kind, header in (
        ("mhMessageID", "message-id"),
        ("mhInReplayTo", "in-reply-to"),
        ("mhResentMessageID", "resent-message-id"),
    ):
        if value := header_text(head.get(header, ""), hints, warnings):
            struct["headers"].append({"type": kind, "value": value})


def _flags(head: Part, data: bytes, origin: Origin) -> str:
    """Return Maildir letters: S seen, R replied, F flagged, P passed on, D draft."""
    if origin.flags is not None:
        return origin.flags
    if (mozilla := _mozilla(head)) >= 0:
        return "".join(letter for bit, letter in _MOZILLA if mozilla & bit)
    status = head.get("status", "") + head.get("x-status", "")
    if status:
        return status.translate({ord("R"): "S", ord("A"): "R", ord("T"): "D", ord("D"): None})
    dice = zlib.crc32(data)
    return ("S" if dice % 10 else "") + ("R" if dice % 11 == 1 and dice % 10 else "") + ("F" if dice % 37 == 1 else "")


def _mozilla(head: Part) -> int:
    """Return Thunderbird's bits for a mail; below 0 (no used bit set) if it has none."""
    found = [head.get(name, "").strip() for name in ("x-mozilla-status", "x-mozilla-status2")]
    if not re.fullmatch(r"[0-9a-fA-F]{1,8}", found[0], re.ASCII):
        return -1 & ~_EXPUNGED
    more = int(found[1], 16) if re.fullmatch(r"[0-9a-fA-F]{1,8}", found[1], re.ASCII) else 0
    return int(found[0], 16) | (more & _DELETED_ON_SERVER and _EXPUNGED)


def _put_contents(struct: Struct, found: Sequence[Leaf], hints: Sequence[str], warnings: Warnings) -> list[NewBlob]:
    blobs: list[NewBlob] = []
    for number, leaf in enumerate(found, 1):
        name = _name(leaf, hints, warnings)
        if _is_text(leaf, name, bool(struct["displayableParts"])):
            text = _text(leaf, hints, warnings)
            struct["displayableParts"].append(_displayable(leaf.content_type, text))
            continue
        content_id = header_text(leaf.head.get("content-id", ""), hints, warnings).strip("<> ")
        blobs.append(NewBlob(leaf.data, name or _invented(leaf, number, warnings), leaf.content_type, content_id))
        _put_security(struct, leaf)
    return blobs


def _is_text(leaf: Leaf, name: str, has_text: bool) -> bool:
    if (
        leaf.content_type not in _TEXTS
        or header_parameters.value_type(leaf.head, "content-disposition", "") == "attachment"
    ):
        return False
    return not (name and has_text)


def _text(leaf: Leaf, hints: Sequence[str], warnings: Warnings) -> str:
    claim = leaf.parameters.get("charset") or (_meta(leaf.data) if leaf.content_type == "text/html" else None)
    return decode(leaf.data, claim, hints, warnings).replace("\r\n", "\n").replace("\r", "\n")


def _meta(html: bytes) -> str | None:
    """Return the charset that an HTML page names in its first lines."""
    found = mime_parts.META_CHARSET.search(html, 0, 4096)
    return found[1].decode("ascii") if found else None


def _displayable(content_type: str, content: str) -> Struct:
    return {"id": "", "contentType": _TEXTS[content_type], "content": content}


def _name(leaf: Leaf, hints: Sequence[str], warnings: Warnings) -> str:
    """Return the file name of a part, without invalid characters; "" if none."""
    given = header_parameters.parameters(leaf.head, "content-disposition").get("filename", "")
    typed = leaf.parameters.get("name", "")
    if typed and header_parameters.extended(leaf.head, "content-type", "name"):
        given = given if header_parameters.extended(leaf.head, "content-disposition", "filename") else typed
    given = given or typed
    name = header_text(given, hints, warnings).replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in name if letter.isprintable())[:_LONGEST_NAME]


def _invented(leaf: Leaf, number: int, warnings: Warnings) -> str:
    if leaf.content_type == "message/rfc822":
        head, _ = mime_parts.parse(leaf.data[: mime_parts.LARGEST_HEAD], Warnings())
        subject = header_text(head.get("subject", ""), (), Warnings()).replace("/", "_")
        subject = "".join(letter for letter in cleaned(subject, warnings) if letter.isprintable())
        return f"{subject[:_LONGEST_NAME] or 'message'}.eml"
    extension = _EXTENSIONS.get(leaf.content_type) or _TYPES.guess_extension(leaf.content_type)
    textual = leaf.content_type.startswith(("text/", "message/"))
    return f"part-{number}{extension or ('.txt' if textual else '.bin')}"


def _put_security(struct: Struct, leaf: Leaf) -> None:
    kind = leaf.content_type
    if "multipart/signed" in leaf.within and kind.endswith("-signature"):
        struct["signInfo"]["isSigned"] = True
    elif kind in ("application/pkcs7-mime", "application/x-pkcs7-mime"):
        signed = leaf.parameters.get("smime-type") == "signed-data"
        struct["signInfo"]["isSigned"] = signed
        struct["encryptInfo"]["isEncrypted"] = not signed
    elif "multipart/encrypted" in leaf.within:
        struct["encryptInfo"]["isEncrypted"] = True
    if struct["encryptInfo"]["isEncrypted"]:
        struct["encryptInfo"]["result"] = "DecryptNoKey"
