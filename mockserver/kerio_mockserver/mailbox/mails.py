"""The mails of a folder, computed when asked for: mail k is a pure function of (seed, folder, k).

Nothing is kept per mail. Dates rise with k, strictly. Threads stay within eight neighbours, so that a reply knows the
mail it answers without a search. What a listing needs is computed without the text; sizes come from a table
(`sizes.py`), so that a folder's count, unread mails and bytes are known at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from random import Random
from struct import Struct as Layout
from typing import Any, Literal, NamedTuple

import orjson

from kerio_mockserver.mailbox.blobs import Attached, Slice
from kerio_mockserver.mailbox.dates import NOW, utc, with_offset
from kerio_mockserver.mailbox.files import file_named
from kerio_mockserver.mailbox.ids import Home
from kerio_mockserver.mailbox.people import Person, people
from kerio_mockserver.mailbox.sizes import CYCLE, MASK, Line, Sizes, line_at
from kerio_mockserver.mailbox.text import Pool, as_json, html_pool, pool
from kerio_mockserver.mailbox.words import ODD_SUBJECTS, SUBJECTS

Struct = dict[str, Any]
Style = Literal["received", "sent", "draft", "junk"]
Rolls = tuple[int, ...]

_ROLLS = Layout("<16I")
_YEARS = 10 * 365 * 86_400
_LONGEST_STEP = 6 * 3600
_UNREAD = {"received": 246, "sent": 0, "draft": 0, "junk": 1024}  # of a cycle of 4096
_REPLY = {"de": "AW: ", "zh": "回复: ", "cs": "Re: "}
_FORMS = ((True, False),) * 4 + ((False, True),) * 2 + ((True, True),) * 10  # plain, HTML
_HTML_HEAD = (
    '<html xmlns:o="urn:schemas-microsoft-com:office:office"><head><meta http-equiv="Content-Type" content="text/html; '
    'charset=utf-8"><style>p.MsoNormal{margin:0cm;font-size:11.0pt;font-family:"Calibri",sans-serif}</style></head><body>\n'
)


def phase_of(seed: int, guid: str) -> int:
    """Where in the table of sizes a folder starts."""
    return Random(f"{seed}/phase/{guid}").randrange(CYCLE)


class _Text(NamedTuple):
    """One text of a mail: paragraphs `first` and on of a pool, `size` bytes of them, between a head and a tail."""

    type: str
    head: str
    pool: Pool
    first: int
    size: int
    tail: str

    def body(self) -> str:
        return self.pool.cut(self.first, self.size)

    def body_json(self) -> bytes:
        return self.pool.cut_json(self.first, self.size)


class Mails:
    """The computed mails of one folder. `first`: the watermark before that of mail 0."""

    def __init__(
        self, home: Home, seed: int, count: int, first: int, sizes: Sizes, me: Person, style: Style = "received"
    ) -> None:
        self.home, self.count, self.first = home, count, first
        self._salt = f"{seed}/mail/{home.guid}/".encode()
        self._people = people(seed)
        self._me = me
        self._style = style
        self._lines = sizes.lines
        self._phase = phase_of(seed, home.guid)
        self._step = max(min(_YEARS // max(count, 1), _LONGEST_STEP), 1)
        self._unread = _UNREAD[style]
        self.size = sizes.total(self._phase, count)
        laps, rest = divmod(count, CYCLE)
        self.unread = laps * self._unread + sum(not self.seen(k) for k in range(rest))

    def seen(self, k: int) -> bool:
        return (k * 1_597_334_677 + self._phase) & MASK >= self._unread

    def size_of(self, k: int) -> int:
        return self._line(k).size

    def when(self, k: int) -> str:
        """receiveDate of mail k."""
        return utc(self._received(k))

    def light(self, k: int) -> Struct:
        """All that is known of mail k without making its text, headers or attachments."""
        rolls = self._rolls(k)
        root = self._root(k)
        return self._cheap(k, rolls, rolls if root == k else self._rolls(root), root != k)

    def item(self, k: int) -> Struct:
        """Mail k, whole."""
        struct, texts = self._whole(k)
        part = f"{self.home.part}{k + 1}/1."
        struct["displayableParts"] = [
            {"id": f"{part}{at}", "contentType": text.type, "content": f"{text.head}{text.body()}{text.tail}"}
            for at, text in enumerate(texts, 1)
        ]
        return struct

    def raw(self, k: int) -> bytes:
        """The same as JSON, at the cost of a copy of its texts."""
        struct, texts = self._whole(k)
        part = f"{self.home.part}{k + 1}/1."
        pieces = [orjson.dumps(struct)[:-1], b',"displayableParts":[']
        for at, text in enumerate(texts, 1):
            head = f'{"," if at > 1 else ""}{{"id":"{part}{at}","contentType":"{text.type}","content":"'
            pieces += (head.encode(), as_json(text.head), text.body_json(), as_json(text.tail), b'"}')
        pieces.append(b"]}")
        return b"".join(pieces)

    def contents(self, k: int) -> dict[str, Attached]:
        """The contents of mail k's attachments by part."""
        rolls, found = self._rolls(k), {}
        for at, part in enumerate(self._line(k).parts):
            file = file_named(part.file, rolls[at % 16], part.inline)
            mark = b"%s %s%d/%d\n" % (file.magic, self._salt, k, at)
            offset = rolls[(at + 7) % 16]
            blob = Slice(mark, offset, part.size, compressible=file.compressible)
            etag = f'"{offset:08x}{rolls[(at + 8) % 16]:08x}-{part.size:x}"'
            found[str(at + 2)] = Attached(
                blob, file.name, file.content_type, etag, self._content_id(k, at, part.inline)
            )
        return found

    def unseen(self) -> Iterator[int]:
        """The k's of unread mails."""
        return (k for k in range(self.count) if not self.seen(k)) if self._unread else iter(())

    def _line(self, k: int) -> Line:
        return self._lines[line_at(k, self._phase)]

    def _rolls(self, k: int) -> Rolls:
        """Sixteen random numbers of 32 bits that belong to mail k."""
        return _ROLLS.unpack(blake2b(b"%s%d" % (self._salt, k), digest_size=64).digest())

    def _received(self, k: int) -> int:
        jitter = (k * 2_654_435_761 + self._phase * 40_503) % self._step
        return NOW - (self.count - k) * self._step + jitter - self._phase

    def _root(self, k: int) -> int:
        """The first mail of k's thread: two threads interleave in a block of eight, or none does."""
        return (k & ~7) | (k & 1) if self._threaded(k) else k

    def _threaded(self, k: int) -> bool:
        return (((k >> 3) * 0x9E3779B1 + self._phase) >> 5) % 20 < 11

    def _cheap(self, k: int, rolls: Rolls, origin: Rolls, reply: bool) -> Struct:
        received = self._received(k)
        sent = received - rolls[1] % 120
        zone = rolls[1] >> 8 & 31  # four mails in ten were sent from a zone between -11 and +12
        when = utc(received)
        line = self._line(k)
        flags = rolls[2]
        sender, to, cc = self._who(rolls)
        home = self.home
        return {
            "id": f"{home.item}{k + 1}",
            "folderId": home.folder_id,
            "watermark": self.first + k + 1,
            "from": {"name": sender.name, "address": sender.address, "contactId": ""},
            "sender": {"name": "", "address": "", "contactId": ""},
            "to": [{"name": one.name, "address": one.address, "contactId": ""} for one in to],
            "cc": [{"name": one.name, "address": one.address, "contactId": ""} for one in cc],
            "bcc": [],
            "sendDate": with_offset(sent, zone - 11) if zone < 24 and zone & 1 else utc(sent),
            "receiveDate": when,
            "modifiedDate": when,
            "replyTo": [],
            "notificationTo": {"name": "", "address": "", "contactId": ""},
            "subject": self._subject(origin, reply),
            "priority": "Normal" if flags & 0xF0 else ("High", "Low")[flags >> 8 & 1],
            "size": line.size,
            "isSeen": self.seen(k),
            "isAnswered": flags & 0x700 == 0,
            "isFlagged": flags & 0x1F000 == 0,
            "isForwarded": flags & 0x3E0000 == 0,
            "isJunk": self._style == "junk",
            "isMDNSent": False,
            "showExternal": flags & 0xF000000 == 0,
            "requestDSN": False,
            "hasAttachment": bool(line.parts),
            "isDraft": self._style == "draft",
            "isReadOnly": False,
        }

    def _who(self, rolls: Rolls) -> tuple[Person, tuple[Person, ...], tuple[Person, ...]]:
        known = self._people
        other = known[rolls[0] % len(known)]
        more = rolls[6]
        cc = tuple(known[(more >> 3 * n) % len(known)] for n in range(more % 5)) if more & 0x700 == 0 else ()
        if self._style in ("sent", "draft"):
            return self._me, (other,), cc
        return other, (self._me,), cc

    def _subject(self, origin: Rolls, reply: bool) -> str:
        language = self._people[origin[0] % len(self._people)].language
        roll = origin[3]
        if roll & 0xFF == 0:
            subject = ODD_SUBJECTS[(roll >> 8) % len(ODD_SUBJECTS)]
        else:
            known = SUBJECTS[language]
            subject = known[(roll >> 8) % len(known)]
            if roll & 3:
                subject = f"{subject} {origin[4] % 100_000}"
        return f"{_REPLY.get(language, 'Re: ')}{subject}" if reply else subject

    def _whole(self, k: int) -> tuple[Struct, list[_Text]]:
        """Mail k but for its texts, and these."""
        rolls = self._rolls(k)
        root = self._root(k)
        origin = rolls if root == k else self._rolls(root)
        line = self._lines[line_at(k, self._phase)]
        struct = self._cheap(k, rolls, origin, root != k)
        nothing = {"message": "", "positionalParameters": [], "plurality": 0}
        struct["signInfo"] = {"isSigned": False, "isValid": False, "error": nothing, "cert": {}}
        struct["encryptInfo"] = {"isEncrypted": False, "result": "DecryptSuccesful", "error": dict(nothing)}
        struct["attachments"] = self._attachments(k, rolls, line) if line.parts else []
        struct["headers"] = self._headers(k, rolls, root)
        return struct, self._texts(k, rolls, origin, line)

    def _texts(self, k: int, rolls: Rolls, origin: Rolls, line: Line) -> list[_Text]:
        language = self._people[origin[0] % len(self._people)].language
        plain, rich = _FORMS[rolls[5] & 15]
        inline = [at for at, part in enumerate(line.parts) if part.inline]
        rich = rich or bool(inline)
        share = line.body // (plain + rich)
        made: list[_Text] = []
        if plain:
            name = self._people[rolls[0] % len(self._people)].name
            made.append(_Text("ctTextPlain", "", pool(language), rolls[9], share, f"-- \n{name} ({k + 1})\n"))
        if rich:
            images = "".join(f'<img src="cid:{self._content_id(k, at, True)}" alt="">\n' for at in inline)
            tail = f"<p>({k + 1})</p></body></html>"
            made.append(
                _Text("ctTextHtml", _HTML_HEAD + images, html_pool(language), rolls[9], max(share - 300, 1), tail)
            )
        return made

    def _attachments(self, k: int, rolls: Rolls, line: Line) -> list[Struct]:
        home, made = self.home, []
        for at, part in enumerate(line.parts):
            file = file_named(part.file, rolls[at % 16], part.inline)
            place = str(at + 2)
            made.append(
                {
                    "id": home.attachment_id(k + 1, place),
                    "url": home.url(k + 1, place, file.name),
                    "name": file.name,
                    "contentType": file.content_type,
                    "contentId": self._content_id(k, at, part.inline),
                    "size": part.size,
                }
            )
        return made

    def _content_id(self, k: int, at: int, inline: bool) -> str:
        return f"image{at:03}.{k + 1}@{self.home.guid[:8]}" if inline else ""

    def _message_id(self, k: int) -> str:
        return f"<{self.home.guid[:13]}.{k + 1}@{self.home.domain}>"

    def _headers(self, k: int, rolls: Rolls, root: int) -> list[Struct]:
        if rolls[10] & 0xFF == 0 and not self._threaded(k):
            return []  # as some real mail has no Message-ID; nothing replies to it
        made = [{"type": "mhMessageID", "value": self._message_id(k)}]
        if root != k:
            made.append({"type": "mhInReplayTo", "value": self._message_id(k - 2)})
        if rolls[10] & 0x3F00 == 0:
            made.append({"type": "mhResentMessageID", "value": f"<resent.{rolls[11]:x}@{self.home.domain}>"})
        return made
