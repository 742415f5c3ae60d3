"""Writes calendars and contacts.

There is one .ics or .vcf file for each folder, or for each item.

A file of another program, or one that was changed since it was written, is never replaced.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from icalendar import Timezone, TimezoneStandard

from kerio_resync.export.cards import write_card
from kerio_resync.export.dialect import Dialect
from kerio_resync.export.files import NewFile, Output, make_folder, mapped_os_errors
from kerio_resync.export.folder_paths import safe_stem
from kerio_resync.export.options import ExportOptions
from kerio_resync.export.read_cache import CacheReader, ItemRow, Selection
from kerio_resync.export.record import ExportRecord
from kerio_resync.export.report import TargetReport
from kerio_resync.version import VERSION

NO_CONVERTER: Final = "this version cannot convert items of this server"
NOT_OURS: Final = "its file was changed by another program, and was left as it is"
_HEAD: Final = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//kerio-resync//kerio-resync {VERSION}//EN\r\n".encode()
_END: Final = b"END:VCALENDAR\r\n"
_REVISION: Final = 1  # of how entries are composed; a new one writes them again


@dataclass(slots=True)
class EntryFiles:
    """Writes the entries or cards of one target. `suffix`: .ics or .vcf."""

    root: Path
    suffix: str
    options: ExportOptions
    dialect: Dialect
    reader: CacheReader
    stamp: datetime
    record: ExportRecord
    report: TargetReport

    def path(self, folder: tuple[str, ...]) -> Path:
        """Return the file for a folder's path."""
        return self.root.joinpath(*folder[:-1], f"{folder[-1]}{self.suffix}")

    def is_split(self, selection: Selection) -> bool:
        """Return whether each item of a folder gets a file of its own."""
        return self.options.split or (selection.kind == "note" and self.options.text_notes)

    async def write(self, folder: tuple[str, ...], selection: Selection, progress: Callable[[int, int], None]) -> None:
        """Write the items of a folder."""
        if self.is_split(selection):
            await self._write_each(self.root.joinpath(*folder), selection, progress)
        else:
            await self._write_all(self.path(folder), selection, progress)

    async def _write_all(self, path: Path, selection: Selection, progress: Callable[[int, int], None]) -> None:
        count = len(selection.keys.numbers)
        fingerprint = self._fingerprint(selection)
        if self.record.is_current(path, fingerprint):
            self.report.unchanged += count
            self.report.items[selection.kind] += count
            progress(count, selection.keys.size)
            return
        replaces, before = path.exists(), self.report.items[selection.kind]
        if self.record.dry_run:
            await self._write_into(_Nowhere(), selection, progress)
        elif count:
            make_folder(path.parent)
            with NewFile(str(path.with_name(f".{path.name}.part"))) as file:
                await self._write_into(file, selection, progress)
                file.commit(str(path))
            self.report.bytes += file.size
            self.record.add(path, fingerprint)
            self.record.save()
        elif replaces:
            path.unlink()  # ours, of items that are gone
            self.record.forget(path)
        written = self.report.items[selection.kind] - before
        if replaces:
            self.report.replaced += written
        else:
            self.report.written += written

    async def _write_into(self, out: Output, selection: Selection, progress: Callable[[int, int], None]) -> None:
        """Write the file of a folder; a calendar's zones come before its entries."""
        entries = _Spool(self.root) if self.suffix == ".ics" and not isinstance(out, _Nowhere) else None
        zones: set[str] = set()
        try:
            async for page in self.reader.pages(selection):
                for item in page.items:
                    await self._write_item(item, out if entries is None else entries, zones)
                progress(len(page.items), sum(item.size for item in page.items))
            if entries is not None:
                out.write(_HEAD + b"".join(map(_zone, sorted(zones))))
                for chunk in entries.chunks():
                    out.write(chunk)
                out.write(_END)
        finally:
            if entries is not None:
                entries.close()

    async def _write_each(self, folder: Path, selection: Selection, progress: Callable[[int, int], None]) -> None:
        async for page in self.reader.pages(selection):
            for item in page.items:
                await self._write_own(folder, item)
            progress(len(page.items), sum(item.size for item in page.items))
        self.record.save()

    async def _write_own(self, folder: Path, item: ItemRow) -> None:
        """Write an item into a file of its own, unless that has the same content."""
        path = folder / self._name(item)
        zones: set[str] = set()
        body = _Buffer()
        if not await self._write_item(item, body, zones):
            return
        content = body.getvalue()
        if path.suffix == ".ics":
            content = _HEAD + b"".join(map(_zone, sorted(zones))) + content + _END
        exists = path.exists()
        with mapped_os_errors(path):
            is_same = exists and path.read_bytes() == content
        if is_same:
            self.report.unchanged += 1
        elif not self.record.may_replace(path):
            self.report.items[item.kind] -= 1
            self.report.skipped.append(("item", item.id, NOT_OURS))
            return
        else:
            self.report.replaced += exists
            self.report.written += not exists
            self.report.bytes += len(content)
        if self.record.dry_run:
            return
        if not is_same:
            make_folder(folder)
            with NewFile(str(path.with_name(f".{path.name}.part"))) as file:
                file.write(content)
                file.commit(str(path))
        self.record.add(path, "")

    def _name(self, item: ItemRow) -> str:
        if item.kind == "note" and self.options.text_notes:
            mark = hashlib.sha256(item.id.encode("utf-8", "replace")).hexdigest()[:8]
            return f"{safe_stem(item.title)} ({mark}).txt".strip()
        return f"{uuid5(NAMESPACE_URL, item.id)}{self.suffix}"

    async def _write_item(self, item: ItemRow, out: Output, zones: set[str]) -> bool:
        """Write one entry or card; return whether that was possible."""
        try:
            lost = await self._converted(item, out, zones)
        except ValueError as error:
            self.report.skipped.append(("item", item.id, str(error)))
            return False
        self.report.items[item.kind] += 1
        self.report.lose_of(item.id, item.date, lost)
        return True

    async def _converted(self, item: ItemRow, out: Output, zones: set[str]) -> list[str]:
        if self.dialect.entry is None or self.dialect.card is None:
            raise ValueError(NO_CONVERTER)
        if item.kind == "contact":
            return await write_card(out, self.dialect.card(item.id, item.payload), item.contents, self.reader)
        entry = self.dialect.entry(item.kind, item.id, item.payload, self.options.zone, self.stamp)
        if item.kind == "note" and self.options.text_notes:
            parts = (str(entry.component.get(name, "")) for name in ("SUMMARY", "DESCRIPTION"))
            out.write("\n".join(parts).rstrip("\n").encode() + b"\n")
            return entry.lost
        zones |= entry.zones
        out.write(entry.component.to_ical())
        return entry.lost

    def _fingerprint(self, selection: Selection) -> str:
        zone = self.options.zone.key if self.options.zone else ""
        return f"{_REVISION} {zone} {selection.keys.fingerprint.hex()}"


