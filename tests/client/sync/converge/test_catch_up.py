"""The plan that a list of changes comes to."""

from __future__ import annotations

import pytest

from kerio_resync.model import ChangeSet, Folder, ItemPatch, Kind, ListedItem, RemoteChange
from kerio_resync.sync.converge.catch_up import (
    ChangePlan,
    flag_only_ids,
    names_unknown_folder,
    plan_changes,
    plan_patches,
)

FOLDERS = {
    "in": Folder("in", "", "Inbox", "mail", role="inbox"),
    "other": Folder("other", "", "Other", "mail"),
    "cal": Folder("cal", "", "Calendar", "event"),
    "root": Folder("root", "", "root", None),
    "closed": Folder("closed", "", "Closed", "mail", readable=False),
}


def created(each: str, version: str = "1", folder: str = "in") -> RemoteChange:
    return RemoteChange("created", each, folder, version=version)


def deleted(each: str, folder: str = "in") -> RemoteChange:
    return RemoteChange("deleted", each, folder)


def moved(old: str, new: str, folder: str = "other", version: str = "9") -> RemoteChange:
    return RemoteChange("moved", new, folder, version=version, old_id=old, old_parent_id="in")


def wanted(each: str, version: str = "1", folder: str = "in", kind: Kind = "mail") -> tuple[str, Kind, ListedItem]:
    return (folder, kind, ListedItem(each, version))


CASES: dict[str, tuple[list[RemoteChange], ChangePlan]] = {
    "nothing": ([], ChangePlan()),
    "created": ([created("a")], ChangePlan(enqueue=(wanted("a"),))),
    "created and deleted": ([created("a"), deleted("a")], ChangePlan(delete=("a",))),
    "deleted and created again": (
        [deleted("a"), created("a", "5")],
        ChangePlan(delete=("a",), enqueue=(wanted("a", "5"),)),
    ),
    "changed twice": (
        [created("a", "1"), RemoteChange("flags", "a", "in", version="4")],
        ChangePlan(enqueue=(wanted("a", "4"),)),
    ),
    "moved": ([moved("a", "b")], ChangePlan(moved=(("a", "b", "other"),), enqueue=(wanted("b", "9", "other"),))),
    "moved twice": (
        [moved("a", "b"), moved("b", "c", "in")],
        ChangePlan(moved=(("a", "c", "in"),), enqueue=(wanted("c", "9"),)),
    ),
    "changed, then moved": (
        [created("a", "3"), moved("a", "b")],
        ChangePlan(moved=(("a", "b", "other"),), enqueue=(wanted("b", "9", "other"),)),
    ),
    "moved, then deleted": ([moved("a", "b"), deleted("b", "other")], ChangePlan(delete=("b", "a"))),
    "moved where it is not mirrored": ([moved("a", "b", "closed")], ChangePlan(delete=("b", "a"))),
    "moved to an unknown folder": ([moved("a", "b", "nowhere")], ChangePlan(delete=("b", "a"))),
    "moved without an id of before": (
        [RemoteChange("moved", "a", "other", version="2")],
        ChangePlan(enqueue=(wanted("a", "2", "other"),)),
    ),
    "kind of the folder": (
        [created("e", folder="cal")],
        ChangePlan(enqueue=(wanted("e", folder="cal", kind="event"),)),
    ),
    "folder change": ([RemoteChange("modified", "in", "", is_folder=True)], ChangePlan()),
    "in a root": ([created("a", folder="root")], ChangePlan(delete=("a",))),
}


@pytest.mark.parametrize("name", CASES)
def test_plan(name: str) -> None:
    changes, expected = CASES[name]
    assert plan_changes(changes, FOLDERS) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], False),
        ([created("a")], False),
        ([created("a", folder="new")], True),
        ([deleted("a", "new")], False),
        ([RemoteChange("created", "new", "root", is_folder=True)], True),
    ],
)
def test_folders_are_asked_for_again_when_a_change_needs_it(changes: list[RemoteChange], expected: bool) -> None:
    assert names_unknown_folder(ChangeSet(tuple(changes), "k"), FOLDERS) is expected


def patch(name: str, *folder_ids: str) -> ItemPatch:
    return ItemPatch(name, folder_ids, "v", seen=True, flagged=False, answered=False, draft=False, members=b"{}")


@pytest.mark.parametrize(("folder_ids", "expected"), [(("in", "other"), False), (("in", "new"), True)])
def test_names_unknown_folder_looks_at_all_folders_of_patches(folder_ids: tuple[str, ...], expected: bool) -> None:
    assert names_unknown_folder(ChangeSet((), "k", (patch("a", *folder_ids),)), FOLDERS) is expected


def test_plan_patches_deletes_items_that_are_in_no_synchronised_folder() -> None:
    kept = patch("a", "closed", "in")
    assert plan_patches((kept, patch("b", "closed"), patch("c", "nowhere")), FOLDERS) == ((kept,), ("b", "c"))


def test_plan_changes_queues_created_item_in_a_folder_that_is_synchronised() -> None:
    change = RemoteChange("created", "a", "closed", version="v", folder_ids=("closed", "other"))
    row = ListedItem("a", "v", folder_ids=("closed", "other"))
    assert plan_changes([change], FOLDERS) == ChangePlan(enqueue=(("other", "mail", row),))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], set()),
        ([RemoteChange("flags", "a", "in")], {"a"}),
        ([RemoteChange("flags", "a", "in"), RemoteChange("modified", "a", "in")], set()),
        ([moved("a", "b"), RemoteChange("flags", "b", "other")], set()),
        ([RemoteChange("flags", "a", "in"), created("b")], {"a"}),
    ],
)
def test_contents_stay_where_only_flags_changed(changes: list[RemoteChange], expected: set[str]) -> None:
    assert flag_only_ids(changes) == expected
