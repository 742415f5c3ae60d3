"""One attempt to send a local change.

What is needed to find out later whether a call was executed is durable before the call. If the last call may have been
executed, the attempt looks for its effect before it repeats the call. A change of another client is never overwritten:
an edit, a flag or a deletion that was made of another version than the server's is a conflict, unless the server's item
has just these members already. Where only flags and folders of an item can change, a flag overwrites nothing else, and
is no conflict. A move takes along whatever version is there.

The effect of a change is recognised:

- for a creation, by the Message-ID (made of the change's uuid if the item has none) or the content, among the items
  that did not exist before the attempt, or in the server's changes since then;
- for a move, in the same way, by the item's content in the other folder;
- for an edit, by the members that it set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from kerio_resync.cache.mutations import FLAGS, ChangeFile, LocalChange
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
from kerio_resync.model import Attachment, Item, WriteResult, is_newer
from kerio_resync.server.mailbox import Mailbox, Upload
from kerio_resync.sync.outbox.attempt_result import (
    AttemptRecord,
    AttemptResult,
    Conflict,
    Refused,
    RetryLater,
    Sent,
    StillUnknown,
)
from kerio_resync.sync.outbox.find_created import created_since

_GONE = "it is gone from the server"
_SOURCE_TYPE = "message/rfc822"


@dataclass(slots=True)
class Attempt:
    """An attempt, which `run` can repeat.

    `item_id` and `bases`: the item now, and the versions that the change was made of, earlier changes included.
    `claimed`: ids of the items that other changes became. `unknown`: the outcome of an earlier call is not known.
    """

    mailbox: Mailbox
    outbox: Outbox
    change: LocalChange
    item_id: str
    bases: frozenset[str]
    claimed: frozenset[str] = frozenset()
    unknown: bool = False
    record: AttemptRecord | None = field(init=False)

    def __post_init__(self) -> None:
        self.record = AttemptRecord.from_json(self.change.attempt)

    async def run(self) -> AttemptResult:
        """Send the change.

        StillUnknown: run it again, it looks first. RetryLater: run it again after a while. TransientServerError,
        SessionExpired, BadCredentials, and ProtocolError if a reply before the call is invalid: nothing was done.
        """
        try:
            match self.change.action:
                case "create":
                    return await self._create()
                case "move":
                    return await self._move()
                case "delete":
                    return await self._delete()
                case _:  # edit, flags
                    return await self._update()
        except (SessionExpired, BadCredentials):
            raise
        except ServerRefused as error:
            detail = words_of(error)
            return Refused(f"{detail} (code {error.code})" if error.code else detail, error.code)
        except ValueError as error:
            return Refused(f"it cannot be read ({error})")

    async def _create(self) -> AttemptResult:
        change, dialect = self.change, self.mailbox.dialect
        message_id = f"<{change.uuid}@outbox.kerio-resync.invalid>"
        source = await self._source()
        if source is None:
            struct = dialect.with_message_id(change.kind, change.struct, message_id)
        else:
            struct, source = dialect.from_source(change.struct, source, message_id)
        item = dialect.item_from_struct(change.kind, f"local:{change.uuid}", change.folder_id, struct)
        if self.unknown:
            if item_id := await self._find(item, by_content=True):
                return await self._sent(item_id, change.folder_id)
            if current := await self._find_moved(item) or await self._find_in_changes(item):
                return await self._sent(current.id, current.folder_id)
        if self.record is None or not self.unknown:
            key = await self._sync_key()
            self.record = AttemptRecord(await self._similar_ids(item), key=key)
        uploads = [await self._upload(file, source) for file in change.files]
        struct = dialect.with_files(change.kind, struct, uploads)
        result = await self._call(lambda: self.mailbox.create(change.kind, change.folder_id, [struct]))
        return await self._sent(result.id, change.folder_id, result.version, item)

    async def _update(self) -> AttemptResult:
        """Set members, such as flags."""
        change = self.change
        current = await self._current()
        if current is None:
            return self._conflict(None, _GONE)
        changed = self._is_changed(current)
        if (changed or self.unknown or not change.files) and await self._has_change(current):
            return Sent(current.id, current.folder_id, current.version, only_ours=self.unknown or not changed)
        if changed and not (change.action == "flags" and self.mailbox.traits.immutable_contents):
            return self._conflict(current, f"the server has version {current.version}")
        uploads = [await self._upload(file) for file in change.files]
        dialect = self.mailbox.dialect
        struct = dialect.with_id(dialect.with_files(change.kind, self._struct, uploads, current), current.id)
        self.record = None
        try:
            result = await self._call(lambda: self.mailbox.update(change.kind, [struct]))
        except ItemGone:
            if await self._current() is None:
                return self._conflict(None, _GONE)
            raise
        sent = await self._sent(result.id or current.id, current.folder_id, result.version)
        return replace(sent, only_ours=not changed)

    async def _move(self) -> AttemptResult:
        change = self.change
        current = await self._current()
        if current is None:
            return await self._moved_before() or self._conflict(None, _GONE)
        target, only_ours = current._replace(folder_ids=(change.target_id,)), not self._is_changed(current)
        if change.target_id in current.folder_ids and (
            change.folder_id not in current.folder_ids or change.folder_id == change.target_id
        ):
            return Sent(current.id, change.target_id, current.version, only_ours=only_ours)
        left = change.folder_id if change.folder_id in current.folder_ids else current.folder_id
        if self.record is None or not self.unknown:
            fingerprint = self.mailbox.dialect.fingerprint(target)
            self.record = AttemptRecord(await self.mailbox.find(target), fingerprint, only_ours)
        try:
            result = await self._call(
                lambda: self.mailbox.move(change.kind, [current.id], change.target_id, from_folder_id=left)
            )
        except ItemGone:
            if await self._current() is None:
                return await self._moved_before() or self._conflict(None, _GONE)
            raise
        return replace(await self._sent(result.id, change.target_id, result.version, target), only_ours=only_ours)

    async def _moved_before(self) -> Sent | None:
        """Return what an earlier call made of an item that is no longer where it was."""
        if not self.unknown or self.record is None:
            return None
        change = self.change
        item = self.mailbox.dialect.item_from_struct(
            change.kind, change.item_id, change.target_id, self.record.fingerprint
        )
        item_id = await self._find(item)
        if not item_id:
            return None
        return replace(await self._sent(item_id, change.target_id), only_ours=self.record.only_ours)

    async def _delete(self) -> AttemptResult:
        current = await self._current()
        if current is None:
            return Sent(self.item_id, gone=True)
        if self._is_changed(current):
            return self._conflict(current, f"the server has version {current.version}")
        self.record = None
        await self._call(lambda: self.mailbox.remove(self.change.kind, [current.id]))
        return Sent(current.id, gone=True)

    async def _call(self, call: Callable[[], Awaitable[tuple[WriteResult, ...]]]) -> WriteResult:
        """Record the attempt, make the call, and return the result of its only item.

        ServerRefused: the server refused it. StillUnknown, RetryLater.
        """
        await self.outbox.begin_attempt(self.change.uuid, self.record.to_json() if self.record else "")
        try:
            (result,) = await call()
        except (OutcomeUnknown, ProtocolError) as error:
            raise StillUnknown(error.detail) from error
        match result.error:
            case None:
                return result
            case OutcomeUnknown() | ProtocolError() as failure:
                raise StillUnknown(failure.detail) from failure
            case ServerRefused() as refusal if not isinstance(refusal, SessionExpired):
                raise refusal
            case failure:
                raise RetryLater(str(failure)) from failure

    async def _current(self) -> Item | None:
        """Return the server's item, None if it is gone.

        ProtocolError if the server does not tell.
        """
        batch = await self.mailbox.items_by_id(self.change.kind, [self.item_id])
        if batch.malformed:
            raise ProtocolError(batch.malformed[0].reason, scope="item")
        return batch.items[0] if batch.items else None

    def _is_changed(self, current: Item) -> bool:
        """Return whether the server's item has changed since the change was made."""
        if not current.version:
            return False
        if self.mailbox.traits.ordered_versions:
            return all(is_newer(current.version, base) for base in self.bases)
        return current.version not in self.bases

    @property
    def _struct(self) -> bytes:
        """The members to set, in the server's dialect."""
        change = self.change
        return (
            self.mailbox.dialect.flags_struct(change.kind, change.struct) if change.action == "flags" else change.struct
        )

    async def _sent(self, item_id: str, folder_id: str, version: str = "", item: Item | None = None) -> Sent:
        """Return the result of an executed call, with the id and version now.

        If the reply had no id, the server is searched for `item`. Whatever it answers, the call stays executed, so no
        error is raised.
        """
        with suppress(TransientServerError, ServerRefused, ProtocolError):
            if not item_id and item is not None:
                item_id = await self._find(item, by_content=self.change.action == "create")
            if item_id and not version:
                batch = await self.mailbox.items_by_id(self.change.kind, [item_id])
                version = next((current.version for current in batch.items), "")
        return Sent(item_id, folder_id, version)

    async def _similar_ids(self, item: Item) -> tuple[str, ...]:
        """Return the ids of items that a later search for `item` could mistake for it."""
        ids = await self.mailbox.find(item._replace(message_id=""))
        if item.message_id and self.change.uuid not in item.message_id:
            ids += await self.mailbox.find(item)
        return tuple(dict.fromkeys(ids))

    def _new(self, ids: Iterable[str]) -> list[str]:
        """Return the ids without those of other changes and of earlier items."""
        before = self.claimed.union(self.record.known if self.record else ())
        return [item_id for item_id in ids if item_id not in before]

    async def _find(self, item: Item, *, by_content: bool = False) -> str:
        """Return the id of what `item` became, '' if there is none.

        `by_content`: search also for a mail that got another Message-ID from the server, if it is known which items
        existed before.
        """
        ids = self._new(await self.mailbox.find(item))
        if not ids and self.unknown and item.message_id:
            with suppress(ProtocolError):  # there are more items than the search may look at
                ids = self._new(await self.mailbox.find(item, renamed=True))
        if not ids and by_content and item.message_id and self.record:
            ids = self._new(await self.mailbox.find(item._replace(message_id="")))
        return ids[-1] if ids else ""

    async def _find_moved(self, item: Item) -> Item | None:
        """Return a created mail that is in another folder now, if the cache has it."""
        if not item.message_id:
            return None
        stored = await self.outbox.find_by_message_id(item.message_id)
        ids = [item_id for item_id in stored if item_id not in self.claimed]
        items = (await self.mailbox.items_by_id("mail", ids)).items if ids else ()
        return next((current for current in items if current.message_id == item.message_id), None)

    async def _sync_key(self) -> str:
        """Return the sync key.

        Without one, a creation is recognized only by Message-ID and content.
        """
        try:
            return await self.mailbox.sync_key()
        except (SessionExpired, BadCredentials):
            raise
        except (ServerRefused, ProtocolError):
            return ""

    async def _find_in_changes(self, item: Item) -> Item | None:
        """Return the item that was created since the first attempt.

        It may have another Message-ID and folder now. It may have been edited meanwhile. Then it has to be the only one
        that it could be.
        """
        if self.record is None or not self.record.key:
            return None
        try:
            created = await created_since(self.mailbox, self.record.key, self.change.kind, self.change.folder_id)
        except KeyExpired:
            return None
        ids = self._new(created)
        items = (await self.mailbox.items_by_id(self.change.kind, ids)).items if ids else ()
        anonymous, dialect = item._replace(message_id=""), self.mailbox.dialect
        if same := [current for current in items if dialect.is_same_content(anonymous, current)]:
            return same[-1]
        edited = [current for current in items if created[current.id] and dialect.resembles(item, current)]
        return edited[0] if len(edited) == 1 else None

    async def _has_change(self, current: Item) -> bool:
        """Return whether the server's item has the members and the files of the change."""
        dialect = self.mailbox.dialect
        if not dialect.has_members(current, self._struct):
            return False
        for file in self.change.files:
            for attachment in dialect.file_candidates(current, file.name, file.size):
                if await self._has_content(attachment, file):
                    break
            else:
                return False
        return True

    async def _has_content(self, attachment: Attachment, file: ChangeFile) -> bool:
        digest = hashlib.sha256()
        async for chunk in self.mailbox.download(attachment):
            digest = digest if chunk.offset else hashlib.sha256()
            digest.update(chunk.data)
        return digest.digest() == file.sha256

    async def _source(self) -> bytes | None:
        """Return the source of a mail that is created from it, else None."""
        change = self.change
        if change.kind != "mail" or [file.content_type.lower() for file in change.files] != [_SOURCE_TYPE]:
            return None
        if not json.loads(change.struct).keys() <= FLAGS:
            return None  # the mail has a mail as its attachment
        return b"".join([chunk async for chunk in self.outbox.content(change.files[0])])

    async def _upload(self, file: ChangeFile, data: bytes | None = None) -> Upload:
        """Upload a file, or `data` in its place."""
        chunks = self.outbox.content(file) if data is None else _once(data)
        size = file.size if data is None else len(data)
        upload_id = await self.mailbox.upload(file.name, file.content_type, chunks, size)
        return Upload(upload_id, file.name, file.content_type, file.content_id)

    def _conflict(self, current: Item | None, why: str) -> Conflict:
        """Return the conflict.

        Its reason names both items, their versions, and what was to be done.
        """
        change, dialect = self.change, self.mailbox.dialect
        struct = self._struct if change.action in ("edit", "flags") else b"{}"
        if current is not None:
            item = dialect.with_changes(current, struct)
        else:
            known = struct if struct != b"{}" or self.record is None else self.record.fingerprint
            item = dialect.item_from_struct(change.kind, self.item_id, change.folder_id, known)
        participles = {"edit": "edited", "flags": "marked", "move": f"moved to {change.target_id}", "delete": "deleted"}
        reason = (
            f"{change.kind} {self.item_id} was to be {participles[change.action]}"
            f" ({change.made}, version {change.version}), but {why}; the local one is kept as local:{change.uuid}"
        )
        extra = json.dumps({"conflict": reason}, ensure_ascii=False).encode()
        return Conflict(item._replace(extra=extra), reason)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
