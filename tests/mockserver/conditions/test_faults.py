"""Each fault does to a reply what it says, to those replies that it names, and to the same ones in each run."""

from __future__ import annotations

from random import Random
from typing import Any, get_args

import orjson
import pytest

from kerio_mockserver.conditions.faults import Faults, Hit, applies_to, scale_fault_offset, spoil
from kerio_mockserver.conditions.model import Fault, FaultKind
from kerio_mockserver.messages import Reply, TransportFault

JSON = {"Content-Type": "application/json-rpc; charset=UTF-8"}


def listing(count: int = 5) -> Reply:
    rows = [{"id": f"keriostorage://mail/x/y/z/{n}"} for n in range(count)]
    body = {"jsonrpc": "2.0", "id": 7, "result": {"list": rows, "totalItems": count}}
    return Reply(200, dict(JSON), orjson.dumps(body), "Mails.get")


def download() -> Reply:
    return Reply(200, {"Content-Type": "image/png"}, b"x" * 1000, "GET attachment")


def said(reply: Reply | None) -> Any:
    assert reply is not None
    assert isinstance(reply.body, bytes)
    return orjson.loads(reply.body)


def spoilt(reply: Reply, **members: Any) -> Reply | None:
    return spoil(Fault(**members), reply, Random(1))


@pytest.mark.parametrize("kind", get_args(FaultKind))
def test_each_kind_changes_a_listing_or_returns_none(kind: FaultKind) -> None:
    reply = listing()
    assert isinstance(reply.body, bytes)
    before = reply.body, dict(reply.headers)
    changed = spoilt(reply, kind=kind)
    assert changed is not None
    assert changed != reply or kind == "session-death"
    assert (reply.body, reply.headers) == before, "the original is left as it was"


@pytest.mark.parametrize("kind", ["garbled", "code", "duplicate", "missing", "wrong-total", "shuffled"])
def test_content_faults_leave_downloads_unchanged(kind: FaultKind) -> None:
    assert spoilt(download(), kind=kind) is None


@pytest.mark.parametrize("seed", range(20))
def test_garbled_is_never_json(seed: int) -> None:
    reply = spoil(Fault(kind="garbled"), listing(), Random(seed))
    assert reply is not None
    assert isinstance(reply.body, bytes)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(reply.body)


def test_list_faults_change_the_items_of_a_listing() -> None:
    ids = [row["id"] for row in said(listing())["result"]["list"]]

    def after(kind: FaultKind) -> list[str]:
        return [row["id"] for row in said(spoilt(listing(), kind=kind))["result"]["list"]]

    assert len(after("missing")) == 4
    assert set(after("missing")) < set(ids)
    assert len(after("duplicate")) == 6
    assert set(after("duplicate")) == set(ids)
    assert sorted(after("shuffled")) == ids
    assert after("shuffled") != ids
    assert said(spoilt(listing(), kind="wrong-total"))["result"]["totalItems"] != 5
    assert spoilt(listing(0), kind="missing") is None
    assert spoilt(listing(1), kind="shuffled") is None


def test_list_faults_change_fetches_by_id() -> None:
    body = {"jsonrpc": "2.0", "id": 1, "result": {"errors": [], "result": [{"id": "a"}, {"id": "b"}]}}
    reply = Reply(200, dict(JSON), orjson.dumps(body), "Mails.getById")
    assert len(said(spoilt(reply, kind="missing"))["result"]["result"]) == 1
    assert said(spoilt(reply, kind="shuffled"))["result"]["result"] == [{"id": "b"}, {"id": "a"}]


def test_error_code_answers_the_same_call() -> None:
    error = said(spoilt(listing(), kind="code", code=4100))
    assert error["id"] == 7
    assert error["error"]["code"] == 4100
    assert "result" not in error


