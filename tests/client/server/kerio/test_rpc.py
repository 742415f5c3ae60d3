"""How one reply is judged, and what a call makes of trouble that concerns everyone."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import httpx
import pytest

from kerio_resync.errors import FolderDenied, ForeignReply, OutcomeUnknown, Overloaded, ProtocolError, ResyncError
from kerio_resync.events import Paused
from kerio_resync.redaction import emptied
from kerio_resync.server.json_codec import parse_json
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.server.kerio.replies import Envelope, MalformedJson, parse_response
from kerio_resync.server.kerio.rpc import SMALL_REPLY_BYTES
from kerio_resync.server.pacing.requests import gather_or_raise_first
from tests.support.scripted_server import ORIGIN, Scripted, mail, opened


def test_a_result_is_what_the_reply_says_whatever_its_status() -> None:
    for status in (200, 404, 500):
        assert parse_response("Mails.get", status, {}, b'{"result":{"list":[]}}')[0] == {"list": []}


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (200, b'{"error":{"code":1004,"message":"no"},"result":{}}', FolderDenied),
        (200, b'{"result":', OutcomeUnknown),
        (200, b'{"result":{"a":"b', OutcomeUnknown),
        (200, b'{"result":{}', OutcomeUnknown),
        (200, b'{"result":{"a":}}', MalformedJson),
        (200, b"{}", ForeignReply),
        (200, b"[]", ForeignReply),
        (200, b"null", ForeignReply),
        (200, b"", ForeignReply),
        (200, b'{"result":[]}', ProtocolError),
        (200, b'{"error":"not found"}', ForeignReply),
        (200, b'{"error":{"code":404,"message":"Not found"}}', ForeignReply),
        (200, b'{"jsonrpc":"1.0","result":{}}', ForeignReply),
        (200, b"<html>", ForeignReply),
        (401, b"<html>", ForeignReply),
        (403, b"{}", ForeignReply),
        (403, b'{"result":null}', ForeignReply),
        (404, b"<html>", ForeignReply),
        (407, b"", ForeignReply),
        (511, b"<html>", ForeignReply),
        (503, b"[]", Overloaded),
        (503, b"busy", Overloaded),
        (500, b'{"result":', ForeignReply),
    ],
)
def test_any_other_reply_is_an_error(status: int, data: bytes, kind: type[ResyncError]) -> None:
    with pytest.raises(kind) as caught:
        parse_response("Mails.get", status, {}, data)
    assert type(caught.value) is kind


OWN = Envelope(known=True, versioned=True, numbered=True)


@pytest.mark.parametrize(
    "data",
    [
        b'{"result":{}}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"id":7,"result":{}}',
        b'{"jsonrpc":"2.0","id":8,"result":{}}',
        b'{"jsonrpc":"2.0","id":8,"error":{"code":1002,"message":"no such item"}}',
        b'{"error":{"code":1002}}',
        b'{"jsonrpc":"2.0","id":7,"error":"no"}',
    ],
)
def test_judged_takes_only_the_form_that_the_server_has_shown(data: bytes) -> None:
    with pytest.raises(ForeignReply):
        parse_response("Mails.get", 200, {}, data, envelope=OWN, number=7)


def test_judged_takes_an_error_with_a_null_id() -> None:
    with pytest.raises(FolderDenied):
        parse_response("x", 200, {}, b'{"jsonrpc":"2.0","id":null,"error":{"code":1004}}', envelope=OWN, number=7)


def test_judged_learns_the_form_of_the_first_reply() -> None:
    plain, full = Envelope(), Envelope()
    parse_response("Session.login", 200, {}, b'{"result":{}}', envelope=plain, number=1)
    parse_response("Session.login", 200, {}, b'{"jsonrpc":"2.0","id":1,"result":{}}', envelope=full, number=1)
    assert plain == Envelope(known=True)
    assert full == OWN
    with pytest.raises(ForeignReply):
        parse_response("Session.login", 200, {}, b'{"jsonrpc":"2.0","id":5,"result":{}}', envelope=Envelope(), number=1)


def test_what_a_gateway_lost_may_have_been_done() -> None:
    with pytest.raises(Overloaded):
        parse_response("Mails.get", 502, {}, b"[]")
    with pytest.raises(OutcomeUnknown):
        parse_response("Mails.create", 502, {}, b"[]", idempotent=False)


def test_a_pause_that_several_are_told_of_is_told_once() -> None:
    server = Scripted()
    refusals = [httpx.Response(503, headers={"Retry-After": "30"}) for _ in range(2)]

    def by_ids(params: dict[str, Any]) -> Any:
        return refusals.pop() if refusals else {"result": [mail(one[1:]) for one in params["ids"]]}

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(1)  # so that both are under way when the first is refused
        return server.answer(request)

    server.methods["Mails.getById"] = by_ids
    server.router.routes.clear()
    server.router.post(f"{ORIGIN}/webmail/api/jsonrpc/").mock(side_effect=answer)

    async def work(mailbox: KerioMailbox) -> list[int]:
        found = await asyncio.gather(*(mailbox.items_by_id("mail", [f"m{n}"]) for n in range(2)))
        return [len(each.items) for each in found]

    assert opened(server, work) == [1, 1]
    assert [event.seconds for event in server.events if isinstance(event, Paused)] == [30.0]


def test_a_short_answer_that_is_long_is_nonsense_at_once() -> None:
    """What tells little has no items of which fewer could be asked for."""
    server = Scripted(
        {"Changes.getSyncKey": lambda params: httpx.Response(200, content=b" " * (SMALL_REPLY_BYTES + 1))}
    )
    with pytest.raises(ProtocolError, match="more than"):
        opened(server, lambda mailbox: mailbox.sync_key())
    assert server.calls["Changes.getSyncKey"] == 1


async def test_the_first_error_ends_the_others_and_comes_out_alone() -> None:
    ended: list[str] = []

    async def fail() -> None:
        raise FolderDenied("no")

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    with pytest.raises(FolderDenied, match="no"):
        await gather_or_raise_first([wait(), fail()])
    assert ended == ["cancelled"]


class Large:
    """Stands in for a reply."""


def test_an_error_that_is_kept_holds_no_reply() -> None:
    def read() -> None:
        reply = Large()
        held.append(weakref.ref(reply))
        raise ValueError("it cannot be read")

    def judge() -> None:
        reply = Large()
        held.append(weakref.ref(reply))
        try:
            read()
        except ValueError as error:
            raise MalformedJson("broken") from error

    held: list[weakref.ref[Large]] = []
    with pytest.raises(MalformedJson) as caught:
        judge()
    assert all(each() for each in held)
    emptied(caught.value)
    assert not any(each() for each in held)


def test_errors_that_were_each_others_cause_are_emptied_all_the_same() -> None:
    first, second = MalformedJson("one"), MalformedJson("other")
    first.__cause__, second.__cause__ = second, first
    emptied(first)


def test_what_is_wrong_with_a_reply_is_said_without_the_reply() -> None:
    for text in (b'{"a": ["long"', b"[" * 100_000, b'{"a": "\xff"}'):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it says is tested elsewhere
            parse_json(text)
        assert caught.value.__cause__ is caught.value.__context__ is None
