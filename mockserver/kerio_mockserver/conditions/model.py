"""All conditions as one immutable value, `Conditions`.

The value is replaced as a whole while the mock runs (`Conditions.parse`, `.patched`) and has no state.
`ConditionsError` names what is wrong with a value, member by member. The modules beside this one act on it. Rates are
bytes per second (texts such as "20 Mbit/s" are accepted), times seconds. The value of a link is in `link.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from kerio_mockserver.conditions.link import Link
from kerio_mockserver.conditions.values import ConditionsError, Count, Seconds, Share, Value, explain

Spread = Literal["fixed", "exponential"]
_FORMER_NAMES = {"manners": "quirks", "spells": "refusal_windows", "holds": "locks"}  # scripts may still use them


class Cost(Value):
    """The cost of calls to a method or pattern, where it differs from the usual."""

    method: str
    call_s: Seconds
    kb_s: Seconds = 0.0


class Users(Value):
    """Webmail users: a Poisson stream of calls to the same workers as the client's."""

    per_second: Annotated[float, Field(gt=0, le=10_000)]
    service_s: Seconds
    spread: Spread = "exponential"


class RefusalWindow(Value):
    """A window in which all calls are refused for `seconds`.

    It opens at call `first` and every `every` calls later.
    """

    seconds: Seconds
    first: Count = 1
    every: Count | None = None
    status: Literal[429, 503] = 503
    retry_after_s: Annotated[int, Field(ge=0, le=3600)] | None = None


class Reindexing(Value):
    """Reindexing: some folders answer 4100 for a while from their first call."""

    seconds: Seconds
    share: Share = 1.0
    folder: str = "*"


class MailboxLock(Value):
    """A lock: from call `first`, and every `every` later, calls answer 4101 a while."""

    seconds: Seconds
    first: Count = 1
    every: Count | None = None


class Load(Value):
    """The server's load: `workers`, and a queue of `places` in front of them.

    A call occupies a worker for `call_s` and for `kb_s` per 1,000 bytes of its reply (drawn around that mean if the
    spread is exponential). With `places` None the queue is unbounded and no call is refused.
    """

    workers: Count = 8
    call_s: Seconds = 0.0
    kb_s: Seconds = 0.0
    spread: Spread = "exponential"
    costs: tuple[Cost, ...] = ()
    places: Annotated[int, Field(ge=0)] | None = None
    status: Literal[429, 503] = 503
    retry_after_s: Annotated[int, Field(ge=0, le=3600)] | None = 2
    users: Users | None = None
    refusal_windows: tuple[RefusalWindow, ...] = ()
    reindexing: tuple[Reindexing, ...] = ()
    locks: tuple[MailboxLock, ...] = ()


FaultKind = Literal[
    "reset-before-head", "reset-after-head", "cut", "stall", "drip", "wrong-length",
    "garbled", "wrong-type", "html", "empty", "code", "status", "session-death",
    "duplicate", "missing", "wrong-total", "shuffled",
]  # fmt: skip


class Fault(Value):
    """A fault of replies to a method or a pattern, such as "*" or "Mails.*".

    The replies to each method are counted separately, so that the order in which calls interleave does not matter.
    `nth` hits only that reply, `every` each n-th, and otherwise each with probability `chance`; `limit` bounds the
    hits. `at` is the byte of the body where it happens, drawn if None; for wrong-length it is the claimed length.
    """

    kind: FaultKind
    method: str = "*"
    nth: Count | None = None
    every: Count | None = None
    chance: Share = 1.0
    limit: Count | None = None
    at: int | None = Field(default=None, ge=0)
    seconds: Seconds = 30.0
    rate: float = Field(default=1000.0, gt=0)
    code: int = -32603
    status: int = Field(default=500, ge=400, le=599)
    retry_after_s: Annotated[int, Field(ge=0, le=3600)] | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.nth is not None and self.every is not None:
            raise ValueError("`nth` and `every` exclude each other")
        return self


