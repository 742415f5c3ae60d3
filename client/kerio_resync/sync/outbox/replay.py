"""Sends the changes made offline, each once, in the order in which they were made.

A change stays in the outbox until the server has it or the user decides, whatever happens meanwhile. Later changes
follow earlier ones: the new id of an item that was created or moved, and the version that our own change left. A change
with an unknown outcome is looked for on the server before it is sent again. Refused changes and conflicts stay, with
the reason; the loser of a conflict is in the local folder "Conflicts", too. Each replay sends changes again that were
refused for size, permission or quota (`TEMPORARY_REFUSALS`). If the server is unreachable or overloaded, the rest stays
pending.
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
from kerio_resync.sync.outbox.attempt_result import AttemptResult, Refused, RetryLater, Sent, StillUnknown

TO_REPLAY: Final[tuple[ChangeState, ...]] = (*UNSENT_STATES, "refused")  # refused changes are at least reported
# Too large, not permitted, access denied, quota: an administrator may change that, or it was a proxy that refused.
TEMPORARY_REFUSALS: Final = frozenset({413, 1003, 1004, 4102})
MAX_UNKNOWN_OUTCOMES: Final = 6  # of a change in a row, while the server answers the search for it
MIN_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 30.0


@dataclass(slots=True)
class Replayed:
    """The result of a replay.

    `new`: (folder id, kind, item id, version) of what the server has now; `gone`: ids of deleted items; `trouble`:
    why it stopped early, '' if it did not; `asked`: whether a request was made.
    """

    sent: int = 0
    conflicts: int = 0
    pending: int = 0
    refused: int = 0
    trouble: str = ""
    asked: bool = False
    new: list[tuple[str, Kind, str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ItemAddress:
    """An item's present id, and the versions before and after our own changes."""

    id: str
    versions: frozenset[str] = frozenset()


class IdMap:
    """The addresses of items by the ids in changes.

    Created items have the id `local:UUID`.
    """

    def __init__(self) -> None:
        self._addresses: dict[str, ItemAddress] = {}
        self.claimed: set[str] = set()  # ids of items that changes became

    def find(self, change: LocalChange) -> ItemAddress:
        """Return the item's id now, and the versions that the change may be made of."""
        address = self._addresses.get(change.item_id, ItemAddress(change.item_id))
        return ItemAddress(address.id, address.versions.union((change.version,)) - {""})

    def settle(self, change: LocalChange, new_id: str, version: str) -> None:
        """Record that a change was sent.

        `new_id` '': the id is the same; `version` '': the version is unknown.
        """
        name = known_as(change)
        address = self._addresses.get(name) or ItemAddress(change.item_id)
        address.id = new_id or address.id
        address.versions = frozenset((version,)) if version else address.versions
        self._addresses[name] = address
        if address.id:
            self._addresses[address.id] = address
            self.claimed.add(address.id)


def known_as(change: LocalChange) -> str:
    """Return the id by which later changes know the item of a change."""
    return f"local:{change.uuid}" if change.action == "create" else change.item_id


def retryable(changes: Sequence[LocalChange]) -> list[LocalChange]:
    """Return the refused changes to send again.

    Changes of a creation among them are included.
    """
    again: list[LocalChange] = []
    created: set[str] = set()
    for change in changes:
        temporary = abs(change.code) in TEMPORARY_REFUSALS
        if change.state == "refused" and (temporary or change.item_id in created):
            again.append(change)
            if change.action == "create":
                created.add(known_as(change))
    return again


async def replay(run: RebuildContext) -> Replayed:
    """Send the unsent changes of `run.store`, the cache in use.

    Only errors of the cache are raised.
    """
    outbox = Outbox(run.store)
    for change in retryable(await outbox.list(("refused",))):
        await outbox.mark_pending(change.uuid)
    result = await Replay(run, outbox).run(await outbox.list(ALL_STATES))
    left = await outbox.list(TO_REPLAY)
    result.pending = sum(change.state in UNSENT_STATES for change in left)
    for change in left:
        if change.state == "refused":
            result.refused += 1
            run.notice(f"{_described(change)} is not sent: {change.reason}")
    if result.trouble:
        run.notice(f"Not all local changes could be sent ({result.trouble}); {result.pending} are pending.")
    return result


async def enqueue_results(run: RebuildContext, result: Replayed) -> bool:
    """Apply the result of a replay to the cache.

    Return whether items were queued that the server's changes did not name.
    """
    if result.gone:
        await run.store.apply(DeleteItems(tuple(result.gone)))
    stored = await run.store.read(queries.versions, [item_id for _, _, item_id, _ in result.new])
    missing = [
        (folder_id, kind, item_id, version)
        for folder_id, kind, item_id, version in result.new
        if folder_id in run.folders and run.is_outdated(stored.get(item_id), version)
    ]
    for folder_id, kind, item_id, version in missing:
        await run.store.apply(EnqueueItems(folder_id, kind, (ListedItem(item_id, version),)))
    return bool(missing)


