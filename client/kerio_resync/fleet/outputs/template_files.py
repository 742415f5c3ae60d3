"""The files of the templates for notices that belong to this package."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import translate_os_error

BUILT_IN: Final = Path(__file__).parent / "notice_templates"
SUFFIX: Final = ".txt.j2"


def write_templates(folder: Path) -> None:
    """Write the templates of this package into a folder, to be edited.

    Nothing is replaced: BadSettings if one of the files is there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(BUILT_IN.glob(f"*{SUFFIX}")):
            if (folder / path.name).exists():
                raise BadSettings(f"{folder / path.name} is there already; choose another folder")
        for path in BUILT_IN.glob(f"*{SUFFIX}"):
            (folder / path.name).write_bytes(path.read_bytes())
    except OSError as error:
        raise translate_os_error(error, folder) from None
