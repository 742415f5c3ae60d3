"""The folders of all mailboxes that the user can see.

Folders keep their ids when they are renamed or moved. Special folders and roots cannot be changed; names are unique
among siblings; a folder moves within its mailbox only, and never into itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from uuid import UUID

from kerio_mockserver.mailbox.api_structs import blank, complete
from kerio_mockserver.mailbox.errors import NameTaken, NoSuchFolder, NotPermitted
from kerio_mockserver.mailbox.folder_items import FolderItems, Source
from kerio_mockserver.mailbox.ids import FolderAddress, Kind, whole
from kerio_mockserver.mailbox.journal import Journal

Struct = dict[str, Any]
Fill = Callable[[FolderAddress, int], Source]
"""Makes the computed items of a new folder, given its home and the watermark before that of its first item."""

KIND_OF: dict[str, Kind | None] = {
    "FRoot": None,
    "FMail": "mail",
    "FContact": "contact",
    "FCalendar": "event",
    "FTask": "task",
    "FNote": "note",
}
ITEM_TYPE: dict[Kind | None, str] = {
    None: "itMail",
    "mail": "itMail",
    "contact": "itContact",
    "event": "itCalendar",
    "task": "itTask",
    "note": "itNote",
}
_PLACE_TYPE = {"own": "FPlaceMailbox", "public": "FPlacePublic"}


@dataclass(frozen=True, slots=True)
class MailboxOwner:
    """A mailbox's owner: the user part of its ids, a display name, and an address."""

    user: str
    name: str = ""
    address: str = ""


