"""`KerioMailbox`: the mailbox of a Kerio Connect user, over its JSON-RPC API.

Promises what `mailbox.Mailbox` promises; this module only says which call answers which question. A batch that holds
one item which spoils the whole reply is halved until that item is found and named. Refuses to trust: rows without an
id, items that were not asked for and folders told twice are left out, and what is left out is counted.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import quote

from kerio_resync.errors import (
    BadCredentials,
    BadSettings,
    FolderDenied,
    ForeignReply,
    ItemGone,
    KeyExpired,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    ResyncError,
    SessionExpired,
    TransientServerError,
    UnknownServer,
)
from kerio_resync.events import Listener, Paused, Skipped, ignore_events
from kerio_resync.model import (
    Attachment,
    ChangeSet,
    ContentChunk,
    Folder,
    Identity,
    Item,
    ItemBatch,
    Kind,
    MalformedItem,
    Page,
    Place,
    Quota,
    WriteResult,
)
from kerio_resync.redaction import emptied
from kerio_resync.server.http import proxies
from kerio_resync.server.http.bandwidth_limit import BandwidthLimit
from kerio_resync.server.http.link_stats import LinkStats
from kerio_resync.server.http.transport import AiohttpTransport, Route, Transport
from kerio_resync.server.kerio import downloads, error_codes, items, mutations, wire
from kerio_resync.server.kerio.replies import MalformedJson
from kerio_resync.server.kerio.rpc import (
    LARGE_REPLY_BYTES,
    READ_TIMEOUT_SECONDS,
    WHO,
    RpcClient,
    RpcResponse,
    collect_lists,
)
from kerio_resync.server.kerio.session import Session
from kerio_resync.server.memory_budget import HeldReservations
from kerio_resync.server.pacing.adaptive_limit import Limit
from kerio_resync.server.pacing.limiter import Limiter
from kerio_resync.server.pacing.retry import MIN_DELAY_SECONDS, Retrier
from kerio_resync.settings import Settings
from kerio_resync.version import VERSION

FIRST_CONTACT_SECONDS = 15.0  # seconds for the first contact: a wrong address should be told soon
SECOND_CONTACT_SECONDS = 60.0  # seconds for the second, if somebody took the first and the answer was lost
REFETCH_TRIES = 2  # times that items are asked for again which a reply left out
MAX_ISOLATION_CALLS = 64  # calls that may be spent on finding what spoils a batch
LOGOUT_SECONDS = 5.0  # seconds for the logout


def way_of(settings: Settings) -> Route:
    """How to reach the server of these settings. BadSettings if the proxy cannot be used."""
    setting = settings.proxy.get_secret_value() if settings.proxy else None
    proxy = proxies.choose_proxy(settings.server, setting, os.environ)
    if proxy is not None:
        settings.redactor.keep(proxy.password, quote(proxy.password, safe=""))
    return Route(proxy, settings.ca_file, settings.client_cert, settings.fingerprint)


class KerioMailbox:
    """A `Mailbox`. `timeout` in seconds of silence; `clock`, `sleep` and `chance` stand in for time and dice in tests,
    `limit` for the one that adapts in measurements. `watch` may put something around the transport.

    `in_flight`, `wire_bytes` and `retries` are for displays and reports.
    """

    def __init__(
        self,
        settings: Settings,
        listen: Listener = ignore_events,
        *,
        transport: Transport | None = None,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        timeout: float = READ_TIMEOUT_SECONDS,
        limit: Limit | None = None,
        watch: Callable[[Transport], Transport] | None = None,
    ) -> None:
        if not settings.server or not settings.user:
            raise BadSettings("a server and a user name are needed")
        self._settings = settings
        self._listen = listen
        self._meter = LinkStats()
        self._limiter = Limiter(
            limit or Limit(most=settings.max_in_flight), meter=self._meter, clock=clock,
            longest_pause=settings.retry_timeout, on_pause=lambda seconds, reason: listen(Paused(seconds, reason)),
        )  # fmt: skip
        settings.redactor.keep(settings.password.get_secret_value())
        self._session = Session(settings.server, settings.redactor)
        throttle = BandwidthLimit(settings.bwlimit, clock=clock, sleep=sleep) if settings.bwlimit else None
        self._transport = transport or AiohttpTransport(
            connections=settings.max_in_flight,
            way=way_of(settings),
            meter=self._meter,
            throttle=throttle,
            redactor=settings.redactor,
        )
        if watch is not None:
            self._transport = watch(self._transport)
        self._retrier = Retrier(
            retry_timeout=settings.retry_timeout,
            listen=listen,
            clock=clock,
            sleep=sleep,
            chance=chance,
        )
        self._caller = RpcClient(
            self._transport, self._session, self._limiter, self._retrier, listen, self._login, timeout=timeout
        )

    def __repr__(self) -> str:
        return f"KerioMailbox({self._settings.server!r}, {self._settings.user!r})"

    @property
    def in_flight(self) -> int:
        return self._limiter.in_flight

    @property
    def wire_bytes(self) -> int:
        return self._caller.wire_bytes + self._caller.arriving

    @property
    def arriving(self) -> int:
        return self._caller.arriving

    @property
    def retries(self) -> int:
        return self._retrier.retries

    # the session

    async def open(self) -> Identity:
        began, retry_timeout = self._limiter.now(), self._settings.retry_timeout
        try:
            await self._login(min(retry_timeout, FIRST_CONTACT_SECONDS))
        except (Overloaded, OutcomeUnknown) as error:
            left = retry_timeout - (self._limiter.now() - began)
            if left < MIN_DELAY_SECONDS:
                raise
            # An overloaded server is there, and the address is right. Where the answer was lost, something is there:
            # worth another look, but not the whole retry timeout in the middle of a run.
            await self._login(left if isinstance(error, Overloaded) else min(left, SECOND_CONTACT_SECONDS))
        method = WHO
        answer = await self._caller.call(method, check=partial(_require_item, "userDetails"))
        account, address, login = wire.parse_account(wire.require_member(method, answer.result, "userDetails"))
        settings = self._settings
        return Identity(settings.server, account or settings.user, settings.user, address or settings.user, login)

    async def close(self) -> None:
        try:
            if self._session.generation and not self._limiter.paused:
                async with asyncio.timeout(LOGOUT_SECONDS):
                    await self._caller.call("Session.logout", retry_timeout=0, renewing=False)
        except (ResyncError, TimeoutError):
            pass  # the server forgets the session by itself
        finally:
            await self._caller.close()
            await self._session.close()
            self._limiter.close()
            await self._transport.aclose()

    async def _login(self, retry_timeout: float | None = None) -> None:
        """Logs in; sends the password again only if the server itself did not get to see it."""
        try:
            token, cookies = _proof_of(await self._answered_login(retry_timeout))
        except ResyncError as error:
            emptied(error)  # its traceback leads through what was sent and answered
            raise
        self._session.begin(token, cookies)

    async def _answered_login(self, retry_timeout: float | None) -> RpcResponse:
        settings = self._settings
        params = {
            "userName": settings.user,
            "password": settings.password.get_secret_value(),
            "application": {"name": "kerio-resync", "vendor": "kerio-resync", "version": VERSION},
        }
        while True:
            try:
                return await self._caller.call(
                    error_codes.LOGIN_METHOD, params, retry_timeout=retry_timeout, renewing=False, outwaits=False
                )
            except ForeignReply as error:
                if not self._caller.envelope.known or await self._caller.answers_itself(retry_timeout=0.0):
                    raise _refused_login(error) from error
            # something on the way answers everything, not only logins
            if not await self._caller.answers_itself():
                raise ForeignReply(f"{error_codes.LOGIN_METHOD}: the server does not answer itself any more")

    # what there is

    async def quota(self) -> Quota:
        method = "Session.getQuotaInformation"
        answer = await self._caller.call(method, check=partial(_require_item, "quotaInfo"))
        return wire.parse_quota(wire.require_member(method, answer.result, "quotaInfo"))

    async def folders(self, *, shared: bool = False, public: bool = False) -> tuple[Folder, ...]:
        found = {folder.id: folder for folder in await self._folders("Folders.get", "own")}
        if public:
            for folder in await self._others("Folders.getPublic", "public"):
                found.setdefault(folder.id, folder)
        if shared:
            method = "Folders.getSharedMailboxList"
            answer = await self._caller.call(method, check=partial(_lists, "mailboxes"))
            for mailbox_id, owner in wire.shared_mailboxes(method, answer.result):
                for folder in await self._others("Folders.getShared", "shared", mailbox_id):
                    named = folder if folder.owner else replace(folder, owner=owner)
                    found.setdefault(folder.id, named)
        return tuple(found.values())

    async def _folders(self, method: str, place: Place, mailbox_id: str = "") -> list[Folder]:
        answer = await self._caller.call(
            method, {"mailboxId": mailbox_id} if mailbox_id else {}, limit=LARGE_REPLY_BYTES, check=_lists_all
        )
        folders = []
        for value in wire.require_list(method, answer.result):
            try:
                folder = wire.parse_folder(value, place, answer.canonical)
            except ValueError:
                folder = None
            if folder is None:
                self._listen(Skipped("folder", "", "a folder that can't be one"))
            else:
                folders.append(folder)
        return folders

    async def _others(self, method: str, place: Place, mailbox_id: str = "") -> list[Folder]:
        """Folders of others: one who took a permission back must not end the run."""
        try:
            return await self._folders(method, place, mailbox_id)
        except (FolderDenied, ItemGone) as error:
            self._listen(Skipped("folder", mailbox_id, error.detail))
            return []

    async def page(
        self, folder: Folder, start: int, limit: int, *, whole: bool = False, held: HeldReservations | None = None
    ) -> Page:
        kind = folder.kind
        if kind is None:
            return Page((), start, 0)
        method = f"{wire.SERVICES[kind]}.get"
        # by id where nothing else stays as it is while a mailbox is in use
        order, descending = ("receiveDate", True) if kind == "mail" else ("id", False)
        query = wire.query(() if whole else items.LIGHT[kind], start, limit, order, descending=descending)
        answer = await self._caller.call(
            method,
            {wire.FOLDERS_PARAMETER[kind]: [folder.id], "query": query},
            limit=LARGE_REPLY_BYTES,
            check=_lists_all,
            held=held,
        )
        values = wire.require_list(method, answer.result)[:limit]  # what is beyond comes with the next page
        total = wire.require_int(answer.result.get("totalItems"))
        if not whole:
            rows, malformed = items.parse_rows(values)
            return Page(rows, start, total, malformed=malformed)
        found, malformed = items.parse_items(kind, values, answer.canonical)
        found = tuple(_at_home(item, folder.id) for item in found)
        return Page(tuple(items.parse_row(item) for item in found), start, total, found, malformed)

    async def items_by_id(self, kind: Kind, ids: Sequence[str], *, held: HeldReservations | None = None) -> ItemBatch:
        if kind == "event":
            return joined(await collect_lists([self._event(one, held) for one in ids]))
        if not ids:
            return ItemBatch(())
        details = await self._fetch_isolating_bad_items(kind, ids, [MAX_ISOLATION_CALLS], held)
        for _ in range(REFETCH_TRIES):
            missing = unanswered(ids, details)
            if not missing:
                return details
            details = joined(
                [details, await self._fetch_isolating_bad_items(kind, missing, [MAX_ISOLATION_CALLS], held)]
            )
        reason = "the server did not answer for it"
        silent = tuple(MalformedItem(one, reason, unanswered=True) for one in unanswered(ids, details))
        return details._replace(malformed=details.malformed + silent)

    async def _fetch_isolating_bad_items(
        self, kind: Kind, ids: Sequence[str], calls: list[int], held: HeldReservations | None
    ) -> ItemBatch:
        """The batch, or its halves if one item that no parser takes spoils all. `calls` that may be made."""
        calls[0] -= 1
        try:
            return await self._batch(kind, ids, held)
        except MalformedJson as error:
            if len(ids) == 1:
                return ItemBatch((), malformed=(MalformedItem(ids[0], error.detail),))
            if calls[0] < 2:
                raise
        middle = len(ids) // 2
        return joined(
            [await self._fetch_isolating_bad_items(kind, half, calls, held) for half in (ids[:middle], ids[middle:])]
        )

    async def _batch(self, kind: Kind, ids: Sequence[str], held: HeldReservations | None) -> ItemBatch:
        method = f"{wire.SERVICES[kind]}.getById"
        answer = await self._caller.call(
            method, {"ids": list(ids)}, limit=LARGE_REPLY_BYTES, check=_require_wait, held=held
        )
        values = wire.require_list(method, answer.result, "result")[: 2 * len(ids) + 16]  # a few strays do no harm
        found, malformed = items.parse_items(kind, values, answer.canonical)
        asked = set(ids)
        by_id = {item.id: item for item in found if item.id in asked}
        gone, refused = _refused(ids, wire.item_errors(method, answer.result))
        return _details(answer, tuple(by_id.values()), gone, refused + malformed)

    async def _event(self, event_id: str, held: HeldReservations | None) -> ItemBatch:
        method = "Events.getById"
        try:
            answer = await self._caller.call(method, {"id": event_id}, limit=LARGE_REPLY_BYTES, held=held)
        except ItemGone:
            return ItemBatch((), gone=(event_id,))
        except MalformedJson as error:
            return ItemBatch((), malformed=(MalformedItem(event_id, error.detail),))
        found, malformed = items.parse_items("event", [answer.result.get("result")], answer.canonical)
        if found and found[0].id != event_id:
            found, malformed = (), (MalformedItem(event_id, "another event than was asked for"),)
        return _details(answer, found, (), tuple(MalformedItem(event_id, one.reason) for one in malformed))

    # what changes

    async def sync_key(self) -> str:
        method = "Changes.getSyncKey"
        answer = await self._caller.call(method, check=_has_key)
        return wire.parse_sync_key(method, answer.result, answer.canonical)

    async def changes(self, key: str) -> ChangeSet:
        method = "Changes.get"
        try:
            struct = wire.key_struct(key)
        except ValueError as error:
            raise KeyExpired("not a key of this server", method=method) from error
        answer = await self._caller.call(
            method, {"lastSyncKey": struct, "timeout": 0}, limit=LARGE_REPLY_BYTES, check=_require_changes
        )
        return wire.parse_changes(method, answer.result, answer.canonical)

    # contents

    def download(self, attachment: Attachment, *, offset: int = 0, etag: str = "") -> AsyncIterator[ContentChunk]:
        return downloads.download(self._caller, attachment, offset, etag)

    # changes of our own

    async def create(self, kind: Kind, folder_id: str, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return await mutations.create(self._caller, kind, folder_id, structs)

    async def update(self, kind: Kind, structs: Sequence[bytes]) -> tuple[WriteResult, ...]:
        return await mutations.update(self._caller, kind, structs)

    async def move(self, kind: Kind, ids: Sequence[str], folder_id: str) -> tuple[WriteResult, ...]:
        return await mutations.move(self._caller, kind, ids, folder_id)

    async def remove(self, kind: Kind, ids: Sequence[str]) -> tuple[WriteResult, ...]:
        return await mutations.remove(self._caller, kind, ids)

    async def upload(self, name: str, content_type: str, chunks: AsyncIterator[bytes], size: int) -> str:
        return await mutations.upload(self._caller, name, content_type, chunks, size)

    async def find(self, item: Item, *, renamed: bool = False) -> tuple[str, ...]:
        return await mutations.find_candidates(self._caller, item, renamed=renamed)


def _proof_of(answer: RpcResponse) -> tuple[str, str]:
    """The token and the cookies of a login's answer."""
    token = answer.result.get("token")
    if not isinstance(token, str) or not token or not token.isprintable() or not token.isascii():
        raise ProtocolError(f"{error_codes.LOGIN_METHOD} is answered without a token")
    return token, answer.set_cookie


