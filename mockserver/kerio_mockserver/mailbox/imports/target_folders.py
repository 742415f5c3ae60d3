"""The folder for an imported item, found by kind and name or created."""

from __future__ import annotations

from kerio_mockserver.mailbox.store import Kind, MailboxStore

STANDARD = (
    ("Inbox", "FMail", "FSubInbox"),
    ("Drafts", "FMail", "FSubDrafts"),
    ("Sent Items", "FMail", "FSubSentItems"),
    ("Deleted Items", "FMail", "FSubDeletedItems"),
    ("Junk E-mail", "FMail", "FSubJunkEmail"),
    ("Calendar", "FCalendar", "FSubDefault"),
    ("Contacts", "FContact", "FSubDefault"),
    ("Tasks", "FTask", "FSubDefault"),
    ("Notes", "FNote", "FSubDefault"),
)
_TYPES: dict[Kind, str] = {"event": "FCalendar", "contact": "FContact", "task": "FTask", "note": "FNote"}
_CALLED = {
    "inbox": "FSubInbox",
    "drafts": "FSubDrafts",
    "sent": "FSubSentItems",
    "sent items": "FSubSentItems",
    "sent messages": "FSubSentItems",
    "sent-mail": "FSubSentItems",
    "trash": "FSubDeletedItems",
    "deleted items": "FSubDeletedItems",
    "deleted messages": "FSubDeletedItems",
    "junk": "FSubJunkEmail",
    "junk e-mail": "FSubJunkEmail",
    "spam": "FSubJunkEmail",
    "bulk mail": "FSubJunkEmail",
}
"""What programs call the special folders."""


class Folders:
    """The own mailbox's folders by name; creates missing standard ones."""

    def __init__(self, store: MailboxStore) -> None:
        self._store = store
        self._special: dict[tuple[str, str], str] = {}
        self._named: dict[tuple[str, str], str] = {}
        self._root = ""
        for folder in store.folders():
            if folder["type"] == "FRoot":
                self._root = self._root or folder["id"]
            elif folder["type"] == "FMail":
                self._named.setdefault((folder["parentId"], folder["name"].casefold()), folder["id"])
            self._special.setdefault((folder["type"], folder["subType"]), folder["id"])
        self._root = self._root or store.add_folder("", "Mailbox", "FRoot")
        for name, folder_type, sub_type in STANDARD:
            if (folder_type, sub_type) not in self._special:
                folder_id = store.add_folder(self._root, name, folder_type, sub_type)
                self._special[folder_type, sub_type] = folder_id
                if folder_type == "FMail":
                    self._named[self._root, name.casefold()] = folder_id

    def default(self, kind: Kind) -> str:
        """Return the default folder for contacts, events, tasks or notes."""
        return self._special[_TYPES[kind], "FSubDefault"]

    def mail(self, names: tuple[str, ...]) -> str:
        """Return the mail folder of a path; () is the Inbox."""
        if not names:
            return self._special["FMail", "FSubInbox"]
        parent = self._root
        if (called := _CALLED.get(names[0].casefold())) is not None:
            parent, names = self._special["FMail", called], names[1:]
        for name in names:
            key = (parent, name.casefold())
            if key not in self._named:
                self._named[key] = self._store.add_folder(parent, name)
            parent = self._named[key]
        return parent
