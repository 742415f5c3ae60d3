"""The meaning of statuses, `Retry-After` and server texts, for every protocol.

If a status does not say whether the request was processed (a gateway's 502), the outcome of one that must not happen
twice is unknown. Messages are cut to one line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from kerio_resync.errors import ForeignReply, OutcomeUnknown, Overloaded, ResyncError, TooLarge

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
