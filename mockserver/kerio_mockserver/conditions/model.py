"""Everything that can be said about the circumstances, as one immutable value: `Conditions`.

The value is replaced whole while the mock runs (`Conditions.parse`, `.patched`); nothing in it has state. What is wrong
with a value is said in `ConditionsError`, member by member. What acts on it stands beside it: `link.py`, `load.py`,
`faults.py` and `mailbox/churn.py`. Rates are bytes a second (text such as "20 Mbit/s" is read too), times seconds.
The value of a line is in `line.py`, with its arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import Field, ValidationError, model_validator

from kerio_mockserver.conditions.link import Link
from kerio_mockserver.conditions.values import ConditionsError, Count, Seconds, Share, Value, explain

Spread = Literal["fixed", "exponential"]


class Cost(Value):
    """What a call to a method (a pattern such as "Mails.*") costs, where it is not the usual."""

    method: str
    call_s: Seconds
    kb_s: Seconds = 0.0


class Users(Value):
    """People in front of the webmail: a Poisson stream of calls that take the same workers as the client's."""

    per_second: Annotated[float, Field(gt=0, le=10_000)]
    service_s: Seconds
    spread: Spread = "exponential"


class RefusalWindow(Value):
    """From the `first` call on, and after every `every` further ones, all calls are refused for `seconds`."""

    seconds: Seconds
    first: Count = 1
    every: Count | None = None
    status: Literal[429, 503] = 503
    retry_after_s: Annotated[int, Field(ge=0, le=3600)] | None = None


class Reindexing(Value):
    """A `share` of the folders (or the one with the id or uuid `folder`) answers 4100 a while from its first call."""

    seconds: Seconds
    share: Share = 1.0
    folder: str = "*"


class MailboxLock(Value):
    """A long operation: from the `first` mailbox call on, and every `every` further ones, all answer 4101 a while."""

    seconds: Seconds
    first: Count = 1
    every: Count | None = None


class Load(Value):
    """The server's usage: `workers` that serve first come, first served; a queue of `places` before them, then refusal.

    A call holds its worker for `call_s` and `kb_s` for each 1,000 bytes of its reply (drawn around that mean if the
    spread is exponential). `places` None: the queue has no end and nobody is ever refused.
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
    spells: tuple[RefusalWindow, ...] = ()
    reindexing: tuple[Reindexing, ...] = ()
    holds: tuple[MailboxLock, ...] = ()


FaultKind = Literal[
    "reset-before-head", "reset-after-head", "cut", "stall", "drip", "wrong-length",
    "garbled", "wrong-type", "html", "empty", "code", "status", "session-death",
    "duplicate", "missing", "wrong-total", "shuffled",
]  # fmt: skip


class Fault(Value):
    """What goes wrong with the reply to a method, or to each that matches a pattern ("*", "Mails.*", "GET attachment").

    The replies to each method are counted by themselves, so that which of them are hit does not hang on how calls
    interleave. `nth`: only that one. `every`: each n-th. Neither: each, with `chance`. `limit`: at most so many
    in all. `at`: the body byte where it happens, drawn if None; for wrong-length the length that is claimed.
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
    """A change, done `times` times after the `nth` (and every `every` further) reply to `method`; `folder` by name."""

    action: Action
    method: str = "*"
    nth: Count = 1
    every: Count | None = None
    times: Annotated[int, Field(ge=1, le=10_000)] = 1
    folder: str | None = None


class Churn(Value):
    """What changes in the mailbox meanwhile: `script`ed by the client's own calls, and `per_second` by chance.

    `weights`: how often which action is drawn. `limit`: the chance changes end after so many.
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
    """What the vendor leaves open or servers differ in.

    `message_id`: whether a mail that a client creates keeps the Message-ID it was given, or is assigned one.
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
    """All circumstances. The default is none: a perfect line and an idle server that makes no mistakes."""

    link: Link | None = None
    load: Load | None = None
    faults: tuple[Fault, ...] = ()
    churn: Churn | None = None
    quirks: Quirks = Quirks()

    @classmethod
    def parse(cls, value: bytes | str | Mapping[str, Any]) -> Self:
        """From JSON or from what JSON stands for. ConditionsError."""
        try:
            found = orjson.loads(value) if isinstance(value, bytes | str) else dict(value)
        except orjson.JSONDecodeError as error:
            raise ConditionsError(f"conditions: that is no JSON ({error})") from None
        if not isinstance(found, dict):
            raise ConditionsError("conditions: an object is needed")
        try:
            return cls.model_validate_json(orjson.dumps(found))
        except ValidationError as error:
            raise ConditionsError(explain(error)) from None
        except orjson.JSONEncodeError as error:
            raise ConditionsError(f"conditions: {error}") from None

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def patched(self, patch: Mapping[str, Any]) -> Self:
        """With `patch` laid over it as a JSON merge patch (RFC 7396): null takes a member back to its default.

        Lists are replaced whole. ConditionsError; then nothing has changed.
        """
        return self.parse(merge(self.as_json(), patch))


def merge(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
