"""The plan that a list of changes comes to."""

from __future__ import annotations

import pytest

from kerio_resync.model import Change, Folder, Listed
from kerio_resync.resync.catchup import Plan, names_unknown_folder, only_flags, plan

FOLDERS = {
    "in": Folder("in", "", "Inbox", "mail", role="inbox"),
    "other": Folder("other", "", "Other", "mail"),
    "cal": Folder("cal", "", "Calendar", "event"),
    "root": Folder("root", "", "root", None),
    "closed": Folder("closed", "", "Closed", "mail", readable=False),
}


def created(each: str, watermark: int = 1, folder: str = "in") -> Change:
    return Change("created", each, folder, watermark=watermark)


def deleted(each: str, folder: str = "in") -> Change:
    return Change("deleted", each, folder)


def moved(old: str, new: str, folder: str = "other", watermark: int = 9) -> Change:
    return Change("moved", new, folder, watermark=watermark, old_id=old, old_parent_id="in")


def wanted(each: str, watermark: int = 1, folder: str = "in", kind: str = "mail") -> tuple[str, str, Listed]:
    return (folder, kind, Listed(each, watermark))


CASES: dict[str, tuple[list[Change], Plan]] = {
    "nothing": ([], Plan()),
    "created": ([created("a")], Plan(want=(wanted("a"),))),
    "created and deleted": ([created("a"), deleted("a")], Plan(forget=("a",))),
    "deleted and created again": ([deleted("a"), created("a", 5)], Plan(forget=("a",), want=(wanted("a", 5),))),
    "changed twice": ([created("a", 1), Change("flags", "a", "in", watermark=4)], Plan(want=(wanted("a", 4),))),
    "moved": ([moved("a", "b")], Plan(moved=(("a", "b", "other"),), want=(wanted("b", 9, "other"),))),
    "moved twice": (
        [moved("a", "b"), moved("b", "c", "in")],
        Plan(moved=(("a", "c", "in"),), want=(wanted("c", 9),)),
    ),
    "changed, then moved": (
        [created("a", 3), moved("a", "b")],
        Plan(moved=(("a", "b", "other"),), want=(wanted("b", 9, "other"),)),
    ),
    "moved, then deleted": ([moved("a", "b"), deleted("b", "other")], Plan(forget=("b", "a"))),
    "moved where it is not mirrored": ([moved("a", "b", "closed")], Plan(forget=("b", "a"))),
    "moved to an unknown folder": ([moved("a", "b", "nowhere")], Plan(forget=("b", "a"))),
    "moved without an id of before": (
        [Change("moved", "a", "other", watermark=2)],
        Plan(want=(wanted("a", 2, "other"),)),
    ),
    "kind of the folder": ([created("e", folder="cal")], Plan(want=(wanted("e", folder="cal", kind="event"),))),
    "folder change": ([Change("modified", "in", "", is_folder=True)], Plan()),
    "in a root": ([created("a", folder="root")], Plan(forget=("a",))),
}


@pytest.mark.parametrize("name", CASES)
def test_plan(name: str) -> None:
    changes, expected = CASES[name]
    assert plan(changes, FOLDERS) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], False),
        ([created("a")], False),
        ([created("a", folder="new")], True),
        ([deleted("a", "new")], False),
        ([Change("created", "new", "root", is_folder=True)], True),
    ],
)
def test_folders_are_asked_for_again_when_a_change_needs_it(changes: list[Change], expected: bool) -> None:
    assert names_unknown_folder(changes, FOLDERS) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], set()),
        ([Change("flags", "a", "in")], {"a"}),
        ([Change("flags", "a", "in"), Change("modified", "a", "in")], set()),
        ([moved("a", "b"), Change("flags", "b", "other")], set()),
        ([Change("flags", "a", "in"), created("b")], {"a"}),
    ],
)
def test_contents_stay_where_only_flags_changed(changes: list[Change], expected: set[str]) -> None:
    assert only_flags(changes) == expected
