"""Configuration of Sphinx: `make docs` builds the pages into docs/_build/html."""

from kerio_resync.version import VERSION

project = "kerio-resync"
copyright = "the kerio-resync authors"  # noqa: A001  the name that Sphinx reads
release = version = VERSION
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {"description": "Rebuilds a mail client's local cache from its server", "page_width": "1080px"}
