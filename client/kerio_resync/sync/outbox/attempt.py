"""One attempt to have the server take a local change: looks, asks, and says what became of it, as a value.

Promises: nothing is asked for before that is recorded, durably, with what is needed to find out later whether it was
done; a change whose last attempt may have been processed is looked for before it is asked for again; the server's newer
version is never overwritten. Refuses to decide when nobody knows: `Unknown`.

How a change is known again: what was created by its Message-ID (one made of the change's uuid if it has none) or its
content, items alike that were there before left out, or by what the server tells of changes since the attempt; what was
moved by its content in the other folder, likewise; an edit by the members it set. An edit, a flag or a deletion made of
an older version than the server has is a conflict, unless the server has just that already. A move takes along whatever
version is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from kerio_resync.cache.mutations import ChangeFile, LocalChange
from kerio_resync.cache.outbox import Outbox
from kerio_resync.errors import (
    BadCredentials,
    ItemGone,
    KeyExpired,
    OutcomeUnknown,
    ProtocolError,
    ServerRefused,
    SessionExpired,
    TransientServerError,
    words_of,
)
from kerio_resync.model import Item, WriteResult
from kerio_resync.server.kerio import local_changes
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.sync.outbox.attempt_result import (
    AttemptRecord,
    Conflict,
    Fate,
    Refused,
    RetryLater,
    Sent,
    StillUnknown,
)
from kerio_resync.sync.outbox.find_created import created_since


@dataclass(slots=True)
class Attempt:
    """`item_id`, `base`: where the item is now, and which version the change was made of, earlier changes considered.
    `taken`: items that other changes have become. `unknown`: whether an attempt was made whose outcome nobody knows.
    """

    mailbox: Mailbox
    outbox: Outbox
    change: LocalChange
    item_id: str
    base: int
    taken: frozenset[str] = frozenset()
    unknown: bool = False
    trace: AttemptRecord | None = field(init=False)

    def __post_init__(self) -> None:
        self.trace = AttemptRecord.read(self.change.attempt)

    async def run(self) -> Fate:
        """Unknown: make it again, it looks first. Later: make it again after a while. Trouble with the server comes out
        as it is, and ProtocolError if what it says makes no sense when it is looked at: then nothing was done."""
        try:
            match self.change.action:
                case "create":
                    return await self._create()
                case "move":
                    return await self._move()
                case "delete":
                    return await self._delete()
                case _:
                    return await self._alter()
        except (SessionExpired, BadCredentials):
            raise
        except ServerRefused as error:
            return refusal_reason(error)
        except ValueError as error:
            return Refused(f"it can't be read ({error})")

    # what is done

    async def _create(self) -> Fate:
        change = self.change
        struct = local_changes.named(change.kind, change.struct, f"<{change.uuid}@outbox.kerio-resync.invalid>")
        item = local_changes.item_of(change.kind, f"local:{change.uuid}", change.folder_id, struct)
        if self.unknown and (found := await self._find(item, by_content=True)):
            return await self._sent(found, change.folder_id)
        if self.unknown and (there := await self._find_moved(item) or await self._created(item)):
            return await self._sent(there.id, there.folder_id)
        if self.trace is None or not self.unknown:
            key = await self._key()
            self.trace = AttemptRecord(await self._alike(item), key=key)
        struct = local_changes.with_files(change.kind, struct, [await self._upload(each) for each in change.files])
        outcome = await self._ask(lambda: self.mailbox.create(change.kind, change.folder_id, [struct]))
        if isinstance(outcome.error, ServerRefused):
            return refusal_reason(outcome.error)
        return await self._sent(outcome.id, change.folder_id, outcome.watermark, item)

    async def _alter(self) -> Fate:
        """Sets members, flags among them."""
        change = self.change
        there = await self._fetch_current()
        if there is None:
            return self._lost(None, "it is gone from the server")
        newer = there.watermark > self.base
        if (newer or self.unknown or not change.files) and await self._has(there):
            return Sent(there.id, there.folder_id, there.watermark, alone=self.unknown or not newer)
        if newer:
            return self._lost(there, f"the server has version {there.watermark}")
        struct = local_changes.with_files(
            change.kind, change.struct, [await self._upload(each) for each in change.files], there
        )
        self.trace = None
        outcome = await self._ask(lambda: self.mailbox.update(change.kind, [local_changes.with_id(struct, there.id)]))
        if isinstance(outcome.error, ItemGone) and await self._fetch_current() is None:
            return self._lost(None, "it is gone from the server")
        if isinstance(outcome.error, ServerRefused):
            return refusal_reason(outcome.error)
        return await self._sent(outcome.id or there.id, there.folder_id, outcome.watermark)

    async def _move(self) -> Fate:
        change = self.change
        there = await self._fetch_current()
        if there is None:
            return await self._moved() or self._lost(None, "it is gone from the server")
        item, alone = there._replace(folder_id=change.target_id), there.watermark <= self.base
        if there.folder_id == change.target_id:
            return Sent(there.id, there.folder_id, there.watermark, alone=alone)
        if self.trace is None or not self.unknown:
            self.trace = AttemptRecord(await self.mailbox.find(item), local_changes.fingerprint(item), alone)
        outcome = await self._ask(lambda: self.mailbox.move(change.kind, [there.id], change.target_id))
        if isinstance(outcome.error, ItemGone) and await self._fetch_current() is None:
            return await self._moved() or self._lost(None, "it is gone from the server")
        if isinstance(outcome.error, ServerRefused):
            return refusal_reason(outcome.error)
        return replace(await self._sent(outcome.id, change.target_id, outcome.watermark, item), alone=alone)

    async def _moved(self) -> Sent | None:
        """What an earlier attempt made of an item that is no longer where it was."""
        if not self.unknown or self.trace is None:
            return None
        change = self.change
        item = local_changes.item_of(change.kind, change.item_id, change.target_id, self.trace.like)
        found = await self._find(item)
        return replace(await self._sent(found, change.target_id), alone=self.trace.alone) if found else None

    async def _delete(self) -> Fate:
        there = await self._fetch_current()
        if there is None:
            return Sent(self.item_id, gone=True)
        if there.watermark > self.base:
            return self._lost(there, f"the server has version {there.watermark}")
        self.trace = None
        outcome = await self._ask(lambda: self.mailbox.remove(self.change.kind, [there.id]))
        if isinstance(outcome.error, ServerRefused):
            return refusal_reason(outcome.error)
        return Sent(there.id, gone=True)

    # how

    async def _ask(self, call: Callable[[], Awaitable[tuple[WriteResult, ...]]]) -> WriteResult:
        """Records the attempt, then makes the call. An outcome's error is a refusal; all else is raised."""
        await self.outbox.begin_attempt(self.change.uuid, str(self.trace or ""))
        try:
            (outcome,) = await call()
        except (OutcomeUnknown, ProtocolError) as error:
            raise StillUnknown(error.detail) from error
        except (SessionExpired, BadCredentials):
            raise
        except ServerRefused as error:
            outcome = WriteResult(0, error=error)
        problem = outcome.error
        if isinstance(problem, OutcomeUnknown | ProtocolError):
            raise StillUnknown(problem.detail)
        if problem is not None and (isinstance(problem, SessionExpired) or not isinstance(problem, ServerRefused)):
            raise RetryLater(str(problem)) from problem
        return outcome

    async def _fetch_current(self) -> Item | None:
        """The item as the server has it now; None if it is gone. ProtocolError if that can't be found out."""
        details = await self.mailbox.items_by_id(self.change.kind, [self.item_id])
        if details.malformed:
            raise ProtocolError(details.malformed[0].reason, scope="item")
        return details.items[0] if details.items else None

    async def _sent(self, item_id: str, folder_id: str, watermark: int = 0, item: Item | None = None) -> Sent:
        """With the id (that of what `item` became, if it was not told) and the version that later changes build on. It
        is done whatever the server says now, so nothing is raised."""
        with suppress(TransientServerError, ServerRefused, ProtocolError):
            if not item_id and item is not None:
                item_id = await self._find(item, by_content=self.change.action == "create")
            if item_id and not watermark:
                details = await self.mailbox.items_by_id(self.change.kind, [item_id])
                watermark = max((each.watermark for each in details.items), default=0)
        return Sent(item_id, folder_id, watermark)

    async def _alike(self, item: Item) -> tuple[str, ...]:
        """What is there that a later search for `item` could mistake for it."""
        found = await self.mailbox.find(item._replace(message_id=""))
        if item.message_id and self.change.uuid not in item.message_id:
            found += await self.mailbox.find(item)
        return tuple(dict.fromkeys(found))

    async def _find(self, item: Item, *, by_content: bool = False) -> str:
        """The id of what `item` has become, '' if it hasn't. `by_content`: also if the server gave a mail a Message-ID
        of its own, but only if it is known what was there before."""
        before = self.taken.union(self.trace.known if self.trace else ())
        found = [each for each in await self.mailbox.find(item) if each not in before]
        if not found and self.unknown and item.message_id:
            found = [each for each in await self._renamed(item) if each not in before]
        if not found and by_content and item.message_id and self.trace:
            found = [each for each in await self.mailbox.find(item._replace(message_id="")) if each not in before]
        return found[-1] if found else ""

    async def _renamed(self, item: Item) -> tuple[str, ...]:
        """Those in its folder that have its Message-ID, whatever was written on them meanwhile."""
        with suppress(ProtocolError):  # more than can be looked at
            return await self.mailbox.find(item, renamed=True)
        return ()

    async def _find_moved(self, item: Item) -> Item | None:
        """What was created, if it was moved to another folder meanwhile: the cache has heard of it then."""
        if not item.message_id:
            return None
        ids = [each for each in await self.outbox.find_by_message_id(item.message_id) if each not in self.taken]
        details = await self.mailbox.items_by_id("mail", ids) if ids else None
        return next((each for each in details.items if each.message_id == item.message_id), None) if details else None

    async def _key(self) -> str:
        """The sync key of now; without one, what is created can only be known by its Message-ID and content."""
        try:
            return await self.mailbox.sync_key()
        except (SessionExpired, BadCredentials):
            raise
        except (ServerRefused, ProtocolError):
            return ""

    async def _created(self, item: Item) -> Item | None:
        """What was created since the first attempt and is like `item`, under whatever Message-ID, in whatever folder.
        Somebody may have written on it meanwhile: then there must be no other that it could be."""
        if self.trace is None or not self.trace.key:
            return None
        before = self.taken.union(self.trace.known)
        try:
            found = await created_since(self.mailbox, self.trace.key, self.change.kind, self.change.folder_id)
        except KeyExpired:
            return None
        ids = [each for each in found if each not in before]
        details = await self.mailbox.items_by_id(self.change.kind, ids) if ids else None
        there = details.items if details else ()
        if same := [each for each in there if local_changes.same(item, each)]:
            return same[-1]
        written_on = [each for each in there if found[each.id] and local_changes.resembles(item, each)]
        return written_on[0] if len(written_on) == 1 else None

    async def _has(self, there: Item) -> bool:
        """Whether the server's item has the members and the files of the change."""
        if not local_changes.has_members(there, self.change.struct):
            return False
        for file in self.change.files:
            for each in local_changes.candidates(there, file.name, file.size):
                digest = hashlib.sha256()
                async for piece in self.mailbox.download(each):
                    digest = digest if piece.offset else hashlib.sha256()
                    digest.update(piece.data)
                if digest.digest() == file.sha256:
                    break
            else:
                return False
        return True

    async def _upload(self, file: ChangeFile) -> local_changes.Upload:
        chunks = self.outbox.content(file)
        upload_id = await self.mailbox.upload(file.name, file.content_type, chunks, file.size)
        return local_changes.Upload(upload_id, file.name, file.content_type, file.content_id)

    def _lost(self, there: Item | None, why: str) -> Conflict:
        """The note names both: the server's item and the local one, their versions, and what was to be done."""
        change = self.change
        struct = change.struct if change.action in ("edit", "flags") else b"{}"
        if there is not None:
            item = local_changes.with_changes(there, struct)
        else:
            known = struct if struct != b"{}" or self.trace is None else self.trace.like
            item = local_changes.item_of(change.kind, self.item_id, change.folder_id, known)
        to_be = {"edit": "edited", "flags": "marked", "move": f"moved to {change.target_id}", "delete": "deleted"}
        reason = (
            f"{change.kind} {self.item_id} was to be {to_be[change.action]} ({change.made}, version {self.base}), but"
            f" {why}; the local one is kept as local:{change.uuid}"
        )
        note = json.dumps({"conflict": reason}, ensure_ascii=False).encode()
        return Conflict(item._replace(extra=note), there, reason)


def refusal_reason(error: ServerRefused) -> Refused:
    detail = words_of(error)
    return Refused(f"{detail} (code {error.code})" if error.code else detail, error.code)
