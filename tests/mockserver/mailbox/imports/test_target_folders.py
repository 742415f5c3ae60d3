"""Imported things go to the folder they belong in."""

from __future__ import annotations

from kerio_mockserver.mailbox.imports.target_folders import STANDARD, Folders
from kerio_mockserver.mailbox.store import MailboxStore


def test_empty_mailbox_gets_its_standard_folders_once() -> None:
    store = MailboxStore()
    Folders(store)
    Folders(store)
    assert [(one["name"], one["type"], one["subType"]) for one in store.folders()[1:]] == list(STANDARD)
    root = store.folders()[0]
    assert (root["type"], {one["parentId"] for one in store.folders()[1:]}) == ("FRoot", {root["id"]})


def test_names_find_the_folder_in_any_case() -> None:
    store = MailboxStore()
    folders = Folders(store)
    work = folders.mail(("Work", "2025"))
    assert folders.mail(("WORK", "2025")) == work
    assert folders.mail(("Work",)) != work
    assert folders.mail(()) == folders.mail(("inbox",)) == folders.mail(("INBOX",))
    assert folders.mail(("Spam",)) == folders.mail(("Junk E-mail",))
    assert folders.mail(("Work", "Inbox")) != folders.mail(())
    assert store.folder(folders.default("note")).kind == "note"


def test_mailbox_with_other_names_keeps_them() -> None:
    store = MailboxStore()
    root = store.add_folder("", "anna", "FRoot")
    inbox = store.add_folder(root, "Posteingang", "FMail", "FSubInbox")
    folders = Folders(store)
    assert folders.mail(()) == inbox
    assert [one["name"] for one in store.folders() if one["subType"] == "FSubInbox"] == ["Posteingang"]
