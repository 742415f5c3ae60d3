"""What each user's cache needs.

Which action, and what a rebuild costs server, link and machine.

A rebuild fetches texts in batches (JSON, compressed on the way) and attachments one by one (as they are, so smaller
than in MIME). Each call occupies a worker of the server for a time of its own and for its bytes. The figures are in
`MailboxSettings`; their sources are in docs/fleet.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kerio_resync.fleet.inputs.inventory import Person
from kerio_resync.fleet.inputs.settings import MailboxSettings, PlanSettings
from kerio_resync.fleet.plan import Action
from kerio_resync.sync.batch_size import DEFAULT_BYTES
from kerio_resync.sync.disk_space import DATABASE_OVERHEAD, RESERVE_BYTES
from kerio_resync.upgrade.formats import UPGRADES, format_version

UPGRADE_OVERHEAD: Final = 1.15  # size of the new file over that of the old one, at most
SESSION_CALLS: Final = 10  # login, key, folders, changes, logout
LISTINGS_PER_FOLDER: Final = 2  # for the fetch, and for the comparison at the end
PAGE_ITEMS: Final = 500
_UPGRADABLE: Final = {".".join(format_version(upgrade.before).split(".")[:2]) for upgrade in UPGRADES}
_CURRENT: Final = ".".join(format_version(max(upgrade.after for upgrade in UPGRADES)).split(".")[:2])


@dataclass(frozen=True, slots=True)
class Work:
    """A user's action and its cost.

    `reason`: part of a sentence. `wire`: bytes over the link. `calls`: requests to the server. `needed`: bytes of room.
    `seconds`: of a local upgrade. `items`: to fetch. `list_calls`: of `calls`, those for the lists.
    """

    action: Action
    reason: str
    wire: float = 0.0
    calls: float = 0.0
    items: int = 0
    needed: int = 0
    seconds: float = 0.0
    list_calls: float = 0.0
    drop_first: bool = False


def work_of(person: Person, settings: PlanSettings, unknown_bytes: float) -> Work:
    """Return what a user's cache needs.

    `unknown_bytes`: of a mailbox whose size is unknown.
    """
    mailbox = unknown_bytes if person.mailbox_bytes is None else person.mailbox_bytes
    possible, why = _upgrade_possible(person)
    if possible is None:
        return Work("nothing", why)
    cache = person.cache_bytes if person.cache_bytes is not None else int(mailbox * UPGRADE_OVERHEAD)
    free = person.free_bytes
    if possible:
        needed = int(cache * UPGRADE_OVERHEAD) + RESERVE_BYTES
        if free is None or needed <= free:
            return Work("upgrade", why, needed=needed, seconds=cache / settings.client.upgrade_bytes_s)
        why = "an upgrade does not fit on the disk"
    wire, calls, items, stored = _rebuild(mailbox, person.items, settings.mailbox)
    lists = list_calls(items, settings.mailbox)
    needed = int(stored * DATABASE_OVERHEAD) + RESERVE_BYTES
    if free is None or needed <= free:
        return Work("rebuild", why, wire, calls, items, needed, list_calls=lists)
    freed = 0 if person.state == "absent" else person.cache_bytes or 0
    if needed <= free + freed:
        why = f"{why}; only without the old cache is there room"
        beside = max(0, needed - freed)
        return Work("rebuild", why, wire, calls, items, beside, list_calls=lists, drop_first=True)
    return Work("needs-room", f"{why}, and a rebuild does not fit on the disk", items=items, needed=needed - freed)


def _upgrade_possible(person: Person) -> tuple[bool | None, str]:
    """Return whether the cache can be upgraded (None: it is current), and why."""
    short = ".".join(person.version.removeprefix("v").split(".")[:2])
    if person.version.isdigit() and len(person.version) == 5:
        short = ".".join(format_version(int(person.version)).split(".")[:2])
    known = {"absent": "there is no cache yet", "damaged": "the cache is damaged", "newer": "the cache is of a newer"
             " version", "unreadable": "the cache cannot be read", "mid-change": "the cache is in the middle of a"
             " change", "unknown": "the format of the cache is unknown"}  # fmt: skip
    if person.state in known:
        return False, known[person.state]
    if person.state == "current" or (not person.state and short == _CURRENT):
        return None, "the cache is up to date"
    if short in _UPGRADABLE or (person.state == "old" and not short):
        return True, f"the cache has format {short}" if short else "the cache is old"
    if short:
        return False, f"format {short} of the cache cannot be upgraded"
    return False, "the state of the cache is unknown"


def _rebuild(mailbox: float, items: int | None, settings: MailboxSettings) -> tuple[float, float, int, float]:
    """Return bytes over the link, requests, items, and bytes to store."""
    count = items if items is not None else round(mailbox / settings.bytes_per_mail) + settings.entries
    mails = max(0, count - settings.entries)
    text = count * settings.text_bytes
    contents = max(0.0, mailbox - text) * settings.contents
    kept = {"all": 1.0, "inbox": settings.inbox_share, "none": 0.0}[settings.attachments_kept]
    calls = SESSION_CALLS + list_calls(count, settings) + text / DEFAULT_BYTES + mails * settings.attachments * kept
    return text * settings.compression + contents * kept, calls, count, text + contents * kept


def list_calls(items: int, settings: MailboxSettings) -> float:
    """Return the requests for the lists of a mailbox, at both ends of its rebuild."""
    return LISTINGS_PER_FOLDER * (settings.folders + items / PAGE_ITEMS)


def mean_mailbox(people: Sequence[Person], default: float) -> float:
    """Return the mean of the known sizes, for mailboxes of unknown size."""
    known = [person.mailbox_bytes for person in people if person.mailbox_bytes is not None]
    return sum(known) / len(known) if known else default
