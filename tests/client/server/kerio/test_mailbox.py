"""The mailbox against a scripted server: what each verb asks, and what it makes of any answer."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from kerio_resync.errors import (
    BadCredentials,
    BadSettings,
    FolderDenied,
    ForeignReply,
    ItemGone,
    KeyExpired,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    ResyncError,
    ServerRefused,
    TooLarge,
    UnknownServer,
    Unreachable,
)
from kerio_resync.events import Paused, Retrying, Skipped
from kerio_resync.model import Folder, Identity, ItemBatch, Kind, ListedItem, ListingPage, MalformedItem, Quota
from kerio_resync.server.http.routes import route_of
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.server.kerio.rpc import LARGE_REPLY_BYTES
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from simulation.virtual_time import run
from tests.support.scripted_server import COOKIES, INBOX, ORIGIN, PASSWORD, Scripted, answers, error, mail, opened


def test_it_is_a_mailbox() -> None:
    mailbox: Mailbox = Scripted().mailbox()
    assert PASSWORD not in repr(mailbox)


@pytest.mark.parametrize("settings", [{"server": ""}, {"user": ""}])
def test_settings_that_lead_nowhere(settings: dict[str, str]) -> None:
    with pytest.raises(BadSettings):
        KerioMailbox(Settings(**{"profile": Path("x"), "server": ORIGIN, "user": "jane", **settings}))  # type: ignore[arg-type]


def test_route_of_keeps_password_of_proxy_out_of_messages() -> None:
    settings = Settings.model_validate(
        {"profile": "x", "server": ORIGIN, "user": "jane", "proxy": "http://u:pr0xy-secret@127.0.0.1:9"}
    )
    proxy = route_of(settings).proxy
    assert proxy is not None
    assert (proxy.host, proxy.password) == ("127.0.0.1", "pr0xy-secret")
    assert settings.redactor.foreign("no pr0xy-secret here") == "no … here"


def test_open_and_close() -> None:
    server = Scripted()

    async def main() -> Identity:
        mailbox = server.mailbox()
        identity = await mailbox.open()
        await mailbox.close()
        return identity

    assert run(main()) == Identity(ORIGIN, "u1", "jane", "j@x")
    login, who, logout = server.transport.requests
    assert json.loads(login.body or b"")["params"]["password"] == PASSWORD
    assert "X-Token" not in login.headers
    for request in (who, logout):
        assert request.headers["X-Token"] == "token-1"
        assert request.headers["Cookie"] == "SESSION_CONNECT_WEBMAIL=s3ss10n; TOKEN_CONNECT_WEBMAIL=t0k"
    assert [name for name, _ in server.asked] == ["Session.login", "Session.whoAmI", "Session.logout"]
    assert server.transport.closed


def test_login_is_not_sent_again_once_the_retry_timeout_is_over() -> None:
    server = Scripted()
    logins: list[float] = []

    async def silence(request: httpx.Request) -> httpx.Response:
        logins.append(asyncio.get_running_loop().time())
        await asyncio.sleep(60)
        raise httpx.ReadTimeout("hardly a byte")

    async def main() -> None:
        server.router.post(f"{ORIGIN}/webmail/api/jsonrpc/").mock(side_effect=silence)
        mailbox = server.mailbox(retry_timeout=10)
        with pytest.raises(OutcomeUnknown):
            await mailbox.open()
        await mailbox.close()

    run(main())
    assert len(logins) == 1


@pytest.mark.parametrize(
    ("login", "kind", "seconds"),
    [
        (error(1000, "Authentication failed."), BadCredentials, 0),
        (httpx.ConnectError("refused"), Unreachable, 15),
        (httpx.Response(200, html="<html>Welcome!</html>"), UnknownServer, 0),
        (httpx.Response(200, text="[]"), UnknownServer, 0),
        (httpx.Response(200, text="{}"), UnknownServer, 0),
        (httpx.Response(200, text="null"), UnknownServer, 0),
        (httpx.Response(200, text=""), UnknownServer, 0),
        (httpx.Response(200, json={"error": {"code": 404, "message": "Not found"}}), UnknownServer, 0),
        (httpx.Response(404, html="<html>Not found</html>"), UnknownServer, 0),
        (httpx.Response(401, headers={"WWW-Authenticate": "Negotiate"}), BadCredentials, 0),
        (httpx.Response(403, html="<html>blocked country</html>"), UnknownServer, 0),
        (httpx.Response(407, html="<html>proxy</html>"), UnknownServer, 0),
        (httpx.Response(511, html="<html>portal</html>"), UnknownServer, 0),
        (httpx.Response(500, html="<html>oops</html>"), UnknownServer, 0),
        (error(-32001, "Session expired."), BadCredentials, 0),
        ({"token": ""}, ProtocolError, 0),
        ({"token": "a\r\nb"}, ProtocolError, 0),
        (httpx.Response(302, headers={"Location": "https://evil.example/"}), UnknownServer, 0),
        (httpx.Response(303, headers={"Location": "/webmail/totp"}), UnknownServer, 0),
        (httpx.Response(503, headers={"Retry-After": "7"}), Overloaded, 630),
        (httpx.Response(503, headers={"Retry-After": "9999"}), Overloaded, 600),
        (httpx.ReadError("reset"), OutcomeUnknown, 75),
    ],
)
def test_logins_that_fail(login: Any, kind: type[ResyncError], seconds: float) -> None:
    """A wrong address is reported within seconds; a busy server is waited for."""
    server = Scripted({"Session.login": lambda params: login})

    async def main() -> float:
        mailbox = server.mailbox()
        with pytest.raises(kind):
            await mailbox.open()
        await mailbox.close()
        return asyncio.get_running_loop().time()

    assert run(main()) <= seconds + 1
    assert "Session.logout" not in server.calls
    if kind in (BadCredentials, UnknownServer):
        assert server.calls["Session.login"] == 1


def test_a_wrong_password_is_tried_once() -> None:
    server = Scripted({"Session.login": lambda params: error(1000)})
    with pytest.raises(BadCredentials):
        opened(server, lambda mailbox: mailbox.sync_key())
    assert server.calls["Session.login"] == 1


def test_quota() -> None:
    server = Scripted(
        {"Session.getQuotaInformation": lambda params: {"quotaInfo": {"messagesUsed": 7, "spaceUsed": 2**40}}}
    )
    assert opened(server, lambda mailbox: mailbox.quota()) == Quota(7, 2**40)


def test_patches_are_none_because_contents_can_change() -> None:
    server = Scripted({})
    assert opened(server, lambda mailbox: mailbox.patches(["m1"])) == ()


def folder(n: int, **members: Any) -> dict[str, Any]:
    return {"id": f"f{n}", "parentId": "f0", "name": f"Folder {n}", "type": "FMail", **members}


def test_folders_of_one_and_of_others() -> None:
    server = Scripted(
        {
            "Folders.get": lambda params: {
                "list": [folder(1), folder(1, name="again"), {"name": "no id"}, folder(2, type="FRoot")]
            },
            "Folders.getPublic": lambda params: {"list": [folder(3), folder(1)]},
            "Folders.getSharedMailboxList": lambda params: {
                "mailboxes": [
                    {"mailboxId": "b1", "principal": {"displayName": "Bob"}},
                    {"mailboxId": "b2"},
                    {"principal": None},
                ]
            },
            "Folders.getShared": lambda params: {"list": [folder(4)]} if params["mailboxId"] == "b1" else error(1004),
        }
    )

    async def work(mailbox: KerioMailbox) -> Any:
        assert [one.id for one in await mailbox.folders()] == ["f1", "f2"]
        return await mailbox.folders(shared=True, public=True)

    found = opened(server, work)
    assert [(one.id, one.place, one.owner) for one in found] == [
        ("f1", "own", ""),
        ("f2", "own", ""),
        ("f3", "public", ""),
        ("f4", "shared", "Bob"),
    ]
    assert found[0].name == "again"
    assert [event for event in server.events if isinstance(event, Skipped) and event.id] == [
        Skipped("folder", "b2", "no")
    ]


async def listed(
    mailbox: KerioMailbox, folder: Folder, position: bytes | None = None, *, whole: bool = False
) -> list[ListingPage]:
    """Return the pages of a folder."""
    (listing,) = mailbox.listings([folder])
    return [page async for page in mailbox.list_items(listing, position, whole=whole)]


def test_a_page_of_mails_asks_for_little() -> None:
    rows = [
        {"id": "m1", "watermark": 3, "size": 9, "receiveDate": "20251210T110355Z", "hasAttachment": True},
        {"id": None},
    ]
    server = Scripted({"Mails.get": lambda params: {"list": rows, "totalItems": 2}})
    (page,) = opened(server, lambda mailbox: listed(mailbox, replace(INBOX, count=2)), page_size=2)
    assert page.rows == page.fresh == (ListedItem("m1", "3", 9, "2025-12-10T11:03:55Z", True),)
    assert (page.listed, page.done, len(page.malformed), page.items) == (2, True, 1, ())
    assert server.asked[2] == (
        "Mails.get",
        {
            "folderIds": ["f1"],
            "query": {
                "fields": ["id", "folderId", "watermark", "size", "receiveDate", "hasAttachment"],
                "conditions": [],
                "combining": "And",
                "start": 0,
                "limit": 2,
                "orderBy": [{"columnName": "receiveDate", "direction": "Desc", "caseSensitive": False}],
            },
        },
    )


@pytest.mark.parametrize(
    ("kind", "method", "parameter"),
    [
        ("contact", "Contacts.get", "folderIds"),
        ("event", "Events.get", "ids"),
        ("task", "Tasks.get", "folderIds"),
        ("note", "Notes.get", "folderIds"),
    ],
)
def test_a_whole_page_of_other_kinds(kind: Kind, method: str, parameter: str) -> None:
    server = Scripted({method: lambda params: {"list": [{"id": "i", "watermark": 1}], "totalItems": 1}})
    (page,) = opened(server, lambda mailbox: listed(mailbox, Folder("f9", "f0", "x", kind), whole=True))
    assert [(item.id, item.kind, item.folder_ids) for item in page.items] == [("i", kind, ("f9",))]
    assert page.rows == (ListedItem("i", "1"),)
    params = server.asked[2][1]
    assert params[parameter] == ["f9"]
    assert (params["query"]["fields"], params["query"]["limit"]) == ([], 200)


def test_a_root_folder_has_no_page() -> None:
    server = Scripted()
    (page,) = opened(server, lambda mailbox: listed(mailbox, Folder("f0", "", "x", None)))
    assert (page.rows, page.done) == ((), True)


def test_listing_is_that_of_one_folder() -> None:
    folders = (INBOX, Folder("f9", "f0", "x", "note"))
    listings = Scripted().mailbox().listings(folders)
    assert [each.folders for each in listings] == [(INBOX,), (folders[1],)]


def test_listing_resumes_at_a_position() -> None:
    mails = [{"id": f"m{n}", "watermark": n + 1} for n in range(5)]

    def page(params: dict[str, Any]) -> dict[str, Any]:
        start = params["query"]["start"]
        return {"list": mails[start : start + params["query"]["limit"]], "totalItems": 5}

    server = Scripted({"Mails.get": page})

    async def work(mailbox: KerioMailbox) -> None:
        first, *others = await listed(mailbox, replace(INBOX, count=5))
        assert await listed(mailbox, replace(INBOX, count=5), first.position) == others
        assert await listed(mailbox, replace(INBOX, count=5), b"nonsense") == [first, *others]

    opened(server, work, page_size=3, overlap=1)
    assert [params["query"]["start"] for name, params in server.asked if name == "Mails.get"] == [0, 2, 2, 0, 2]


def test_a_batch() -> None:
    result = {
        "result": [mail(1), mail(3, id="m3"), mail("x"), mail(1, subject="twice"), {"id": "m5"}],
        "errors": [
            {"inputIndex": 1, "code": 1002, "message": "gone"},
            {"inputIndex": 3, "code": 1003, "message": "denied"},
        ],
    }
    server = Scripted({"Mails.getById": lambda params: result})
    details = opened(server, lambda mailbox: mailbox.items_by_id("mail", ["m1", "m2", "m3", "m4", "m5"]))
    assert [(item.id, item.title) for item in details.items] == [("m1", "twice"), ("m3", "subject 3")]
    assert details.gone == ("m2",)
    assert details.malformed == (MalformedItem("m4", "denied"), MalformedItem("m5", "invalid: watermark"))
    assert details.plain_bytes == details.wire_bytes > 100


def test_items_left_out_are_asked_for_again_and_then_named() -> None:
    server = Scripted(
        {"Mails.getById": lambda params: {"result": [mail(1)] if "m1" in params["ids"] else [], "errors": None}}
    )
    details = opened(server, lambda mailbox: mailbox.items_by_id("mail", ["m1", "m2"]))
    assert [item.id for item in details.items] == ["m1"]
    assert details.malformed == (MalformedItem("m2", "the server did not answer for it", unanswered=True),)
    assert [params["ids"] for name, params in server.asked if name == "Mails.getById"] == [["m1", "m2"], ["m2"], ["m2"]]


def test_a_refusal_for_now_of_one_item_makes_the_batch_wait() -> None:
    busy = {"result": [], "errors": [{"inputIndex": 0, "code": 4100, "message": "reindexing"}]}
    server = Scripted({"Mails.getById": answers(busy, busy, {"result": [mail(1)], "errors": []})})
    details = opened(server, lambda mailbox: mailbox.items_by_id("mail", ["m1"]))
    assert [item.id for item in details.items] == ["m1"]


def test_one_item_that_spoils_the_whole_reply_is_found() -> None:
    def by_ids(params: dict[str, Any]) -> Any:
        if {"m13", "m77"} & set(params["ids"]):
            return httpx.Response(200, content=b'{"result":{"result":[{"id":"m13","subject":"\xff"}]}}')
        return {"result": [mail(one[1:]) for one in params["ids"]], "errors": []}

    server = Scripted({"Mails.getById": by_ids})
    details = opened(server, lambda mailbox: mailbox.items_by_id("mail", [f"m{n}" for n in range(100)]))
    assert sorted(one.id for one in details.malformed) == ["m13", "m77"]
    assert len(details.items) == 98


def test_a_server_that_talks_nonsense_about_everything_is_left() -> None:
    garbled = Scripted({"Mails.getById": lambda params: httpx.Response(200, content=b'{"result":}')})
    with pytest.raises(ProtocolError, match="broken JSON"):
        opened(garbled, lambda mailbox: mailbox.items_by_id("mail", [f"m{n}" for n in range(100)]))
    assert garbled.calls["Mails.getById"] < 500


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 407, 500, 511])
def test_a_call_waits_while_something_else_answers(status: int) -> None:
    """For as long as the retry timeout, seldom enough, and without another login."""
    page = httpx.Response(status, html="<html>Sign in</html>", headers={"Location": "/login"} if status == 302 else {})
    server = Scripted({"Changes.getSyncKey": lambda params: page})

    async def work(mailbox: KerioMailbox) -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(ForeignReply):
            await mailbox.sync_key()
        return asyncio.get_running_loop().time() - began

    assert opened(server, work, retry_timeout=300.0) == pytest.approx(300, abs=31)
    assert server.calls["Changes.getSyncKey"] < 25
    assert server.calls["Session.login"] == 1


@pytest.mark.parametrize(
    "refusal", [error(1000, "Your password has expired."), httpx.Response(401, html="<html>"), error(-32001)]
)
def test_a_login_refused_in_the_middle_is_tried_once_for_all_calls(refusal: Any) -> None:
    server = Scripted()

    async def work(mailbox: KerioMailbox) -> None:
        server.methods["Session.login"] = lambda params: refusal
        server.methods["Mails.getById"] = server.methods["Session.whoAmI"] = lambda params: error(-32001)
        found = await asyncio.gather(
            *(mailbox.items_by_id("mail", [f"m{n}"]) for n in range(16)), return_exceptions=True
        )
        assert {type(each) for each in found} == {BadCredentials}

    opened(server, work)
    assert server.calls["Session.login"] == 2


def test_a_login_behind_a_portal_is_repeated_once_the_server_answers_itself() -> None:
    server = Scripted()
    page = httpx.Response(401, html="<html>Sign in</html>")

    async def work(mailbox: KerioMailbox) -> Any:
        began = asyncio.get_running_loop().time()
        answer = server.answer
        dead = [True]

        def portal(request: httpx.Request) -> httpx.Response:
            now, method = asyncio.get_running_loop().time() - began, json.loads(request.content)["method"]
            if method == "Mails.getById" and dead:
                return httpx.Response(200, json=error(-32001))
            server.calls[f"{method} at the portal"] += now < 10
            if now < 10:
                return page
            if method == "Session.login":
                dead.clear()
            return answer(request)

        server.router.routes.clear()
        server.router.post(f"{ORIGIN}/webmail/api/jsonrpc/").mock(side_effect=portal)
        server.methods["Mails.getById"] = lambda params: {"result": [mail(each[1:]) for each in params["ids"]]}
        return await asyncio.gather(*(mailbox.items_by_id("mail", [f"m{n}"]) for n in range(16)))

    assert len(opened(server, work)) == 16
    assert server.calls["Session.login at the portal"] == 1
    assert server.calls["Session.login"] == 2


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(413, html="<html>too large</html>"),
        error(413, "too large"),
        httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=b""),  # filled in below
    ],
)
def test_a_batch_that_is_too_large(reply: Any) -> None:
    if isinstance(reply, httpx.Response) and reply.status_code == 200:
        import gzip

        packed = gzip.compress(bytes(LARGE_REPLY_BYTES + 1), 1)
        reply = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Raw(packed))
    server = Scripted({"Mails.getById": lambda params: reply})
    with pytest.raises(TooLarge) as caught:
        opened(server, lambda mailbox: mailbox.items_by_id("mail", ["m1", "m2"]))
    assert caught.value.scope == "item"
    assert server.calls["Mails.getById"] == 1


class Raw(httpx.AsyncByteStream):
    """Bytes as they travel: httpx would pack or unpack them."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def __aiter__(self) -> Any:
        yield self.data


