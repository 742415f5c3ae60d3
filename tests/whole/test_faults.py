"""Each fault of the mock on each method that a rebuild calls: the rebuild ends with the server's own digest.

The first and the third reply to the method are damaged; the run must recover by itself, in virtual time within the
retry timeout of one call. By default a covering set runs, in which each method meets six faults and each fault at least
two methods; methods for shared folders meet two. The other pairs are marked `soak`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from _pytest.mark import ParameterSet

from kerio_mockserver.conditions.model import Fault, FaultKind
from kerio_resync.errors import BadCredentials, UnknownServer
from tests.support.small_world import Small

METHODS = (
    "Session.login", "Session.whoAmI", "Session.logout", "Folders.get", "Mails.get",
    "Mails.getById", "Contacts.get", "Contacts.getById", "Events.get", "Events.getById", "Tasks.get", "Tasks.getById",
    "Notes.get", "Notes.getById", "Changes.getSyncKey", "Changes.get", "GET attachment",
)  # fmt: skip
OTHERS = ("Folders.getPublic", "Folders.getSharedMailboxList", "Folders.getShared")
MORE: dict[str, tuple[dict[str, Any], ...]] = {
    "cut": ({"at": 0}, {}),
    "stall": ({"seconds": 30}, {"seconds": 0}),
    "wrong-length": ({"at": 10_000_000}, {"at": 1}),
    "code": ({"code": -32603}, {"code": -32001}, {"code": 4100}, {"code": 4101}, {"code": -32700}),
    "status": (
        {"status": 500}, {"status": 502}, {"status": 503}, {"status": 503, "retry_after_s": 20},
        {"status": 429, "retry_after_s": 3}, {"status": 401},
    ),
}  # fmt: skip
FAULTS = [(kind, more) for kind in get_args(FaultKind) for more in MORE.get(kind, ({},))]
FAULTS_PER_METHOD = 6  # in the covering set
FAULTS_PER_OTHER = 2
RETRY_TIMEOUT = 600.0


def covered(method_number: int, fault_number: int, count: int = FAULTS_PER_METHOD) -> bool:
    """Tell whether a pair belongs to the covering set; the step spreads `count` faults per method over all of them."""
    return (fault_number - 7 * method_number) % len(FAULTS) < count


def pairs(methods: tuple[str, ...], count: int) -> list[ParameterSet]:
    """All pairs of a method and a fault as test parameters, those outside the covering set marked `soak`."""
    return [
        pytest.param(
            method, kind, more,
            id="-".join([method, kind, *map(str, more.values())]),
            marks=() if covered(method_number, fault_number, count) else pytest.mark.soak,
        )
        for method_number, method in enumerate(methods)
        for fault_number, (kind, more) in enumerate(FAULTS)
    ]  # fmt: skip


def test_covering_set_has_six_faults_per_method_and_two_methods_per_fault() -> None:
    methods, faults = range(len(METHODS)), range(len(FAULTS))
    assert all(sum(covered(method, fault) for fault in faults) == FAULTS_PER_METHOD for method in methods)
    assert all(sum(covered(method, fault) for method in methods) >= 2 for fault in faults)


@cache
def called(*others: str) -> frozenset[str]:
    """Return the methods that a run without faults calls."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        world = Small(Path(folder))
        assert world.run(world.hear, **dict.fromkeys(others, True)) == "done"
        return frozenset(world.server.stats.requests)


def test_methods_are_those_that_a_rebuild_calls() -> None:
    assert called() == set(METHODS)
    assert called("shared", "public") == {*METHODS, *OTHERS}


def ends_first_contact(kind: str, more: dict[str, Any]) -> bool:
    """Tell whether a fault at the first login ends the run: a refusal, or a reply that is not the server's."""
    if kind == "status":
        return more["status"] in (401, 500)
    return kind in ("html", "empty") or (kind, more.get("code")) == ("code", -32001)


@pytest.mark.parametrize(("method", "kind", "more"), pairs(METHODS, FAULTS_PER_METHOD))
def test_rebuild_recovers_from_fault(method: str, kind: str, more: dict[str, Any], tmp_path: Path) -> None:
    world = Small(tmp_path)
    hits = [Fault.model_validate({"kind": kind, "method": method, "nth": nth, **more}) for nth in (1, 3)]
    world.spoil(*hits)
    if method == "Session.login" and ends_first_contact(kind, more):
        ended = world.run(world.hear)
        assert isinstance(ended, UnknownServer | BadCredentials), ended
        assert world.server.stats.requests["Session.login"] == 1
        world.heal()
    world.finished()
    assert world.now < RETRY_TIMEOUT, "it took longer than one call may be tried again"


@pytest.mark.parametrize(("method", "kind", "more"), pairs(OTHERS, FAULTS_PER_OTHER))
def test_rebuild_with_shared_folders_recovers_from_fault(
    method: str, kind: str, more: dict[str, Any], tmp_path: Path
) -> None:
    """Faults of a list's lines do nothing to a reply without a list."""
    world = Small(tmp_path)
    world.spoil(*(Fault.model_validate({"kind": kind, "method": method, "nth": nth, **more}) for nth in (1, 3)))
    world.finished(shared=True, public=True)
    assert world.server.faults.history() or kind in ("duplicate", "missing", "shuffled", "wrong-total")
    assert world.now < RETRY_TIMEOUT
