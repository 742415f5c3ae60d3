"""Our pages: folders, the items of a folder, search, and an item.

Their templates escape everything. They have no scripts, and their policy allows none. The HTML of a mail is a document
of its own in a sandboxed frame.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from datasette import Response
from datasette.database import QueryInterrupted
from datasette.utils.asgi import Base400, NotFound
from datasette.views.base import DatasetteError
from markupsafe import Markup, escape

from kerio_resync.browse import page_queries, safe_html
from kerio_resync.browse.metadata import DATABASE, QUERIES
from kerio_resync.browse.page_queries import PAGE_ROWS
from kerio_resync.browse.parts import data_addresses
from kerio_resync.cache.shared_text import read_text
from kerio_resync.errors import ResyncError

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
# `sandbox` also holds if the document is opened in a window of its own.
FRAME_POLICY: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
_FRAME_PAGE: Final = (
    '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
    "<style>html{{background:#fff;color:#222;font:15px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}}"
    "img{{max-width:100%;height:auto}}</style>{}"
)
_SEPARATOR: Final = re.compile(r"(?<!\\)/")
_BEGIN, _END = "\ue000", "\ue001"  # around the words found; of the private use area, which texts hardly have
_MAX_PAGE: Final = 1_000_000
_HIDDEN: Final = {"number", "id", "text", "comment", "description", "html"}


class Pages:
    """The views of datasette's routes. `cache`, `index`: the paths of the files."""

    def __init__(self, cache: Path, index: Path | None) -> None:
        self._cache = cache
        self._has_index = index is not None
        self._opened = _identity(cache)

    async def home(self, datasette: Any, request: Any) -> Response:
        """Show the folders with their counts."""
        rows = (await datasette.get_database(DATABASE).execute(page_queries.FOLDERS)).rows
        folders = sorted(map(_folder, rows), key=lambda folder: folder["key"])
        sums = {name: sum(row[name] for row in rows) for name in ("items", "unread", "missing")}
        queries = [(f"/{DATABASE}/{name}", title, text) for name, (title, text, _) in QUERIES.items()]
        return await self._page(datasette, request, "browse_home.html", folders=folders, sums=sums, queries=queries)

    async def folder(self, datasette: Any, request: Any) -> Response:
        """List the items of a folder, newest first."""
        database = datasette.get_database(DATABASE)
        number = {"folder": int(request.url_vars["folder"])}
        folder = (await database.execute(page_queries.FOLDER, number)).first()
        if folder is None:
            raise NotFound("There is no such folder.")
        page = _page_number(request)
        kinds = [row[0] for row in (await database.execute(page_queries.FOLDER_KINDS, number)).rows]
        rows: list[Any] = []
        for kind in kinds:
            wanted = {**number, "kind": kind, "limit": PAGE_ROWS + 1, "offset": page * PAGE_ROWS}
            rows += (await database.execute(page_queries.FOLDER_ITEMS, wanted)).rows
        context = {"path": folder["path"], "leaf": _names(folder["path"])[-1], "rows": rows[:PAGE_ROWS]}
        more = len(rows) > PAGE_ROWS
        return await self._page(datasette, request, "browse_folder.html", **context, page=page, more=more)

    async def search(self, datasette: Any, request: Any) -> Response:
        """Search subjects, people and texts."""
        words, page = request.args.get("q") or "", _page_number(request)
        expression = page_queries.match_expression(words) if self._has_index else ""
        found: list[Any] = []
        count = 0
        if expression:
            database = datasette.get_database(DATABASE)
            wanted = {"words": expression, "limit": PAGE_ROWS + 1, "offset": page * PAGE_ROWS}
            marks = {"begin": _BEGIN, "end": _END}
            found = (await database.execute(page_queries.SEARCH, {**wanted, **marks})).rows
            count = (await database.execute(page_queries.SEARCH_COUNT, {"words": expression})).first()[0]
        rows = [{**dict(row), "part": _marked(row["part"])} for row in found[:PAGE_ROWS]]
        context = {"words": words, "rows": rows, "count": count, "page": page, "more": len(found) > PAGE_ROWS}
        return await self._page(datasette, request, "browse_search.html", **context, understood=bool(expression))

    async def item(self, datasette: Any, request: Any) -> Response:
        """Show an item: its members, its text and its attachments."""
        database = datasette.get_database(DATABASE)
        number = {"item": int(request.url_vars["item"])}
        item = (await database.execute(page_queries.ITEM, number)).first()
        if item is None:
            raise NotFound("There is no such item.")
        text, html = await _texts(database, number)
        contents = (await database.execute(page_queries.CONTENTS, number)).rows
        as_text = html is None or (request.args.get("as") == "text")
        cleaned = None if html is None or as_text else safe_html.clean(html, _images(contents))
        if as_text and not text and html:
            text = safe_html.to_text(html)
        members = []
        if item["kind"] != "mail":
            row = (await database.execute(page_queries.view_of(item["kind"]), number)).first()
            members = [(name, row[name]) for name in row.keys() if name not in _HIDDEN and row[name]] if row else []  # noqa: SIM118 - a row of sqlite3 iterates its values
        return await self._page(
            datasette, request, "browse_item.html",
            item=item, folders=(item["folders"] or "").split("\n"), members=members, text=text or "",
            has_html=html is not None, remote=cleaned.remote if cleaned else 0, as_text=as_text,
            attachments=[row for row in contents if row["role"] != "source"],
            source=next((row for row in contents if row["role"] == "source" and row["state"] == "done"), None),
        )  # fmt: skip

    async def frame(self, datasette: Any, request: Any) -> Response:
        """Return the HTML of a mail as a document for the frame."""
        database = datasette.get_database(DATABASE)
        number = {"item": int(request.url_vars["item"])}
        _, html = await _texts(database, number)
        if html is None:
            raise NotFound("This item has no HTML.")
        contents = (await database.execute(page_queries.CONTENTS, number)).rows
        images = _images(contents)
        used = safe_html.clean(html, images).used
        addresses = await data_addresses(database, [row for row in contents if row["number"] in used])
        body = safe_html.clean(html, images, addresses).html
        return Response.html(_FRAME_PAGE.format(body), headers={"content-security-policy": FRAME_POLICY})

    async def error(self, datasette: Any, request: Any, exception: Exception) -> Response:
        """Show what is wrong.

        An unexpected exception is named only, as its text may quote a mail.
        """
        if isinstance(exception, DatasetteError | Base400 | QueryInterrupted | ResyncError):
            status = getattr(exception, "status", 400)
            text = str(exception) or "There is no such page."
            if isinstance(exception, QueryInterrupted):
                text = "The query took too long. A condition or a LIMIT makes it faster."
            elif text == "404":
                text = "There is no such page."
            is_html = getattr(exception, "message_is_html", False)
            text = Markup(text).striptags() if is_html else text
        else:
            status, text = 500, f"This page failed with {type(exception).__name__}."
        if request.path.endswith(".json"):
            return Response.json({"ok": False, "error": text, "status": status}, status=status)
        response = await self._page(datasette, request, "browse_error.html", text=text)
        response.status = status
        return response

    async def _page(self, datasette: Any, request: Any, template: str, **context: Any) -> Response:
        about = {
            "title_of_cache": datasette.metadata("title"),
            "has_index": self._has_index,
            "is_replaced": _identity(self._cache) != self._opened,
            "query": request.args.get("q") or "",
        }
        page = await datasette.render_template(template, {**about, **context}, request=request)
        return Response.html(page, headers={"content-security-policy": _POLICY})


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _names(path: str) -> list[str]:
    """Return the names of a path, in which a backslash precedes a '/' within a name."""
    return [name.replace("\\/", "/") for name in _SEPARATOR.split(path)]