Action = Literal[
    "arrive", "read", "unread", "flag", "move", "delete", "edit-draft", "all-seen",
    "new-folder", "rename-folder", "move-folder", "remove-folder", "contact", "event", "task", "note",
]  # fmt: skip
USUAL_WEIGHTS: dict[Action, float] = {
    "arrive": 30, "read": 25, "unread": 2, "flag": 5, "move": 12, "delete": 12, "edit-draft": 3, "all-seen": 0.5,
    "new-folder": 1, "rename-folder": 1, "move-folder": 0.5, "remove-folder": 0.5, "contact": 2, "event": 3, "task": 1,
    "note": 1,
}  # fmt: skip


class Step(Value):
    """A change made after the `nth`, and every `every` later, reply to `method`."""

    action: Action
    method: str = "*"
    nth: Count = 1
    every: Count | None = None
    times: Annotated[int, Field(ge=1, le=10_000)] = 1
    folder: str | None = None


class Churn(Value):
    """Changes of the mailbox while the client works.

    `script` makes changes after certain calls; `per_second` makes random ones.

    `weights` sets how often each action is drawn; the random changes end after `limit`.
    """

    per_second: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    limit: Count | None = None
    weights: dict[Action, Annotated[float, Field(ge=0)]] = Field(default_factory=lambda: dict(USUAL_WEIGHTS))
    script: tuple[Step, ...] = ()

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not any(self.weights.values()):
            raise ValueError("at least one of the `weights` must be above 0")
        return self


class Quirks(Value):
    """Behaviour that the vendor leaves open or in which servers differ.

    `message_id`: whether a created mail keeps the Message-ID that the client gave it or gets one from the server.
    """

    http_errors: Literal["documented", "always_200"] = "documented"
    refused_key_code: Literal[1000, 1002] = 1000
    page_limit: Count = 50_000
    ranges: bool = True
    etags: bool = True
    compression: tuple[Literal["gzip", "zstd", "deflate", "br"], ...] = ("zstd", "gzip", "deflate", "br")
    session_idle_s: Annotated[float, Field(gt=0)] = 7_200.0
    session_s: Annotated[float, Field(gt=0)] = 312 * 3_600.0
    session_bound_to_address: bool = False
    message_id: Literal["kept", "assigned"] = "kept"


class Conditions(Value):
    """All conditions; by default a perfect link and an idle server without faults."""

    link: Link | None = None
    load: Load | None = None
    faults: tuple[Fault, ...] = ()
    churn: Churn | None = None
    quirks: Quirks = Quirks()

    @classmethod
    def parse(cls, value: bytes | str | Mapping[str, Any]) -> Self:
        """Parse JSON, or the values it stands for; raise ConditionsError."""
        try:
            found = orjson.loads(value) if isinstance(value, bytes | str) else dict(value)
        except orjson.JSONDecodeError as error:
            raise ConditionsError(f"conditions: not valid JSON ({error})") from None
        if not isinstance(found, dict):
            raise ConditionsError("conditions: an object is needed")
        try:
            return cls.model_validate_json(orjson.dumps(_with_present_names(found)))
        except ValidationError as error:
            raise ConditionsError(explain(error)) from None
        except orjson.JSONEncodeError as error:
            raise ConditionsError(f"conditions: {error}") from None

    def as_json(self) -> dict[str, Any]:
        """Return the conditions as JSON values."""
        return self.model_dump(mode="json")

    def patched(self, patch: Mapping[str, Any]) -> Self:
        """Return the conditions with a JSON merge patch (RFC 7396) applied.

        Null sets a member to its default.

        Lists are replaced as a whole. Raise ConditionsError.
        """
        return self.parse(merge(self.as_json(), _with_present_names(patch)))


def _with_present_names(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions whose members have their present names."""
    found = {_FORMER_NAMES.get(name, name): member for name, member in value.items()}
    if isinstance(load := found.get("load"), Mapping):
        found["load"] = {_FORMER_NAMES.get(name, name): member for name, member in load.items()}
    return found


def merge(target: Any, patch: Any) -> Any:
    """Merge as RFC 7396, section 2, says."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
