"""Reading of a mailbox: folders, items, contents, quota, digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from kerio_mockserver.mailbox import digest
from kerio_mockserver.mailbox.api_structs import Struct
from kerio_mockserver.mailbox.blobs import Attached
from kerio_mockserver.mailbox.encoded_cache import EncodedItemCache
from kerio_mockserver.mailbox.errors import NoSuchFolder, NoSuchItem, NotPermitted, QuotaReached
from kerio_mockserver.mailbox.folder_items import FolderItems
from kerio_mockserver.mailbox.folder_tree import FolderTree, MailboxOwner
from kerio_mockserver.mailbox.ids import SCHEME, Kind, parse, upload_id, whole
from kerio_mockserver.mailbox.journal import Journal
from kerio_mockserver.mailbox.uploads import Uploads

Exceptions = Mapping[str, Struct | None]
"""Of a series of events, by the key of the original start: what is other than in the series, None for what was
removed."""
PUBLIC = "~public"
_PLACES = ("own", "public")


class MailboxReader:
    """The reading half of `MailboxStore`."""

    def __init__(
        self,
        domain: str = "example.com",
        user: str = "anna",
        *,
        name: str = "Anna Müller",
        seed: int = 0,
        cache_bytes: int = 512 << 20,
        quota_bytes: int = 0,
        quota_items: int = 0,
    ) -> None:
        self.domain, self.user, self.name = domain, user, name
        self.address = f"{user}@{domain}"
        self.quota_bytes, self.quota_items = quota_bytes, quota_items
        self.journal = Journal()
        self.tree = FolderTree(domain, seed, self.journal)
        self._owners = {"own": MailboxOwner(user, name, self.address), "public": MailboxOwner(PUBLIC, "Public folders")}
        self._encoded = EncodedItemCache(cache_bytes)
        self._uploads = Uploads()
        self._exceptions: dict[str, Exceptions] = {}

    def folders(self, place: str = "own") -> list[Struct]:
        """Return folder structs with live counts and sizes; `place` is own or public."""
        return [self.tree.struct(folder) for folder in self.tree.of(place)]

    def shared_mailboxes(self) -> list[Struct]:
        """Return SharedMailbox structs, folders included."""
        return [self._shared(mailbox) for mailbox in self._owners if mailbox not in _PLACES]

    def shared_folders(self, mailbox_id: str) -> list[Struct]:
        """Return the folder structs of a shared mailbox; raise NoSuchFolder."""
        if mailbox_id not in self._owners or mailbox_id in _PLACES:
            raise NoSuchFolder(mailbox_id)
        return self.folders(mailbox_id)

    def folder(self, folder_id: str) -> FolderItems:
        """Return the items of a folder; raise NoSuchFolder."""
        return self.tree.folder(folder_id)

    def item(self, item_id: str) -> Struct:
        """Return a new complete struct; raise NoSuchItem."""
        folder, number = self._find(item_id)
        return folder.item(number)

    def encoded(self, item_id: str) -> bytes:
        """Return the complete struct as JSON; raise NoSuchItem."""
        hit = self._encoded.get(item_id)
        if hit is not None:
            return hit
        folder, number = self._find(item_id)
        raw = folder.stored(number)
        if raw is None:
            raw = folder.computed(number)
            self._encoded.put(item_id, raw)
        return raw

    def light(self, item_id: str) -> Struct:
        """Return the struct of `light_members`; raise NoSuchItem."""
        folder, number = self._find(item_id)
        return folder.light(number)

    def some(self, item_id: str, names: Set[str]) -> Struct:
        """Return only the members of these names; raise NoSuchItem."""
        folder, number = self._find(item_id)
        return folder.project(number, names)

    def watermark_of(self, item_id: str) -> int:
        """Return the item's watermark; raise NoSuchItem."""
        folder, number = self._find(item_id)
        return folder.watermark_of(number)

    def blob(self, attachment_id: str) -> Attached:
        """Return the content of an attachment, photo or upload; raise NoSuchItem.

        An upload may be given by id or address.
        """
        if (upload := upload_id(attachment_id)) in self._uploads:
            return self._uploads[upload]
        parsed = parse(attachment_id)
        folder = self.tree.by_guid(parsed.guid) if parsed else None
        if parsed is None or folder is None or folder.home.attachment_id(parsed.number, parsed.part) != attachment_id:
            raise NoSuchItem(attachment_id)
        return self.blob_at(parsed.guid, parsed.number, parsed.part)

    def blob_at(self, guid: str, number: int | str, part: str) -> Attached:
        """Return a content by the parts of its download address; raise NoSuchItem."""
        folder = self.tree.by_guid(guid)
        at = whole(str(number))
        if folder is None or at is None or not folder.has(at):
            raise NoSuchItem(f"{guid}/{number}/{part}")
        try:
            return folder.contents(at)[part]
        except KeyError:
            raise NoSuchItem(f"{guid}/{number}/{part}") from None

    def exceptions(self, event_id: str) -> Exceptions:
        """Return the exceptions of a series."""
        return self._exceptions.get(event_id, {})

    def quota(self) -> Struct:
        """Return QuotaInfo of the own mailbox; a limit of 0 means none."""
        items, size = self._used()
        return {
            "messagesLimit": self.quota_items,
            "messagesUsed": items,
            "spaceLimit": self.quota_bytes,
            "spaceUsed": size,
            "percentLimitForWarning": 90,
        }

    def digest(self, *, everything: bool = False) -> Iterator[str]:
        """Yield the sorted lines `kind id watermark sha256` of the own mailbox.

        See `digest.py`.

        With `everything`, those of the shared mailboxes and the public folders too.
        """
        return digest.lines(self.tree.by_id.values() if everything else self.tree.of("own"))

    def _used(self) -> tuple[int, int]:
        """Return the number and the bytes of items in the own mailbox."""
        own = self.tree.of("own")
        return sum(map(len, own)), sum(folder.size for folder in own)

    def _find(self, item_id: str, kind: Kind | None = None) -> tuple[FolderItems, int]:
        found = self.tree.locate(item_id)
        if found is None or not found[0].has(found[1]) or (kind is not None and found[0].kind != kind):
            raise NoSuchItem(item_id)
        return found

    def _shared(self, mailbox_id: str) -> Struct:
        owner = self._owners[mailbox_id]
        return {
            "principal": {
                "id": f"{SCHEME}user/{self.domain}/{owner.user}",
                "type": "ptUser",
                "displayName": owner.name,
                "mailAddress": owner.address,
            },
            "mailboxId": mailbox_id,
            "isLoaded": True,
            "folders": self.folders(mailbox_id),
            "subscribedFolderIds": [],
        }

    # --- checks before a change ---

    def _special(self, kind: Kind, sub_type: str) -> FolderItems:
        for folder in self.tree.of("own"):
            if folder.kind == kind and folder.about["subType"] == sub_type:
                return folder
        raise NoSuchFolder(sub_type)

    def _folder_for(self, kind: Kind, folder_id: str) -> FolderItems:
        folder = self.folder(folder_id)
        if folder.kind != kind:
            raise NotPermitted(f"the folder holds no {kind}s")
        return folder

    def _check_writable(self, folder: FolderItems, item: Struct | None) -> None:
        if not folder.writable:
            raise NotPermitted("the folder is read-only")
        if item is not None and (item.get("isReadOnly") or item.get("access") == "EAccessReadOnly"):
            raise NotPermitted("the item is read-only")

    def _check_move(self, source: FolderItems, number: int, target: FolderItems) -> None:
        if target is source:
            return
        self._check_writable(source, None)
        self._check_writable(target, None)
        if target.place == "own" != source.place:
            self._check_quota(1, source.size_of(number))

    def _check_quota(self, items: int, size: int) -> None:
        if not self.quota_items and not self.quota_bytes:
            return
        used_items, used = self._used()
        if self.quota_items and used_items + items > self.quota_items:
            raise QuotaReached(f"{used_items} of {self.quota_items} items are there")
        if self.quota_bytes and used + size > self.quota_bytes:
            raise QuotaReached(f"{size} bytes more than {used} of {self.quota_bytes} that are used")
