"""The mail of one account of the double, and the journal of its changes."""

from __future__ import annotations

import base64
import copy
import hashlib
import random
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from tests.support.jmap_double.choices import Choices

Type = Literal["Email", "Mailbox"]
Change = Literal["created", "updated", "destroyed"]
BASE = datetime(2026, 1, 1, tzinfo=UTC)
ROLES = ("inbox", "drafts", "sent", "trash", "junk")
KEYWORDS = ("$seen", "$flagged", "$answered", "$forwarded")
MUTATIONS = (
    "arrive", "arrive-old", "again", "flag", "move", "copy", "expunge", "create-mailbox", "rename-mailbox",
    "delete-mailbox",
)  # fmt: skip


class CannotCalculate(Exception):
    """The journal does not reach back to a state."""


@dataclass
class Mailbox:
    """`parent`: an id, None at the top."""

    id: str
    name: str
    parent: str | None = None
    role: str | None = None
    readable: bool = True


@dataclass
class Mail:
    """`received`: an UTCDate."""

    id: str
    blob_id: str
    received: str
    source: bytes
    mailboxes: set[str] = field(default_factory=set)
    keywords: set[str] = field(default_factory=set)

    @property
    def order(self) -> tuple[str, str]:
        """Newest first; equal times by id."""
        return "".join(chr(0x7F - ord(letter)) for letter in self.received), self.id


