"""The plugin for datasette: our pages, links from tables to them, and the guard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pluggy import HookimplMarker

from kerio_resync.browse.guard import App, Guard
from kerio_resync.browse.pages import Pages
from kerio_resync.browse.parts import PART_PATH, Parts

hookimpl = HookimplMarker("datasette")
# (table, column) of numbers: the path of the page that shows what has the number
_LINKS = {
    ("mail", "number"): "/-/item/",
    ("contact", "number"): "/-/item/",
    ("event", "number"): "/-/item/",
    ("task", "number"): "/-/item/",
    ("note", "number"): "/-/item/",
    ("item", "number"): "/-/item/",
    ("folder_tree", "number"): "/-/folder/",
    ("mail_attachment", "number"): PART_PATH,
    ("attachment", "number"): PART_PATH,
}


class BrowsePlugin:
    """Registered while the server runs.

    `cache`, `index`: the paths of the files. `port`: where the server listens.
    """

    def __init__(self, cache: Path, index: Path | None, port: int) -> None:
        self.__name__ = "kerio_resync.browse"  # datasette serves `templates` and `static` of the package of this name
        self._port = port
        self._pages = Pages(cache, index)
        self._parts = Parts()

    @hookimpl
    def register_routes(self) -> list[tuple[str, Callable[..., Any]]]:
        """Return our pages."""
        return [
            (r"/$", self._pages.home),
            (r"/-/folder/(?P<folder>\d{1,18})$", self._pages.folder),
            (r"/-/search$", self._pages.search),
            (r"/-/item/(?P<item>\d{1,18})$", self._pages.item),
            (r"/-/item/(?P<item>\d{1,18})/html$", self._pages.frame),
            (rf"{PART_PATH}(?P<content>\d{{1,18}})$", self._parts.send),
        ]

    @hookimpl
    def asgi_wrapper(self, datasette: Any) -> Callable[[App], App]:
        """Put the guard around the application."""
        return lambda app: Guard(app, self._port, datasette.unsign)

    @hookimpl
    def render_cell(self, value: Any, column: str, table: str | None) -> Markup | None:
        """Make numbers of items, folders and attachments links."""
        path = "/-/item/" if column == "mail" else _LINKS.get((table or "", column))
        if path is None or not isinstance(value, int):
            return None
        return Markup('<a href="{}{}">{}</a>').format(path, value, value)

    @hookimpl
    def handle_exception(self, datasette: Any, request: Any, exception: Exception) -> Any:
        """Show an error as a page; the terminal gets nothing."""
        return self._pages.error(datasette, request, exception)

    @hookimpl
    def extra_css_urls(self) -> list[str]:
        """Return the style of datasette's pages, which has the colours of ours."""
        return ["/-/static-plugins/kerio_resync.browse/tables.css"]

    @hookimpl
    def menu_links(self) -> list[dict[str, str]]:
        """Return the links from datasette's pages to ours."""
        return [{"href": "/", "label": "Folders"}, {"href": "/-/search", "label": "Search"}]
