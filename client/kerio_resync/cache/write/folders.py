"""Writes folders: the server's list, paths, the local folder "Conflicts"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kerio_resync.cache.bulk_sql import json_array, select_in
from kerio_resync.cache.mutations import ResetListing, SetFolders
from kerio_resync.cache.schema import CONFLICTS_FOLDER_ID
from kerio_resync.cache.write import items
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import Folder

DEFAULT_RANK: Final = 100
MAX_PATH_NAMES: Final = 64  # the path of a deeper folder begins with '…'
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
    """Return the path of each folder by id.

    A path has the names from the top, without the root of the user's own mailbox. A loop of parents ends where it
    closes.
    """
    by_id = {folder.id: folder for folder in folders}
    return {folder.id: _path(folder, by_id) for folder in by_id.values()}


def _path(folder: Folder, by_id: dict[str, Folder]) -> str:
    names: list[str] = []
    visited: set[str] = set()
    current: Folder | None = folder
    while current is not None and current.id not in visited:
        if len(names) == MAX_PATH_NAMES:
            names.append("…")
            break
        visited.add(current.id)
        is_own_root = current.kind is None and current.place == "own" and current.parent_id not in by_id
        if current is folder or not is_own_root:
            names.append(current.name.replace("/", "\\/"))
        current = by_id.get(current.parent_id)
    return "/".join(reversed(names))


def set_folders(mutation: SetFolders, session: WriteSession) -> None:
    """Replace the server's folders.

    Folders that are missing from the list are deleted with the items that are in no other folder.
    """
    db = session.db
    listed = {folder.id: folder for folder in mutation.folders}
    for (local_id,) in db.execute("SELECT id FROM folder WHERE standing = 'local'").fetchall():
        if listed.pop(local_id, None):
            _skip_folder(session, local_id, "its id is that of a local folder")
    paths = folder_paths(listed.values())
    with session.untracked_writes():
        db.executemany(
            _UPSERT,
            [_row(folder, paths[folder.id], mutation.ranks.get(folder.id, DEFAULT_RANK)) for folder in listed.values()],
        )
    select_in(
        db,
        "DELETE FROM skipped WHERE scope = 'folder' AND reason = ? AND id IN (...)",
        listed,
        before=(UNKNOWN_FOLDER_REASON,),
    )
    stored = db.execute("SELECT number, id, standing FROM folder WHERE standing <> 'local'").fetchall()
    _delete_folders(session, [number for number, folder_id, _ in stored if folder_id not in listed])
    for _, folder_id, standing in stored:
        if folder_id not in listed and standing == "unknown":
            _skip_folder(session, folder_id, UNKNOWN_FOLDER_REASON)
    db.execute(
        "UPDATE wanted SET rank = folder.rank FROM folder"
        " WHERE folder.number = wanted.folder AND wanted.rank <> folder.rank"
    )
    session.clear_folder_numbers()


def reset_listing(mutation: ResetListing, session: WriteSession) -> None:
    """Let the listing of folders begin again."""
    select_in(
        session.db,
        "UPDATE folder SET position = NULL, listed_rows = 0, listed = 0 WHERE id IN (...)",
        mutation.folder_ids,
    )


def ensure_conflicts_folder(session: WriteSession) -> None:
    """Insert the local folder "Conflicts" when it is first needed."""
    session.db.execute(
        "INSERT INTO folder (id, parent_id, name, path, role, place, owner, readable, count, unread, size, payload,"
        " rank, standing) VALUES (?, '', 'Conflicts', 'Conflicts', 'none', 'own', '', 1, 0, 0, 0, '{}', 100, 'local')"
        " ON CONFLICT (id) DO NOTHING",
        (CONFLICTS_FOLDER_ID,),
    )


def _delete_folders(session: WriteSession, numbers: Sequence[int]) -> None:
    """Delete folders, and the items that are in no other folder."""
    if not numbers:
        return
    db, deleted = session.db, json_array(numbers)
    inside = "SELECT item FROM placement WHERE folder IN (SELECT value FROM json_each(:deleted))"
    db.execute(
        f"DELETE FROM item WHERE number IN ({inside}) AND NOT EXISTS (SELECT 1 FROM placement"
        " WHERE placement.item = item.number AND placement.folder NOT IN (SELECT value FROM json_each(:deleted)))",
        {"deleted": deleted},
    )
    remaining = [row[0] for row in db.execute(f"SELECT DISTINCT item FROM ({inside})", {"deleted": deleted})]
    db.execute("DELETE FROM folder WHERE number IN (SELECT value FROM json_each(?))", (deleted,))
    items.update_checksums(session, remaining)


def _row(folder: Folder, path: str, rank: int) -> tuple[object, ...]:
    return (
        folder.id, folder.parent_id, folder.name, path, folder.kind, folder.role, folder.place, folder.owner,
        int(folder.readable), folder.count, folder.unread, folder.size, folder.payload, folder.extra, rank,
    )  # fmt: skip


def _skip_folder(session: WriteSession, folder_id: str, reason: str) -> None:
    session.db.execute("INSERT OR REPLACE INTO skipped VALUES ('folder', ?, ?)", (folder_id, reason))