class Store:
    """An account. `state` counts the changes; `oldest` is the first state that can be followed."""

    def __init__(self, choices: Choices, *, seed: int = 0, name: str = "jane@example.com") -> None:
        self.choices = choices
        self.name = name
        self.rng = random.Random(f"jmap {seed}")
        self.mailboxes: dict[str, Mailbox] = {}
        self.mails: dict[str, Mail] = {}
        self.blobs: dict[str, bytes] = {}
        self.ordered: list[tuple[tuple[str, str], str]] = []
        self.journal: list[tuple[Type, Change, str, bool]] = []  # the last: only the counts of a mailbox
        self.oldest = 0
        self.base = 0  # added to each state
        self.stuck = False  # the state that changes end with never moves
        self.made = 0
        self.add_mailbox("Inbox", role="inbox")

    # states

    @property
    def state(self) -> str:
        return self.state_text(len(self.journal))

    def state_text(self, position: int) -> str:
        number = position + self.base
        return (
            str(number) if self.choices.numeric_states else f"s{number}-{hashlib.md5(b'%d' % number).hexdigest()[:6]}"
        )

    def changes(self, kind: Type, since: str, most: int) -> tuple[str, bool, dict[Change, list[str]], bool]:
        """Return new state, whether there are more, ids, and whether only counts changed.

        CannotCalculate.
        """
        number = since if self.choices.numeric_states else since[1:].partition("-")[0]
        start = int(number) - self.base if number.isdecimal() else -1
        known = self.choices.numeric_states or (start <= len(self.journal) and since == self.state_text(start))
        if start < self.oldest or not known:
            raise CannotCalculate
        effect: dict[str, Change] = {}
        counts_only, end = True, len(self.journal)
        for position in range(min(start, end), end):
            its_kind, change, its_id, only_counts = self.journal[position]
            if its_kind != kind:
                continue
            if its_id not in effect and len(effect) >= most:
                end = position
                break
            before = effect.get(its_id)
            if change == "updated":
                effect[its_id] = before if before == "created" else "updated"
                counts_only = counts_only and only_counts
            elif before == "created" and change == "destroyed":
                del effect[its_id]
            else:
                effect[its_id] = "updated" if before == "destroyed" and change == "created" else change
        found: dict[Change, list[str]] = {"created": [], "updated": [], "destroyed": []}
        for its_id, change in effect.items():
            found[change].append(its_id)
        if self.stuck and effect:
            return since, True, found, False
        more = end < len(self.journal)
        return self.state_text(end), more, found, counts_only and kind == "Mailbox" and bool(found["updated"])

    def forget(self) -> None:
        """Refuse every state so far."""
        self.log("Mailbox", "updated", next(iter(self.mailboxes)), counts=True)
        self.oldest = len(self.journal)

    def log(self, kind: Type, change: Change, its_id: str, *, counts: bool = False) -> None:
        self.journal.append((kind, change, its_id, counts))

    def snapshot(self) -> Store:
        """Return a copy, such as a backup."""
        return copy.deepcopy(self)

    # content

    def new_id(self, letter: str) -> str:
        return letter + self.rng.randbytes(9).hex()

    def add_mailbox(self, name: str, parent: str | None = None, role: str | None = None) -> str:
        mailbox = Mailbox(self.new_id("F"), name, parent, role)
        self.mailboxes[mailbox.id] = mailbox
        self.log("Mailbox", "created", mailbox.id)
        return mailbox.id

    def remove_mailbox(self, mailbox_id: str) -> None:
        """Mails that are in no other mailbox go, too, and its children move up."""
        for mail in list(self.in_mailbox(mailbox_id)):
            if mail.mailboxes == {mailbox_id}:
                self.destroy(mail.id)
            else:
                mail.mailboxes.discard(mailbox_id)
                self.log("Email", "updated", mail.id)
        parent = self.mailboxes.pop(mailbox_id).parent
        for child in self.mailboxes.values():
            if child.parent == mailbox_id:
                child.parent = parent
                self.log("Mailbox", "updated", child.id)
        self.log("Mailbox", "destroyed", mailbox_id)

    def add_blob(self, data: bytes) -> str:
        blob_id = "B" + hashlib.sha1(data).hexdigest()
        self.blobs[blob_id] = data
        return blob_id

    def deliver(self, source: bytes, mailboxes: set[str], keywords: set[str] | None = None, received: str = "") -> str:
        """Return the id of the mail; an equal one, if the choice is such, is put into more mailboxes."""
        blob_id = self.add_blob(source)
        mail_id = f"M{blob_id[1:25]}" if self.choices.one_per_content else self.new_id("M")
        if mail_id in self.mails:
            self.change(mail_id, mailboxes=self.mails[mail_id].mailboxes | mailboxes)
            return mail_id
        mail = Mail(mail_id, blob_id, received or self.next_time(), source, set(mailboxes), set(keywords or ()))
        self.mails[mail_id] = mail
        insort(self.ordered, (mail.order, mail_id))
        self.log("Email", "created", mail_id)
        self._count(mailboxes)
        return mail_id

    def change(self, mail_id: str, *, mailboxes: set[str] | None = None, keywords: set[str] | None = None) -> None:
        mail = self.mails[mail_id]
        touched = mail.mailboxes | (mailboxes or set())
        mail.mailboxes = mail.mailboxes if mailboxes is None else set(mailboxes)
        mail.keywords = mail.keywords if keywords is None else set(keywords)
        self.log("Email", "updated", mail_id)
        self._count(touched)

    def destroy(self, mail_id: str) -> None:
        mail = self.mails.pop(mail_id)
        del self.ordered[bisect_left(self.ordered, (mail.order, mail_id))]
        self.log("Email", "destroyed", mail_id)
        self._count(mail.mailboxes)

    def _count(self, mailboxes: set[str]) -> None:
        for mailbox_id in sorted(mailboxes & self.mailboxes.keys()):
            self.log("Mailbox", "updated", mailbox_id, counts=True)

    def in_mailbox(self, mailbox_id: str) -> Iterator[Mail]:
        return (self.mails[mail_id] for _, mail_id in self.ordered if mailbox_id in self.mails[mail_id].mailboxes)

    def next_time(self) -> str:
        """Return a time later than all; three mails in a row share one."""
        self.made += 1
        return (BASE + timedelta(seconds=self.made // 3)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def made_source(self) -> bytes:
        """Return a new mail's source: some with HTML, some with attachments, some large.

        Written by hand, because the standard library takes longer than a whole rebuild of the mail.
        """
        rng = self.rng
        text = "Dobrý den,\r\n" + f"text {rng.random()}\r\n" * rng.randrange(1, 12)
        parts = [b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode()]
        if rng.random() < 0.3:
            parts.append(b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>Dobr\xc3\xbd <b>den</b></p>\r\n")
        for number in range(rng.choice((0, 0, 0, 1, 2))):
            data = base64.encodebytes(rng.randbytes(rng.choice((0, 10, 3_000)))).replace(b"\n", b"\r\n")
            head = f'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="c{number}.pdf"\r\n'
            parts.append(head.encode() + b"Content-Transfer-Encoding: base64\r\n\r\n" + data)
        headers = (
            "From: =?utf-8?q?Anna_Nov=C3=A1kov=C3=A1?= <anna@example.com>\r\n"
            f"To: {self.name}, Bob <bob@example.com>\r\n"
            f"Subject: =?utf-8?q?Zpr=C3=A1va?= {self.made}-{rng.randrange(10**6)}\r\n"
            f"Message-ID: <{rng.randbytes(6).hex()}@example.com>\r\nDate: Thu, 01 Jan 2026 10:00:00 +0100\r\n"
        ).encode()
        if len(parts) == 1:
            return headers + parts[0]
        body = b"".join(b"--XX\r\n" + part + b"\r\n" for part in parts)
        return headers + b'Content-Type: multipart/mixed; boundary="XX"\r\n\r\n' + body + b"--XX--\r\n"

    def fill(self, mails: int, mailboxes: int = 5) -> None:
        """Add mailboxes and mails, some of them in several mailboxes."""
        for role in ROLES[1:]:
            self.add_mailbox(role.title(), role=role)
        for number in range(mailboxes):
            self.add_mailbox(f"Folder {number}", self.rng.choice([None, *self.mailboxes]))
        for _ in range(mails):
            self.mutate("arrive")

    def mutate(self, action: str, times: int = 1) -> None:
        """Change something at random; nothing if there is nothing to change."""
        for _ in range(times):
            getattr(self, "_" + action.replace("-", "_"))()

    def some_mailboxes(self) -> set[str]:
        names = sorted(self.mailboxes)
        return set(self.rng.sample(names, min(len(names), self.rng.choice((1, 1, 1, 2, 3)))))

    def some_mail(self) -> Mail | None:
        return self.mails[self.rng.choice(self.ordered)[1]] if self.ordered else None

    def _arrive(self) -> None:
        words = {word for word in KEYWORDS if self.rng.random() < 0.3}
        self.deliver(self.made_source(), self.some_mailboxes(), words)

    def _arrive_old(self) -> None:
        """Import a mail that was received before others."""
        mail = self.some_mail()
        self.deliver(self.made_source(), self.some_mailboxes(), received=mail.received if mail else "")

    def _again(self) -> None:
        """Deliver a mail that is there already."""
        if mail := self.some_mail():
            self.deliver(mail.source, self.some_mailboxes())

    def _flag(self) -> None:
        if mail := self.some_mail():
            self.change(mail.id, keywords=mail.keywords ^ {self.rng.choice(KEYWORDS)})

    def _move(self) -> None:
        if mail := self.some_mail():
            self.change(mail.id, mailboxes=self.some_mailboxes())

    def _copy(self) -> None:
        if mail := self.some_mail():
            self.change(mail.id, mailboxes=mail.mailboxes | self.some_mailboxes())

    def _expunge(self) -> None:
        if mail := self.some_mail():
            self.destroy(mail.id)

    def _create_mailbox(self) -> None:
        new = self.add_mailbox(f"New {self.rng.randrange(10**6)}", self.rng.choice([None, *self.mailboxes]))
        if (mail := self.some_mail()) and self.rng.random() < 0.5:
            self.change(mail.id, mailboxes=mail.mailboxes | {new})

    def _rename_mailbox(self) -> None:
        mailbox = self.mailboxes[self.rng.choice(sorted(self.mailboxes))]
        mailbox.name = f"Renamed {self.rng.randrange(10**6)}"
        self.log("Mailbox", "updated", mailbox.id)

    def _delete_mailbox(self) -> None:
        others = sorted(one.id for one in self.mailboxes.values() if one.role != "inbox")
        if len(others) > 2:
            self.remove_mailbox(self.rng.choice(others))

    def contents(self) -> dict[str, tuple[tuple[str, ...], frozenset[str], str]]:
        """Return what a client has to have: by id the mailboxes, the keywords, and the source's SHA-256."""
        return {
            mail.id: (tuple(sorted(mail.mailboxes)), frozenset(mail.keywords), hashlib.sha256(mail.source).hexdigest())
            for mail in self.mails.values()
        }


def base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode()
