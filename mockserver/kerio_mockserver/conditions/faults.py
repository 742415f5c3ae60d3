"""Faults of replies, as pure functions from a reply and a fault to a reply.

Faults of the content (garbled, html, missing, …) change the reply itself, before compression. Faults of the transport
(reset, cut, stall, …) are set in `Reply.fault` and applied by the sender. A fault without meaning for a reply (a
missing item where there is no list, garbled JSON in a download) leaves it unchanged and is not in the history. Which
replies are hit depends only on the seed, the method, and the number of the reply to that method.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from random import Random
from typing import Any, NamedTuple

import orjson

from kerio_mockserver.conditions.model import Fault
from kerio_mockserver.messages import Reply, TransportFault

Change = Callable[[Fault, Reply, Random], Reply | None]
_WAY = ("reset-before-head", "reset-after-head", "cut", "stall", "drip", "wrong-length")
_PAGE = (
    b"<!DOCTYPE html><html><head><title>%s</title></head><body><h1>%s</h1><p>Please try again later.</p></body></html>"
)


class Hit(NamedTuple):
    """One hit: the fault, and the number of the reply among those to its method."""

    method: str
    number: int
    kind: str


class Faults:
    """The active faults: counts replies by method and changes those that are hit.

    `end_sessions` is called for a session-death, after the reply was made: the call took effect, and the next one finds
    the session expired.
    """

    def __init__(
        self, faults: Sequence[Fault] = (), *, seed: int | str = 0, end_sessions: Callable[[], None] = lambda: None
    ) -> None:
        self.seed = seed
        self.end_sessions = end_sessions
        self.change(faults)

    def change(self, faults: Sequence[Fault]) -> None:
        """Replace the faults; all counts restart."""
        self._faults = tuple(faults)
        self._numbers: Counter[str] = Counter()
        self._spent: Counter[int] = Counter()
        self._hits: list[Hit] = []
        self.by_kind: Counter[str] = Counter()

    def apply(self, method: str, reply: Reply) -> Reply:
        """Return the reply to send to a call of `method` instead of `reply`."""
        if not self._faults:
            return reply
        self._numbers[method] += 1
        number = self._numbers[method]
        for index, fault in enumerate(self._faults):
            if fault.limit is not None and self._spent[index] >= fault.limit:
                continue
            rng = Random(f"{self.seed}/fault-{index}/{method}/{number}")
            if not applies_to(fault, method, number, rng):
                continue
            spoiled = spoil(fault, reply, rng)
            if spoiled is None:
                continue
            reply = spoiled
            self._spent[index] += 1
            self._hits.append(Hit(method, number, fault.kind))
            self.by_kind[fault.kind] += 1
            if fault.kind == "session-death":
                self.end_sessions()
        return reply

    def history(self) -> tuple[Hit, ...]:
        """Return all hits so far, sorted, so that two runs compare whatever their timing."""
        return tuple(sorted(self._hits))


def applies_to(fault: Fault, method: str, number: int, rng: Random) -> bool:
    """Return whether a fault hits the `number`-th reply to `method`, from 1."""
    if not fnmatchcase(method, fault.method):
        return False
    if fault.nth is not None and number != fault.nth:
        return False
    if fault.every is not None and number % fault.every:
        return False
    return rng.random() < fault.chance


def spoil(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    """Return the reply with the fault in it; None if the fault has no meaning for it."""
    if fault.kind in _WAY:
        return _on_its_way(fault, reply, rng)
    return _CHANGES[fault.kind](fault, reply, rng)


def scale_fault_offset(reply: Reply, plain: int) -> Reply:
    """Scale the fault's offset from the `plain` bytes to those after compression."""
    fault, size = reply.fault, len(reply.body)
    if fault is None or not plain or size == plain:
        return reply
    at = fault.at * size // plain
    if fault.kind == "cut":
        at = min(at, size - 1)
    if fault.kind == "wrong-length" and fault.at > plain:
        at = size + fault.at - plain
    return replace(reply, fault=replace(fault, at=at))