def _refused_login(error: ForeignReply) -> ResyncError:
    """A login that was answered without JSON-RPC where nothing else says that something is in the way."""
    if error.status == 401:
        return BadCredentials("status 401", code=401, method=error_codes.LOGIN_METHOD)
    return UnknownServer(error.detail)


def _at_home(item: Item, folder_id: str) -> Item:
    return item if item.folder_id else item._replace(folder_id=folder_id)


def _details(
    answer: RpcResponse, found: tuple[Item, ...], gone: tuple[str, ...], malformed: tuple[MalformedItem, ...]
) -> ItemBatch:
    return ItemBatch(
        found, gone, malformed, answer.plain_bytes, answer.wire_bytes, answer.seconds, answer.held, answer.way
    )


# What `call` is given as `check`: an answer that is not what was asked for is asked for again, like any other nonsense.


def _require_item(name: str, method: str, answer: RpcResponse) -> None:
    wire.require_member(method, answer.result, name)


def _lists(name: str, method: str, answer: RpcResponse) -> None:
    wire.require_list(method, answer.result, name)


_lists_all = partial(_lists, "list")


def _has_key(method: str, answer: RpcResponse) -> None:
    wire.parse_sync_key(method, answer.result, answer.canonical)


def _require_changes(method: str, answer: RpcResponse) -> None:
    wire.parse_changes(method, answer.result, answer.canonical)


