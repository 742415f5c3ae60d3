"""Local changes in the outbox of a world's cache, and checks of their results."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from kerio_mockserver.conditions.model import Churn, Conditions
from kerio_mockserver.mailbox.store import NoSuchItem
from kerio_mockserver.messages import Reply, Request
from kerio_mockserver.server import MockServer
from kerio_resync.cache import queries
from kerio_resync.cache.mutations import Action, LocalChange, LocalFile
from kerio_resync.cache.outbox import Outbox
from kerio_resync.cache.outbox_rows import ALL_STATES
from kerio_resync.cache.store import Store
from kerio_resync.errors import OutcomeUnknown
from kerio_resync.model import Item, Kind
from simulation import virtual_time
from simulation.mailboxes import cached_mailbox
from simulation.world import CLIENT_TASK, PASSWORD, World

T = TypeVar("T")
TITLE: dict[Kind, str] = {
    "mail": "subject", "contact": "commonName", "event": "summary", "task": "summary", "note": "text"
}  # fmt: skip
FOLDER_TYPE: dict[Kind, str] = {
    "mail": "FMail", "contact": "FContact", "event": "FCalendar", "task": "FTask", "note": "FNote"
}  # fmt: skip
KINDS: tuple[Kind, ...] = tuple(TITLE)


def open_cache(world: World, work: Callable[[Store], Awaitable[T]]) -> T:
    """What `work` makes of the world's cache."""

    async def run() -> T:
        store = await Store.open(world.profile / "cache.db")
        try:
            return await work(store)
        finally:
            await store.close()

    return virtual_time.run(run())


def add(world: World, action: Action, kind: Kind, *, files: tuple[LocalFile, ...] = (), **more: Any) -> str:
    """Records a change; its uuid. `struct` as a dict."""
    more["struct"] = json.dumps(more.get("struct", {})).encode()
    return open_cache(world, lambda store: Outbox(store).add(action, kind, files=files, **more))


def outbox(world: World) -> dict[str, LocalChange]:
    """All changes by uuid."""
    return {each.uuid: each for each in open_cache(world, lambda store: Outbox(store).list(ALL_STATES))}


def local_notes(world: World) -> dict[str, str]:
    """The notes of the folder "Conflicts", by the uuid of the change."""

    async def read(store: Store) -> dict[str, str]:
        rows = await store.read(lambda db: db.execute("SELECT id, extra FROM item WHERE id LIKE 'local:%'").fetchall())
        return {item_id.removeprefix("local:"): json.loads(extra)["conflict"] for item_id, extra in rows}

    return open_cache(world, read)


def folder_of(world: World, kind: Kind, sub_type: str = "") -> str:
    """Returns the id of the default folder of a kind; for mails, of the drafts."""
    wanted = sub_type or ("FSubDrafts" if kind == "mail" else "FSubDefault")
    return next(
        str(each["id"])
        for each in world.store.folders()
        if each["type"] == FOLDER_TYPE[kind] and each["subType"] == wanted
    )


def new_folder(world: World, kind: Kind) -> str:
    home = folder_of(world, kind, "FSubInbox" if kind == "mail" else "")
    parent = next(each["parentId"] for each in world.store.folders() if each["id"] == home)
    return str(world.store.create_folder({"parentId": parent, "name": f"Other {kind}s", "type": FOLDER_TYPE[kind]})[0])


def struct_of(kind: Kind, title: str) -> dict[str, Any]:
    """What a person would write."""
    match kind:
        case "mail":
            to = [{"name": "Ann", "address": "ann@example.com"}]
            return {"subject": title, "to": to, "displayableParts": [{"contentType": "ctTextPlain", "content": "Hi"}]}
        case "contact":
            emails = [{"address": "ann@example.com", "name": "Ann"}]
            return {"commonName": title, "firstName": "Ann", "surName": "Lee", "emailAddresses": emails}
        case "event":
            return {"summary": title, "start": "20260301T090000Z", "end": "20260301T100000Z", "location": "Here"}
        case "task":
            return {"summary": title, "due": "20260301T090000Z", "description": "Do it"}
    return {"text": f"{title}\nand more"}


def titled(world: World, kind: Kind, title: str) -> list[str]:
    """Ids of the server's items of that title."""
    found = []
    for each in world.store.folders():
        if each["type"] == FOLDER_TYPE[kind]:
            for item_id in world.store.folder(each["id"]).ordered("id"):
                found += [item_id] * str(world.store.item(item_id)[TITLE[kind]]).startswith(title)
    return found


def there(world: World, item_id: str) -> bool:
    try:
        world.store.item(item_id)
    except NoSuchItem:
        return False
    return True


def contents(world: World, item_id: str) -> list[tuple[str, str]]:
    """Returns (name, SHA-256) of a mail's attachments, or of a contact's photo."""
    struct = world.store.item(item_id)
    references = struct.get("attachments") or ([struct["photo"]] if struct.get("photo", {}).get("id") else [])
    found = []
    for each in references:
        blob = world.store.blob(each["id"]).blob
        found.append((each.get("name", ""), hashlib.sha256(blob.read(0, len(blob))).hexdigest()))
    return found


def cached(world: World, item_id: str) -> Item | None:
    """The item as the cache has it."""
    from kerio_resync.cache.write import items

    async def read(store: Store) -> Item | None:
        found = await store.read(lambda db: items.read_item_row(db, "item.id = ?", (item_id,)))
        return found[0][1] if found else None

    return open_cache(world, read)