class Replay:
    """A replay in progress."""

    def __init__(self, run: RebuildContext, outbox: Outbox) -> None:
        self._run, self._outbox = run, outbox
        self._ids = IdMap()
        self._blocked: dict[str, ChangeState] = {}  # ids that later changes cannot build on, and why
        self._result = Replayed()

    async def run(self, changes: Sequence[LocalChange]) -> Replayed:
        """Send what is unsent. `changes`: the whole outbox, oldest first."""
        for change in changes:  # a change to send again must not take an item of a later one that was sent
            if change.state == "sent" and change.new_id:
                self._ids.claimed.add(change.new_id)
        for change in changes:
            if change.state == "sent":
                self._ids.settle(change, change.new_id, change.sent_version)
            elif change.state in UNSENT_STATES:
                try:
                    await self._send(change)
                except (TransientServerError, SessionExpired, BadCredentials) as error:
                    self._result.trouble = words_of(error)
                    break
            elif change.action == "create":
                self._blocked[known_as(change)] = change.state
        return self._result

    async def _send(self, change: LocalChange) -> None:
        self._result.asked = True
        address = self._ids.find(change)
        blocked = self._blocked.get(change.item_id)
        if blocked in UNSENT_STATES:
            self._blocked[known_as(change)] = "pending"
            return
        if change.action != "create" and (blocked or not address.id or address.id.startswith("local:")):
            await self._outbox.mark_refused(change.uuid, f"what it changes is not on the server ({change.item_id})")
            return
        try:
            result = await self._attempt(change, address)
        except (StillUnknown, ProtocolError) as error:
            self._blocked[known_as(change)] = "sending"
            self._run.notice(f"{_described(change)} has an unknown outcome and stays pending: {error}")
            return
        await self._record(change, result)

    async def _attempt(self, change: LocalChange, address: ItemAddress) -> AttemptResult:
        """Send a change until its outcome is known.

        StillUnknown, ProtocolError: the outcome cannot be found out now. TransientServerError: the server is
        unreachable or overloaded. A change that was certainly not executed is pending again.
        """
        run = self._run
        attempt = Attempt(
            run.mailbox, self._outbox, change, address.id, address.versions, frozenset(self._ids.claimed),
            unknown=change.state == "sending",
        )  # fmt: skip
        start, pause, unknown_outcomes = run.clock(), MIN_PAUSE_SECONDS, 0
        while True:
            is_last = run.clock() - start >= run.settings.retry_timeout
            try:
                return await attempt.run()
            except StillUnknown:
                attempt.unknown = True
                unknown_outcomes += 1
                if is_last or unknown_outcomes == MAX_UNKNOWN_OUTCOMES:
                    raise
            except RetryLater as error:
                if is_last:
                    await self._return_to_pending(attempt)
                    raise Overloaded(str(error)) from error
            except (TransientServerError, SessionExpired, BadCredentials, ProtocolError):
                await self._return_to_pending(attempt)
                raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def _return_to_pending(self, attempt: Attempt) -> None:
        """Mark a change as pending if it was certainly not executed."""
        if not attempt.unknown:
            await self._outbox.mark_pending(attempt.change.uuid)

    async def _files(self, change: LocalChange) -> tuple[LocalFile, ...]:
        files = []
        for file in change.files:
            data = b"".join([chunk async for chunk in self._outbox.content(file)])
            files.append(LocalFile(file.name, file.content_type, data, file.content_id))
        return tuple(files)

    async def _record(self, change: LocalChange, result: AttemptResult) -> None:
        match result:
            case Sent():
                version = result.version if result.only_ours else ""
                await self._outbox.mark_sent(change.uuid, result.id if result.id != change.item_id else "", version)
                self._ids.settle(change, result.id, version)
                self._result.sent += 1
                if result.gone:
                    self._result.gone.append(result.id)
                elif result.id and result.version:
                    self._result.new.append((result.folder_id, change.kind, result.id, result.version))
            case Refused():
                await self._outbox.mark_refused(change.uuid, result.reason, result.code)
                if change.action == "create":
                    self._blocked[known_as(change)] = "refused"
            case _:
                await self._outbox.record_conflict(change.uuid, result.item, result.reason, await self._files(change))
                self._result.conflicts += 1
                self._run.notice(f"Conflict: {result.reason}")


def _described(change: LocalChange) -> str:
    return f"Local change {change.uuid} ({change.action} of a {change.kind})"