def test_events_come_one_by_one() -> None:
    def by_id(params: dict[str, Any]) -> Any:
        match params["id"]:
            case "e2":
                return error(1002)
            case "e3":
                return {"result": None}
            case "e4":
                return {"result": {"id": "other", "watermark": 1}}
            case one:
                return {"result": {"id": one, "watermark": 1}}

    server = Scripted({"Events.getById": by_id})
    details = opened(server, lambda mailbox: mailbox.items_by_id("event", ["e1", "e2", "e3", "e4", "e5"]))
    assert [item.id for item in details.items] == ["e1", "e5"]
    assert details.gone == ("e2",)
    assert [one.id for one in details.malformed] == ["e3", "e4"]


def test_an_error_among_many_comes_out_alone() -> None:
    server = Scripted({"Events.getById": lambda params: error(-32602, "Invalid params.")})
    with pytest.raises(ServerRefused, match="Invalid"):
        opened(server, lambda mailbox: mailbox.items_by_id("event", ["e1", "e2"]))


def test_the_key_and_what_changed_since() -> None:
    key = {"id": 1, "watermark": 5, "accountSyncKey": []}
    server = Scripted(
        {
            "Changes.getSyncKey": lambda params: {"syncKey": key},
            "Changes.get": lambda params: {
                "list": [{"type": "chtDeleted", "itemId": "m1", "watermark": 6}],
                "syncKey": {**key, "watermark": 6},
            },
        }
    )

    async def work(mailbox: KerioMailbox) -> Any:
        return await mailbox.changes(await mailbox.sync_key())

    found = opened(server, work)
    assert [(one.type, one.id) for one in found.changes] == [("deleted", "m1")]
    assert json.loads(found.key)["watermark"] == 6
    assert server.asked[3] == ("Changes.get", {"lastSyncKey": key, "timeout": 0})


