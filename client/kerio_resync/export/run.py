"""Exports the cache of a profile.

It opens the cache, selects folders, and writes one target after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kerio_resync.errors import BadSettings
from kerio_resync.events import Listener, Notice, PhaseChanged, Progress, RunStarted, Skipped, ignore_events
from kerio_resync.export.dialect import Dialect, dialect_of
from kerio_resync.export.folder_paths import folder_paths, is_renamed
from kerio_resync.export.mail_files import MailFiles
from kerio_resync.export.mails import NO_SOURCE, MailRenderer
from kerio_resync.export.mbox import MboxFiles
from kerio_resync.export.options import FORMATS, ExportOptions, Format
from kerio_resync.export.read_cache import CacheReader, FolderRow, Selection
from kerio_resync.export.record import ExportRecord, locked
from kerio_resync.export.report import ExportReport, TargetReport
from kerio_resync.filesystem import available_bytes, not_enough_space
from kerio_resync.settings import Settings
from kerio_resync.sync.folder_names import select_folders

if TYPE_CHECKING:
    from kerio_resync.export.entry_files import EntryFiles

RENAMED = "the name of a folder, which files cannot have"
ENCODED_SHARE = 1.4  # of a mail's size: base64 with its line ends, and headers


async def export(settings: Settings, options: ExportOptions, listen: Listener = ignore_events) -> ExportReport:
    """Export the cache, without network.

    NoCache, CacheDamaged, OtherFormat; OtherAccount if a target holds the export of another mailbox; TargetInUse;
    NotEnoughSpace, DiskTrouble; BadSettings for options and for files in the way.
    """
    begun = time.monotonic()
    reader = await CacheReader.open(settings)
    try:
        identity = reader.identity
        listen(RunStarted(str(settings.profile), identity.server, identity.user))
        listen(PhaseChanged("export"))
        calendars = any(name in ("ics", "vcf") for name, _ in options.targets)
        dialect = dialect_of(identity.protocol, calendars=calendars)
        folders = await reader.folders()
        chosen = _chosen(folders, options.folders)
        jobs = [await _plan(reader, options, target, folders, chosen) for target in options.targets]
        progress = _Progress(listen, jobs)
        reports = []
        for job in jobs:
            with locked(job.root, dry_run=options.dry_run):
                reports.append(await _write(reader, options, dialect, job, progress))
        unsent = await reader.unsent_changes()
    finally:
        await reader.close()
    without_source = set[str]()
    for report in reports:
        for scope, item_id, reason in report.skipped:
            if reason == NO_SOURCE:
                without_source.add(item_id)
            else:
                listen(Skipped(scope, item_id, reason))
    if without_source:
        listen(
            Notice(
                f"Mails without a source in the cache were left out: {len(without_source):,}."
                " Run `kerio-resync rebuild --sources yes`, and export again."
            )
        )
    if unsent:
        listen(Notice(f"{unsent:,} local changes are not sent yet. The export has what the server has."))
    return ExportReport(tuple(reports), time.monotonic() - begun, options.dry_run, unsent, len(without_source))


@dataclass(frozen=True, slots=True)
class _Job:
    """One target: its folder, the paths of folders in it, and what to write."""

    format: Format
    root: Path
    paths: dict[int, tuple[str, ...]]
    selections: list[Selection]


def _chosen(folders: Sequence[FolderRow], names: Sequence[str]) -> set[str]:
    """Return the ids of the folders to export."""
    if not names:
        return {row.folder.id for row in folders}
    paths = {row.folder.id: row.path for row in folders}
    return {folder.id for folder in select_folders(names, (row.folder for row in folders), paths)}


async def _plan(
    reader: CacheReader,
    options: ExportOptions,
    target: tuple[Format, Path],
    folders: Sequence[FolderRow],
    chosen: set[str],
) -> _Job:
    name, root = target
    kinds = FORMATS[name]
    selections: list[Selection] = []
    for row in folders:
        if row.folder.id not in chosen:
            continue
        for kind in kinds:
            if row.folder.kind not in (kind, None):
                continue
            selection = await reader.select(row, kind, options.since)
            if row.folder.kind is not None or selection.keys.numbers:
                selections.append(selection)
    needed = {selection.folder.number for selection in selections}
    paths = folder_paths([row for row in folders if row.number in needed], options.layout_of(name))
    return _Job(name, root, paths, selections)


async def _write(
    reader: CacheReader, options: ExportOptions, dialect: Dialect, job: _Job, progress: _Progress
) -> TargetReport:
    report = TargetReport(job.format, job.root, folders=len(job.paths))
    for row in {selection.folder.number: selection.folder for selection in job.selections}.values():
        report.lose(row.path, [RENAMED] * is_renamed(row, job.paths[row.number]))
    record = ExportRecord.load(job.root, reader.identity, dry_run=options.dry_run)
    writer = await _writer(reader, options, dialect, job, record, report)
    _require_free(writer, job, record)
    if record.is_new and not options.dry_run and job.format not in ("ics", "vcf"):
        _require_space(job, reader)
    for selection in job.selections:
        report.present = selection.folder.path
        await writer.write(job.paths[selection.folder.number], selection, progress.add)
    record.save(finished=True)
    return report


async def _writer(
    reader: CacheReader,
    options: ExportOptions,
    dialect: Dialect,
    job: _Job,
    record: ExportRecord,
    report: TargetReport,
) -> MailFiles | MboxFiles | EntryFiles:
    layout = options.layout_of(job.format)
    if job.format in ("ics", "vcf"):
        from kerio_resync.export.entry_files import EntryFiles, parse_stamp

        stamp = parse_stamp(await reader.finished_at())
        return EntryFiles(job.root, f".{job.format}", options, dialect, reader, stamp, record, report)
    renderer = MailRenderer(reader, dialect.mail, dialect.is_forwarded)
    if job.format == "mbox":
        return MboxFiles(job.root, layout, renderer, record, report)
    return MailFiles(job.root, layout, job.format == "eml", renderer, record, report)


def _require_free(writer: MailFiles | MboxFiles | EntryFiles, job: _Job, record: ExportRecord) -> None:
    """Raise BadSettings for files of other programs in the way.

    That is checked before anything is written.
    """
    if isinstance(writer, MailFiles):
        return
    paths = [writer.path(job.paths[selection.folder.number]) for selection in job.selections]
    if taken := [path for path in paths if not record.may_replace(path)]:
        more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise BadSettings(
            f"{taken[0]}{more} was not written by kerio-resync, or was changed since: move it away, or export into"
            " another folder"
        )


def _require_space(job: _Job, reader: CacheReader) -> None:
    needed = int(sum(selection.keys.size for selection in job.selections) * ENCODED_SHARE)
    if job.root.exists() and available_bytes(job.root) < needed:
        raise not_enough_space(job.root / "export", needed)


@dataclass(slots=True)
class _Progress:
    """Counts what is written, over all targets."""

    listen: Callable[[Progress], None]
    jobs: list[_Job]
    items: int = 0
    bytes: int = 0
    _begun: float = field(default_factory=time.monotonic)

    def add(self, items: int, size: int) -> None:
        """Tell that more items are written; `size`: their bytes as the server states them."""
        self.items += items
        self.bytes += size
        selections = [selection for job in self.jobs for selection in job.selections]
        elapsed = time.monotonic() - self._begun
        total = sum(selection.keys.size for selection in selections)
        rate = self.bytes / elapsed if elapsed > 0 else 0.0
        self.listen(
            Progress(
                items_done=self.items,
                items_total=sum(len(selection.keys.numbers) for selection in selections),
                bytes_done=self.bytes,
                bytes_total=total,
                rate=rate,
                seconds_left=max(total - self.bytes, 0) / rate if rate and elapsed > 1 else None,
                elapsed=elapsed,
            )
        )
