"""What to export, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

from kerio_resync.errors import BadSettings
from kerio_resync.model import Kind
from kerio_resync.settings import parse_date

Format = Literal["maildir", "mbox", "eml", "ics", "vcf"]
Layout = Literal["nested", "maildir++", "thunderbird"]
FORMATS: Final[dict[Format, tuple[Kind, ...]]] = {
    "maildir": ("mail",),
    "mbox": ("mail",),
    "eml": ("mail",),
    "ics": ("event", "task", "note"),
    "vcf": ("contact",),
}
LAYOUT_FORMATS: Final[dict[Layout, tuple[Format, ...]]] = {
    "nested": tuple(FORMATS),
    "maildir++": ("maildir",),
    "thunderbird": ("mbox",),
}


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Options of one export.

    `targets`: a folder for each format. `folders`: names as `rebuild --folder` takes them; empty: all. `since`: ISO
    8601; older items are left out. `split`: one .ics or .vcf file per item. `text_notes`: notes as .txt files. `zone`:
    of calendars, see `server.kerio.to_icalendar`.
    """

    targets: tuple[tuple[Format, Path], ...]
    layout: Layout = "nested"
    folders: tuple[str, ...] = ()
    since: str | None = None
    split: bool = False
    text_notes: bool = False
    zone: ZoneInfo | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not self.targets:
            raise BadSettings("nothing to export: give --maildir, --mbox, --eml, --ics or --vcf with a folder")
        formats = [name for name, _ in self.targets]
        if not any(name in LAYOUT_FORMATS[self.layout] for name in formats):
            raise BadSettings(f"--layout {self.layout} needs --{LAYOUT_FORMATS[self.layout][0]}")
        if self.split and not {"ics", "vcf"} & set(formats):
            raise BadSettings("--split needs --ics or --vcf")
        if self.text_notes and "ics" not in formats:
            raise BadSettings("--notes text needs --ics")

    def layout_of(self, target: Format) -> Layout:
        """Return the layout of a format: the chosen one, where it fits."""
        return self.layout if target in LAYOUT_FORMATS[self.layout] else "nested"


def parse_since(text: str) -> str:
    """Return a date or time as the cache has them. BadSettings for anything else."""
    try:
        return parse_date(text)
    except ValueError as error:
        raise BadSettings(f"--since: {error}") from None


def parse_zone(name: str) -> ZoneInfo:
    """Return the time zone of a name such as Europe/Prague. BadSettings."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise BadSettings(f"--time-zone: {name!r} is unknown; give a name such as Europe/Prague") from None


def system_zone() -> ZoneInfo | None:
    """Return the time zone of this computer, None if its name is unknown."""
    import os

    named = os.environ.get("TZ", "").removeprefix(":")
    try:
        name = named or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
        return ZoneInfo(name) if name else None
    except (ValueError, OSError, LookupError):
        return None
