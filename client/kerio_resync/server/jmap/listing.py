"""Lists the mails of an account, or of one folder, in pages that are anchored.

A page begins a few rows before the last row of the page before (the anchor), so rows that appear or disappear meanwhile
shift nothing: mails are sorted by the time when they were received, which never changes. If the anchor is gone, an
older one takes its place; if all of them are gone, the listing starts again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

from kerio_resync.errors import ItemGone, ProtocolError
from kerio_resync.model import ListedItem, Listing, ListingPage
from kerio_resync.server.jmap import emails
from kerio_resync.server.jmap.client import JmapClient
from kerio_resync.server.jmap.methods import AnchorGone, Call, InvalidArguments, result_of
from kerio_resync.server.memory_budget import HeldReservations

NONE: Final = -1  # rows before the anchor: the page begins after it
FIRST_ROWS: Final = 256  # of a listing's first page, so that contents are fetched while the other pages are listed
ROWS_GROWTH: Final = 4  # from page to page
MAX_ROWS: Final = 4096  # per page
MAX_ANCHORS: Final = 64
MAX_RESTARTS: Final = 64
SPARE_PAGES: Final = 32  # beyond those that the server's total explains
NEWEST_FIRST: Final = [{"property": "receivedAt", "isAscending": False}]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a listing resumes.

    `anchors`: ids of the last rows, the last one at the end. `listed`: rows so far.
    """

    anchors: tuple[str, ...] = ()
    listed: int = 0

    def to_bytes(self) -> bytes:
        """Return the position for storage."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Position:
        """Return a stored position; the start if there is none, or it is invalid."""
        try:
            members = json.loads(data or b"{}")
            anchors = tuple(map(str, members.get("anchors", ())))
            return cls(anchors, int(members.get("listed", 0))) if anchors else cls()
        except (ValueError, TypeError, AttributeError):
            return cls()


class _Page(NamedTuple):
    """A page: `ids` in the list's order, and `rows` of those that still exist.

    `width`: the rows that a page may have.
    """

    ids: list[str]
    rows: dict[str, ListedItem]
    total: int
    width: int


@dataclass(slots=True)
class EmailList:
    """Reads the list of an account's mails, or of one folder.

    `mailbox_id`: the server's id of the only folder; "" for the whole account. `limit`: rows per page at most; the
    first pages have fewer. `overlap`: rows before the anchor that a page repeats, at most half a page.
    """

    client: JmapClient
    account: str
    listing: Listing
    mailbox_id: str
    limit: int
    overlap: int
    at: Position = Position()
    _rows: int = FIRST_ROWS
    _pages: int = 0
    _restarts: int = 0

    async def pages(self, held: HeldReservations | None = None) -> AsyncGenerator[ListingPage, None]:
        """Yield the pages, as `Mailbox.list_items` describes."""
        done = False
        while not done:
            page = await self._next_page(held)
            known = frozenset(self.at.anchors)
            fresh = [email_id for email_id in page.ids if email_id not in known]
            is_full = len(page.ids) >= page.width
            moved = bool(page.ids) and page.ids[-1] not in self.at.anchors[-1:]
            if is_full and not moved:
                self.overlap = NONE  # the server sends fewer rows than requested
            self._advance(page, len(fresh))
            self._rows *= ROWS_GROWTH
            done = not is_full and (not moved or self.at.listed >= page.total)
            rows = page.rows
            yield ListingPage(
                tuple(rows.values()),
                tuple(rows[email_id] for email_id in fresh if email_id in rows),
                replace(self.at, anchors=self.at.anchors[-MAX_ANCHORS:]).to_bytes(),
                self.at.listed,
                done,
            )

    def _advance(self, page: _Page, fresh: int) -> None:
        """Take the page's rows as anchors. ProtocolError for an endless list."""
        on_page = frozenset(page.ids)
        anchors = (*(email_id for email_id in self.at.anchors if email_id not in on_page), *page.ids)
        self.at = Position(anchors[-max(MAX_ANCHORS, len(page.ids)) :], self.at.listed + fresh)
        self._pages += 1
        count = self.listing.count
        expected = max(count, page.total if page.total < 2 * count + 100_000 else 0)
        if self._pages > SPARE_PAGES + 4 * (expected // max(1, page.width - max(0, self.overlap)) + 1):
            raise self._endless()

    async def _next_page(self, held: HeldReservations | None) -> _Page:
        """Return the page after the newest anchor that still exists."""
        while True:
            try:
                return await _page(self.client, self.account, self._query(), held)
            except AnchorGone:
                anchors = self.at.anchors[:-1]
                self.at = replace(self.at, anchors=anchors) if anchors else Position()
                self._restarts += not anchors
                if self._restarts > MAX_RESTARTS:
                    raise self._endless() from None
            except InvalidArguments as error:
                if self.mailbox_id and await self._is_gone():
                    raise ItemGone("the folder is gone", method=error.method, scope="folder") from error
                raise

    def _query(self) -> Call:
        limit = min(self._rows, self.limit)
        arguments: dict[str, Any] = {
            "accountId": self.account, "sort": NEWEST_FIRST, "limit": limit, "calculateTotal": True,
        }  # fmt: skip
        if self.mailbox_id:
            arguments["filter"] = {"inMailbox": self.mailbox_id}
        if self.at.anchors:
            before = min(self.overlap, (limit - 1) // 2) if limit > 1 else NONE
            arguments |= {"anchor": self.at.anchors[-1], "anchorOffset": -before}
        return Call("Email/query", arguments)

    async def _is_gone(self) -> bool:
        call = Call("Mailbox/get", {"accountId": self.account, "ids": [self.mailbox_id], "properties": ["id"]})
        (result,) = (await self.client.call([call])).results
        return not result.get("list")

    def _endless(self) -> ProtocolError:
        return ProtocolError(f"the list of folder {self.listing.id} does not end", scope="folder")


async def _page(client: JmapClient, account: str, query: Call, held: HeldReservations | None) -> _Page:
    """Return a page. An Email that was deleted between the two calls has no row."""
    anchor, offset = query.arguments.get("anchor"), query.arguments.get("anchorOffset", 0)
    limit: int = query.arguments["limit"]
    details = {"accountId": account, "#ids": result_of(0, query, "/ids"), "properties": emails.LISTED}

    def check(results: list[dict[str, Any]]) -> None:
        ids = _ids(results[0])
        if anchor is not None and anchor not in ids[: max(0, 1 - offset)] and (offset <= 0 or anchor in ids):
            raise ProtocolError("Email/query is answered with other rows than requested", scope="folder")
        if not isinstance(results[1].get("list"), list):
            raise ProtocolError("Email/get is answered without a list", scope="folder")

    answer = await client.call([query, Call("Email/get", details)], check=check, held=held)
    listed, got = answer.results
    ids = _ids(listed)
    found = {
        email["id"]: email for email in got["list"] if isinstance(email, dict) and isinstance(email.get("id"), str)
    }
    gone = got.get("notFound")
    absent = frozenset(map(str, gone)) if isinstance(gone, list) else frozenset()
    scope = partial(client.resource.scoped, account)
    rows = {
        email_id: emails.row_of(found[email_id], scope) if email_id in found else ListedItem(scope(email_id), "")
        for email_id in ids
        if email_id not in absent
    }
    width = min(emails.count(listed.get("limit")) or limit, limit)
    return _Page(ids, rows, emails.count(listed.get("total")), width)


def _ids(result: Mapping[str, Any]) -> list[str]:
    ids = result.get("ids")
    if not isinstance(ids, list):
        raise ProtocolError("Email/query is answered without ids", scope="folder")
    return list(dict.fromkeys(email_id for email_id in ids if isinstance(email_id, str) and email_id))