def _require_wait(method: str, answer: RpcResponse) -> None:
    """Raises what an item was refused with if that holds for now only: then the whole batch is asked for again."""
    wire.require_list(method, answer.result, "result")
    for _, error in wire.item_errors(method, answer.result):
        if isinstance(error, TransientServerError | SessionExpired):
            raise error


def _refused(
    ids: Sequence[str], errors: Sequence[tuple[int, ResyncError]]
) -> tuple[tuple[str, ...], tuple[MalformedItem, ...]]:
    """The ids that are gone, and those refused for another reason."""
    gone: list[str] = []
    refused: list[MalformedItem] = []
    for index, error in errors:
        if not 0 <= index < len(ids):
            continue  # about something that was not asked for; what it leaves unanswered is asked for again
        if isinstance(error, ItemGone):
            gone.append(ids[index])
        else:
            refused.append(MalformedItem(ids[index], error.detail))
    return tuple(gone), tuple(refused)


def unanswered(ids: Sequence[str], details: ItemBatch) -> list[str]:
    """The ids that a reply says nothing about."""
    answered = {item.id for item in details.items}.union(details.gone, (one.id for one in details.malformed))
    return [one for one in ids if one not in answered]


def joined(parts: Sequence[ItemBatch]) -> ItemBatch:
    """Several answers as one: bytes add up, and so do seconds, which is what the trips cost."""
    return ItemBatch(
        tuple(item for part in parts for item in part.items),
        tuple(one for part in parts for one in part.gone),
        tuple(one for part in parts for one in part.malformed),
        sum(part.plain_bytes for part in parts),
        sum(part.wire_bytes for part in parts),
        sum(part.seconds for part in parts),
        max((part.server_seconds for part in parts), default=0.0),
        max((part.min_latency for part in parts), default=0.0),
    )