def test_status_answers_html_with_optional_retry_after() -> None:
    reply = spoilt(listing(), kind="status", status=429, retry_after_s=3)
    assert reply is not None
    assert (reply.status, reply.headers["Retry-After"], reply.rpc) == (429, "3", "Mails.get")
    html = spoilt(listing(), kind="html")
    assert html is not None
    assert (html.status, html.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("members", "mishap"),
    [
        ({"kind": "reset-before-head", "at": 0}, TransportFault("reset-before-head", 0, 30.0, 1000.0)),
        ({"kind": "cut", "at": 10}, TransportFault("cut", 10, 30.0, 1000.0)),
        ({"kind": "cut", "at": 99999}, TransportFault("cut", 999, 30.0, 1000.0)),
        ({"kind": "stall", "at": 5, "seconds": 2}, TransportFault("stall", 5, 2.0, 1000.0)),
        ({"kind": "drip", "at": 0, "rate": 10}, TransportFault("drip", 0, 30.0, 10.0)),
        ({"kind": "wrong-length", "at": 2000}, TransportFault("wrong-length", 2000, 30.0, 1000.0)),
    ],
)
def test_transport_faults_are_set_in_the_reply(members: dict[str, Any], mishap: TransportFault) -> None:
    reply = spoilt(download(), **members)
    assert reply is not None
    assert reply.fault == mishap
    assert reply.body == download().body


def test_cut_of_an_empty_reply_has_no_effect() -> None:
    assert spoilt(Reply(204), kind="cut") is None


@pytest.mark.parametrize(
    ("mishap", "size", "at"),
    [
        (TransportFault("cut", 500), 100, 50),
        (TransportFault("cut", 999), 100, 99),
        (TransportFault("stall", 250), 100, 25),
        (TransportFault("wrong-length", 500), 100, 50),
        (TransportFault("wrong-length", 1007), 100, 107),
        (TransportFault("cut", 500), 1000, 500),
    ],
)
def test_compression_scales_the_offset(mishap: TransportFault, size: int, at: int) -> None:
    reply = scale_fault_offset(Reply(body=b"x" * size, fault=mishap), 1000)
    assert reply.fault is not None
    assert reply.fault.at == at
    assert scale_fault_offset(Reply(body=b"x"), 1000).fault is None


@pytest.mark.parametrize(
    ("members", "hit"),
    [
        ({"method": "Mails.get", "nth": 3}, {3}),
        ({"method": "Mails.*", "every": 4}, {4, 8}),
        ({"method": "*"}, set(range(1, 10))),
        ({"method": "Folders.get"}, set()),
        ({"method": "*", "chance": 0.0}, set()),
    ],
)
def test_nth_every_and_chance_choose_replies(members: dict[str, Any], hit: set[int]) -> None:
    fault = Fault(kind="empty", **members)
    assert {n for n in range(1, 10) if applies_to(fault, "Mails.get", n, Random(n))} == hit


def run(seed: int, order: list[str]) -> tuple[Hit, ...]:
    faults = Faults([Fault(kind="empty", chance=0.3), Fault(kind="html", method="Mails.get", every=5)], seed=seed)
    for method in order:
        faults.apply(method, listing())
    return faults.history()


def test_history_depends_on_the_seed_not_on_interleaving() -> None:
    order = ["Mails.get"] * 50 + ["Folders.get"] * 50
    mixed = order[:]
    Random(3).shuffle(mixed)
    assert run(1, order) == run(1, mixed)
    assert run(1, order) != run(2, order)
    assert 15 < sum(hit.kind == "empty" for hit in run(1, order)) < 45


def test_limit_ends_a_fault_and_change_restarts_it() -> None:
    faults = Faults([Fault(kind="empty", limit=2)])
    assert [len(faults.apply("m", listing()).body) > 0 for _ in range(4)] == [False, False, True, True]
    faults.change([Fault(kind="empty", nth=1)])
    assert faults.apply("m", listing()).body == b""
    assert faults.history() == (Hit("m", 1, "empty"),)


def test_session_death_follows_the_reply() -> None:
    deaths: list[int] = []
    faults = Faults([Fault(kind="session-death", nth=2)], end_sessions=lambda: deaths.append(1))
    assert [faults.apply("Mails.get", listing()) == listing() for _ in range(3)] == [True] * 3
    assert deaths == [1]
    assert faults.history() == (Hit("Mails.get", 2, "session-death"),)


def test_several_faults_apply_to_one_reply() -> None:
    reply = Faults([Fault(kind="missing"), Fault(kind="drip", rate=5)]).apply("Mails.get", listing())
    assert reply.fault is not None
    assert len(said(reply)["result"]["list"]) == 4