class _Buffer(io.BytesIO):
    """An `Output` in memory."""

    def write(self, data: bytes) -> None:  # type: ignore[override]
        super().write(data)


class _Nowhere:
    """An `Output` that keeps nothing."""

    def write(self, data: bytes) -> None:
        pass


class _Spool:
    """Entries on the disk until the zones are known that come before them."""

    def __init__(self, folder: Path) -> None:
        import tempfile

        with mapped_os_errors(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        self._folder = folder

    def write(self, data: bytes) -> None:
        with mapped_os_errors(self._folder):
            self._file.write(data)

    def chunks(self) -> Iterator[bytes]:
        with mapped_os_errors(self._folder):
            self._file.seek(0)
            while data := self._file.read(1 << 20):
                yield data

    def close(self) -> None:
        with suppress(OSError):
            self._file.close()


def _zone(name: str) -> bytes:
    """Return the definition of a zone: of the time zone database, or `UTC+0100`."""
    if not name.startswith(("UTC+", "UTC-")):
        return bytes(Timezone.from_tzinfo(ZoneInfo(name)).to_ical())
    offset = timedelta(hours=int(name[4:6]), minutes=int(name[6:8]))
    offset = -offset if name[3] == "-" else offset
    zone, standard = Timezone(), TimezoneStandard()
    zone.add("tzid", name)
    standard.add("dtstart", datetime(1970, 1, 1))  # noqa: DTZ001 - in the zone that it defines
    standard.add("tzoffsetfrom", offset)
    standard.add("tzoffsetto", offset)
    standard.add("tzname", name)
    zone.add_component(standard)
    return bytes(zone.to_ical())


def parse_stamp(finished_at: str) -> datetime:
    """Return when the cache was completed; the beginning of 1970 if that is unknown."""
    try:
        moment = datetime.fromisoformat(finished_at)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return moment.astimezone(UTC)