class FolderTree:
    """The folders by id, parents before children as long as none has moved."""

    def __init__(self, domain: str, seed: int, journal: Journal) -> None:
        self._domain, self._seed, self._journal = domain, seed, journal
        self.by_id: dict[str, FolderItems] = {}
        self._by_prefix: dict[str, FolderItems] = {}
        self._by_guid: dict[str, FolderItems] = {}
        self._made = 0

    def folder(self, folder_id: str) -> FolderItems:
        """Return a folder; raise NoSuchFolder."""
        try:
            return self.by_id[folder_id]
        except KeyError:
            raise NoSuchFolder(folder_id) from None

    def by_guid(self, guid: str) -> FolderItems | None:
        """Return the folder of a guid, or None."""
        return self._by_guid.get(guid)

    def locate(self, item_id: str) -> tuple[FolderItems, int] | None:
        """Return the folder and number that an item's id names, or None."""
        head, _, digits = item_id.rpartition("/")
        folder = self._by_prefix.get(head)
        number = whole(digits)
        return (folder, number) if folder is not None and number is not None else None

    def of(self, place: str) -> list[FolderItems]:
        """Return the folders of `own`, `public` or a shared mailbox's id."""
        return [folder for folder in self.by_id.values() if folder.place == place]

    def struct(self, folder: FolderItems) -> Struct:
        """Return the Folder struct in its present state."""
        live = {"messageCount": len(folder), "messageUnread": folder.unread, "messageSize": folder.size}
        return folder.about | live | {"nestingLevel": self._depth(folder)}

    def add(
        self,
        about: Struct,
        place: str,
        owner: MailboxOwner,
        fill: Fill | None = None,
    ) -> FolderItems:
        """Add a folder; `about` has at least name, parentId and type."""
        guid = self._new_guid()
        struct: Struct = blank("Folder") | {"checked": True, "access": "FAccessAdmin"}
        struct |= {"placeType": _PLACE_TYPE.get(place, "FPlacePeople"), "isDelegated": place not in _PLACE_TYPE} | about
        if place not in _PLACE_TYPE:  # documented for people, resources and locations only
            struct |= {"ownerName": owner.name, "emailAddress": owner.address}
        home = FolderAddress(self._domain, owner.user, guid, KIND_OF[struct["type"]])
        struct["id"] = home.folder_id
        folder = FolderItems(home, struct, place, fill(home, self._journal.watermark) if fill else None)
        self.by_id[folder.id] = self._by_guid[guid] = folder
        self._by_prefix[home.item[:-1]] = folder
        return folder

    def create(self, struct: Struct) -> tuple[str, int]:
        """Create a folder for a client.

        `struct` has name, type, and parentId, which only mail folders need.

        Return its id and the watermark.
        """
        given = complete("Folder", struct)
        if not given["parentId"] and given["type"] not in ("FRoot", "FMail"):
            given["parentId"] = next((folder.id for folder in self.of("own") if folder.kind is None), "")
        parent = self.folder(given["parentId"])
        if not parent.writable:
            raise NotPermitted("the parent folder is read-only")
        self._check_name(given["name"], parent.id, None)
        if given["type"] == "FRoot":
            given["type"] = parent.about["type"] if "type" not in struct and parent.kind else "FMail"
        about = {name: given[name] for name in ("name", "parentId", "type", "color")}
        owner = MailboxOwner(parent.home.user, parent.about["ownerName"], parent.about["emailAddress"])
        folder = self.add(about | {"access": parent.about["access"]}, parent.place, owner)
        return folder.id, self._journal.record(folder_change("chtCreated", folder))

    def change(self, struct: Struct) -> tuple[str, int]:
        """Rename, move, colour or check a folder; return id and watermark."""
        folder = self.folder(str(struct.get("id", "")))
        given = complete("Folder", struct)
        settable = [name for name in ("name", "parentId", "checked", "color") if name in struct]
        new: Struct = {name: given[name] for name in settable if given[name] != folder.about[name]}
        if not new:
            return folder.id, self._journal.watermark
        if not folder.writable:
            raise NotPermitted("the folder is read-only")
        if "name" in new or "parentId" in new:
            self._check_free(folder)
            parent = self.folder(str(new.get("parentId", folder.about["parentId"])))
            self._check_parent(folder, parent)
            self._check_name(str(new.get("name", folder.about["name"])), parent.id, folder)
        old_parent = folder.about["parentId"]
        folder.about |= new
        if "parentId" in new:
            change = folder_change("chtMoved", folder) | {"origId": folder.id, "origParentId": old_parent}
            return folder.id, self._journal.record(change)
        return folder.id, self._journal.record(folder_change("chtModified", folder))

    def remove(self, folder_id: str, recursive: bool) -> list[FolderItems]:
        """Remove a folder with its items, and with `recursive` those below; return them."""
        going = self._below(self.folder(folder_id))
        for folder in going:
            self._check_free(folder)
            if not folder.writable:
                raise NotPermitted("the folder is read-only")
        if len(going) > 1 and not recursive:
            raise NotPermitted("the folder has folders in it")
        for folder in going:
            del self.by_id[folder.id], self._by_guid[folder.home.guid], self._by_prefix[folder.home.item[:-1]]
            self._journal.record(folder_change("chtDeleted", folder))
        return going

    def _below(self, folder: FolderItems) -> list[FolderItems]:
        """Return the folder and all below it, deepest first."""
        children: dict[str, list[FolderItems]] = {}
        for child in self.by_id.values():
            children.setdefault(child.about["parentId"], []).append(child)
        found, at = [folder], 0
        while at < len(found):
            found.extend(children.get(found[at].id, ()))
            at += 1
        return found[::-1]

    def _check_free(self, folder: FolderItems) -> None:
        if folder.kind is None or folder.about["subType"] != "FSubNone":
            raise NotPermitted("a special folder stays what it is")

    def _check_parent(self, folder: FolderItems, parent: FolderItems) -> None:
        if parent.place != folder.place or not parent.writable:
            raise NotPermitted("the folder cannot move there")
        above: FolderItems | None = parent
        while above is not None:
            if above is folder:
                raise NotPermitted("a folder cannot move into itself")
            above = self.by_id.get(above.about["parentId"])

    def _check_name(self, name: str, parent_id: str, besides: FolderItems | None) -> None:
        if not name or "\0" in name:
            raise NotPermitted("a folder needs a name")
        for folder in self.by_id.values():
            if folder is not besides and folder.about["parentId"] == parent_id and folder.about["name"] == name:
                raise NameTaken(name)

    def _depth(self, folder: FolderItems) -> int:
        depth, above = 0, self.by_id.get(folder.about["parentId"])
        while above is not None:
            depth, above = depth + 1, self.by_id.get(above.about["parentId"])
        return depth

    def guids(self, count: int) -> list[str]:
        """Return the guids of the next `count` new folders."""
        return [self._guid(self._made + n) for n in range(1, count + 1)]

    def _new_guid(self) -> str:
        self._made += 1
        return self._guid(self._made)

    def _guid(self, n: int) -> str:
        return str(UUID(bytes=blake2b(f"{self._seed}/folder/{n}".encode(), digest_size=16).digest(), version=4))


def folder_change(kind: str, folder: FolderItems) -> Struct:
    """Return a Change of a folder."""
    return {
        "isFolder": True,
        "type": kind,
        "itemType": ITEM_TYPE[folder.kind],
        "itemId": folder.id,
        "parentId": folder.about["parentId"],
        "origId": "",
        "origParentId": "",
        "watermark": 0,
        "messageUnread": folder.unread if kind == "chtModifiedContent" else 0,
    }


def item_change(kind: str, folder: FolderItems, item_id: str, *, unread: bool = False) -> Struct:
    """Return a Change of an item that is or was in this folder."""
    return {
        "isFolder": False,
        "type": kind,
        "itemType": ITEM_TYPE[folder.kind],
        "itemId": item_id,
        "parentId": folder.id,
        "origId": "",
        "origParentId": "",
        "watermark": 0,
        "messageUnread": int(unread),
    }
