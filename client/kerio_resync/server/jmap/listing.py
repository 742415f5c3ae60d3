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
from typing import Any, Final

from kerio_resync.errors import ItemGone, ProtocolError
from kerio_resync.model import ListedItem, Listing, ListingPage
from kerio_resync.server.jmap import emails
from kerio_resync.server.jmap.client import JmapClient
from kerio_resync.server.jmap.methods import AnchorGone, Call, InvalidArguments, result_of
from kerio_resync.server.memory_budget import HeldReservations

MAX_ROWS: Final = 4096  # per page
MAX_ANCHORS: Final = 64
MAX_RESTARTS: Final = 8
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


async def list_emails(
    client: JmapClient,
    account: str,
    listing: Listing,
    mailbox_id: str,
    position: bytes | None,
    *,
    limit: int,
    overlap: int,
    held: HeldReservations | None = None,
) -> AsyncGenerator[ListingPage, None]:
    """Yield the pages of `listing`, as `Mailbox.list_items` describes.

    `mailbox_id`: the server's id of its only folder; "" for the whole account. `limit`: rows per page.
    """
    at = Position.from_bytes(position)
    latest: frozenset[str] = frozenset(at.anchors)
    pages, restarts = 0, 0
    while True:
        query = _query(account, mailbox_id, at, limit, overlap)
        try:
            ids, rows_by_id, total, width = await _page(client, account, query, held)
        except AnchorGone:
            at = replace(at, anchors=at.anchors[:-1]) if len(at.anchors) > 1 else Position()
            restarts += not at.anchors
            if restarts > MAX_RESTARTS:
                raise ProtocolError(f"the list of folder {listing.id} does not end", scope="folder") from None
            continue
        except InvalidArguments as error:
            if mailbox_id and await _is_gone(client, account, mailbox_id):
                raise ItemGone("the folder is gone", method=error.method, scope="folder") from error
            raise
        new = [email_id for email_id in ids if email_id not in latest]
        at = Position((*at.anchors, *new)[-MAX_ANCHORS:], at.listed + len(new))
        latest = frozenset(ids)
        pages += 1
        expected = max(listing.count, total if total < 2 * listing.count + 100_000 else 0)
        if pages > SPARE_PAGES + 4 * (expected // max(1, width - overlap) + 1):
            raise ProtocolError(f"the list of folder {listing.id} does not end", scope="folder")
        done = not new or (len(ids) < width and at.listed >= total)
        fresh = tuple(rows_by_id[email_id] for email_id in new if email_id in rows_by_id)
        yield ListingPage(tuple(rows_by_id.values()), fresh, at.to_bytes(), at.listed, done)
        if done:
            return


def _query(account: str, mailbox_id: str, at: Position, limit: int, overlap: int) -> Call:
    arguments: dict[str, Any] = {
        "accountId": account, "sort": NEWEST_FIRST, "limit": limit, "calculateTotal": True,
    }  # fmt: skip
    if mailbox_id:
        arguments["filter"] = {"inMailbox": mailbox_id}
    if at.anchors:
        rows = min(overlap, (limit - 1) // 2)
        # Without room for the anchor and a new row, the page begins after the anchor.
        arguments |= {"anchor": at.anchors[-1], "anchorOffset": -rows if limit > 1 else 1}
    return Call("Email/query", arguments)


async def _page(
    client: JmapClient, account: str, query: Call, held: HeldReservations | None
) -> tuple[list[str], dict[str, ListedItem], int, int]:
    """Return ids in the list's order, rows by id, the total, and the rows that fit.

    An Email that was deleted between the two calls has no row.
    """
    anchor, limit = query.arguments.get("anchor"), query.arguments["limit"]
    details = {"accountId": account, "#ids": result_of(0, query, "/ids"), "properties": emails.LISTED}

    def check(results: list[dict[str, Any]]) -> None:
        ids = _ids(results[0])
        if anchor is not None and limit > 1 and anchor not in ids:
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
    width = listed.get("limit")
    return ids, rows, emails.count(listed.get("total")), min(emails.count(width) or limit, limit)


def _ids(result: Mapping[str, Any]) -> list[str]:
    ids = result.get("ids")
    if not isinstance(ids, list):
        raise ProtocolError("Email/query is answered without ids", scope="folder")
    return list(dict.fromkeys(email_id for email_id in ids if isinstance(email_id, str) and email_id))


async def _is_gone(client: JmapClient, account: str, mailbox_id: str) -> bool:
    call = Call("Mailbox/get", {"accountId": account, "ids": [mailbox_id], "properties": ["id"]})
    (result,) = (await client.call([call])).results
    return not result.get("list")
