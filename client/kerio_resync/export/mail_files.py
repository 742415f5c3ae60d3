"""Writes each mail into a file of its own: Maildir and .eml.

A file's name contains hashes of the item's id and of its version. A mail that is there in its version is left alone,
with the flags that a mail program may have given it since; one that has changed is written anew, and its old file is
removed. No other file is touched.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from kerio_resync.export.files import NewFile, make_folder, mapped_os_errors, put_file, write_pieces
from kerio_resync.export.folder_paths import maildir_name, safe_stem
from kerio_resync.export.mails import FLAGS_LOST, MailRenderer, RenderedMail, maildir_flags, status_lines, time_of
from kerio_resync.export.options import Layout
from kerio_resync.export.read_cache import ItemRow, Selection
from kerio_resync.export.record import ExportRecord
from kerio_resync.export.report import TargetReport

_MAILDIR: Final = re.compile(r"\d+\.([0-9a-f]{16})([0-9a-f]{8})\.kerio-resync(?:[,:;!].*)?")
_EML: Final = re.compile(r".*\(([0-9a-f]{16})-([0-9a-f]{8})\)\.eml", re.DOTALL)
_SEPARATOR: Final = "!" if os.name == "nt" else ":"


_REVISION: Final = 1  # of how mails are composed; a new one writes them again


class Names(NamedTuple):
    """The hashes in a file's name."""

    item: str
    version: str


@dataclass(slots=True)
class MailFiles:
    """Writes the mails of one target. `eml`: else Maildir."""

    root: Path
    layout: Layout
    eml: bool
    renderer: MailRenderer
    record: ExportRecord
    report: TargetReport

    def folder(self, path: tuple[str, ...]) -> Path:
        """Return the folder on disk for a folder's path."""
        return self.root / maildir_name(path) if self.layout == "maildir++" else self.root.joinpath(*path)

    def make_folder(self, path: tuple[str, ...]) -> None:
        """Make an empty folder."""
        if self.record.dry_run:
            return
        folder = self.folder(path)
        for name in ("",) if self.eml else ("cur", "new", "tmp"):
            make_folder(folder / name)
        with mapped_os_errors(folder):
            if self.layout == "maildir++" and folder != self.root:
                (folder / "maildirfolder").touch(0o600)

    async def write(self, path: tuple[str, ...], selection: Selection, progress: Callable[[int, int], None]) -> None:
        """Write the mails of a folder."""
        self.make_folder(path)
        folder = str(self.folder(path))
        there = self._existing(folder)
        async for page in self.renderer.reader.pages(selection):
            for item in page.items:
                await self._write(folder, item, there)
            progress(len(page.items), sum(item.size for item in page.items))

    async def _write(self, folder: str, item: ItemRow, there: dict[str, dict[str, str]]) -> None:
        names = names_of(item, with_flags=self.eml)
        others = there.get(names.item)
        if others is not None and names.version in others:
            self.report.items["mail"] += 1
            self.report.unchanged += 1
            return
        try:
            mail = await self.renderer.render(item)
        except ValueError as error:
            self.report.skipped.append(("item", item.id, str(error)))
            return
        self.report.items["mail"] += 1
        self.report.lose_of(item.id, item.date, mail.lost)
        if self.eml and mail.exact and maildir_flags(item, forwarded=mail.forwarded):
            self.report.lose_of(item.id, item.date, [FLAGS_LOST])
        if others:
            self.report.replaced += 1
        else:
            self.report.written += 1
        if self.record.dry_run:
            self.report.bytes += item.size
            return
        new = await self._create(folder, item, names, mail)
        for path in (others or {}).values():
            if path != new:
                with mapped_os_errors(Path(path)):
                    os.unlink(path)

    async def _create(self, folder: str, item: ItemRow, names: Names, mail: RenderedMail) -> str:
        moment = time_of(item)
        seconds = moment.timestamp()
        if self.eml:
            stem = f"{moment:%Y-%m-%d %H%M} {safe_stem(item.title)}".strip()
            path = f"{folder}/{stem} ({names.item}-{names.version}).eml"
            temporary = f"{folder}/.{names.item}.part"
        else:
            name = f"{max(int(seconds), 0):010}.{names.item}{names.version}.kerio-resync"
            path, temporary = f"{folder}/cur/{name}", f"{folder}/tmp/{name}"
        flags = "" if self.eml else f"{_SEPARATOR}2,{maildir_flags(item, forwarded=mail.forwarded)}"
        match mail.pieces:
            case [bytes(data)] if mail.exact:  # most mails: without the steps of the others
                path += f",S={len(data)}{flags}" if flags else ""
                put_file(temporary, path, data, seconds)
                self.report.bytes += len(data)
                return path
        with NewFile(temporary) as file:
            if self.eml and not mail.exact:
                file.write(status_lines(item, forwarded=mail.forwarded))
            await write_pieces(file, mail.pieces, self.renderer.reader)
            path += f",S={file.size}{flags}" if flags else ""
            file.commit(path, seconds)
        self.report.bytes += file.size
        return path

    def _existing(self, folder: str) -> dict[str, dict[str, str]]:
        """Return the complete files of earlier exports by item and version."""
        there: dict[str, dict[str, str]] = {}
        for part in (folder,) if self.eml else (f"{folder}/cur", f"{folder}/new"):
            if not os.path.isdir(part):
                continue
            with mapped_os_errors(Path(part)), os.scandir(part) as entries:
                for entry in entries:
                    match = (_EML if self.eml else _MAILDIR).fullmatch(entry.name)
                    if match is None:
                        continue
                    version = match[2] if self.record.is_complete(entry.stat()) else ""
                    there.setdefault(match[1], {})[version] = f"{part}/{entry.name}"
        return there


def names_of(item: ItemRow, *, with_flags: bool) -> Names:
    """Return the hashes of an item's id, and of what its file depends on.

    `with_flags`: the file states the flags. A Maildir's are in its names, where mail programs change them.
    """
    missing = [content.problem for content in item.contents if content.problem]
    flags = f" {maildir_flags(item)}" if with_flags else ""
    return Names(_hash(item.id)[:16], _version_hash(f"{_REVISION} {item.version} {missing}{flags}"))


@lru_cache(maxsize=1024)  # many mails of a server have one version
def _version_hash(version: str) -> str:
    return _hash(version)[:8]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
