"""Maps the server's error codes and HTTP statuses to our errors.

Each code, documented or not, becomes exactly one of our errors. If the reply does not say whether the call was
processed (a proxy's 502, an internal error), the outcome of a call that must not happen twice is unknown. Messages are
cut to one line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from kerio_resync.errors import (
    BadCredentials,
    FolderDenied,
    ForeignReply,
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
MAX_RETRY_AFTER_SECONDS = 24 * 3600.0  # a longer `Retry-After` is cut to this

_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_PLACEHOLDER = re.compile(r"%([1-9][0-9]?)")


def sentence(message: object, parameters: Sequence[object] = (), limit: int = 200) -> str:
    """Return a server's message on one line, with its parameters.

    The first parameter replaces `%1`, and so on.
    """

    def fill(found: re.Match[str]) -> str:
        index = int(found[1]) - 1
        # Cut first: a short message can name a long parameter a million times.
        return _words(parameters[index])[: limit + 1] if index < len(parameters) else found[0]

    text = _PLACEHOLDER.sub(fill, message[: 4 * limit]) if isinstance(message, str) else ""
    text = "".join(c if c.isprintable() else " " for c in " ".join(text[: 4 * limit].split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _words(parameter: object) -> str:
    """Return a parameter as text; "…" for a struct or a number that is too large."""
    if isinstance(parameter, int) and abs(parameter) >= 2**63:
        return "…"
    return str(parameter) if isinstance(parameter, str | int | float) else "…"


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


def error_from_status(
    method: str, status: int, *, idempotent: bool = True, after: float | None = None, what: str = ""
) -> ResyncError:
    """Return the error for a reply without a JSON-RPC answer of the server.

    `what` describes its body.
    """
    match status:
        case 429 | 503:
            return Overloaded(f"{method}: status {status}", retry_after=after, pauses_all=True)
        case 502 | 504:
            # The gateway lost the reply; the server may have processed the call.
            if idempotent:
                return Overloaded(f"{method}: status {status} from a gateway", retry_after=after, pauses_all=True)
            return OutcomeUnknown(f"{method}: status {status} from a gateway")
        case 413:
            return TooLarge("too large for the server", code=status, method=method)
        case _:
            what = _STATUSES.get(status, what) or "something that is not JSON"
            return ForeignReply(f"{method} is answered with {what} (status {status})", status=status, retry_after=after)


_STATUSES: Mapping[int, str] = {
    401: "a demand to log in",
    403: "a refusal of access",
    407: "a demand to log in to a proxy",
    511: "a demand to log in to the network",
}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return `Retry-After` in seconds, from either form (RFC 9110, 10.2.3).

    None if absent or invalid.

    A date is compared with the reply's own `Date`, since the clocks of both ends may differ by hours.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value[:12]), MAX_RETRY_AFTER_SECONDS)
    when = _date(value)
    if when is None:
        return None
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return min(max(0.0, (when - now).total_seconds()), MAX_RETRY_AFTER_SECONDS)


def _date(value: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
