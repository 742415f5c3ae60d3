"""Names on disk for folders."""

from __future__ import annotations

import pytest

from kerio_resync.export.folder_paths import folder_paths, maildir_name, safe_stem, split_path
from kerio_resync.export.read_cache import FolderRow
from kerio_resync.model import Folder


def rows(*paths: str) -> list[FolderRow]:
    """Folders by path."""
    ids = {tuple(split_path(path)): f"id {path}" for path in paths}

    def folder(steps: tuple[str, ...]) -> Folder:
        parent = ids.get(steps[:-1], "")
        return Folder(ids[steps], parent, steps[-1], "mail", "inbox" if steps == ("Inbox",) else "none")

    return [FolderRow(number, folder(tuple(split_path(path))), path) for number, path in enumerate(paths)]


def test_nested_folders_keep_their_names() -> None:
    paths = folder_paths(rows("Inbox", "Inbox/Příchozí", "Archive/2026"), "nested")
    assert paths == {0: ("Inbox",), 1: ("Inbox", "Příchozí"), 2: ("Archive", "2026")}


FORBIDDEN = {"..": "__", ".hidden": "_hidden", "a\\/b": "a_b", "cur": "cur_", "NUL": "NUL_", "a:b": "a_b", " ": "_"}


@pytest.mark.parametrize(("path", "name"), FORBIDDEN.items())
def test_name_that_a_file_system_forbids_is_replaced(path: str, name: str) -> None:
    assert folder_paths(rows(path), "nested") == {0: (name,)}


def test_folders_that_differ_by_case_get_different_paths() -> None:
    paths = folder_paths(rows("Work", "work", "WORK/a", "work/b"), "nested")
    assert len({"/".join(path).casefold() for path in paths.values()}) == 4


def test_maildir_plus_plus_is_flat_and_in_utf7() -> None:
    paths = folder_paths(rows("Inbox", "Inbox/Tag & Zeit", "Geräte/v1.5"), "maildir++")
    assert sorted(map(maildir_name, paths.values())) == ["", ".Ger&AOQ-te.v1_5", ".INBOX.Tag &- Zeit"]


def test_long_names_are_shortened_between_characters() -> None:
    [(name,)] = folder_paths(rows("ž" * 300), "nested").values()
    assert len(name.encode()) <= 200
    assert set(name) == {"ž"}


def test_stem_has_no_path_in_it() -> None:
    assert safe_stem("../../etc/passwd\nRe:  x") == "_.._etc_passwd_Re_ x"
