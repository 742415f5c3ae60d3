"""A small mailbox, and a client that calls the mock server as a function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from kerio_mockserver.api.type_check import ENUMS, STRUCTS, readable
from kerio_mockserver.mailbox.blobs import NewBlob
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.messages import Reply, Request
from kerio_mockserver.server import MockServer
from kerio_mockserver.testing import Server

PDF = bytes(range(256)) * 64


@dataclass
class Mailbox:
    """A store and the ids of its folders."""

    store: MailboxStore
    root: str
    inbox: str
    archive: str
    contacts: str
    calendar: str
    tasks: str
    notes: str
    shared: str = ""
    shared_inbox: str = ""
    public: str = ""


def small(mails: int = 10) -> Mailbox:
    """Ten mails (odd ones unread, the third with two attachments), one item per kind."""
    store = MailboxStore("example.com", "jane", name="Jane Doe")
    root = store.add_folder("", "jane@example.com", "FRoot")
    box = Mailbox(
        store,
        root,
        store.add_folder(root, "INBOX", "FMail", "FSubInbox"),
        store.add_folder(root, "Archiv / 保存", "FMail"),
        store.add_folder(root, "Contacts", "FContact", "FSubDefault"),
        store.add_folder(root, "Calendar", "FCalendar", "FSubDefault"),
        store.add_folder(root, "Tasks", "FTask", "FSubDefault"),
        store.add_folder(root, "Notes", "FNote", "FSubDefault"),
    )
    store.add_folder(root, "Drafts", "FMail", "FSubDrafts")
    for number in range(mails):
        store.add("mail", box.inbox, *_mail(number))
    _others(box)
    return box


def _mail(number: int) -> tuple[dict[str, Any], list[NewBlob]]:
    files = [NewBlob(PDF, "příloha.pdf", "application/pdf"), NewBlob(b"two", "two.txt", "text/plain")]
    struct = {
        "subject": f"Subject {number % 4} ÄÖ",
        "from": {"name": f"Sender {number}", "address": f"s{number}@example.org", "contactId": ""},
        "receiveDate": f"202601{number % 28 + 1:02d}T120000Z",
        "isSeen": number % 2 == 0,
        "priority": "High" if number % 3 == 0 else "Normal",
        "displayableParts": [{"id": "", "contentType": "ctTextPlain", "content": f"text {number}"}],
        "size": 1000 + number,
    }
    return struct, files if number == 2 else []


def _others(box: Mailbox) -> None:
    store = box.store
    store.add("contact", box.contacts, {"commonName": "Ana"}, [NewBlob(b"PNG", "photo.png", "image/png", role="photo")])
    event = {"summary": "Porada", "start": "20260106T090000Z", "end": "20260106T100000Z"}
    jane = {"displayName": "Jane", "emailAddress": "jane@example.com", "role": "RoleRequiredAttendee"}
    store.add("event", box.calendar, event | {"attendees": [jane]})
    store.add("task", box.tasks, {"summary": "Úkol", "done": 40})
    store.add("note", box.notes, {"text": "メモ"})
    box.shared = store.add_shared("bob", "Bob")
    root = store.add_folder("", "bob@example.com", "FRoot", place=box.shared, access="FAccessReadOnly")
    box.shared_inbox = store.add_folder(root, "INBOX", "FMail", "FSubInbox", box.shared, access="FAccessReadOnly")
    store.add("mail", box.shared_inbox, {"subject": "shared"})
    public = store.add_folder("", "Public folders", "FRoot", place="public")
    box.public = store.add_folder(public, "Firma", "FMail", place="public", access="FAccessListingOnly")


class Refused(Exception):
    """An error reply."""

    def __init__(self, error: dict[str, Any], status: int) -> None:
        super().__init__(error["code"], error["message"])
        self.code: int = error["code"]
        self.error = error
        self.status = status


@dataclass
class Caller:
    """A client without a network. `headers` go with each request."""

    core: MockServer
    peer: str = "10.0.0.1"
    token: str = ""
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    async def login(self, password: str = "secret") -> str:
        application = {"name": "test", "vendor": "test", "version": "1"}
        reply = await self.send(
            envelope("Session.login", userName=self.core.user, password=password, application=application)
        )
        self.token = result(reply)["token"]
        self.cookie = "; ".join(line.split(";")[0] for line in reply.headers["Set-Cookie"].split("\n"))
        return self.token

    async def send(self, body: bytes, path: str = "/webmail/api/jsonrpc/", **headers: str) -> Reply:
        return await self.core.handle(Request("POST", path, self.all_headers(headers), body, "", self.peer))

    async def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.core.handle(Request(method, path, self.all_headers(named), b"", "", self.peer))

    async def call(self, method: str, **params: Any) -> Any:
        """The result; Refused."""
        return result(await self.send(envelope(method, **params)))

    def all_headers(self, more: dict[str, str]) -> dict[str, str]:
        mine = {"x-token": self.token, "cookie": self.cookie} if self.token else {}
        return {**mine, **self.headers, **more}


def envelope(method: str, **params: Any) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def result(reply: Reply) -> Any:
    assert isinstance(reply.body, bytes)
    said = orjson.loads(reply.body)
    if "error" in said:
        raise Refused(said["error"], reply.status)
    assert reply.status == 200
    return said["result"]


async def logged_in(box: Mailbox | None = None, **options: Any) -> tuple[Caller, Mailbox]:
    box = box or small()
    caller = Caller(MockServer(box.store, **options))
    await caller.login()
    return caller, box


async def login(client: aiohttp.ClientSession, server: Server) -> dict[str, str]:
    """The headers of a session."""
    body = envelope("Session.login", userName=server.user, password=server.password, application={})
    async with client.post(server.url + "/webmail/api/jsonrpc/", data=body) as reply:
        said = await reply.json()
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in reply.cookies.items())
    return {"X-Token": said["result"]["token"], "Cookie": cookies}


def conforms(value: Any, kind: str, where: str = "result", *, partial: bool = False) -> list[str]:
    """Returns how `value` departs from a documented type; `partial`: may lack members."""
    if kind.endswith("[]"):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [
            one for n, item in enumerate(value) for one in conforms(item, kind[:-2], f"{where}[{n}]", partial=partial)
        ]
    if kind == "Certificate":  # the reference does not say what is in it
        return [] if isinstance(value, dict) else [f"{where} is no object"]
    if kind not in STRUCTS:
        return [] if _scalar(value, kind) else [f"{where} is no {kind}: {value!r}"]
    if not isinstance(value, dict):
        return [f"{where} is no object"]
    members = readable(kind)
    wrong = [f"{where}.{name} is not documented" for name in value if name not in members]
    if not partial:
        wrong += [f"{where}.{name} is missing" for name in members if name not in value]
    for name in members.keys() & value.keys():
        wrong += conforms(value[name], members[name], f"{where}.{name}")
    return wrong


def _scalar(value: Any, kind: str) -> bool:
    if kind in ENUMS:
        return value in ENUMS[kind]
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in {"long", "int64", "uint64", "unsigned long", "Watermark"}:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str)
