"""Sends the changes that were made offline to the server: each once, in the order in which they were made.

Promises: whatever happens on the way, a change is in the outbox until the server has it or a person has decided; what
a change builds on is followed (an item created or moved by an earlier change, the version it has since); a change whose
outcome is unknown is looked for before it is asked for again. What the server refuses stays, named, and so do the
losers of conflicts, which also stand in the local folder "Conflicts". A refusal that may pass (quota, permission) is
tried again once in each replay, any other only if a person wants it. Refuses to go on when the server is in trouble:
the rest stays pending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kerio_resync.cache import queries
from kerio_resync.cache.mutations import ChangeState, DeleteItems, EnqueueItems, LocalChange, LocalFile
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.outbox_rows import ALL_STATES, UNSENT_STATES
from kerio_resync.errors import (
    BadCredentials,
    Overloaded,
    ProtocolError,
    SessionExpired,
    TransientServerError,
    words_of,
)
from kerio_resync.model import Kind, ListedItem
from kerio_resync.sync.context import RebuildContext
from kerio_resync.sync.outbox.attempt import Attempt
from kerio_resync.sync.outbox.attempt_result import Fate, Refused, RetryLater, Sent, StillUnknown

TO_REPLAY: Final[tuple[ChangeState, ...]] = (*UNSENT_STATES, "refused")  # the refused ones are at least named
# Not permitted, access denied, quota, too large: an administrator may lift them (or a proxy was the one who refused).
TEMPORARY_REFUSALS: Final = frozenset({413, 1003, 1004, 4102})
MAX_UNKNOWN_OUTCOMES: Final = (
    6  # attempts with unknown outcome in a row, though the server answers when it is looked at
)
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between two of them
_BASE: Final = "what it changes is not on the server"


@dataclass(slots=True)
class Replayed:
    """What came of it. `new`: (folder id, kind, id, watermark) of what the server has now; `gone`: ids it has no more;
    `trouble`: why it stopped, '' if it did not; `asked`: whether the server was asked anything."""

    sent: int = 0
    conflicts: int = 0
    pending: int = 0
    refused: int = 0
    trouble: str = ""
    asked: bool = False
    new: list[tuple[str, Kind, str, int]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ItemAddress:
    """Where an item is now, under which id, and in which version our own changes left it."""

    id: str
    watermark: int = 0


class IdMap:
    """The items that changes name: by the id they had when the change was made, or `local:` and the uuid of the change
    that creates them."""

    def __init__(self) -> None:
        self._places: dict[str, ItemAddress] = {}
        self.taken: set[str] = set()

    def find(self, change: LocalChange) -> ItemAddress:
        """Where the item of `change` is, and which version the change was made of."""
        place = self._places.get(change.item_id, ItemAddress(change.item_id))
        return ItemAddress(place.id, max(change.watermark, place.watermark))

    def settle(self, change: LocalChange, new_id: str, watermark: int) -> None:
        """A change was sent: its item is `new_id` now ('': the same), in that version (0: not known)."""
        name = named(change)
        place = self._places.get(name) or ItemAddress(change.item_id)
        place.id = new_id or place.id
        place.watermark = watermark or place.watermark
        self._places[name] = place
        if place.id:
            self._places[place.id] = place
            self.taken.add(place.id)


def named(change: LocalChange) -> str:
    """What other changes call the item of this one."""
    return f"local:{change.uuid}" if change.action == "create" else change.item_id


def retryable(changes: Sequence[LocalChange]) -> list[LocalChange]:
    """Of refused changes those whose reason may have passed, and those that only waited for one of these."""
    again: list[LocalChange] = []
    names: set[str] = set()
    for each in changes:
        if each.state == "refused" and (abs(each.code) in TEMPORARY_REFUSALS or each.item_id in names):
            again.append(each)
            if each.action == "create":
                names.add(named(each))
    return again


async def replay(run: RebuildContext) -> Replayed:
    """Sends what is pending in `run.store`, the cache in use. Errors of the cache come out, no others."""
    outbox = Outbox(run.store)
    for each in retryable(await outbox.list(("refused",))):
        await outbox.mark_pending(each.uuid)
    found = await Replay(run, outbox).run(await outbox.list(ALL_STATES))
    left = await outbox.list(TO_REPLAY)
    found.pending = sum(each.state in UNSENT_STATES for each in left)
    for each in left:
        if each.state == "refused":
            found.refused += 1
            run.notice(f"Local change {each.uuid} ({each.action} of a {each.kind}) is not sent: {each.reason}")
    if found.trouble:
        run.notice(f"Not all local changes could be sent ({found.trouble}); {found.pending} are pending.")
    return found


async def enqueue_results(run: RebuildContext, found: Replayed) -> bool:
    """Lets go of what is deleted, and wants what the change feed did not tell of; whether there was any such."""
    if found.gone:
        await run.store.apply(DeleteItems(tuple(found.gone)))
    stored = await run.store.read(queries.watermarks, [item_id for _, _, item_id, _ in found.new])
    untold = [each for each in found.new if each[0] in run.folders and stored.get(each[2], -1) < each[3]]
    for folder_id, kind, item_id, watermark in untold:
        await run.store.apply(EnqueueItems(folder_id, kind, (ListedItem(item_id, watermark),)))
    return bool(untold)


class Replay:
    """One replay under way."""

    def __init__(self, run: RebuildContext, outbox: Outbox) -> None:
        self._run, self._outbox = run, outbox
        self._names = IdMap()
        self._stuck: dict[str, ChangeState] = {}  # names that later changes can't build on, and why
        self._found = Replayed()

    async def run(self, changes: Sequence[LocalChange]) -> Replayed:
        """`changes`: all of the outbox, oldest first."""
        for change in changes:  # also what was sent after one that is to be sent again
            if change.state == "sent" and change.new_id:
                self._names.taken.add(change.new_id)
        for change in changes:
            if change.state == "sent":
                self._names.settle(change, change.new_id, change.version)
            elif change.state in UNSENT_STATES:
                try:
                    await self._one(change)
                except (TransientServerError, SessionExpired, BadCredentials) as error:
                    self._found.trouble = words_of(error)
                    break
            elif change.action == "create":
                self._stuck[named(change)] = change.state
        return self._found

    async def _one(self, change: LocalChange) -> None:
        self._found.asked = True
        place = self._names.find(change)
        stuck = self._stuck.get(change.item_id)
        if stuck in UNSENT_STATES:
            self._stuck[named(change)] = "pending"  # what it builds on is still open
            return
        if change.action != "create" and (stuck or not place.id or place.id.startswith("local:")):
            await self._outbox.mark_refused(change.uuid, f"{_BASE} ({change.item_id})")
            return
        try:
            fate = await self._settle(change, place)
        except (StillUnknown, ProtocolError) as error:
            self._stuck[named(change)] = "sending"
            what = f"Local change {change.uuid} ({change.action} of a {change.kind})"
            self._run.notice(f"{what} could not be settled and stays pending: {error}")
            return
        await self._record(change, place, fate)

    async def _settle(self, change: LocalChange, place: ItemAddress) -> Fate:
        """Attempts it until it is known what became of it. Unknown, ProtocolError: that can't be found out now.
        TransientServerError: the server is in trouble; a change that was surely not processed is pending again."""
        run = self._run
        attempt = Attempt(
            run.mailbox, self._outbox, change, place.id, place.watermark, frozenset(self._names.taken),
            unknown=change.state == "sending",
        )  # fmt: skip
        start, pause, unknown = run.clock(), FIRST_PAUSE, 0
        while True:
            late = run.clock() - start >= run.settings.retry_timeout
            try:
                return await attempt.run()
            except StillUnknown:
                attempt.unknown = True
                unknown += 1
                if late or unknown == MAX_UNKNOWN_OUTCOMES:
                    raise
            except RetryLater as error:
                if late:
                    await self._give_back(attempt)
                    raise Overloaded(str(error)) from error
            except (TransientServerError, SessionExpired, BadCredentials, ProtocolError):
                await self._give_back(attempt)
                raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _give_back(self, attempt: Attempt) -> None:
        """What was surely not processed is pending as before."""
        if not attempt.unknown:
            await self._outbox.mark_pending(attempt.change.uuid)

    async def _files(self, change: LocalChange) -> tuple[LocalFile, ...]:
        found = []
        for each in change.files:
            data = b"".join([piece async for piece in self._outbox.content(each)])
            found.append(LocalFile(each.name, each.content_type, data, each.content_id))
        return tuple(found)

    async def _record(self, change: LocalChange, place: ItemAddress, fate: Fate) -> None:
        match fate:
            case Sent():
                version = fate.watermark if fate.alone else 0
                await self._outbox.mark_sent(change.uuid, fate.id if fate.id != change.item_id else "", version)
                self._names.settle(change, fate.id, version)
                self._found.sent += 1
                if fate.gone:
                    self._found.gone.append(fate.id)
                elif fate.id and fate.watermark:
                    self._found.new.append((fate.folder_id, change.kind, fate.id, fate.watermark))
            case Refused():
                await self._outbox.mark_refused(change.uuid, fate.reason, fate.code)
                if change.action == "create":
                    self._stuck[named(change)] = "refused"
            case _:
                await self._outbox.record_conflict(change.uuid, fate.item, fate.reason, await self._files(change))
                self._found.conflicts += 1
                self._run.notice(f"Conflict: {fate.reason}")