@pytest.mark.parametrize("code", [1000, 1002, -32602, 4104])
def test_any_refusal_of_a_key_means_start_over(code: int) -> None:
    server = Scripted({"Changes.get": lambda params: error(code)})
    with pytest.raises(KeyExpired):
        opened(server, lambda mailbox: mailbox.changes("{}"))
    with pytest.raises(KeyExpired):
        opened(server, lambda mailbox: mailbox.changes("no key"))


def test_forty_calls_whose_session_died_log_in_once() -> None:
    server = Scripted()
    dead = {"token-1"}

    def by_ids(request: httpx.Request) -> httpx.Response:
        message = json.loads(request.content)
        if message["method"] == "Mails.getById" and request.headers.get("x-token") in dead:
            return httpx.Response(500, json=error(-32001, "Session expired."))
        return Scripted.answer(server, request)

    server.router.routes.clear()
    server.router.post(f"{ORIGIN}/webmail/api/jsonrpc/").mock(side_effect=by_ids)
    server.methods["Mails.getById"] = lambda params: {"result": [mail(one[1:]) for one in params["ids"]]}

    async def work(mailbox: KerioMailbox) -> Any:
        found = await asyncio.gather(*(mailbox.items_by_id("mail", [f"m{n}"]) for n in range(40)))
        return [item.id for details in found for item in details.items]

    assert opened(server, work) == [f"m{n}" for n in range(40)]
    assert server.tokens == 2


