"""The state of each phase of a run: one mutable value per phase.

The immutable `RebuildContext` holds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kerio_resync.sync.batch_size import BatchSize
from kerio_resync.sync.listing.early import EarlyListing


@dataclass(slots=True)
class FetchState:
    """Fetching of items and attachments.

    `consecutive_failures`: items in a row that failed although each was requested alone. `unlistable`: ids of malformed
    list rows, which no fetch by id can repair. `flag_changes`: ids of items of which only flags changed, so that their
    stored attachments are still valid.
    """

    batch_size: BatchSize = field(default_factory=BatchSize)
    consecutive_failures: int = 0
    unlistable: set[str] = field(default_factory=set)
    flag_changes: frozenset[str] = frozenset()


@dataclass(slots=True)
class ReuseState:
    """Reuse of the old cache.

    `is_copy`: the new cache began as a copy of the old one, and has not been compared with the server's lists yet.
    `initial_items`: items stored when the run began. `reused_items`: items taken from the old cache.
    """

    is_copy: bool = False
    initial_items: int = 0
    reused_items: int = 0


@dataclass(slots=True)
class ComparisonState:
    """Comparison of the cache with the server's lists.

    `early`: lists requested before there was anything to compare. `retried`: ids that were skipped once; what is stored
    of them may be outdated. `unlisted`: ids of stored items that are missing in the complete list of their folder.
    `contradictions`: (item id, id of another folder that lists it) already reported. `repaired`: rows that a comparison
    found missing or different.
    """

    early: EarlyListing = field(default_factory=EarlyListing)
    retried: set[str] = field(default_factory=set)
    unlisted: set[str] = field(default_factory=set)
    contradictions: set[tuple[str, str]] = field(default_factory=set)
    repaired: int = 0


@dataclass(slots=True)
class Announcements:
    """What the listener has received.

    `notices`: sentences for the report; `skipped`: (scope, id) already announced.
    """

    notices: list[str] = field(default_factory=list)
    skipped: set[tuple[str, str]] = field(default_factory=set)
