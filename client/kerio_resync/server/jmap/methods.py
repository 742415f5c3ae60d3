"""Method calls of JMAP (RFC 8620, section 3): one HTTP request carries several.

`encode` and `decode` are pure. `decode` decides who answered: a reply is the server's own if it has method responses,
or is a problem document with a JMAP error type. Everything else is `ForeignReply`, or what its status says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from kerio_resync.errors import (
    BadCredentials,
    FolderDenied,
    ItemGone,
    KeyExpired,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    ResyncError,
    ServerRefused,
    TooLarge,
    Unreachable,
)
from kerio_resync.redaction import Redactor
from kerio_resync.server.http import statuses
from kerio_resync.server.json_codec import Canonical, CutShort, parse_json

PROBLEM: Final = "urn:ietf:params:jmap:error:"


class AnchorGone(ServerRefused):
    """The anchor of a query is not in its results any more."""


class InvalidArguments(ServerRefused):
    """An argument has no meaning for the server: perhaps a folder that is gone."""


class Call(NamedTuple):
    """One method call. `arguments` may hold back-references made by `result_of`."""

    method: str
    arguments: Mapping[str, Any]


def result_of(index: int, call: Call, path: str) -> dict[str, str]:
    """Return a back-reference to the result of call number `index` (RFC 8620, 3.7)."""
    return {"resultOf": f"c{index}", "name": call.method, "path": path}


def names_of(calls: Sequence[Call]) -> str:
    """Return the methods of a request, for events and messages."""
    return ", ".join(dict.fromkeys(call.method for call in calls))


def encode(calls: Sequence[Call], using: Sequence[str]) -> bytes:
    """Return the body of a request."""
    return orjson.dumps(
        {
            "using": list(using),
            "methodCalls": [[call.method, call.arguments, f"c{index}"] for index, call in enumerate(calls)],
        }
    )


def decode(
    calls: Sequence[Call],
    status: int,
    headers: Mapping[str, str],
    data: bytes,
    *,
    idempotent: bool = True,
    redactor: Redactor,
) -> tuple[list[dict[str, Any]], Canonical]:
    """Return the results of `calls`, in their order, and a writer of canonical JSON.

    A failed call raises its error. After an error in a back-reference every later call fails as well, so the first
    error counts. A method may be answered several times: its first answer is its result.
    """
    names = names_of(calls)
    try:
        value, canonical = parse_json(data)
    except ValueError as error:
        if status == 200 and data[:1] == b"{":
            if isinstance(error, CutShort):
                raise OutcomeUnknown(f"{names}: the reply was cut short ({error})") from error
            raise ProtocolError(f"{names} is answered with broken JSON ({error})") from error
        raise request_error(names, status, headers, None, idempotent=idempotent, redactor=redactor) from error
    responses = value.get("methodResponses") if isinstance(value, dict) else None
    if status != 200 or not isinstance(responses, list):
        raise request_error(names, status, headers, value, idempotent=idempotent, redactor=redactor)
    return _results(calls, responses, redactor), canonical


def _results(calls: Sequence[Call], responses: Sequence[Any], redactor: Redactor) -> list[dict[str, Any]]:
    answers: dict[str, tuple[str, dict[str, Any]]] = {}
    for response in responses:
        match response:
            case [str(name), dict(arguments), str(number)]:
                answers.setdefault(number, (name, arguments))
            case _:
                raise ProtocolError("a JMAP reply has an invalid method response")
    results: list[dict[str, Any]] = []
    for index, call in enumerate(calls):
        name, arguments = answers.get(f"c{index}", ("", {}))
        if name == "error":
            raise method_error(call.method, arguments, redactor)
        if name != call.method:
            raise ProtocolError(f"{call.method} was not answered")
        results.append(arguments)
    return results


def method_error(method: str, error: Mapping[str, Any], redactor: Redactor) -> ResyncError:
    """Return the error of one method call (RFC 8620, 3.6.2)."""
    kind = str(error.get("type") or "")
    detail = redactor.foreign(statuses.sentence(error.get("description"))) or kind or "no reason given"
    match kind:
        case "serverUnavailable":
            return Overloaded(f"{method}: {detail}")
        case "serverFail" | "serverPartialFail":
            return ProtocolError(f"{method}: {detail}")  # a single item may be the cause
        case "cannotCalculateChanges":
            return KeyExpired(detail, method=method)
        case "anchorNotFound":
            return AnchorGone(detail, method=method)
        case "invalidArguments" if method.endswith("/changes"):
            return KeyExpired(detail, method=method)
        case "invalidArguments":
            return InvalidArguments(detail, method=method)
        case "requestTooLarge" | "tooLarge" | "tooManyChanges":
            return TooLarge(detail, method=method)
        case "notFound":
            return ItemGone(detail, method=method)
        case "forbidden" | "accountNotFound" | "accountNotSupportedByMethod" | "accountReadOnly":
            return FolderDenied(detail, method=method)
        case "rateLimit":
            return Overloaded(f"{method}: {detail}", pauses_all=True)
        case _:
            return ServerRefused(detail, method=method)


def request_error(
    names: str,
    status: int,
    headers: Mapping[str, str],
    value: Any,
    *,
    idempotent: bool = True,
    redactor: Redactor,
) -> ResyncError:
    """Return the error of a whole request; `value` is its reply, None if not JSON."""
    after = statuses.retry_after(headers)
    if status == 401:
        return BadCredentials("status 401", code=401, method=names)
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind.startswith(PROBLEM):
        detail = redactor.foreign(statuses.sentence(value.get("detail") or value.get("title")))
        detail = detail or kind.removeprefix(PROBLEM)
        if kind == f"{PROBLEM}limit":
            limit = redactor.foreign(statuses.sentence(value.get("limit")))
            if status in (429, 503) or "concurrent" in limit.lower() or after is not None:
                return Overloaded(f"{names}: {detail} ({limit})", retry_after=after, pauses_all=True)
            return TooLarge(f"{detail} ({limit})", code=status, method=names)
        if kind == f"{PROBLEM}notJSON":
            return Unreachable(f"{names}: the request arrived garbled ({detail})")
        return ServerRefused(detail, code=status, method=names)
    what = "the JSON of another service" if isinstance(value, dict) else ""
    return statuses.error_from_status(names, status, idempotent=idempotent, after=after, what=what)
