"""JSON-RPC 2.0: parses requests and builds replies.

Every body gets a documented answer: no JSON -32700; no call (a batch, another `jsonrpc`, no method name) -32600; an
unknown method -32601; missing or invalid parameters -32602; no session -32001; a method of real servers that the mock
refuses 1003. Media types are ignored.

Open (chosen here): unknown methods are refused before the session is checked, parameters after; a call without `id` is
answered too, with `"id": null`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import orjson

from kerio_mockserver.api import account, agenda, changes, downloads, folders, items, occurrences, session
from kerio_mockserver.api.call import METHODS, Call, Encoded, Server
from kerio_mockserver.api.errors import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    NO_SUCH_METHOD,
    PARSE,
    ApiError,
    http_status,
    unsupported,
)
from kerio_mockserver.api.type_check import METHODS as DOCUMENTED
from kerio_mockserver.api.type_check import check_params
from kerio_mockserver.messages import Reply, Request

JSON = {"Content-Type": "application/json; charset=UTF-8", "Cache-Control": "no-store"}
# importing these modules registers their methods
_MODULES = (agenda, changes, downloads, folders, items, occurrences, account, session)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A call as the body has it, with unchecked parameters."""

    method: str
    params: dict[str, Any]
    id: Any


def parse_envelope(body: bytes) -> Envelope:
    """Parse a body; raise ApiError -32700, -32600, -32601 or -32602."""
    try:
        message = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise ApiError(PARSE, "Parse error.") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise ApiError(INVALID_REQUEST, "Invalid request.")
    name = message.get("method")
    if not isinstance(name, str) or not name:
        raise ApiError(INVALID_REQUEST, "Invalid request.")
    if name not in DOCUMENTED and name not in METHODS and not account.is_refused(name):
        raise Known(ApiError(NO_SUCH_METHOD, "Method %1 not found.", name), message.get("id"))
    params = message.get("params")
    if params is None:
        params = {}
    if not isinstance(params, dict):
        raise Known(ApiError(INVALID_PARAMS, "Invalid params: a named object is needed."), message.get("id"))
    try:
        return Envelope(name, without_nulls(params), message.get("id"))
    except RecursionError:
        refusal = ApiError(INVALID_PARAMS, "Invalid params: they are nested too deeply.")
    raise Known(refusal, message.get("id"))


def without_nulls(value: Any) -> Any:
    """Return a value without null members, which some clients send for empty lists."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return [without_nulls(element) for element in value] if isinstance(value, list) else value


class Known(Exception):
    """An error in a message whose `id` could be read, so that the reply can have it."""

    def __init__(self, refusal: ApiError, message_id: Any) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.id = message_id


async def long_poll(server: Server, request: Request, envelope: Envelope, now: float) -> None:
    """Wait if the call is a long poll; `answer` reports what is wrong with it."""
    if envelope.method != "Changes.get":
        return
    try:
        server.sessions.find(request.headers, request.peer, now)
        check_params(envelope.method, envelope.params)
    except ApiError:
        return
    await changes.long_poll(server, envelope.params)


async def answer(server: Server, request: Request, envelope: Envelope, now: float) -> Reply:
    """Return the reply to a call; raise ApiError or one of the store's errors."""
    entry = METHODS.get(envelope.method)
    call = Call(server, request, envelope.method, envelope.params, now)
    if entry is None or entry.session:
        token_needed = entry is None or entry.token
        call.session = server.sessions.find(request.headers, request.peer, now, header_needed=token_needed)
    if entry is None:
        if envelope.method in DOCUMENTED:
            check_params(envelope.method, envelope.params)
        raise unsupported(envelope.method)
    check_params(envelope.method, envelope.params, account.PARAMS.get(envelope.method))
    result = entry.run(call)
    if inspect.isawaitable(result):
        result = await result
    data = result.data if isinstance(result, Encoded) else orjson.dumps(result)
    body = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (orjson.dumps(envelope.id), data)
    reply = Reply(headers=dict(JSON), body=body, rpc=envelope.method)
    if call.set_cookies:
        reply.headers["Set-Cookie"] = "\n".join(call.set_cookies)
    return reply


def refuse(refusal: ApiError, style: str, *, rpc: str = "", message_id: Any = None) -> Reply:
    """Return an error reply."""
    body = orjson.dumps({"jsonrpc": "2.0", "id": message_id, "error": refusal.as_error()})
    return Reply(status=http_status(refusal.code, style), headers=dict(JSON), body=body, rpc=rpc)
