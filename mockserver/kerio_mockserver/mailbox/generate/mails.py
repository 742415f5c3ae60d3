"""The generated mails of a folder: mail k is a pure function of (seed, folder, k).

Nothing is stored per mail. Dates rise strictly with k. Threads stay within eight neighbours, so that a reply finds the
mail it answers without a search. A listing needs no text; sizes come from a table (`size_table.py`), so that a folder's
count, unread mails and bytes are known at once. A mail is written as JSON directly, its texts copied from pools that
are JSON already: a server slower than the client would spoil its measurements.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from random import Random
from struct import Struct as Layout
from typing import Any, Literal

import orjson

from kerio_mockserver.mailbox.blobs import Attached, Slice
from kerio_mockserver.mailbox.dates import NOW, utc, with_offset
from kerio_mockserver.mailbox.generate.file_names import file_named
from kerio_mockserver.mailbox.generate.people import Person, people
from kerio_mockserver.mailbox.generate.size_table import CYCLE, MASK, Line, Sizes, line_at
from kerio_mockserver.mailbox.ids import FolderAddress
from kerio_mockserver.mailbox.text_pool import as_json, html_pool, pool
from kerio_mockserver.mailbox.vocabulary import ODD_SUBJECTS, SUBJECTS

Struct = dict[str, Any]
Style = Literal["received", "sent", "draft", "junk"]
Rolls = tuple[int, ...]

_ROLLS = Layout("<16I")
_YEARS = 10 * 365 * 86_400
_LONGEST_STEP = 6 * 3600
_UNREAD = {"received": 246, "sent": 0, "draft": 0, "junk": 1024}  # per 4096 mails
_REPLY = {"de": "AW: ", "zh": "回复: "}
_FORMS = ((True, False),) * 4 + ((False, True),) * 2 + ((True, True),) * 10  # plain, HTML
_BOOL = ("false", "true")
_NOBODY = '{"name":"","address":"","contactId":""}'
_NOTHING = '{"message":"","positionalParameters":[],"plurality":0}'
_UNSIGNED = (
    f'"signInfo":{{"isSigned":false,"isValid":false,"error":{_NOTHING},"cert":{{}}}},'
    f'"encryptInfo":{{"isEncrypted":false,"result":"DecryptSuccesful","error":{_NOTHING}}}'
)
_HTML_HEAD = as_json(
    '<html xmlns:o="urn:schemas-microsoft-com:office:office"><head><meta http-equiv="Content-Type" '
    'content="text/html; charset=utf-8"><style>p.MsoNormal{margin:0cm;font-size:11.0pt;font-family:"Calibri"}</style>'
    "</head><body>\n"
)


def phase_of(seed: int, guid: str) -> int:
    """Return the position in the size table at which a folder starts."""
    return Random(f"{seed}/phase/{guid}").randrange(CYCLE)


class GeneratedMails:
    """The generated mails of a folder; `first` is the watermark before mail 0's."""

    def __init__(
        self,
        home: FolderAddress,
        seed: int,
        count: int,
        first: int,
        sizes: Sizes,
        me: Person,
        style: Style = "received",
    ) -> None:
        self.home, self.count, self.first = home, count, first
        self._salt = f"{seed}/mail/{home.guid}/".encode()
        self._people, self._cards = people(seed), _cards(seed)
        self._my_card = _card(me)
        self._style = style
        self._lines = sizes.lines
        self._phase = phase_of(seed, home.guid)
        self._step = max(min(_YEARS // max(count, 1), _LONGEST_STEP), 1)
        self._unread = _UNREAD[style]
        self._same = (
            f'{{"folderId":"{home.folder_id}","sender":{_NOBODY},"bcc":[],"replyTo":[],"notificationTo":{_NOBODY},'
            f'"isJunk":{_BOOL[style == "junk"]},"isDraft":{_BOOL[style == "draft"]},"isMDNSent":false,'
            f'"requestDSN":false,"isReadOnly":false,"id":"{home.item}'
        )
        self.size = sizes.total(self._phase, count)
        laps, rest = divmod(count, CYCLE)
        self.unread = laps * self._unread + sum(not self.seen(k) for k in range(rest))

    def seen(self, k: int) -> bool:
        return (k * 1_597_334_677 + self._phase) & MASK >= self._unread

    def size_of(self, k: int) -> int:
        return self._line(k).size

    def when(self, k: int) -> str:
        """Return receiveDate of mail k, which a draft lacks."""
        return "" if self._style == "draft" else utc(self._received(k))

    def brief(self, k: int) -> Struct:
        """Return what a listing asks for most, without random numbers."""
        line = self._line(k)
        return {
            "id": f"{self.home.item}{k + 1}",
            "folderId": self.home.folder_id,
            "watermark": self.first + k + 1,
            "size": line.size,
            "receiveDate": self.when(k),
            "hasAttachment": bool(line.parts),
            "isSeen": self.seen(k),
        }

    def light(self, k: int) -> Struct:
        """Return mail k without its texts, headers and attachments."""
        rolls = self._rolls(k)
        root = self._root(k)
        origin = rolls if root == k else self._rolls(root)
        return dict(orjson.loads(self._head(k, rolls, origin, self._line(k), root != k) + "}"))

    def item(self, k: int) -> Struct:
        """Return mail k."""
        return dict(orjson.loads(self.raw(k)))

    def raw(self, k: int) -> bytes:
        """Return mail k as JSON, at the cost of a copy of its texts."""
        rolls = self._rolls(k)
        root = self._root(k)
        origin = rolls if root == k else self._rolls(root)
        line = self._line(k)
        head = self._head(k, rolls, origin, line, root != k)
        headers = self._headers(k, rolls, root)
        pieces = [f'{head},{_UNSIGNED},"headers":[{headers}],"attachments":'.encode()]
        pieces.append(orjson.dumps(self._attachments(k, rolls, line)) if line.parts else b"[]")
        pieces.append(b',"displayableParts":[')
        pieces += self._texts(k, rolls, origin, line)
        return b"".join(pieces)

    def contents(self, k: int) -> dict[str, Attached]:
        """Return the contents of mail k's attachments by part."""
        rolls, found = self._rolls(k), {}
        for at, part in enumerate(self._line(k).parts):
            file = file_named(part.file, rolls[at % 16], part.inline)
            mark = b"%s %s%d/%d\n" % (file.magic, self._salt, k, at)
            offset = rolls[(at + 7) % 16]
            blob = Slice(mark, offset, part.size, compressible=file.compressible)
            etag = f'"{offset:08x}{rolls[(at + 8) % 16]:08x}-{part.size:x}"'
            content_id = self._content_id(k, at, part.inline)
            found[str(at + 2)] = Attached(blob, file.name, file.content_type, etag, content_id)
        return found

    def unseen(self) -> Iterator[int]:
        """Yield the k's of unread mails."""
        return (k for k in range(self.count) if not self.seen(k)) if self._unread else iter(())

    def _line(self, k: int) -> Line:
        return self._lines[line_at(k, self._phase)]

    def _rolls(self, k: int) -> Rolls:
        """Return sixteen random numbers of 32 bits for mail k."""
        return _ROLLS.unpack(blake2b(b"%s%d" % (self._salt, k), digest_size=64).digest())

    def _received(self, k: int) -> int:
        jitter = (k * 2_654_435_761 + self._phase * 40_503) % self._step
        return NOW - (self.count - k) * self._step + jitter - self._phase

    def _root(self, k: int) -> int:
        """Return the first mail of k's thread; a block of eight has two threads or none."""
        return (k & ~7) | (k & 1) if self._threaded(k) else k

    def _threaded(self, k: int) -> bool:
        return (((k >> 3) * 0x9E3779B1 + self._phase) >> 5) % 20 < 11

    def _head(self, k: int, rolls: Rolls, origin: Rolls, line: Line, reply: bool) -> str:
        """Return the JSON of mail k's light members, without the closing brace."""
        received = self._received(k)
        sent = received - rolls[1] % 120
        zone = rolls[1] >> 8 & 31  # four mails in ten were sent from a zone between -10 and +12
        sent_date = with_offset(sent, zone - 11) if zone < 24 and zone & 1 else utc(sent)
        flags = rolls[2]
        other = self._cards[rolls[0] % len(self._cards)]
        sender, to = (other, self._my_card) if self._style in ("received", "junk") else (self._my_card, other)
        when = utc(received)
        received_date = when
        if self._style == "draft":
            sent_date = received_date = ""
        subject = orjson.dumps(self._subject(origin, reply)).decode()
        priority = "Normal" if flags & 0xF0 else ("High", "Low")[flags >> 8 & 1]
        return (
            f'{self._same}{k + 1}","watermark":{self.first + k + 1},"from":{sender},"to":[{to}]'
            f',"cc":[{self._cc(rolls)}],"subject":{subject},"sendDate":"{sent_date}","receiveDate":"{received_date}","modifiedDate":"{when}"'
            f',"size":{line.size},"hasAttachment":{_BOOL[bool(line.parts)]},"priority":"{priority}"'
            f',"isSeen":{_BOOL[self.seen(k)]},"isAnswered":{_BOOL[flags & 0x700 == 0]}'
            f',"isFlagged":{_BOOL[flags & 0x1F000 == 0]},"isForwarded":{_BOOL[flags & 0x3E0000 == 0]}'
            f',"showExternal":{_BOOL[flags & 0xF000000 == 0]}'
        )

    def _cc(self, rolls: Rolls) -> str:
        roll = rolls[6]
        if roll & 0x700:
            return ""
        return ",".join(self._cards[(roll >> 3 * n) % len(self._cards)] for n in range(roll % 5))

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

    def _texts(self, k: int, rolls: Rolls, origin: Rolls, line: Line) -> Iterator[bytes]:
        """Return the JSON of the texts, up to the end of the mail.

        The HTML shows the inline images.
        """
        language = self._people[origin[0] % len(self._people)].language
        plain, rich = _FORMS[rolls[5] & 15]
        inline = [at for at, part in enumerate(line.parts) if part.inline]
        rich = rich or bool(inline)
        share = line.body // (plain + rich)
        part = f'{{"id":"{self.home.part}{k + 1}/1.'
        if plain:
            yield f'{part}1","contentType":"ctTextPlain","content":"'.encode()
            yield pool(language).cut_json(rolls[9], share)
            yield b'-- \\n(%d)"}%s' % (k + 1, b"," if rich else b"]}")
        if rich:
            yield f'{part}{1 + plain}","contentType":"ctTextHtml","content":"'.encode()
            yield _HTML_HEAD
            for at in inline:
                yield as_json(f'<img src="cid:{self._content_id(k, at, True)}" alt="">\n')
            yield html_pool(language).cut_json(rolls[9], max(share - 300, 1))
            yield b'<p>(%d)</p></body></html>"}]}' % (k + 1)

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

    def _headers(self, k: int, rolls: Rolls, root: int) -> str:
        """Return the JSON of the headers, without the brackets."""
        roll = rolls[10]
        if roll & 0xFF == 0 and not self._threaded(k):
            return ""  # as some real mails, without a Message-ID; nothing replies to it
        domain = self.home.domain
        message = f"{self.home.guid[:13]}."
        made = f'{{"type":"mhMessageID","value":"<{message}{k + 1}@{domain}>"}}'
        if root != k:
            made += f',{{"type":"mhInReplayTo","value":"<{message}{k - 1}@{domain}>"}}'
        if roll & 0x3F00 == 0:
            made += f',{{"type":"mhResentMessageID","value":"<resent.{rolls[11]:x}@{domain}>"}}'
        return made


def _card(person: Person) -> str:
    return orjson.dumps({"name": person.name, "address": person.address, "contactId": ""}).decode()


@lru_cache(maxsize=8)
def _cards(seed: int) -> tuple[str, ...]:
    """Return the people of a seed as JSON addresses."""
    return tuple(map(_card, people(seed)))
