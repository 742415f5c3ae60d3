"""Writing folders: the server's list as a whole, the paths people read, and the one local folder, "Conflicts"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kerio_resync.cache.bulk_sql import select_in
from kerio_resync.cache.mutations import ResetListing, SetFolders
from kerio_resync.cache.schema import CONFLICTS_FOLDER_ID
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Folder

DEFAULT_RANK: Final = 100  # of a folder that no rank was given for
MAX_PATH_NAMES: Final = 64  # names in a path; a folder deeper than that has a path beginning with '…'
UNKNOWN_FOLDER_REASON: Final = "items named this folder, but the server does not list it"

_UPSERT: Final = """
INSERT INTO folder (id, parent_id, name, path, kind, role, place, owner, readable, count, unread, size, payload, extra,
  rank, standing)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, 'server')
ON CONFLICT (id) DO UPDATE SET parent_id = excluded.parent_id, name = excluded.name, path = excluded.path,
  kind = excluded.kind, role = excluded.role, place = excluded.place, owner = excluded.owner,
  readable = excluded.readable, count = excluded.count, unread = excluded.unread, size = excluded.size,
  payload = excluded.payload, extra = excluded.extra, rank = excluded.rank, standing = 'server'
WHERE standing <> 'local'
"""


def folder_paths(folders: Iterable[Folder]) -> dict[str, str]:
    """Each folder's names from the top. The own mailbox's root is left out; a loop ends where it closes."""
    by_id = {each.id: each for each in folders}
    return {each.id: _path(each, by_id) for each in by_id.values()}


def _path(folder: Folder, by_id: dict[str, Folder]) -> str:
    names: list[str] = []
    met: set[str] = set()
    here: Folder | None = folder
    while here is not None and here.id not in met:
        if len(names) == MAX_PATH_NAMES:
            names.append("…")
            break
        met.add(here.id)
        if here is folder or here.kind is not None or here.place != "own" or here.parent_id in by_id:
            names.append(here.name.replace("/", "\\/"))
        here = by_id.get(here.parent_id)
    return "/".join(reversed(names))


def set_folders(tables: WriteSession, fact: SetFolders) -> None:
    db = tables.db
    told = {each.id: each for each in fact.folders}
    for (local,) in db.execute("SELECT id FROM folder WHERE standing = 'local'").fetchall():
        if told.pop(local, None):
            _skip_folder(tables, local, "its id is that of a local folder")
    path = folder_paths(told.values())
    with tables.untracked_writes():
        db.executemany(
            _UPSERT, [_row(each, path[each.id], fact.ranks.get(each.id, DEFAULT_RANK)) for each in told.values()]
        )
    select_in(
        db,
        "DELETE FROM skipped WHERE scope = 'folder' AND reason = ? AND id IN (...)",
        told,
        before=(UNKNOWN_FOLDER_REASON,),
    )
    here = db.execute("SELECT number, id, standing FROM folder WHERE standing <> 'local'").fetchall()
    for number, folder_id, standing in here:
        if folder_id not in told:
            db.execute("DELETE FROM folder WHERE number = ?", (number,))
            if standing == "unknown":
                _skip_folder(tables, folder_id, UNKNOWN_FOLDER_REASON)
    db.execute(
        "UPDATE wanted SET rank = folder.rank FROM folder"
        " WHERE folder.number = wanted.folder AND wanted.rank <> folder.rank"
    )
    tables.clear_folder_numbers()


def reset_listing(tables: WriteSession, fact: ResetListing) -> None:
    tables.db.execute("UPDATE folder SET position = NULL, listed = 0 WHERE id = ?", (fact.folder_id,))


def ensure_conflicts_folder(tables: WriteSession) -> int:
    """The number of the local folder "Conflicts", made when it is first needed."""
    tables.db.execute(
        "INSERT INTO folder (id, parent_id, name, path, role, place, owner, readable, count, unread, size, payload,"
        " rank, standing) VALUES (?, '', 'Conflicts', 'Conflicts', 'none', 'own', '', 1, 0, 0, 0, '{}', 100, 'local')"
        " ON CONFLICT (id) DO NOTHING",
        (CONFLICTS_FOLDER_ID,),
    )
    return tables.folder_number(CONFLICTS_FOLDER_ID)


def _row(folder: Folder, path: str, rank: int) -> tuple[object, ...]:
    return (
        folder.id, folder.parent_id, folder.name, path, folder.kind, folder.role, folder.place, folder.owner,
        int(folder.readable), folder.count, folder.unread, folder.size, folder.payload, folder.extra, rank,
    )  # fmt: skip


def _skip_folder(tables: WriteSession, folder_id: str, reason: str) -> None:
    tables.db.execute("INSERT OR REPLACE INTO skipped VALUES ('folder', ?, ?)", (folder_id, reason))