def _on_its_way(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    size = len(reply.body)
    if fault.kind in ("cut", "wrong-length") and not size:
        return None
    at = fault.at if fault.at is not None else rng.randrange(max(1, size))
    if fault.kind == "cut":
        at = min(at, size - 1)
    if fault.kind == "wrong-length":
        at = fault.at if fault.at is not None else rng.choice((size // 2, size + rng.randrange(1, 1000)))
        if at == size:
            return None
    kind: Any = fault.kind
    return replace(reply, fault=TransportFault(kind, at=at, seconds=fault.seconds, rate=fault.rate))


def _garbled(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    """Insert a byte that no UTF-8 text contains, so that the JSON is surely invalid."""
    if not _is_json(reply) or not isinstance(reply.body, bytes):
        return None
    at = min(fault.at, len(reply.body)) if fault.at is not None else rng.randrange(len(reply.body) + 1)
    return replace(reply, body=reply.body[:at] + b"\xff\xfe}" + reply.body[at + 3 :])


def _wrong_type(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    return replace(reply, headers=_typed(reply, "application/octet-stream" if _is_json(reply) else "text/html"))


def _html(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    """Replace the reply by a page with status 200, as a captive portal does."""
    return Reply(200, {"Content-Type": "text/html; charset=utf-8"}, _PAGE % (b"Welcome", b"Welcome"), reply.rpc)


def _empty(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    return replace(reply, body=b"") if len(reply.body) else None


def _code(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    answer = _json(reply)
    if answer is None:
        return None
    data = {"messageParameters": {"positionalParameters": [], "plurality": 1}}
    error = {"code": fault.code, "message": f"Fault {fault.code}", "data": data}
    body = orjson.dumps({"jsonrpc": "2.0", "id": answer.get("id"), "error": error})
    return replace(reply, body=body)


def _status(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    headers = {"Content-Type": "text/html; charset=utf-8"}
    if fault.retry_after_s is not None:
        headers["Retry-After"] = str(fault.retry_after_s)
    title = str(fault.status).encode()
    return Reply(fault.status, headers, _PAGE % (title, title), reply.rpc)


def _session_death(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    return reply


def _duplicate(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    def change(rows: list[Any]) -> list[Any]:
        at = rng.randrange(len(rows))
        return [*rows[: at + 1], rows[at], *rows[at + 1 :]]

    return _with_rows(reply, change, least=1)


def _missing(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    def change(rows: list[Any]) -> list[Any]:
        at = rng.randrange(len(rows))
        return [*rows[:at], *rows[at + 1 :]]

    return _with_rows(reply, change, least=1)


def _shuffled(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    def change(rows: list[Any]) -> list[Any]:
        return [*rows[1:], rows[0]] if len(rows) == 2 else rng.sample(rows, len(rows))

    return _with_rows(reply, change, least=2)


def _wrong_total(fault: Fault, reply: Reply, rng: Random) -> Reply | None:
    answer = _json(reply)
    result = answer.get("result") if answer else None
    if not isinstance(result, dict) or not isinstance(result.get("totalItems"), int):
        return None
    total = result["totalItems"]
    result["totalItems"] = rng.choice([n for n in (0, total // 2, total + 1, total * 2 + 7, -1) if n != total])
    return replace(reply, body=orjson.dumps(answer))


_CHANGES: dict[str, Change] = {
    "garbled": _garbled,
    "wrong-type": _wrong_type,
    "html": _html,
    "empty": _empty,
    "code": _code,
    "status": _status,
    "session-death": _session_death,
    "duplicate": _duplicate,
    "missing": _missing,
    "shuffled": _shuffled,
    "wrong-total": _wrong_total,
}


def _with_rows(reply: Reply, change: Callable[[list[Any]], list[Any]], *, least: int) -> Reply | None:
    """Change the items of a listing or of a fetch by ids."""
    answer = _json(reply)
    result = answer.get("result") if answer else None
    if answer is not None and isinstance(result, list) and len(result) >= least:
        answer["result"] = change(result)
        return replace(reply, body=orjson.dumps(answer))
    if not isinstance(result, dict):
        return None
    for name in ("list", "result"):
        rows = result.get(name)
        if isinstance(rows, list) and len(rows) >= least:
            result[name] = change(rows)
            return replace(reply, body=orjson.dumps(answer))
    return None


def _is_json(reply: Reply) -> bool:
    kind = next((value for name, value in reply.headers.items() if name.lower() == "content-type"), "")
    return "json" in kind.lower()


def _json(reply: Reply) -> dict[str, Any] | None:
    if not _is_json(reply) or not isinstance(reply.body, bytes):
        return None
    try:
        answer = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None


def _typed(reply: Reply, content_type: str) -> dict[str, str]:
    return {name: value for name, value in reply.headers.items() if name.lower() != "content-type"} | {
        "Content-Type": content_type
    }
