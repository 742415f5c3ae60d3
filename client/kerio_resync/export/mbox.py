"""Writes each folder into an mbox file (mboxrd).

Flags become Status and X-Status, and lines that begin with "From " are quoted.

A file is written under a temporary name and renamed when it is complete. An interrupted export resumes it. A file that
is there, as it was written from the same items, is left alone; one of another program is never replaced.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kerio_resync.export.files import NewFile, make_folder, write_pieces
from kerio_resync.export.mails import MailRenderer, status_lines, time_of
from kerio_resync.export.options import Layout
from kerio_resync.export.read_cache import ItemRow, Selection
from kerio_resync.export.record import ExportRecord
from kerio_resync.export.report import TargetReport

_QUOTED: Final = re.compile(rb"^(>*From )", re.MULTILINE)
_MAYBE_QUOTED: Final = re.compile(rb"^>{0,200}(?:F(?:r(?:o(?:m)?)?)?)?\Z", re.MULTILINE)


@dataclass(slots=True)
class MboxFiles:
    """Writes the mails of one target."""

    root: Path
    layout: Layout
    renderer: MailRenderer
    record: ExportRecord
    report: TargetReport

    def path(self, folder: tuple[str, ...]) -> Path:
        """Return the file for a folder's path."""
        above, name = folder[:-1], folder[-1]
        if self.layout == "thunderbird":
            return self.root.joinpath(*(f"{part}.sbd" for part in above), name)
        return self.root.joinpath(*above, f"{name}.mbox")

    async def write(self, folder: tuple[str, ...], selection: Selection, progress: Callable[[int, int], None]) -> None:
        """Write the mails of a folder."""
        path, fingerprint = self.path(folder), selection.keys.fingerprint.hex()
        if self.record.is_current(path, fingerprint):
            self.report.unchanged += len(selection.keys.numbers)
            self.report.items["mail"] += len(selection.keys.numbers)
            progress(len(selection.keys.numbers), selection.keys.size)
            return
        if self.record.dry_run:
            await self._write(selection, None, path, 0, progress)
            return
        make_folder(path.parent)
        replaces = path.exists()
        temporary = path.with_name(f".{path.name}.part")
        start, size = self.record.begin_part(path, fingerprint)
        if start and (not temporary.is_file() or temporary.stat().st_size < size):
            start, size = 0, 0
        before = self.report.items["mail"]
        self.report.items["mail"] += start
        progress(start, 0)
        with NewFile(str(temporary), start=size, keep_part=True) as file:
            await self._write(selection, file, path, start, progress)
            file.commit(str(path))
        self.record.add(path, fingerprint)
        self.record.save()
        count = self.report.items["mail"] - before
        if replaces:
            self.report.replaced += count
        else:
            self.report.written += count

    async def _write(
        self, selection: Selection, file: NewFile | None, path: Path, start: int, progress: Callable[[int, int], None]
    ) -> None:
        async for page in self.renderer.reader.pages(selection, start):
            before = file.size if file is not None else 0
            for item in page.items:
                await self._write_mail(item, file)
            start += page.considered
            if file is not None:
                self.report.bytes += file.size - before
                self.record.add_part(path, selection.keys.fingerprint.hex(), start, file.size)
            progress(len(page.items), sum(item.size for item in page.items))

    async def _write_mail(self, item: ItemRow, file: NewFile | None) -> None:
        try:
            mail = await self.renderer.render(item)
        except ValueError as error:
            self.report.skipped.append(("item", item.id, str(error)))
            return
        self.report.items["mail"] += 1
        self.report.lose_of(item.id, item.date, mail.lost)
        if file is None:
            self.report.written += 1
            self.report.bytes += item.size
            return
        out = _Quoting(file)
        file.write(f"From MAILER-DAEMON {time.asctime(time_of(item).utctimetuple())}\n".encode())
        file.write(status_lines(item, forwarded=mail.forwarded))
        await write_pieces(out, mail.pieces, self.renderer.reader)
        out.end()


class _Quoting:
    """Quotes lines that would begin a mail, and ends the mail with an empty line."""

    def __init__(self, file: NewFile) -> None:
        self._file = file
        self._held = b""  # the beginning of a line that may have to be quoted
        self._in_line = False

    def write(self, data: bytes) -> None:
        data = self._held + data
        at_start = not self._in_line
        match = _MAYBE_QUOTED.search(data, data.rfind(b"\n") + 1)
        cut = match.start() if match and (match.start() > 0 or at_start) else len(data)
        data, self._held = data[:cut], data[cut:]
        if b"From " in data:
            head = 0 if at_start else data.find(b"\n") + 1 or len(data)
            data = data[:head] + _QUOTED.sub(rb">\1", data[head:])
        if data:
            self._file.write(data)
            self._in_line = not data.endswith(b"\n")

    def end(self) -> None:
        self._file.write(self._held + (b"\n\n" if self._in_line or self._held else b"\n"))
