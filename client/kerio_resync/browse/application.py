"""Makes the datasette application.

The cache is its only file, read-only, and our plugin the only one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from datasette.app import Datasette
from datasette.database import Database
from datasette.plugins import DEFAULT_PLUGINS, pm

from kerio_resync.browse.guard import LOGIN_PATH, App
from kerio_resync.browse.metadata import DATABASE, metadata
from kerio_resync.browse.plugin import BrowsePlugin
from kerio_resync.cache.browse_connection import connect_readonly

_REPLACED: Final = "datasette.handle_exception"  # prints local variables, so texts of mails, to the terminal
_SETTINGS: Final = {
    "allow_download": False,  # of the whole file, which may be written meanwhile
    "cache_size_kb": 8 * 1024,
    "default_cache_ttl": 0,
    "facet_time_limit_ms": 1000,
    "max_csv_mb": 0,
    "sql_time_limit_ms": 5000,
    "suggest_facets": False,  # tries a query for each column of a page
    "truncate_cells_html": 200,
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown, and whose mailbox it is.

    The cache and its search index; None: no search.
    """

    cache: Path
    index: Path | None
    title: str


class _CacheDatabase(Database):  # type: ignore[misc]
    """Opens the cache as this package does.

    Datasette would put its path into a URI unquoted.
    """

    def __init__(self, datasette: Any, shown: Shown) -> None:
        super().__init__(datasette, path=str(shown.cache), is_mutable=True)
        self._shown = shown

    def connect(self, write: bool = False) -> Any:
        if write:
            raise AssertionError("the cache is opened read-only")
        connection = connect_readonly(self._shown.cache, self._shown.index)
        self._all_file_connections.append(connection)
        return connection

    async def execute(self, *given: Any, **named: Any) -> Any:
        """Run a query; its errors are shown on the page only."""
        return await super().execute(*given, **{**named, "log_sql_errors": False})


@dataclass(frozen=True, slots=True)
class Application:
    """The ASGI application, and the path that logs a browser in, once."""

    app: App
    login_path: str


@contextmanager
def application(shown: Shown, port: int) -> Iterator[Application]:
    """Yield the application for a server on this port.

    Its files are closed at the end.

    Plugins that other packages have installed are not used: they could write, or listen to what is shown.
    """
    for plugin in pm.get_plugins():
        if pm.get_name(plugin) not in DEFAULT_PLUGINS:
            pm.unregister(plugin)
    plugin = BrowsePlugin(shown.cache, shown.index, port)
    replaced = pm.unregister(name=_REPLACED)
    pm.register(plugin, plugin.__name__)
    try:
        datasette = Datasette(memory=False, files=(), settings=_SETTINGS, metadata=metadata(shown.title))
        datasette.remove_database("_memory")
        database = _CacheDatabase(datasette, shown)
        datasette.add_database(database, name=DATABASE)
        try:
            yield Application(datasette.app(), f"{LOGIN_PATH}?token={datasette._root_token}")
        finally:
            for connection in database._all_file_connections:
                connection.interrupt()
            if datasette.executor is not None:
                datasette.executor.shutdown(wait=True, cancel_futures=True)
            database.close()
    finally:
        pm.unregister(plugin)
        pm.register(replaced, _REPLACED)
