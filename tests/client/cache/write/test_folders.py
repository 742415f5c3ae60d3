from __future__ import annotations

from dataclasses import replace

from kerio_resync.cache import queries
from kerio_resync.cache.integrity import check
from kerio_resync.cache.mutations import EnqueueItems, PutItems, PutLocal, PutPage, ResetListing, SetFolders
from kerio_resync.cache.schema import CONFLICTS_FOLDER_ID
from kerio_resync.cache.write.folders import UNKNOWN_FOLDER_REASON, folder_paths
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Folder
from tests.support.cache import FOLDERS, INBOX, PEOPLE, ROOT, WORK, listed, mail, put


def folder(id_: str, parent: str, **more: object) -> Folder:
    return replace(Folder(id_, parent, id_.upper(), "mail"), **more)  # type: ignore[arg-type]  # names of members


def test_folder_paths_join_names_from_the_top() -> None:
    found = folder_paths(
        (
            ROOT,
            folder("a", "root"),
            folder("b", "a", name="x/y"),
            folder("lost", "nowhere"),
            Folder("sroot", "", "~ann", None, place="shared"),
            folder("s", "sroot", place="shared"),
        )
    )
    assert found == {
        "root": "~jan@example.com", "a": "A", "b": "A/x\\/y", "lost": "LOST", "sroot": "~ann", "s": "~ann/S",
    }  # fmt: skip


def test_folder_paths_end_in_a_loop() -> None:
    assert folder_paths((folder("a", "b"), folder("b", "a"), folder("c", "c"))) == {"a": "B/A", "b": "A/B", "c": "C"}


def test_folder_paths_shorten_deep_folders() -> None:
    deep = [folder(str(n), str(n - 1)) for n in range(1, 500)]
    assert len(folder_paths(deep)["499"]) < 300
    assert folder_paths(deep)["499"].startswith("…/")


def test_set_folders_deletes_missing_folder_with_items(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1"), mail("2", folder="work"))), EnqueueItems("work", "mail", (listed("3"),)))
    put(tables, SetFolders((ROOT, INBOX), {}))
    assert [row.folder.id for row in queries.folders(tables.db)] == ["inbox", "root"]
    assert queries.versions(tables.db, ["1", "2"]) == {"1": "1"}
    assert queries.queued_items(tables.db, 9, None) == ()
    assert queries.skipped(tables.db) == ()


def test_set_folders_keeps_items_that_are_in_another_folder(tables: WriteSession) -> None:
    put(
        tables,
        PutItems(
            (
                mail("1", folder=("inbox", "people", "work")), mail("2", folder=("people", "work")),
                mail("3", folder="work"), mail("4"),
            )
        ),
    )  # fmt: skip
    put(tables, SetFolders((ROOT, INBOX, PEOPLE), {}))
    assert queries.places(tables.db, ["1", "2", "3", "4"]) == {
        "1": (("inbox", "people"), "1"), "2": (("people",), "1"), "4": (("inbox",), "1"),
    }  # fmt: skip
    assert check.check_items(tables.db, 0)[0] == []
    put(tables, SetFolders((ROOT, INBOX), {}))
    assert queries.places(tables.db, ["1", "2", "4"]) == {"1": (("inbox",), "1"), "4": (("inbox",), "1")}
    assert check.check_items(tables.db, 0)[0] == []
    assert tables.db.execute("PRAGMA foreign_key_check").fetchall() == []


def test_set_folders_keeps_listing_and_updates_ranks(tables: WriteSession) -> None:
    put(
        tables,
        PutPage(("work",), (listed("1"),), position=b"here", done=True),
        SetFolders(FOLDERS.folders, {"work": 1}),
    )
    row = next(row for row in queries.folders(tables.db) if row.folder.id == "work")
    assert (row.position, row.listed, row.rank, row.folder) == (b"here", True, 1, WORK)
    assert [each.rank for each in queries.queued_items(tables.db, 9, None)] == [1]
    put(tables, ResetListing(("work",)))
    row = next(row for row in queries.folders(tables.db) if row.folder.id == "work")
    assert (row.position, row.listed) == (None, False)


def test_item_of_unknown_folder_waits_for_set_folders(tables: WriteSession) -> None:
    new = folder("new", "root")
    put(tables, PutItems((mail("1", folder="new"),)))
    assert "new" not in [row.folder.id for row in queries.folders(tables.db)]
    put(tables, SetFolders((*FOLDERS.folders, new), {}))
    assert queries.items(tables.db, ("", ""), 9)[0].folder_ids == ("new",)
    assert queries.skipped(tables.db) == ()


def test_set_folders_skips_placeholder_without_folder(tables: WriteSession) -> None:
    put(tables, PutItems((mail("1", folder="never"),)), FOLDERS)
    assert queries.versions(tables.db, ["1"]) == {}
    assert [(row.scope, row.id, row.reason) for row in queries.skipped(tables.db)] == [
        ("folder", "never", UNKNOWN_FOLDER_REASON)
    ]
    put(tables, SetFolders((*FOLDERS.folders, folder("never", "root")), {}))
    assert queries.skipped(tables.db) == ()


def test_set_folders_skips_id_of_local_folder(tables: WriteSession) -> None:
    put(tables, PutLocal(mail("local:1")), SetFolders((ROOT, folder(CONFLICTS_FOLDER_ID, "root")), {}))
    assert tables.db.execute("SELECT count(*) FROM item").fetchone() == (1,)
    assert [row.id for row in queries.skipped(tables.db)] == [CONFLICTS_FOLDER_ID]
    assert CONFLICTS_FOLDER_ID not in [row.folder.id for row in queries.folders(tables.db)]
