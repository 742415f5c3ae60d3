"""The whole server as one async function of values.

`MockServer.handle(Request) -> Reply`.

It dispatches requests, keeps sessions, serves downloads, takes uploads, waits for a worker under load, applies faults,
compresses and counts. No request makes it raise: an exception is an error of the mock itself, counted in
`stats.internal_errors` and answered with -32603. Time is the running loop's, so that hours pass at once in virtual
time. Faults of the transport (links, resets) are left to the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from kerio_mockserver.api import downloads, rpc, uploads
from kerio_mockserver.api.errors import INTERNAL, TOO_LARGE, ApiError, busy
from kerio_mockserver.api.items import STORE_ERRORS, api_error_of
from kerio_mockserver.api.sessions import Sessions
from kerio_mockserver.api.state import Archives, LongPolls, Preferences
from kerio_mockserver.compression import compressed
from kerio_mockserver.conditions.faults import Faults, scale_fault_offset
from kerio_mockserver.conditions.model import Conditions, Quirks
from kerio_mockserver.conditions.worker_pool import WorkerPool
from kerio_mockserver.mailbox.churn.driver import Churning
from kerio_mockserver.mailbox.store import MailboxStore
from kerio_mockserver.messages import Reply, Request
from kerio_mockserver.stats import Stats

RPC_PATHS = frozenset({"/webmail/api/jsonrpc", "/webmail/api/jsonrpc/"})
_HTML = {"Content-Type": "text/html; charset=UTF-8"}


class MockServer:
    """A server with one mailbox and one user, under some conditions.

    `user` is the login name (default: that of the mailbox). `compression` is gzip's level, 1 to 9. A body of more than
    `max_request` bytes answers 413. `fresh` generates the mailbox anew, for a reset.
    """

    def __init__(
        self,
        store: MailboxStore,
        *,
        user: str = "",
        password: str = "secret",
        conditions: Conditions | None = None,
        seed: int = 0,
        compression: int = 6,
        max_request: int = 128 << 20,
        fresh: Callable[[], MailboxStore] | None = None,
    ) -> None:
        self.store = store
        self.user = user or f"{store.user}@{store.domain}"
        self.password = password
        self.compression = compression
        self.max_request = max_request
        self.secure = False
        self.seed = seed
        self.generation = 1
        self.revision = 1
        self.conditions = conditions or Conditions()
        self.sessions = Sessions(self.conditions.quirks, seed=seed)
        self.polls = LongPolls()
        self.archives = Archives()
        self.preferences = Preferences()
        self.stats = Stats()
        self.faults = Faults(self.conditions.faults, seed=seed, end_sessions=self.sessions.close_all)
        self.load = WorkerPool(self.conditions.load, seed=seed, grace_s=_grace(self.conditions))
        self.churning = Churning(lambda: self.store, self.conditions.churn, seed=seed)
        self._fresh = fresh

    @property
    def quirks(self) -> Quirks:
        """How the server deviates from the documentation."""
        return self.conditions.quirks

    def start(self) -> None:
        """Start webmail users and churn, as the conditions say; needs a running loop."""
        self.load.start()
        self.churning.start()

    def stop(self) -> None:
        """Stop webmail users and churn."""
        self.load.stop()
        self.churning.stop()

    def change(self, conditions: Conditions) -> None:
        """Replace the conditions.

        Parts that stay equal continue undisturbed. The caller changes the link.
        """
        before, self.conditions = self.conditions, conditions
        self.revision += 1
        self.sessions.quirks = conditions.quirks
        if conditions.faults != before.faults:
            self.faults.change(conditions.faults)
        self.load.grace_s = _grace(conditions)
        if conditions.load != before.load:
            self.load.change(conditions.load)
        if conditions.churn != before.churn:
            self.churning.change(conditions.churn)

    def reset(self, *, mailbox: bool = False) -> None:
        """Reset the statistics.

        With `mailbox`, reset the mailbox too, and make old keys and sessions invalid.
        """
        self.stats.reset()
        self.load.reset()
        if mailbox:
            if self._fresh is None:
                raise ValueError("this mailbox cannot be generated again")
            self.store = self._fresh()
            self.generation += 1
            self.preferences = Preferences()
            self.sessions.close_all()

    async def handle(self, request: Request) -> Reply:
        """Return the reply to any request."""
        self.stats.began(request.body)
        reply = Reply(503)
        plain = 0
        try:
            reply = await self._answer(request)
            plain = len(reply.body)
            accepted = request.headers.get("accept-encoding", "")
            reply = scale_fault_offset(
                await compressed(reply, accepted, self.quirks.compression, self.compression), plain
            )
        except Exception as error:
            reply = self._internal_error(error)
        finally:
            self.stats.ended(reply.rpc, reply.status, plain, len(reply.body))
        return reply

    async def _answer(self, request: Request) -> Reply:
        path = request.path
        if path in RPC_PATHS:
            return await self._call(request)
        if path.startswith((downloads.ATTACHMENT, downloads.ARCHIVE)):
            return await self._download(request)
        if path in uploads.UPLOADS:
            return await self._upload(request)
        self._count("HTTP 404")
        return Reply(404, dict(_HTML), b"<html><body><h1>404 Not Found</h1></body></html>", "other")

    async def _call(self, request: Request) -> Reply:
        if request.method != "POST":
            return self._wrong_method("POST")
        try:
            if len(request.body) > self.max_request:
                raise ApiError(TOO_LARGE, "The request is too large.")
            envelope = rpc.parse_envelope(request.body)
        except rpc.Known as known:
            return self._refused(known.refusal, message_id=known.id)
        except ApiError as refusal:
            return self._refused(refusal)
        return await self._run(request, envelope)

    async def _run(self, request: Request, envelope: rpc.Envelope) -> Reply:
        await rpc.long_poll(self, request, envelope, _now())
        return await self._under_load(
            envelope.method, envelope.params, envelope.id, lambda: rpc.answer(self, request, envelope, _now())
        )

    async def _download(self, request: Request) -> Reply:
        if request.method not in {"GET", "HEAD"}:
            return self._wrong_method("GET, HEAD")

        async def run() -> Reply:
            reply = downloads.download(self, request, _now())
            if reply.status >= 400:
                self._count(f"HTTP {reply.status}")
            return reply

        return await self._under_load(downloads.rpc_of(request.path), None, None, run)

    async def _upload(self, request: Request) -> Reply:
        async def run() -> Reply:
            return uploads.upload(self, request, self.max_request, _now())

        if request.method != "POST":
            return self._wrong_method("POST")
        return await self._under_load(uploads.NAME, None, None, run)

    async def _under_load(
        self, method: str, params: Any, message_id: object, run: Callable[[], Awaitable[Reply]]
    ) -> Reply:
        """Run the call when a worker is free, and apply the faults to its reply."""
        async with self.load.slot(method, params) as turn:
            if turn.refusal is not None:
                self._count(f"HTTP {turn.refusal.status}")
                return turn.refusal
            try:
                if turn.code is not None:
                    raise busy(turn.code)
                reply = await run()
            except (ApiError, *STORE_ERRORS) as error:
                reply = self._refused(api_error_of(error), method, message_id)
            except Exception as error:
                reply = self._internal_error(error, method, message_id)
            await turn.serve(len(reply.body))
        reply = self.faults.apply(method, reply)
        self.churning.replied(method)
        return reply

    def _wrong_method(self, allowed: str) -> Reply:
        self._count("HTTP 405")
        return Reply(405, {**_HTML, "Allow": allowed}, f"<html><body>{allowed} only</body></html>".encode(), "other")

    def _refused(self, refusal: ApiError, method: str = "invalid", message_id: object = None) -> Reply:
        self._count(str(refusal.code))
        return rpc.refuse(refusal, self.quirks.http_errors, rpc=method, message_id=message_id)

    def _internal_error(self, error: Exception, method: str = "other", message_id: object = None) -> Reply:
        self.stats.internal_error(error)
        return self._refused(ApiError(INTERNAL, "Internal error."), method, message_id)

    def _count(self, error: str) -> None:
        self.stats.errors[error] += 1


def _now() -> float:
    return asyncio.get_running_loop().time()


def _grace(conditions: Conditions) -> float:
    """Return the seconds after a refusal in which earlier calls may still arrive."""
    return 0.1 + (conditions.link.rtt_s + conditions.link.jitter_s if conditions.link else 0.0)
