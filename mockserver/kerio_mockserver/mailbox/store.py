"""Everything the server keeps for one logged-in user: own mailbox, shared mailboxes, public folders; one journal.

Promises: every mutation raises the journal's watermark by one (marking all read: by one a mail), writes it into the
item, and leaves a Change; a move gives the item a new id, and the old one is unknown from then on. What is refused
leaves nothing behind. Reads change nothing and give fresh values. All of it is synchronous and belongs to one thread.
No clock is asked: what happens gets a time from the journal, so that the same calls give the same mailbox.
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
    """See `View` for what it is made with and what can be read."""

    # --- filling it before anyone looks: no journal ---

    def add_shared(self, user: str, name: str) -> str:
        """A mailbox that another user shares with this one. Returns its id, which is the `place` of its folders."""
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
        """A folder, `parent_id` empty for a root. `fill` makes its `count` computed items, each with a watermark."""
        about = {"parentId": parent_id, "name": name, "type": folder_type, "subType": sub_type, "access": access}
        shelf = self.tree.add(about, place, self._owners[place], fill)
        self.journal.advance(1 + count)
        return shelf.id

    def add(self, kind: Kind, folder_id: str, struct: Struct, blobs: Sequence[NewBlob] = ()) -> str:
        """An item as it is, read-only members too; a mail's size is kept if it says one. BadStruct, NoSuchFolder."""
        shelf = self._shelf_for(kind, folder_id)
        whole = complete(ITEM_STRUCTS[kind], struct)
        whole |= defaults.undated(whole)
        contents = defaults.parts_of(kind, defaults.attached(blobs))
        return self._store(kind, shelf, whole, contents, self.journal.advance(), whole.get("size", 0))

    # --- mutations: each returns (id, watermark) ---

    def create_folder(self, struct: Struct) -> tuple[str, int]:
        """NoSuchFolder (the parent), NameTaken, NotPermitted (name empty, read-only), BadStruct."""
        return self.tree.create(struct)

    def set_folder(self, struct: Struct) -> tuple[str, int]:
        """Sets the members given: name, parentId, color, checked. NoSuchFolder, NameTaken, NotPermitted, BadStruct."""
        return self.tree.change(struct)

    def remove_folder(self, folder_id: str, recursive: bool = False) -> tuple[str, int]:
        """Its items go with it. NotPermitted if it has folders and not `recursive`, or is a special one."""
        for shelf in self.tree.remove(folder_id, recursive):
            self._encoded.drop_under(shelf.home.item)
        return folder_id, self.journal.watermark

    def create(self, kind: Kind, struct: Struct) -> tuple[str, int]:
        """A new item as a client makes it: where `folderId` says, else in the default folder of its kind (mail: Drafts,
        or Sent Items if `send`). Attachments and photos are named by the ids of uploads or of others' attachments.
        NoSuchFolder, NotPermitted, NoSuchItem (an attachment's), QuotaReached, BadStruct.
        """
        shelf = self._destination(kind, struct)
        whole = blank(ITEM_STRUCTS[kind]) | defaults.provided(kind, struct)
        return self._make("chtCreated", kind, shelf, whole, self._named(kind, struct, {}))

    def deliver(self, struct: Struct, blobs: Sequence[NewBlob] = (), folder_id: str = "") -> tuple[str, int]:
        """A mail arrives (chtNewMail), in the Inbox unless told otherwise. QuotaReached, NoSuchFolder, BadStruct."""
        shelf = self._shelf_for("mail", folder_id or self._special("mail", "FSubInbox").id)
        contents = defaults.parts_of("mail", defaults.attached(blobs))
        return self._make("chtNewMail", "mail", shelf, complete("Mail", struct), contents)

    def set(self, kind: Kind, struct: Struct) -> tuple[str, int]:
        """Changes the members given; the server's own (id, watermark, size, read-only ones) are ignored. Of the
        attachments given, those the item has stay, those it doesn't name go, uploads come. Nothing changed: the
        watermark stays. A mail or contact with another `folderId` moves there, a mail with `send` is sent: the id is
        then a new one. NoSuchItem, NoSuchFolder, NotPermitted, QuotaReached, BadStruct.
        """
        shelf, number = self._find(str(struct.get("id", "")), kind)
        target = shelf
        if kind == "mail" and struct.get("send") is True:
            target = self._special("mail", "FSubSentItems")
        elif struct.get("folderId") and kind in ("mail", "contact"):  # of other kinds it is write-once
            target = self._shelf_for(kind, str(struct["folderId"]))
        self._check_move(shelf, number, target)
        item_id, watermark = self._change(kind, struct)
        if kind == "mail" and struct.get("send") is True:
            return self._send(item_id, target)
        return (item_id, watermark) if target is shelf else self.move(item_id, target.id)

    def _change(self, kind: Kind, struct: Struct) -> tuple[str, int]:
        item_id = str(struct.get("id", ""))
        shelf, number = self._find(item_id, kind)
        new = defaults.provided(kind, struct)
        whole = kind != "mail" or not HEAVY.isdisjoint(new) or defaults.names_contents(kind, struct)
        old = shelf.item(number) if whole else shelf.light(number)
        self._check_writable(shelf, old)
        contents = shelf.contents(number) if whole else {}
        if defaults.names_contents(kind, struct):
            mine = {shelf.home.attachment_id(number, part): (part, one) for part, one in contents.items()}
            contents = self._named(kind, struct, mine)
        if kind == "mail":
            new |= defaults.undated(old)
        elif kind == "task":
            new |= defaults.completed(old | new, self._now())
        after = defaults.with_placement(kind, old | new, shelf.home, number, contents) if whole else old | new
        changed = {name: value for name, value in after.items() if old[name] != value}
        if not changed:
            return item_id, shelf.watermark_of(number)
        change = defaults.change_type(kind, changed)
        if change == "chtModified":
            changed |= self._touched(kind, shelf, number, after, contents, changed)
        if kind == "event" and not changed.keys().isdisjoint(("start", "isAllDay", "rule")):
            self._exceptions.pop(item_id, None)
        shelf.patch(number, changed | {"watermark": self.journal.watermark + 1}, contents if whole else None)
        self._encoded.drop(item_id)
        unread = change == "chtReadFlagChanged" and not after["isSeen"]
        return item_id, self.journal.record(item_change(change, shelf, item_id, unread=unread))

    def _send(self, item_id: str, target: FolderItems) -> tuple[str, int]:
        """A draft goes out: it is gone, and another mail is among the sent ones, which `target` holds."""
        shelf, number = self._find(item_id)
        struct, contents = shelf.item(number), shelf.contents(number)
        struct |= {"isDraft": False, "isSeen": True, "sendDate": self._now(), "receiveDate": self._now()}
        shelf.drop(number)
        self._encoded.drop(item_id)
        self.journal.record(item_change("chtDeleted", shelf, item_id))
        new_id = self._store("mail", target, struct, contents, self.journal.watermark + 1)
        return new_id, self.journal.record(item_change("chtCreated", target, new_id))

    def set_all_seen(self, folder_id: str) -> tuple[str, int]:
        """Marks all mails of a folder read, each a change of its own. Returns folder id and last watermark."""
        shelf = self.folder(folder_id)
        if not shelf.writable:
            raise NotPermitted("the folder is read-only")
        for number in shelf.unseen():
            item_id = f"{shelf.home.item}{number}"
            shelf.patch(number, {"isSeen": True, "watermark": self.journal.watermark + 1})
            self._encoded.drop(item_id)
            self.journal.record(item_change("chtReadFlagChanged", shelf, item_id))
        return folder_id, self.journal.watermark

    def move(self, item_id: str, folder_id: str) -> tuple[str, int]:
        """Into another folder of the same kind, under a new id; into its own folder: nothing happens.
        NoSuchItem, NoSuchFolder, NotPermitted, QuotaReached (from a mailbox that is not one's own).
        """
        source, number = self._find(item_id)
        assert source.kind is not None
        target = self._shelf_for(source.kind, folder_id)
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
        """NoSuchItem, NoSuchFolder, NotPermitted, QuotaReached."""
        source, number = self._find(item_id)
        assert source.kind is not None
        target = self._shelf_for(source.kind, folder_id)
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
        """For good. NoSuchItem, NotPermitted."""
        shelf, number = self._find(item_id)
        self._check_writable(shelf, None)
        shelf.drop(number)
        self._encoded.drop(item_id)
        self._exceptions.pop(item_id, None)
        return item_id, self.journal.record(item_change("chtDeleted", shelf, item_id))

    def set_exceptions(self, event_id: str, exceptions: Exceptions) -> tuple[str, int]:
        """Replaces what is other in single events of a series. NoSuchItem, NotPermitted."""
        shelf, number = self._find(event_id, "event")
        self._check_writable(shelf, shelf.item(number))
        if exceptions == self.exceptions(event_id):
            return event_id, shelf.watermark_of(number)
        self._exceptions[event_id] = exceptions
        shelf.patch(number, {"watermark": self.journal.watermark + 1})
        self._encoded.drop(event_id)
        return event_id, self.journal.record(item_change("chtModified", shelf, event_id))

    def upload(self, name: str, content_type: str, data: bytes, now: float = 0.0) -> str:
        """Keeps a file for an item that is to come. Returns the id to name in its `attachments[].id` or `photo.id`."""
        number = self._uploads.count + 1
        seed = f"{self.domain}/{self.user}/{self.tree.guids(1)[0]}/{number}/{name}"
        key = blake2b(seed.encode("utf-8", "replace"), digest_size=16).hexdigest()
        self._uploads.put(key, NewBlob(data, name, content_type).attached(), now)
        return key

    # --- how it is done ---

    def _now(self) -> str:
        return utc(NOW + self.journal.changes + 1)

    def _make(
        self, change: str, kind: Kind, shelf: FolderItems, struct: Struct, contents: Mapping[str, Attached]
    ) -> tuple[str, int]:
        """Stores a new item under the next watermark and says so in the journal."""
        self._check_writable(shelf, None)
        if kind == "mail":
            struct["isDraft"] = shelf.about["subType"] == "FSubDrafts"
        author = {"name": self.name, "address": self.address, "contactId": ""}
        defaults.with_defaults(kind, struct, shelf.home, shelf.next_number, self._now(), author)
        if shelf.place == "own":
            self._check_quota(1, defaults.size_of(kind, struct, contents))
        item_id = self._store(kind, shelf, struct, contents, self.journal.watermark + 1)
        return item_id, self.journal.record(item_change(change, shelf, item_id))

    def _store(
        self,
        kind: Kind,
        shelf: FolderItems,
        struct: Struct,
        contents: Mapping[str, Attached],
        watermark: int,
        size: int = 0,
    ) -> str:
        number = shelf.take_number()
        defaults.with_placement(kind, struct, shelf.home, number, contents)["watermark"] = watermark
        if kind == "mail":
            struct["size"] = size or defaults.size_of(kind, struct, contents)
        shelf.put(number, struct, contents)
        return str(struct["id"])

    def _touched(
        self,
        kind: Kind,
        shelf: FolderItems,
        number: int,
        after: Struct,
        contents: Mapping[str, Attached],
        changed: Struct,
    ) -> Struct:
        """What changes with an item's contents: when it was modified, a mail's size. QuotaReached if it outgrows it."""
        more: Struct = {}
        if kind in ("mail", "note"):
            more["modifiedDate" if kind == "mail" else "modifyDate"] = self._now()
        size = shelf.size_of(number)
        if kind != "mail" or not changed.keys().isdisjoint(("displayableParts", "attachments")):
            size = defaults.size_of(kind, after, contents)
        if kind == "mail":
            more["size"] = size
        if shelf.place == "own" and size > shelf.size_of(number):
            self._check_quota(0, size - shelf.size_of(number))
        return more

    def _named(self, kind: Kind, struct: Struct, mine: Mapping[str, tuple[str, Attached]]) -> dict[str, Attached]:
        """The contents that a client's struct names. `mine`: by id, what the item has already, with its part."""
        kept: dict[str, Attached] = {}
        new: list[Attached] = []
        for reference in defaults.references(kind, struct):
            if reference["id"] in mine:
                part, one = mine[reference["id"]]
                kept[part] = one
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
            return self._shelf_for(kind, str(struct["folderId"]))
        return self._special(kind, "FSubDrafts" if kind == "mail" else "FSubDefault")