def _folder(row: Any) -> dict[str, Any]:
    names = _names(row["path"])
    return {**dict(row), "leaf": names[-1], "depth": min(len(names) - 1, 8), "key": [name.casefold() for name in names]}


def _page_number(request: Any) -> int:
    text = request.args.get("page") or "0"
    return min(int(text), _MAX_PAGE) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def _marked(part: str) -> Markup:
    """Return an escaped part of a text with <mark> around the words found."""
    return Markup(str(escape(part)).replace(_BEGIN, "<mark>").replace(_END, "</mark>"))


async def _texts(database: Any, number: dict[str, int]) -> tuple[str | None, str | None]:
    row = (await database.execute(page_queries.TEXTS, number)).first()
    if row is None:
        raise NotFound("There is no such item.")
    text, html = (
        read_text(row["payload"], row[name], row[f"{name}_at"], row[f"{name}_bytes"]) for name in ("text", "html")
    )
    return text, html


def _images(contents: Any) -> dict[str, int]:
    """Return the numbers of the stored pictures by Content-ID."""
    return dict(_image_ids(contents))


def _image_ids(contents: Any) -> Iterator[tuple[str, int]]:
    for row in contents:
        media_type = row["content_type"].partition(";")[0].strip().lower()
        if row["content_id"] and row["state"] == "done" and media_type in safe_html.INLINE_TYPES:
            yield unquote(row["content_id"]).strip("<>").casefold(), row["number"]
