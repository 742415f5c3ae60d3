"""Logs in, and recognises an address that is no Kerio Connect server.

The password is sent again only if the server itself did not receive it.
"""

from __future__ import annotations

from kerio_resync.errors import (
    BadCredentials,
    ForeignReply,
    ProtocolError,
    ResyncError,
    UnknownServer,
)
from kerio_resync.redaction import emptied
from kerio_resync.server.kerio import error_codes
from kerio_resync.server.kerio.rpc import RpcClient, RpcResponse
from kerio_resync.settings import Settings
from kerio_resync.version import VERSION


async def first_login(client: RpcClient, settings: Settings) -> None:
    """Log in for the first time in a run; give up early if nothing answers."""
    await client.first_contact(lambda seconds: log_in(client, settings, seconds))


async def log_in(client: RpcClient, settings: Settings, retry_timeout: float | None = None) -> None:
    """Start a new session. BadCredentials, Unreachable, UnknownServer, ForeignReply."""
    try:
        token, cookies = _session_of(await _call_login(client, settings, retry_timeout))
    except ResyncError as error:
        emptied(error)  # its traceback holds the password and the reply
        raise
    client.session.begin(token, cookies)


async def _call_login(client: RpcClient, settings: Settings, retry_timeout: float | None) -> RpcResponse:
    params = {
        "userName": settings.user,
        "password": settings.password.get_secret_value(),
        "application": {"name": "kerio-resync", "vendor": "kerio-resync", "version": VERSION},
    }
    while True:
        try:
            return await client.call(
                error_codes.LOGIN_METHOD, params, retry_timeout=retry_timeout, renews=False, outwaits=False
            )
        except ForeignReply as error:
            if not client.envelope.known or await client.answers_itself(retry_timeout=0.0):
                raise _refusal(error, settings.protocol) from error
        # Something in between answers all requests, not only logins.
        if not await client.answers_itself():
            raise ForeignReply(f"{error_codes.LOGIN_METHOD}: the server itself no longer answers")


def _session_of(answer: RpcResponse) -> tuple[str, str]:
    """Return the token and the cookies of a login."""
    token = answer.result.get("token")
    if not isinstance(token, str) or not token or not token.isprintable() or not token.isascii():
        raise ProtocolError(f"{error_codes.LOGIN_METHOD} was answered without a token")
    return token, answer.set_cookie


def _refusal(error: ForeignReply, protocol: str) -> ResyncError:
    """Return the error for a login that was answered without JSON-RPC.

    No program between client and server is known to interfere.
    """
    if error.status == 401:
        return BadCredentials("status 401", code=401, method=error_codes.LOGIN_METHOD)
    return UnknownServer(error.detail, protocol=protocol)
