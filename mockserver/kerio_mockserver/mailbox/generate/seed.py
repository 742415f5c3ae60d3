"""Mailboxes generated from a seed.

Equal seeds and options give equal mailboxes. Folders are created at once; mails are computed when they are read
(`mails.py`), so that a million of them need no memory. One folder has 12,000 mails, or a share if there are fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from kerio_mockserver.mailbox.folder_items import Source
from kerio_mockserver.mailbox.generate.folder_names import NESTED
from kerio_mockserver.mailbox.generate.mails import GeneratedMails, Style, phase_of
from kerio_mockserver.mailbox.generate.people import Person
from kerio_mockserver.mailbox.generate.pim import Contacts, Events, GeneratedItems, Notes, Tasks
from kerio_mockserver.mailbox.generate.size_table import Sizes, draw_sizes, fitted
from kerio_mockserver.mailbox.ids import FolderAddress
from kerio_mockserver.mailbox.store import MailboxStore

Shape = Literal["usual", "deep", "wide"]
BIGGEST = 12_000
_SPECIAL: tuple[tuple[str, str, int, Style], ...] = (
    ("Inbox", "FSubInbox", 30, "received"),
    ("Drafts", "FSubDrafts", 1, "draft"),
    ("Sent Items", "FSubSentItems", 14, "sent"),
    ("Deleted Items", "FSubDeletedItems", 5, "received"),
    ("Junk E-mail", "FSubJunkEmail", 4, "junk"),
)
_PIM: tuple[tuple[str, str, str, type[GeneratedItems]], ...] = (
    ("Contacts", "FContact", "contacts", Contacts),
    ("Kunden/Lieferanten", "FContact", "contacts", Contacts),
    ("Calendar", "FCalendar", "events", Events),
    ("Urlaub 🌴", "FCalendar", "events", Events),
    ("Tasks", "FTask", "tasks", Tasks),
    ("Notes", "FNote", "notes", Notes),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned mail folder; `parent` is an index among the plans, -1 the root."""

    name: str
    parent: int
    sub_type: str = "FSubNone"
    style: Style = "received"
    weight: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class SeedOptions:
    """What to generate; equal options give equal mailboxes.

    `folders` counts mail folders (at least 6), `attachments` is the share of mails that have any. `mean_bytes` per mail
    or `total_bytes` in all are bytes of text and decoded attachments (default about 60 KB per mail). `shape`: `deep`
    nests folders up to 50 levels, `wide` puts them side by side. `biggest` is the number of mails in the largest
    ordinary folder. `shared` adds a shared mailbox and public folders with a few items. ValueError if invalid.
    """

    seed: int = 7
    mails: int = 1000
    folders: int = 40
    contacts: int = 200
    events: int = 200
    tasks: int = 40
    notes: int = 20
    attachments: float = 0.2
    mean_bytes: int | None = None
    total_bytes: int | None = None
    shape: Shape = "usual"
    biggest: int | None = None
    shared: bool = True
    domain: str = "example.com"
    user: str = "anna"
    cache_bytes: int = 512 << 20
    quota_bytes: int = 0
    quota_items: int = 0

    def __post_init__(self) -> None:
        counts = (self.mails, self.contacts, self.events, self.tasks, self.notes)
        if min(counts) < 0 or not 0 <= self.attachments <= 1:
            raise ValueError("counts cannot be negative, and attachments is a share between 0 and 1")

    @property
    def content_bytes(self) -> int | None:
        """Bytes of text and decoded attachments in all mails; None for the default sizes."""
        if self.total_bytes is not None:
            return self.total_bytes
        return None if self.mean_bytes is None else self.mean_bytes * self.mails


def generate_mailbox(options: SeedOptions) -> MailboxStore:
    """Generate a mailbox; raise ValueError for options that do not fit together."""
    seed = options.seed
    store = MailboxStore(
        options.domain,
        options.user,
        seed=seed,
        cache_bytes=options.cache_bytes,
        quota_bytes=options.quota_bytes,
        quota_items=options.quota_items,
    )
    plans = counted(plan_mailbox(seed, options.folders, options.shape), options.mails, options.biggest)
    root = store.add_folder("", "Mailbox", "FRoot")
    sizes = _Sizes(seed, options.attachments, options.content_bytes)
    _add_mail_folders(store, root, plans, seed, sizes)
    _add_pim(store, root, options)
    if options.shared:
        _add_shared(store, seed, sizes.drawn, few=min(options.mails, 25))
    return store


def plan_mailbox(seed: int, folders: int, shape: Shape) -> list[Plan]:
    """Return the mail folders without their mails, parents first."""
    if folders < len(_SPECIAL) + 1:
        raise ValueError(f"a mailbox has at least {len(_SPECIAL) + 1} mail folders")
    plans = [Plan(name, -1, sub_type, style, weight) for name, sub_type, weight, style in _SPECIAL]
    places: dict[tuple[str, ...], int] = {}
    for path, weight in NESTED if shape == "usual" else ():
        if len(plans) < folders:
            places[path] = len(plans)
            plans.append(Plan(path[-1], places.get(path[:-1], -1), weight=weight))
    dice = Random(f"{seed}/folders")
    first = len(plans)
    for n in range(folders - first):
        at = len(plans)
        parent = _parent(dice, shape, first, at)
        weight = dice.choice((0, 1, 1, 1, 1, 1, 2, 2, 4, 6)) if n else 2
        plans.append(Plan(f"Folder {n:05}{dice.choice(('', '', ' é', ' – 例'))}", parent, weight=weight))
    return plans


