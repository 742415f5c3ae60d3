"""Decides whether a reply came from the server, or from something in between.

A captive portal, a proxy or a firewall can answer any request, with any status and any body. Only this module
distinguishes such replies from the server's own, which are JSON-RPC responses in the form of the first one: with or
without `jsonrpc`, with or without the request's id.

The body is read before the status is judged, since servers in the field answer errors with 200 as well. The server's
own refusal becomes an error of `error_codes`. Everything else is `ForeignReply` (or `Overloaded` or `TooLarge`, by its
status), and never concerns a single item.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kerio_resync.errors import OutcomeUnknown, ProtocolError
from kerio_resync.server.http import statuses
from kerio_resync.server.http.content_type import looks_like_page
from kerio_resync.server.json_codec import BOM, Canonical, CutShort, parse_json
from kerio_resync.server.kerio import error_codes, wire

Clean = Callable[[Any, Collection[str]], Any]  # redacts a JSON value; members of these names keep their names


class MalformedJson(ProtocolError):
    """A reply of the server in broken JSON; a single item may be the cause."""


@dataclass(slots=True)
class Envelope:
    """The form of the server's own replies, learned from the first one of a run.

    `known`: it was learned. `versioned`: replies have `jsonrpc`; `numbered`: they have the request's id.
    """

    known: bool = False
    versioned: bool = False
    numbered: bool = False

    def fits(self, value: Any, number: int | None) -> bool:
        """Return whether a parsed reply can be the server's own.

        `number` is the request's id, None if it has none.
        """
        if not isinstance(value, dict):
            return False
        error, version, its_id = value.get("error"), value.get("jsonrpc"), value.get("id")
        if "result" not in value if error is None else not isinstance(error, dict):
            return False
        if version != "2.0" and (self.versioned or version is not None):
            return False
        if its_id is None:  # JSON-RPC allows that in some errors
            fitting = error is not None or number is None or not self.numbered
        else:
            fitting = str(its_id) == str(number) or (not self.numbered and (self.known or number is None))
        marked = version is not None or its_id is not None
        return fitting and (marked or error is None or _is_own_code(error.get("code"), known=self.known))

    def learn(self, value: Mapping[str, Any], number: int | None) -> None:
        """Learn the form from the first reply."""
        if not self.known and number is not None:
            self.known, self.versioned = True, value.get("jsonrpc") == "2.0"
            self.numbered = str(value.get("id")) == str(number)


def _is_own_code(code: Any, *, known: bool) -> bool:
    """Return whether an error without a mark of JSON-RPC can be the server's.

    Other services put HTTP statuses there.
    """
    return isinstance(code, int) and (known or not 400 <= code < 600)


def parse_response(
    method: str,
    status: int,
    headers: Mapping[str, str],
    data: bytes,
    *,
    idempotent: bool = True,
    envelope: Envelope | None = None,
    number: int | None = None,
    clean: Clean = lambda value, _: value,
) -> tuple[Any, Canonical]:
    """Return the `result` of a reply, and a function that writes parts of it.

    Raise the reply's error.

    `envelope`, `number`: the expected form, and the request's id. `clean` redacts the reply's errors.
    """
    after = statuses.retry_after(headers)
    try:
        value, canonical = parse_json(data)
    except ValueError as error:
        if status == 200 and data[:4].removeprefix(BOM)[:1] == b"{":
            if isinstance(error, CutShort):
                raise OutcomeUnknown(f"{method}: the reply was cut short ({error})") from error
            raise MalformedJson(f"{method} is answered with broken JSON ({error})") from error
        raise statuses.error_from_status(
            method, status, idempotent=idempotent, after=after, what=_describe(data)
        ) from error
    envelope = envelope or Envelope()
    if envelope.fits(value, number):
        envelope.learn(value, number)
        if (refused := value.get("error")) is not None:
            code, message = wire.parse_error(clean(refused, wire.ERROR_MEMBERS))
            raise error_codes.error_from_code(method, code, message, idempotent=idempotent, after=after)
        if isinstance(result := value.get("result"), dict):
            if result.get("errors"):
                result["errors"] = clean(result["errors"], wire.ERROR_MEMBERS)
            return result, canonical
        if status == 200:
            raise ProtocolError(f"{method} is answered with neither a result nor an error")
    raise statuses.error_from_status(
        method, status, idempotent=idempotent, after=after, what="the JSON of another service"
    )


def _describe(data: bytes) -> str:
    if not data.strip():
        return "nothing"
    return "a web page" if looks_like_page(data) else "something that is not JSON"