def test_a_session_that_dies_for_ever_ends_the_call() -> None:
    server = Scripted({"Changes.getSyncKey": lambda params: error(-32001)})
    with pytest.raises(ServerRefused):
        opened(server, lambda mailbox: mailbox.sync_key())
    assert server.calls["Changes.getSyncKey"] < 10


def test_everyone_waits_when_the_server_names_a_time() -> None:
    server = Scripted()
    times: list[float] = []
    first = [True]

    def get(params: dict[str, Any]) -> Any:
        times.append(asyncio.get_running_loop().time())
        if first:
            first.clear()
            return httpx.Response(503, headers={"Retry-After": "30"}, text="busy")
        return {"result": [], "errors": [{"inputIndex": 0, "code": 1002, "message": ""}]}

    server.methods["Mails.getById"] = get

    async def work(mailbox: KerioMailbox) -> None:
        one = asyncio.create_task(mailbox.items_by_id("mail", ["m1"]))
        await asyncio.sleep(1)
        assert mailbox.in_flight == 0
        await asyncio.gather(one, *(mailbox.items_by_id("mail", ["m2"]) for _ in range(5)))
        assert mailbox.retries == 1

    opened(server, work)
    assert times[0] == 0.0
    assert min(times[1:]) >= 30.0
    assert [event for event in server.events if isinstance(event, Paused)] == [
        Paused(30.0, "Mails.getById: status 503")
    ]


