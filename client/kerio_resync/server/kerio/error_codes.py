"""Maps the server's error codes to our errors.

Each code, documented or not, becomes exactly one of our errors. If the reply does not say whether the call was
processed (an internal error), the outcome of a call that must not happen twice is unknown.
"""

from __future__ import annotations

from kerio_resync.errors import (
    BadCredentials,
    FolderDenied,
    ItemGone,
    KeyExpired,
    OutcomeUnknown,
    Overloaded,
    ResyncError,
    ServerRefused,
    SessionExpired,
    TooLarge,
    Unreachable,
)

LOGIN_METHOD = "Session.login"
KEYED = ("Changes.get", "Changes.getFolder", "Changes.getAccount")

PARSE, INTERNAL, EXPIRED = -32700, -32603, -32001
NO_SUCH_ITEM, NOT_PERMITTED, ACCESS_DENIED = 1002, 1003, 1004
REINDEXING, BLOCKED, QUOTA, NO_SUCH_FOLDER = 4100, 4101, 4102, 4104


def error_from_code(
    method: str, code: int, message: str, *, idempotent: bool = True, after: float | None = None
) -> ResyncError:
    """Return the error for a JSON-RPC or application error of a call.

    `after`: `Retry-After` in seconds.
    """
    detail = message or "no reason given"
    if method == LOGIN_METHOD and _refuses_login(code):
        return BadCredentials(detail, code=code, method=method)
    match code:
        case -32001:
            return SessionExpired(detail, code=code, method=method)
        case 4100 | 4101 | 429 | 503:
            pauses_all = after is not None or code in (429, 503)
            return Overloaded(f"{method}: {detail}", retry_after=after, pauses_all=pauses_all)
        case -32700:
            return Unreachable(f"{method}: the request arrived garbled ({detail})")
        case -32603:
            return OutcomeUnknown(f"{method}: an internal error of the server ({detail})")
        case 413:
            return TooLarge(detail, code=code, method=method)
        case _ if method in KEYED and code != -32601:
            return KeyExpired(detail, code=code, method=method)
        case 1002:
            return ItemGone(detail, code=code, method=method)
        case 4104:
            return ItemGone(detail, code=code, method=method, scope="folder")
        case 1003 | 1004:
            return FolderDenied(detail, code=code, method=method)
        case 4102:
            return ServerRefused(detail, code=code, method=method, scope="item")
        case _:
            return ServerRefused(detail, code=code, method=method)


def _refuses_login(code: int) -> bool:
    return code == EXPIRED or (code > 0 and code not in (413, 429, 503, REINDEXING, BLOCKED))


def error_from_item(method: str, code: int, message: str) -> ResyncError:
    """Return the error for one line of `errors` in a reply about many items."""
    error = error_from_code(method, code, message)
    if isinstance(error, ServerRefused) and not isinstance(error, SessionExpired):
        error.scope = "item"
    return error
