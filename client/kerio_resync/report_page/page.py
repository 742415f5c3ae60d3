"""Templates and files of report pages. They need Jinja2 (extra `report`)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import replace_private

if TYPE_CHECKING:
    from jinja2 import Environment


def require_jinja(option: str, extra: str = "report") -> None:
    """Raise BadSettings, which names the option, if Jinja2 is not installed."""
    if find_spec("jinja2") is None:
        raise BadSettings(f"{option} needs Jinja2: run `pip install 'kerio-resync[{extra}]'`, or leave {option} out")


def environment(*folders: Path) -> Environment:
    """Return the templates in `folders`, and the frame `base.html.j2`.

    An earlier folder precedes a later one.
    """
    from jinja2 import Environment, FileSystemLoader

    return Environment(
        loader=FileSystemLoader([*folders, Path(__file__).parent / "templates"]),
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=lambda name: bool(name and name.endswith(".html.j2")),
    )


def write_page(path: Path, text: str) -> None:
    """Write a page in place of an older one, readable by its owner only.

    It raises OSError.
    """
    replace_private(path, text.encode("utf-8", "replace"), sync=False)