def test_trouble_that_passes_is_told_and_survived() -> None:
    server = Scripted(
        {
            "Changes.getSyncKey": answers(
                httpx.ConnectError("x"),
                httpx.ReadError("x"),
                httpx.Response(200, html="<html>"),
                error(-32603, "Internal error."),
                error(-32700, "Parse error."),
                httpx.Response(502, text="bad gateway"),
                error(4101, "Busy."),
                {"syncKey": {"id": 1}},
            )
        }
    )
    assert opened(server, lambda mailbox: mailbox.sync_key()) == '{"id":1}'
    told = [event.reason.split(":")[0] for event in server.events if isinstance(event, Retrying)]
    assert told == [
        "the server cannot be reached",
        "the connection broke",
        "another program answered",
        "the connection broke",
        "the server cannot be reached",
        "the server is busy",
        "the server is busy",
    ]


def test_the_body_speaks_before_the_status() -> None:
    for status in (200, 404, 500):
        answer = httpx.Response(status, json=error(1004, "Access to %1 denied."))
        server = Scripted({"Mails.get": lambda params, answer=answer: answer})  # type: ignore[misc]
        with pytest.raises(FolderDenied) as caught:
            opened(server, lambda mailbox: listed(mailbox, INBOX))
        assert (caught.value.scope, caught.value.method) == ("folder", "Mails.get")


