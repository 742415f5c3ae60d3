"""The single changes of a mailbox, each drawn from a generator.

An action takes the mailbox, a generator and a folder's name (None: drawn), makes one change through the mailbox's own
mutations, and returns the id of what changed, "" if there was nothing to change. Only the own mailbox changes. Folders
and items are picked by position in orders that depend on the mailbox alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from kerio_mockserver.conditions.model import Action
from kerio_mockserver.mailbox.blobs import NewBlob
from kerio_mockserver.mailbox.store import KIND_OF, Kind, MailboxStore, NoSuchFolder, Struct
from kerio_mockserver.mailbox.vocabulary import SUBJECTS, WORDS

Act = Callable[[MailboxStore, Random, str | None], str]
_LONGEST = 400  # words


def arrive(store: MailboxStore, rng: Random, folder: str | None) -> str:
    """Deliver a mail, by default to the Inbox; one in five has an attachment."""
    struct: Struct = {
        "subject": _line(rng),
        "from": {"name": _word(rng).title(), "address": f"{rng.randrange(10_000)}@example.org"},
        "to": [{"name": store.name, "address": store.address}],
        "displayableParts": [{"contentType": "ctTextPlain", "content": _text(rng)}],
    }
    blobs = [_file(rng)] if rng.random() < 0.2 else []
    at = _named(store, folder)["id"] if folder else ""
    return store.deliver(struct, blobs, at)[0]


def flagging(member: str, value: bool | None) -> Act:
    """Return the action that sets a flag of a mail, or inverts it (None)."""

    def act(store: MailboxStore, rng: Random, folder: str | None) -> str:
        mail = _mail(store, rng, folder)
        if not mail:
            return ""
        flag = not store.light(mail)[member] if value is None else value
        return store.set("mail", {"id": mail, member: flag})[0]

    return act


def move(store: MailboxStore, rng: Random, folder: str | None) -> str:
    """Move a mail to another folder."""
    mail = _mail(store, rng, folder)
    home = store.light(mail)["folderId"] if mail else ""
    others = [other["id"] for other in _folders(store, "mail") if other["id"] != home]
    return store.move(mail, rng.choice(others))[0] if mail and others else ""


def delete(store: MailboxStore, rng: Random, folder: str | None) -> str:
    """Delete a mail; return its id, or an empty string."""
    mail = _mail(store, rng, folder)
    return store.remove(mail)[0] if mail else ""


def edit_draft(store: MailboxStore, rng: Random, folder: str | None) -> str:
    """Edit a draft, or create one if there is none."""
    words = {"subject": _line(rng), "displayableParts": [{"contentType": "ctTextPlain", "content": _text(rng)}]}
    drafts = [mail_folder for mail_folder in _folders(store, "mail") if mail_folder["subType"] == "FSubDrafts"]
    ids = store.folder(drafts[0]["id"]).ordered("id") if drafts else ()
    if not ids or rng.random() < 0.2:
        return store.create("mail", words)[0]
    return store.set("mail", words | {"id": ids[rng.randrange(len(ids))]})[0]


def all_seen(store: MailboxStore, rng: Random, folder: str | None) -> str:
    """Mark a folder read."""
    chosen = _named(store, folder) if folder else _one(_folders(store, "mail"), rng)
    return store.set_all_seen(chosen["id"])[0]


def new_folder(store: MailboxStore, rng: Random, folder: str | None) -> str:
    """Create a folder in the named one, or in one of the mail folders."""
    folders = _folders(store, "mail")
    parent = _named(store, folder) if folder else _one(folders, rng)
    name = f"{_word(rng).title()} {rng.randrange(1_000_000)}"
    return store.create_folder({"parentId": parent["id"], "name": name, "type": "FMail"})[0]


def rename_folder(store: MailboxStore, rng: Random, folder: str | None) -> str:
    """Rename a folder; return its id, or an empty string."""
    chosen = _movable(store, rng, folder)
    name = f"{_word(rng).title()} {rng.randrange(1_000_000)}"
    return store.set_folder({"id": chosen["id"], "name": name})[0] if chosen else ""


def move_folder(store: MailboxStore, rng: Random, folder: str | None) -> str:
    """Move a folder into another one; the mailbox refuses itself."""
    chosen = _movable(store, rng, folder)
    parents = [parent["id"] for parent in _folders(store, "mail") if chosen and parent["id"] != chosen["id"]]
    return store.set_folder({"id": chosen["id"], "parentId": rng.choice(parents)})[0] if chosen and parents else ""


def remove_folder(store: MailboxStore, rng: Random, folder: str | None) -> str:
    """Remove the named folder, or one of the smaller half, with everything in it."""
    movable = sorted(_all_movable(store, folder), key=lambda folder: (folder["messageCount"], folder["id"]))
    if not movable:
        return ""
    chosen = rng.choice(movable[: max(1, len(movable) // 2)])
    return store.remove_folder(chosen["id"], True)[0]


def turning(kind: Kind, make: Callable[[Random], Struct]) -> Act:
    """Return the action that creates, changes or removes an item, with equal chances."""

    def act(store: MailboxStore, rng: Random, folder: str | None) -> str:
        folders = [candidate for candidate in _folders(store, kind) if folder in (None, candidate["name"])]
        struct = make(rng)
        ids = [store.folder(mail_folder["id"]).ordered("id") for mail_folder in folders]
        chosen = _pick(ids, rng)
        choice = rng.randrange(3)
        if not folders:
            return ""
        if choice == 0 or not chosen:
            return store.create(kind, struct | {"folderId": rng.choice(folders)["id"]})[0]
        return store.set(kind, struct | {"id": chosen})[0] if choice == 1 else store.remove(chosen)[0]

    return act


def _contact(rng: Random) -> Struct:
    first, last = _word(rng).title(), _word(rng).title()
    address = {"address": f"{rng.randrange(10_000)}@example.org", "name": f"{first} {last}", "type": "EmailWork"}
    return {"commonName": f"{first} {last}", "firstName": first, "surName": last, "emailAddresses": [address]}


def _event(rng: Random) -> Struct:
    day, hour = rng.randrange(1, 28), rng.randrange(7, 18)
    times = {"start": f"202604{day:02}T{hour:02}0000Z", "end": f"202604{day:02}T{hour + 1:02}0000Z"}
    return times | {"summary": _line(rng), "location": _word(rng).title(), "description": _text(rng)}


def _task(rng: Random) -> Struct:
    return {"summary": _line(rng), "due": f"202604{rng.randrange(1, 29):02}", "done": rng.randrange(0, 101)}


def _note(rng: Random) -> Struct:
    return {"text": _text(rng), "color": rng.choice(("White", "Yellow", "Pink", "Green", "Blue"))}


ACTIONS: dict[Action, Act] = {
    "arrive": arrive,
    "read": flagging("isSeen", True),
    "unread": flagging("isSeen", False),
    "flag": flagging("isFlagged", None),
    "move": move,
    "delete": delete,
    "edit-draft": edit_draft,
    "all-seen": all_seen,
    "new-folder": new_folder,
    "rename-folder": rename_folder,
    "move-folder": move_folder,
    "remove-folder": remove_folder,
    "contact": turning("contact", _contact),
    "event": turning("event", _event),
    "task": turning("task", _task),
    "note": turning("note", _note),
}


def _folders(store: MailboxStore, kind: Kind) -> list[Struct]:
    """Return the own folders of a kind by id."""
    folders = (folder for folder in store.folders() if KIND_OF[folder["type"]] == kind)
    return sorted(folders, key=lambda folder: str(folder["id"]))


def _named(store: MailboxStore, name: str) -> Struct:
    """Return the first mail folder of a name; "", which the mailbox refuses, if none."""
    return next((folder for folder in _folders(store, "mail") if folder["name"] == name), {"id": name})


def _one(folders: Sequence[Struct], rng: Random) -> Struct:
    """Return one of the folders; raise NoSuchFolder if there are none."""
    if not folders:
        raise NoSuchFolder("there is no mail folder")
    return rng.choice(folders)


def _all_movable(store: MailboxStore, folder: str | None) -> list[Struct]:
    free = (candidate for candidate in _folders(store, "mail") if candidate["subType"] == "FSubNone")
    return [candidate for candidate in free if folder in (None, candidate["name"])]


def _movable(store: MailboxStore, rng: Random, folder: str | None) -> Struct:
    movable = _all_movable(store, folder)
    return rng.choice(movable) if movable else {}


def _mail(store: MailboxStore, rng: Random, folder: str | None) -> str:
    """Return any mail, each with the same probability; "" if there is none."""
    folders = [candidate for candidate in _folders(store, "mail") if folder in (None, candidate["name"])]
    return _pick([store.folder(candidate["id"]).ordered("id") for candidate in folders], rng)


def _pick(lists: Sequence[Sequence[str]], rng: Random) -> str:
    total = sum(len(ids) for ids in lists)
    at = rng.randrange(total) if total else 0
    for ids in lists:
        if at < len(ids):
            return ids[at]
        at -= len(ids)
    return ""


def _word(rng: Random) -> str:
    return rng.choice(WORDS["en"].split())


def _line(rng: Random) -> str:
    subject = rng.choice(SUBJECTS[rng.choice(sorted(SUBJECTS))])
    return f"{subject} {rng.randrange(1_000_000)}"


def _text(rng: Random) -> str:
    words = WORDS[rng.choice(sorted(WORDS))].split()
    return " ".join(rng.choices(words, k=rng.randrange(5, _LONGEST)))


def _file(rng: Random) -> NewBlob:
    data = rng.randbytes(rng.choice((100, 5_000, 60_000)))
    return NewBlob(data, f"{_word(rng)}.bin", "application/octet-stream")