def counted(plans: Sequence[Plan], mails: int, biggest: int | None) -> list[Plan]:
    """Return the folders with `mails` mails in all, by their weights.

    The last folder that is not special gets `biggest` of them (default 12,000, or a share if there are fewer).
    """
    ordinary = [at for at, plan in enumerate(plans) if plan.sub_type == "FSubNone"]
    last = max(ordinary, key=lambda at: (plans[at].weight > 0, at))
    if biggest is None:
        biggest = min(BIGGEST, mails // 4)
    if not 0 <= biggest <= mails:
        raise ValueError("the biggest folder cannot hold more mails than there are")
    rest, weight = mails - biggest, sum(plan.weight for at, plan in enumerate(plans) if at != last)
    counts = [biggest if at == last else rest * plan.weight // weight for at, plan in enumerate(plans)]
    counts[0] += mails - sum(counts)
    return [
        Plan(plan.name, plan.parent, plan.sub_type, plan.style, plan.weight, count)
        for plan, count in zip(plans, counts, strict=True)
    ]


@dataclass(slots=True)
class _Sizes:
    seed: int
    attachments: float
    wanted: int | None

    @property
    def drawn(self) -> Sizes:
        return draw_sizes(self.seed, self.attachments)

    def of(self, guids: Sequence[str], counts: Sequence[int]) -> Sizes:
        """Return the table for these folders, scaled to the bytes wanted."""
        if self.wanted is None:
            return self.drawn
        used = [(phase_of(self.seed, guid), count) for guid, count in zip(guids, counts, strict=True) if count]
        return fitted(self.seed, self.attachments, tuple(used), self.wanted)


def _parent(dice: Random, shape: Shape, first: int, at: int) -> int:
    """Return the parent of the folder at index `at`."""
    if shape == "wide" or at == first:
        return -1
    if shape == "deep":
        return -1 if (at - first) % 50 == 0 else at - 1
    return dice.randrange(first, at) if dice.random() < 0.7 else -1


def _add_mail_folders(store: MailboxStore, root: str, plans: Sequence[Plan], seed: int, sizes: _Sizes) -> None:
    guids = store.tree.guids(len(plans))
    table = sizes.of(guids, [plan.count for plan in plans])
    me = Person(store.name, store.address, "de")
    made: list[str] = []
    for plan in plans:
        parent = root if plan.parent < 0 else made[plan.parent]
        fill = _mails(seed, plan.count, table, me, plan.style)
        made.append(store.add_folder(parent, plan.name, "FMail", plan.sub_type, fill=fill, count=plan.count))


def _mails(
    seed: int, count: int, sizes: Sizes, me: Person, style: Style = "received"
) -> Callable[[FolderAddress, int], Source] | None:
    if not count:
        return None

    def fill(home: FolderAddress, first: int) -> Source:
        return GeneratedMails(home, seed, count, first, sizes, me, style)

    return fill


def _pim(seed: int, count: int, make: type[GeneratedItems]) -> Callable[[FolderAddress, int], Source] | None:
    if not count:
        return None

    def fill(home: FolderAddress, first: int) -> Source:
        return make(home, seed, count, first)

    return fill


def _add_pim(store: MailboxStore, root: str, options: SeedOptions) -> None:
    """Add the default folder of each kind; a second one gets a tenth of its items."""
    seen: set[str] = set()
    for name, folder_type, option, make in _PIM:
        second = option in seen
        seen.add(option)
        twice = sum(row[2] == option for row in _PIM) > 1
        total: int = getattr(options, option)
        tenth = total // 10 if twice else 0
        count = tenth if second else total - tenth
        sub_type = "FSubNone" if second else "FSubDefault"
        store.add_folder(root, name, folder_type, sub_type, fill=_pim(options.seed, count, make), count=count)


def _add_shared(store: MailboxStore, seed: int, sizes: Sizes, few: int) -> None:
    other = Person("Björn Groß", f"bjoern@{store.domain}", "de")
    mailbox = store.add_shared("bjoern", "Björn Groß")
    root = store.add_folder("", "Mailbox – Björn Groß", "FRoot", place=mailbox)
    for name, sub_type, access in (
        ("Inbox", "FSubInbox", "FAccessReadWrite"),
        ("Archiv", "FSubNone", "FAccessReadOnly"),
    ):
        fill = _mails(seed, few, sizes, other)
        store.add_folder(root, name, "FMail", sub_type, mailbox, access=access, fill=fill, count=few)
    fill = _pim(seed, 10, Events)
    store.add_folder(
        root, "Calendar", "FCalendar", "FSubDefault", mailbox, access="FAccessReadOnly", fill=fill, count=10
    )
    public = store.add_folder("", "Public Folders", "FRoot", place="public")
    fill = _mails(seed, few, sizes, other)
    store.add_folder(public, "Ankündigungen", place="public", access="FAccessReadOnly", fill=fill, count=few)
    fill = _pim(seed, 12, Contacts)
    store.add_folder(public, "Firma", "FContact", place="public", access="FAccessReadWrite", fill=fill, count=12)
    store.add_folder(public, "Nur Namen", place="public", access="FAccessListingOnly")