def test_a_folder_that_is_gone() -> None:
    server = Scripted({"Mails.get": lambda params: error(4104, "gone")})
    with pytest.raises(ItemGone) as caught:
        opened(server, lambda mailbox: listed(mailbox, INBOX))
    scope: str = caught.value.scope
    assert scope == "folder"


def test_what_the_server_says_shows_no_secret() -> None:
    quoting = f"bad request {{'password': '{PASSWORD}', 'X-Token': 'token-1', 'Cookie': 's3ss10n'}}"
    server = Scripted(
        {
            "Mails.get": lambda params: error(-32602, quoting),
            "Changes.getSyncKey": answers(error(4100, quoting), {"syncKey": {}}),
        }
    )

    async def work(mailbox: KerioMailbox) -> str:
        await mailbox.sync_key()
        with pytest.raises(ServerRefused) as caught:
            await listed(mailbox, INBOX)
        return f"{caught.value!r} {caught.value} {caught.value.detail} {mailbox!r} {server.events}"

    text = opened(server, work)
    for secret in (PASSWORD, "token-1", "s3ss10n"):
        assert secret not in text
    assert "bad request" in text


def test_a_login_that_is_refused_shows_no_password() -> None:
    server = Scripted({"Session.login": lambda params: error(1000, f"Bad password {PASSWORD} for %1")})
    with pytest.raises(BadCredentials) as caught:
        opened(server, lambda mailbox: mailbox.sync_key())
    assert PASSWORD not in f"{caught.value!r} {caught.value.detail} {server.events}"


