"""The store of one user.

Own mailbox, shared mailboxes, public folders, and one journal.

Every mutation raises the journal's watermark by one (marking a folder read: by one per mail), writes it into the item,
and adds a Change. A move gives the item a new id; the old one is unknown from then on. A refused mutation has no
effect. Reads return new values. Everything is synchronous and belongs to one thread. No clock is read: times come from
the journal, so that equal calls give an equal mailbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from kerio_mockserver.mailbox import defaults
from kerio_mockserver.mailbox.api_structs import ITEM_STRUCTS, BadStruct, Struct, blank, complete
from kerio_mockserver.mailbox.blobs import Attached, NewBlob
from kerio_mockserver.mailbox.dates import NOW, utc
from kerio_mockserver.mailbox.errors import NameTaken, NoSuchFolder, NoSuchItem, NotPermitted, QuotaReached
from kerio_mockserver.mailbox.folder_items import HEAVY, FolderItems, light_members
from kerio_mockserver.mailbox.folder_tree import ITEM_TYPE, KIND_OF, Fill, MailboxOwner, item_change
from kerio_mockserver.mailbox.ids import KINDS, SCHEME, Kind, upload_id
from kerio_mockserver.mailbox.journal import KeyTooOld
from kerio_mockserver.mailbox.reader import Exceptions, MailboxReader

__all__ = [
    "ITEM_TYPE",
    "KINDS",
    "KIND_OF",
    "Attached",
    "BadStruct",
    "FolderItems",
    "KeyTooOld",
    "Kind",
    "MailboxStore",
    "NameTaken",
    "NewBlob",
    "NoSuchFolder",
    "NoSuchItem",
    "NotPermitted",
    "QuotaReached",
    "Struct",
    "light_members",
]


class MailboxStore(MailboxReader):
    """The mailbox; `MailboxReader` has its parameters and the reading methods."""

    # --- filling, without the journal ---

    def add_shared(self, user: str, name: str) -> str:
        """Add a mailbox that another user shares.

        Return its id, the `place` of its folders.
        """
        mailbox_id = f"{SCHEME}mailbox/{self.domain}/{user}"
        self._owners[mailbox_id] = MailboxOwner(user, name, f"{user}@{self.domain}")
        return mailbox_id

    def add_folder(
        self,
        parent_id: str,
        name: str,
        folder_type: str = "FMail",
        sub_type: str = "FSubNone",
        place: str = "own",
        *,
        access: str = "FAccessAdmin",
        fill: Fill | None = None,
        count: int = 0,
    ) -> str:
        """Add a folder (a root if `parent_id` is empty); `fill` makes its `count` items."""
        about = {"parentId": parent_id, "name": name, "type": folder_type, "subType": sub_type, "access": access}
        folder = self.tree.add(about, place, self._owners[place], fill)
        self.journal.advance(1 + count)
        return folder.id

    def add(self, kind: Kind, folder_id: str, struct: Struct, blobs: Sequence[NewBlob] = ()) -> str:
        """Add an item as it is, with read-only members and, if given, a mail's size.

        Raise BadStruct or NoSuchFolder.
        """
        folder = self._folder_for(kind, folder_id)
        whole = complete(ITEM_STRUCTS[kind], struct)
        whole |= defaults.undated(whole)
        contents = defaults.parts_of(kind, defaults.attached(blobs))
        return self._store(kind, folder, whole, contents, self.journal.advance(), whole.get("size", 0))

    # --- mutations; each returns (id, watermark) ---

    def create_folder(self, struct: Struct) -> tuple[str, int]:
        """Create a folder; raise NoSuchFolder, NameTaken, NotPermitted or BadStruct."""
        return self.tree.create(struct)

    def set_folder(self, struct: Struct) -> tuple[str, int]:
        """Set the given members: name, parentId, color, checked.

        Raise NoSuchFolder, NameTaken, NotPermitted or BadStruct.
        """
        return self.tree.change(struct)

    def remove_folder(self, folder_id: str, recursive: bool = False) -> tuple[str, int]:
        """Remove a folder with its items.

        Raise NotPermitted for a special folder, and for one with subfolders unless `recursive`.
        """
        for folder in self.tree.remove(folder_id, recursive):
            self._encoded.drop_under(folder.home.item)
        return folder_id, self.journal.watermark

    def create(self, kind: Kind, struct: Struct) -> tuple[str, int]:
        """Create an item for a client.

        It goes to `folderId`, by default to the default folder of its kind (a mail to Drafts, or Sent Items if `send`).
        Attachments and photos are given by the ids of uploads or of other items' attachments. Raise NoSuchFolder,
        NotPermitted, NoSuchItem (an attachment's), QuotaReached or BadStruct.
        """
        folder = self._destination(kind, struct)
        whole = blank(ITEM_STRUCTS[kind]) | defaults.provided(kind, struct)
        return self._make("chtCreated", kind, folder, whole, self._named(kind, struct, {}))

    def deliver(self, struct: Struct, blobs: Sequence[NewBlob] = (), folder_id: str = "") -> tuple[str, int]:
        """Add an incoming mail (chtNewMail), by default to the Inbox.

        Raise QuotaReached, NoSuchFolder or BadStruct.
        """
        folder = self._folder_for("mail", folder_id or self._special("mail", "FSubInbox").id)
        contents = defaults.parts_of("mail", defaults.attached(blobs))
        return self._make("chtNewMail", "mail", folder, complete("Mail", struct), contents)

    def set(self, kind: Kind, struct: Struct) -> tuple[str, int]:
        """Set the given members; read-only ones are ignored.

        Of the given attachments, existing ones stay and uploads are added; those not given are removed. If nothing
        changes, the watermark stays. A mail or contact with another `folderId` moves there, and a mail with `send` is
        sent: both get a new id. Raise NoSuchItem, NoSuchFolder, NotPermitted, QuotaReached or BadStruct.
        """
        folder, number = self._find(str(struct.get("id", "")), kind)
        target = folder
        if kind == "mail" and struct.get("send") is True:
            target = self._special("mail", "FSubSentItems")
        elif struct.get("folderId") and kind in ("mail", "contact"):  # for other kinds it can be set on creation only
            target = self._folder_for(kind, str(struct["folderId"]))
        self._check_move(folder, number, target)
        item_id, watermark = self._change(kind, struct)
        if kind == "mail" and struct.get("send") is True:
            return self._send(item_id, target)
        return (item_id, watermark) if target is folder else self.move(item_id, target.id)

    def _change(self, kind: Kind, struct: Struct) -> tuple[str, int]:
        item_id = str(struct.get("id", ""))
        folder, number = self._find(item_id, kind)
        new = defaults.provided(kind, struct)
        whole = kind != "mail" or not HEAVY.isdisjoint(new) or defaults.names_contents(kind, struct)
        old = folder.item(number) if whole else folder.light(number)
        self._check_writable(folder, old)
        contents = folder.contents(number) if whole else {}
        if defaults.names_contents(kind, struct):
            mine = {folder.home.attachment_id(number, part): (part, content) for part, content in contents.items()}
            contents = self._named(kind, struct, mine)
        if kind == "mail":
            new |= defaults.undated(old)
        elif kind == "task":
            new |= defaults.completed(old | new, self._now())
        after = defaults.with_placement(kind, old | new, folder.home, number, contents) if whole else old | new
        changed = {name: value for name, value in after.items() if old[name] != value}
        if not changed:
            return item_id, folder.watermark_of(number)
        change = defaults.change_type(kind, changed)
        if change == "chtModified":
            changed |= self._touched(kind, folder, number, after, contents, changed)
        if kind == "event" and not changed.keys().isdisjoint(("start", "isAllDay", "rule")):
            self._exceptions.pop(item_id, None)
        folder.patch(number, changed | {"watermark": self.journal.watermark + 1}, contents if whole else None)
        self._encoded.drop(item_id)
        unread = change == "chtReadFlagChanged" and not after["isSeen"]
        return item_id, self.journal.record(item_change(change, folder, item_id, unread=unread))

    def _send(self, item_id: str, target: FolderItems) -> tuple[str, int]:
        """Send a draft: remove it, and add a mail to `target`, the folder of sent mails."""
        folder, number = self._find(item_id)
        struct, contents = folder.item(number), folder.contents(number)
        struct |= {"isDraft": False, "isSeen": True, "sendDate": self._now(), "receiveDate": self._now()}
        folder.drop(number)
        self._encoded.drop(item_id)
        self.journal.record(item_change("chtDeleted", folder, item_id))
        new_id = self._store("mail", target, struct, contents, self.journal.watermark + 1)
        return new_id, self.journal.record(item_change("chtCreated", target, new_id))

    def set_all_seen(self, folder_id: str) -> tuple[str, int]:
        """Mark all mails of a folder read, each with its own change.

        Return the folder's id and the last watermark.
        """
        folder = self.folder(folder_id)
        if not folder.writable:
            raise NotPermitted("the folder is read-only")
        for number in folder.unseen():
            item_id = f"{folder.home.item}{number}"
            folder.patch(number, {"isSeen": True, "watermark": self.journal.watermark + 1})
            self._encoded.drop(item_id)
            self.journal.record(item_change("chtReadFlagChanged", folder, item_id))
        return folder_id, self.journal.watermark

    def move(self, item_id: str, folder_id: str) -> tuple[str, int]:
        """Move an item to another folder of its kind under a new id.

        Within its folder nothing happens.

        Raise NoSuchItem, NoSuchFolder, NotPermitted, or QuotaReached (from another mailbox).
        """
        source, number = self._find(item_id)
        assert source.kind is not None
        target = self._folder_for(source.kind, folder_id)
        if target is source:
            return item_id, source.watermark_of(number)
        self._check_move(source, number, target)
        struct, contents = source.item(number), source.contents(number)
        source.drop(number)
        self._encoded.drop(item_id)
        watermark = self.journal.watermark + 1
        new_id = self._store(source.kind, target, struct, contents, watermark, struct.get("size", 0))
        if item_id in self._exceptions:
            self._exceptions[new_id] = self._exceptions.pop(item_id)
        change = item_change("chtMoved", target, new_id) | {"origId": item_id, "origParentId": source.id}
        return new_id, self.journal.record(change)

    def copy(self, item_id: str, folder_id: str) -> tuple[str, int]:
        """Copy an item; raise NoSuchItem, NoSuchFolder, NotPermitted or QuotaReached."""
        source, number = self._find(item_id)
        assert source.kind is not None
        target = self._folder_for(source.kind, folder_id)
        self._check_writable(target, None)
        if target.place == "own":
            self._check_quota(1, source.size_of(number))
        struct, contents = source.item(number), source.contents(number)
        watermark = self.journal.watermark + 1
        new_id = self._store(source.kind, target, struct, contents, watermark, struct.get("size", 0))
        if item_id in self._exceptions:
            self._exceptions[new_id] = self._exceptions[item_id]
        change = item_change("chtCopied", target, new_id) | {"origId": item_id, "origParentId": source.id}
        return new_id, self.journal.record(change)

    def remove(self, item_id: str) -> tuple[str, int]:
        """Remove an item for good; raise NoSuchItem or NotPermitted."""
        folder, number = self._find(item_id)
        self._check_writable(folder, None)
        folder.drop(number)
        self._encoded.drop(item_id)
        self._exceptions.pop(item_id, None)
        return item_id, self.journal.record(item_change("chtDeleted", folder, item_id))

    def set_exceptions(self, event_id: str, exceptions: Exceptions) -> tuple[str, int]:
        """Replace the exceptions of a series; raise NoSuchItem or NotPermitted."""
        folder, number = self._find(event_id, "event")
        self._check_writable(folder, folder.item(number))
        if exceptions == self.exceptions(event_id):
            return event_id, folder.watermark_of(number)
        self._exceptions[event_id] = exceptions
        folder.patch(number, {"watermark": self.journal.watermark + 1})
        self._encoded.drop(event_id)
        return event_id, self.journal.record(item_change("chtModified", folder, event_id))

    def upload(self, name: str, content_type: str, data: bytes, now: float = 0.0) -> str:
        """Keep a file for a later item.

        Return the id for its `attachments[].id` or `photo.id`.
        """
        number = self._uploads.count + 1
        seed = f"{self.domain}/{self.user}/{self.tree.guids(1)[0]}/{number}/{name}"
        key = blake2b(seed.encode("utf-8", "replace"), digest_size=16).hexdigest()
        self._uploads.put(key, NewBlob(data, name, content_type).attached(), now)
        return key

    # --- implementation ---

    def _now(self) -> str:
        return utc(NOW + self.journal.changes + 1)

    def _make(
        self, change: str, kind: Kind, folder: FolderItems, struct: Struct, contents: Mapping[str, Attached]
    ) -> tuple[str, int]:
        """Store a new item under the next watermark and record it in the journal."""
        self._check_writable(folder, None)
        if kind == "mail":
            struct["isDraft"] = folder.about["subType"] == "FSubDrafts"
        author = {"name": self.name, "address": self.address, "contactId": ""}
        defaults.with_defaults(kind, struct, folder.home, folder.next_number, self._now(), author)
        if folder.place == "own":
            self._check_quota(1, defaults.size_of(kind, struct, contents))
        item_id = self._store(kind, folder, struct, contents, self.journal.watermark + 1)
        return item_id, self.journal.record(item_change(change, folder, item_id))

    def _store(
        self,
        kind: Kind,
        folder: FolderItems,
        struct: Struct,
        contents: Mapping[str, Attached],
        watermark: int,
        size: int = 0,
    ) -> str:
        number = folder.take_number()
        defaults.with_placement(kind, struct, folder.home, number, contents)["watermark"] = watermark
        if kind == "mail":
            struct["size"] = size or defaults.size_of(kind, struct, contents)
        folder.put(number, struct, contents)
        return str(struct["id"])

    def _touched(
        self,
        kind: Kind,
        folder: FolderItems,
        number: int,
        after: Struct,
        contents: Mapping[str, Attached],
        changed: Struct,
    ) -> Struct:
        """Return what changes with an item's contents.

        These are its time of modification and, for a mail, its size.

        Raise QuotaReached if the mailbox would exceed its quota.
        """
        more: Struct = {}
        if kind in ("mail", "note"):
            more["modifiedDate" if kind == "mail" else "modifyDate"] = self._now()
        size = folder.size_of(number)
        if kind != "mail" or not changed.keys().isdisjoint(("displayableParts", "attachments")):
            size = defaults.size_of(kind, after, contents)
        if kind == "mail":
            more["size"] = size
        if folder.place == "own" and size > folder.size_of(number):
            self._check_quota(0, size - folder.size_of(number))
        return more

    def _named(self, kind: Kind, struct: Struct, mine: Mapping[str, tuple[str, Attached]]) -> dict[str, Attached]:
        """Return the contents that a client's struct names.

        `mine` are the item's own, by id.
        """
        kept: dict[str, Attached] = {}
        new: list[Attached] = []
        for reference in defaults.references(kind, struct):
            if reference["id"] in mine:
                part, content = mine[reference["id"]]
                kept[part] = content
            else:
                found = self.blob(reference["id"])
                if kind == "contact" and upload_id(reference["id"]) in self._uploads:
                    defaults.check_photo(found)
                new.append(defaults.renamed(found, reference))
        return defaults.parts_of(kind, new, kept)

    def _destination(self, kind: Kind, struct: Struct) -> FolderItems:
        if struct.get("send") is True:
            return self._special(kind, "FSubSentItems")
        if struct.get("folderId"):
            return self._folder_for(kind, str(struct["folderId"]))
        return self._special(kind, "FSubDrafts" if kind == "mail" else "FSubDefault")
