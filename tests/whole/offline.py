"""What a person does without a connection: changes put into the outbox of a world's cache, and how they fare."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from kerio_mockserver.conditions.model import Churn, Conditions
from kerio_mockserver.core import Core
from kerio_mockserver.mailbox.model import NoSuchItem
from kerio_mockserver.mailbox.seed import seeded
from kerio_mockserver.wire import Reply, Request
from kerio_resync.cache.facts import Action, LocalFile
from kerio_resync.cache.outbox import Change, Outbox
from kerio_resync.cache.store import Store
from kerio_resync.errors import Interrupted
from kerio_resync.model import Item, Kind
from kerio_resync.resync.replay import ALL
from tests.whole.world import PASSWORD, World

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

    return asyncio.run(run())


def add(world: World, action: Action, kind: Kind, *, files: tuple[LocalFile, ...] = (), **more: Any) -> str:
    """Records a change; its uuid. `struct` as a dict."""
    more["struct"] = json.dumps(more.get("struct", {})).encode()
    return open_cache(world, lambda store: Outbox(store).add(action, kind, files=files, **more))


def outbox(world: World) -> dict[str, Change]:
    """All changes by uuid."""
    return {each.uuid: each for each in open_cache(world, lambda store: Outbox(store).list(ALL))}


def local_notes(world: World) -> dict[str, str]:
    """The notes of the folder "Conflicts", by the uuid of the change."""

    async def read(store: Store) -> dict[str, str]:
        rows = await store._read(lambda db: db.execute("SELECT id, extra FROM item WHERE id LIKE 'local:%'").fetchall())
        return {item_id.removeprefix("local:"): json.loads(extra)["conflict"] for item_id, extra in rows}

    return open_cache(world, read)


def folder_of(world: World, kind: Kind, sub_type: str = "") -> str:
    """The id of the own folder of the kind: the default one, for mails the drafts, unless `sub_type` says otherwise."""
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
    """(name, SHA-256 in hex) of the attachments of a mail on the server, or of a contact's photo."""
    struct = world.store.item(item_id)
    references = struct.get("attachments") or ([struct["photo"]] if struct.get("photo", {}).get("id") else [])
    found = []
    for each in references:
        blob = world.store.blob(each["id"]).blob
        found.append((each.get("name", ""), hashlib.sha256(blob.read(0, len(blob))).hexdigest()))
    return found


def cached(world: World, item_id: str) -> Item | None:
    """The item as the cache has it."""
    from kerio_resync.cache import items

    async def read(store: Store) -> Item | None:
        found = await store._read(lambda db: items.read(db, "item.id = ?", (item_id,)))
        return found[0][1] if found else None

    return open_cache(world, read)


class Meddler:
    """Comes between client and server: `plan` says what happens to the next call of a method, once each.

    "lost": it is done, but the reply does not arrive; "unheard": it is not done, and nobody knows; "died" and "died
    unheard": the same, and the client dies in that moment; a number: it is refused with that code, as a whole if it is
    negative, else for its item. `calls`: the methods that were called. `deadly`: what happens at which request.
    """

    def __init__(self, world: World) -> None:
        self.plan: dict[str, str | int] = {}
        self.calls: list[str] = []
        self.deadly: tuple[str, int] | None = None
        self._answer = world.core.answer
        world.core.answer = self.answer  # type: ignore[method-assign]  # the one place that all requests pass

    async def answer(self, request: Request) -> Reply:
        call = json.loads(request.body) if request.path.endswith("/jsonrpc/") else {}
        method = call.get("method", "")
        self.calls.append(method)
        happening = self.plan.pop(method, "") or self._nth()
        if isinstance(happening, int):
            return refused(call["id"], happening)
        reply = None if "unheard" in happening else await self._answer(request)
        if happening.startswith("died"):
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(3600)
        if happening or reply is None:
            raise Interrupted("the connection broke")
        return reply

    def _nth(self) -> str:
        if self.deadly is None:
            return ""
        happening, left = self.deadly
        self.deadly = (happening, left - 1)
        return happening if left == 1 else ""

    def made(self, *verbs: str) -> list[str]:
        """Which calls that change something were made, in order; of these verbs, if any are named."""
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
    world.store = seeded(1, 4, folders=6, contacts=2, events=2, tasks=1, notes=1, total_bytes=9000, shared=False)
    world.core = Core(world.store, password=PASSWORD, seed=1, conditions=Conditions(churn=Churn()))
    return world