class Meddler:
    """Sits between client and server; `plan`: what happens to a method's next call.

    "lost": the call is executed, but its reply is lost. "unheard": it is not executed, and the client does not know.
    "died" and "died unheard": the same, and the client dies at that moment. A number: the call is refused with that
    code, as a whole if it is negative, else for its item. `calls`: the methods that were called. `deadly`: what happens
    at which request.
    """

    def __init__(self, world: World) -> None:
        self.plan: dict[str, str | int] = {}
        self.calls: list[str] = []
        self.deadly: tuple[str, int] | None = None
        self._answer = world.server.handle
        world.server.handle = self.answer  # type: ignore[method-assign]  # the one place that all requests pass

    async def answer(self, request: Request) -> Reply:
        call = json.loads(request.body) if request.path.endswith("/jsonrpc/") else {}
        method = call.get("method", "")
        self.calls.append(method)
        happening = self.plan.pop(method, "") or self._nth()
        if isinstance(happening, int):
            return refused(call["id"], happening)
        reply = None if "unheard" in happening else await self._answer(request)
        if happening.startswith("died"):
            (task,) = [each for each in asyncio.all_tasks() if each.get_name() == CLIENT_TASK]
            task.cancel()
            await asyncio.sleep(3600)
        if happening or reply is None:
            raise OutcomeUnknown("the connection broke")
        return reply

    def _nth(self) -> str:
        if self.deadly is None:
            return ""
        happening, left = self.deadly
        self.deadly = (happening, left - 1)
        return happening if left == 1 else ""

    def made(self, *verbs: str) -> list[str]:
        """Returns the changing calls in order, or those of the named verbs."""
        wanted = verbs or ("create", "set", "move", "remove")
        return [each for each in self.calls if each.rpartition(".")[2] in wanted]


def refused(call_id: int, code: int) -> Reply:
    line = {"inputIndex": 0, "code": abs(code), "message": "Not now.", "messageParameters": {}}
    error: dict[str, Any] = {"error": {"code": code, "message": "Not so."}}
    answer = error if code < 0 else {"result": {"errors": [line], "result": []}}
    return Reply(body=json.dumps({"jsonrpc": "2.0", "id": call_id, **answer}).encode())


def small_world(profile: Path) -> World:
    """One with few folders, so that a run takes a tenth of a second."""
    world = World(profile, mails=0)
    world.store = cached_mailbox(
        1, 4, folders=6, contacts=2, events=2, tasks=1, notes=1, total_bytes=9000, shared=False
    )
    world.server = MockServer(world.store, password=PASSWORD, seed=1, conditions=Conditions(churn=Churn()))
    return world


class Diary:
    """Compares the local changes with the calls that the server received."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done: dict[str, tuple[Kind, Action, str]] = {}  # by uuid; the text is that of the title, which is unique
        self.asked: list[str] = []  # titles that the server created an item with, or set
        create, set_ = world.store.create, world.store.set

        def created(kind: Kind, struct: dict[str, Any]) -> tuple[str, int]:
            result = create(kind, struct)
            self.asked.append(f"create {struct.get(TITLE[kind], '')}")
            return result

        def changed(kind: Kind, struct: dict[str, Any]) -> tuple[str, int]:
            result = set_(kind, struct)
            self.asked.append(f"edit {struct.get(TITLE[kind], '')}")
            return result

        world.store.create, world.store.set = created, changed  # type: ignore[method-assign]

    def act(self, kind: Kind, action: Action, pick: int) -> None:
        """Changes or creates an item; does nothing without a cache or an item."""
        if not (self.world.profile / "cache.db").exists():
            return
        title = f"Offline {len(self.done)}"
        open_cache(self.world, lambda store: self._act(store, kind, action, pick, title))

    async def _act(self, store: Store, kind: Kind, action: Action, pick: int, title: str) -> None:
        folders = [
            row.folder.id
            for row in await store.read(queries.folders)
            if row.folder.kind == kind and row.folder.place == "own"
        ]
        held = [each for each in await store.read(queries.items, limit=500) if each.kind == kind]
        made = [uuid for uuid, (what, doing, _) in self.done.items() if (what, doing) == (kind, "create")]
        if not folders or (action != "create" and not held):
            return
        more: dict[str, Any] = {"folder_id": folders[pick % len(folders)]}
        if action != "create":
            item = held[pick % len(held)]
            more |= {"item_id": item.id, "folder_id": item.folder_ids[0], "version": item.version}
            if pick % 5 == 0 and made:  # one that was made offline too
                more |= {"item_id": f"local:{made[-1]}", "version": ""}
        if action == "move":
            more["target_id"] = folders[pick % len(folders)]
        struct = {
            "create": struct_of(kind, title),
            "edit": {TITLE[kind]: title},
            "flags": {"flagged": bool(pick % 2)},
        }
        more["struct"] = json.dumps(struct.get(action, {})).encode()
        self.done[await Outbox(store).add(action, kind, **more)] = (kind, action, title)

    def check(self, *, settled: bool = False) -> None:
        """Checks that no change was lost or sent twice; `settled`: none is pending."""
        if not self.done:
            return
        held = outbox(self.world)
        for uuid, (_, action, title) in self.done.items():
            state = held[uuid].state if uuid in held else "sent"
            assert not settled or state not in ("pending", "sending"), (action, title, state)
            if action == "create":
                asked = sum(each.split("\n")[0] == f"create {title}" for each in self.asked)
                assert asked <= 1, f"{title} was made {asked} times"
                assert asked == {"sent": 1, "sending": asked}.get(state, 0), (title, state)
            if action == "edit" and state == "sent":
                assert f"edit {title}" in self.asked, title
            if state == "conflict":
                mine = cached(self.world, f"local:{uuid}")
                assert mine is not None
                assert action != "edit" or mine.title == title
