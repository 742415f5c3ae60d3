"""Each fault of the mock on each method that a rebuild calls: the rebuild ends with the server's own digest.

The first and the third reply to the method are spoilt; the run must get over that by itself, in virtual time within
the retry timeout of one call.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

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
NAMES = ["-".join([kind, *map(str, more.values())]) for kind, more in FAULTS]
RETRY_TIMEOUT = 600.0


@cache
def called(*others: str) -> frozenset[str]:
    """The methods that an undisturbed run calls."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        world = Small(Path(folder))
        assert world.run(world.hear, **dict.fromkeys(others, True)) == "done"
        return frozenset(world.server.stats.requests)


def test_the_table_has_every_method_that_a_rebuild_calls() -> None:
    assert called() == set(METHODS)
    assert called("shared", "public") == {*METHODS, *OTHERS}


def ends_first_contact(kind: str, more: dict[str, Any]) -> bool:
    """A refused login, and what does not look like the server before it has answered once: neither is tried again."""
    if kind == "status":
        return more["status"] in (401, 500)
    return kind in ("html", "empty") or (kind, more.get("code")) == ("code", -32001)


@pytest.mark.parametrize(("kind", "more"), FAULTS, ids=NAMES)
@pytest.mark.parametrize("method", METHODS)
def test_a_rebuild_gets_over_a_fault(method: str, kind: str, more: dict[str, Any], tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("kind", "more"), FAULTS, ids=NAMES)
@pytest.mark.parametrize("method", OTHERS)
def test_a_rebuild_with_what_others_share_gets_over_a_fault(
    method: str, kind: str, more: dict[str, Any], tmp_path: Path
) -> None:
    """As above; some of the faults mean nothing where there is no list."""
    world = Small(tmp_path)
    world.spoil(*(Fault.model_validate({"kind": kind, "method": method, "nth": nth, **more}) for nth in (1, 3)))
    world.finished(shared=True, public=True)
    assert world.server.faults.history() or kind in ("duplicate", "missing", "shuffled", "wrong-total")
    assert world.now < RETRY_TIMEOUT