def test_creating_is_not_repeated_when_its_outcome_is_unknown() -> None:
    for lost in (httpx.ReadError("x"), httpx.Response(200, html="<html>"), error(-32603), httpx.Response(502)):
        server = Scripted({"Mails.create": lambda params, lost=lost: lost})  # type: ignore[misc]
        with pytest.raises(OutcomeUnknown):
            opened(server, lambda mailbox: mailbox.create("mail", "f1", [b'{"subject":"x"}']))
        assert server.calls["Mails.create"] == 1


def test_creating_is_repeated_when_it_was_surely_not_done() -> None:
    done = {"result": [{"inputIndex": 0, "id": "m9", "watermark": 4}], "errors": []}
    server = Scripted(
        {"Mails.create": answers(httpx.ConnectError("x"), httpx.Response(503), error(4100), error(-32001), done)}
    )
    found = opened(server, lambda mailbox: mailbox.create("mail", "f1", [b'{"subject":"x","send":true}']))
    assert [(one.id, one.version, one.error) for one in found] == [("m9", "4", None)]
    assert server.asked[-2] == ("Mails.create", {"mails": [{"subject": "x", "folderId": "f1"}]})


def test_a_login_whose_answers_are_lost_for_a_while_goes_through() -> None:
    """Longer than the first contact may take: somebody is there."""

    def login(params: dict[str, Any]) -> Any:
        if asyncio.get_running_loop().time() < 20.0:
            return httpx.ReadError("reset")
        return httpx.Response(200, json={"result": {"token": "t"}}, headers=COOKIES)

    server = Scripted({"Session.login": login, "Changes.getSyncKey": lambda params: {"syncKey": {"id": 1}}})
    assert opened(server, lambda mailbox: mailbox.sync_key()) == '{"id":1}'


def test_a_folder_that_can_not_be_written_down_harms_no_other() -> None:
    data = b'{"result":{"list":[{"id":"f1","name":"Odd","type":"FMail","messageCount":NaN},{"id":"f2","name":"b"}]}}'
    server = Scripted({"Folders.get": lambda params: httpx.Response(200, content=data)})
    assert [one.id for one in opened(server, lambda mailbox: mailbox.folders())] == ["f2"]
    assert [event.scope for event in server.events if isinstance(event, Skipped)] == ["folder"]


def test_nothing_asked_for_is_no_call() -> None:
    server = Scripted()
    assert opened(server, lambda mailbox: mailbox.items_by_id("mail", [])) == ItemBatch(())
    assert not server.calls["Mails.getById"]


def test_an_event_that_spoils_its_reply_is_named() -> None:
    def by_id(params: dict[str, Any]) -> Any:
        if params["id"] == "e1":
            return httpx.Response(200, content=b'{"result":{"result":{"id":"e1","summary":"\xff"}}}')
        return {"result": {"id": params["id"], "watermark": 1}}

    server = Scripted({"Events.getById": by_id})
    details = opened(server, lambda mailbox: mailbox.items_by_id("event", ["e1", "e2"]))
    assert [item.id for item in details.items] == ["e2"]
    ((one,), (reason,)) = zip(*((each.id, each.reason) for each in details.malformed), strict=True)
    assert (one, "broken JSON" in reason) == ("e1", True)


def test_login_fails_if_the_server_no_longer_answers_itself() -> None:
    server = Scripted()
    page = httpx.Response(401, html="<html>Sign in</html>")

    async def work(mailbox: KerioMailbox) -> None:
        server.methods["Mails.getById"] = lambda params: error(-32001)
        server.methods["Session.login"] = server.methods["Session.whoAmI"] = lambda params: page
        with pytest.raises(ForeignReply, match="the server itself no longer answers"):
            await mailbox.items_by_id("mail", ["m1"])

    opened(server, work, retry_timeout=30.0)


async def test_close_cancels_a_pending_check_of_the_session() -> None:
    server = Scripted()
    mailbox = server.mailbox()
    await mailbox.open()
    begun = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    client = mailbox._client
    client.call = hang  # type: ignore[assignment, method-assign]
    waiting = asyncio.create_task(client.confirm_session())
    await begun.wait()
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
