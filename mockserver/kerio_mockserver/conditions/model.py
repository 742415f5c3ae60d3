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
from kerio_mockserver.conditions.values import ConditionsError, Count, Seconds, Share, Value, explain, with_example

Spread = Literal["fixed", "exponential"]
_FORMER_NAMES = {"manners": "quirks", "spells": "refusal_windows", "holds": "locks"}  # scripts may still use them


class Cost(Value):
    """The cost of calls to a method or pattern, where it differs from the usual."""

    model_config = with_example({"method": "GET *", "call_s": 0.5, "kb_s": 0.001})

    method: str
    """A method or a pattern, as in faults."""
    call_s: Seconds
    """Seconds that a call takes."""
    kb_s: Seconds = 0.0
    """Seconds per 1,000 bytes of its reply."""


class Users(Value):
    """Webmail users: a Poisson stream of calls to the same workers as the client's."""

    model_config = with_example({"per_second": 40, "service_s": 0.15})

    per_second: Annotated[float, Field(gt=0, le=10_000)]
    """Calls of users per second."""
    service_s: Seconds
    """Seconds that a user's call occupies a worker, on average."""
    spread: Spread = "exponential"
    """How the times spread around that mean."""


class RefusalWindow(Value):
    """A window in which all calls are refused for `seconds`.

    It opens at call `first` and every `every` calls later.
    """

    model_config = with_example({"seconds": 5, "first": 100, "every": 100, "retry_after_s": 5})

    seconds: Seconds
    """How long the window stays open."""
    first: Count = 1
    """The call that opens the first window."""
    every: Count | None = None
    """Each so many calls later another window opens."""
    status: Literal[429, 503] = 503
    """The HTTP status of the refusals."""
    retry_after_s: Annotated[int, Field(ge=0, le=3600)] | None = None
    """The value of Retry-After in seconds; null: none is sent."""


class Reindexing(Value):
    """Reindexing: some folders answer 4100 for a while from their first call."""

    model_config = with_example({"seconds": 4, "share": 0.34})

    seconds: Seconds
    """How long a folder answers 4100 after its first call."""
    share: Share = 1.0
    """The share of the folders, 0 to 1."""
    folder: str = "*"
    """Only this folder: its id, or the last part of it."""


class MailboxLock(Value):
    """A lock: from call `first`, and every `every` later, calls answer 4101 a while."""

    model_config = with_example({"seconds": 2, "first": 60, "every": 500})

    seconds: Seconds
    """How long calls answer 4101."""
    first: Count = 1
    """The call that starts the first lock."""
    every: Count | None = None
    """Each so many calls later another lock starts."""


class Load(Value):
    """The server's load: `workers`, and a queue of `places` in front of them.

    A call occupies a worker for `call_s` and for `kb_s` per 1,000 bytes of its reply (drawn around that mean if the
    spread is exponential). With `places` None the queue is unbounded and no call is refused.
    """

    model_config = with_example({"workers": 8, "call_s": 0.015, "kb_s": 0.0003, "places": 128})

    workers: Count = 8
    """Calls served at once; the others queue."""
    call_s: Seconds = 0.0
    """Seconds that a call takes."""
    kb_s: Seconds = 0.0
    """Seconds per 1,000 bytes of a reply."""
    spread: Spread = "exponential"
    """How the times spread around the mean."""
    costs: tuple[Cost, ...] = ()
    """Other times for some methods."""
    places: Annotated[int, Field(ge=0)] | None = None
    """Calls that may wait for a worker; null: any number. Further calls are refused."""
    status: Literal[429, 503] = 503
    """The HTTP status of a call that finds no place."""
    retry_after_s: Annotated[int, Field(ge=0, le=3600)] | None = 2
    """The value of Retry-After for a call that finds no place; null: none is sent."""
    users: Users | None = None
    """Webmail users who take the same workers."""
    refusal_windows: tuple[RefusalWindow, ...] = ()
    """Times in which all calls are refused."""
    reindexing: tuple[Reindexing, ...] = ()
    """Folders that answer 4100 for a while."""
    locks: tuple[MailboxLock, ...] = ()
    """Times in which the mailbox is locked and answers 4101."""


FaultKind = Literal[
    "reset-before-head", "reset-after-head", "cut", "stall", "drip", "wrong-length",
    "garbled", "wrong-type", "html", "empty", "code", "status", "session-death",
    "duplicate", "missing", "wrong-total", "shuffled",
]  # fmt: skip


_ONE_RULE = {
    "not": {"required": ["nth", "every"], "properties": {"nth": {"type": "integer"}, "every": {"type": "integer"}}}
}


class Fault(Value):
    """A fault of replies to a method or a pattern, such as "*" or "Mails.*".

    The replies to each method are counted separately, so that the order in which calls interleave does not matter.
    `nth` hits only that reply, `every` each n-th, and otherwise each with probability `chance`; `limit` bounds the
    hits. `at` is the byte of the body where it happens, drawn if None; for wrong-length it is the claimed length.
    """

    model_config = with_example({"kind": "status", "status": 503, "method": "GET *", "chance": 0.1}, **_ONE_RULE)

    kind: FaultKind
    """What happens to the reply."""
    method: str = "*"
    """A method of the API, `GET attachment`, `GET archive`, or a pattern such as `Mails.*`."""
    nth: Count | None = None
    """Only the n-th reply to each method."""
    every: Count | None = None
    """Each n-th reply to each method."""
    chance: Share = 1.0
    """The chance of each reply, 0 to 1."""
    limit: Count | None = None
    """The most replies that are hit."""
    at: int | None = Field(default=None, ge=0)
    """The byte where it happens; null: drawn."""
    seconds: Seconds = 30.0
    """How long a stall lasts; 0: for ever."""
    rate: float = Field(default=1000.0, gt=0)
    """Bytes per second of a drip."""
    code: int = -32603
    """The code of an application error."""
    status: int = Field(default=500, ge=400, le=599)
    """The status of an error page."""
    retry_after_s: Annotated[int, Field(ge=0, le=3600)] | None = None
    """The Retry-After of an error page in seconds; null: none is sent."""

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

    model_config = with_example({"action": "arrive", "nth": 10, "every": 10})

    action: Action
    """The change."""
    method: str = "*"
    """The method, or a pattern, whose replies trigger it."""
    nth: Count = 1
    """The reply after which it happens first."""
    every: Count | None = None
    """Each so many replies later it happens again."""
    times: Annotated[int, Field(ge=1, le=10_000)] = 1
    """How often it happens each time."""
    folder: str | None = None
    """The id of the folder that changes; null: drawn."""


class Churn(Value):
    """Changes of the mailbox while the client works.

    `script` makes changes after certain calls; `per_second` makes random ones.

    `weights` sets how often each action is drawn; the random changes end after `limit`.
    """

    model_config = with_example({"per_second": 10})

    per_second: Annotated[float, Field(ge=0, le=10_000)] = 0.0
    """Random changes per second."""
    limit: Count | None = None
    """The random changes end after so many."""
    weights: dict[Action, Annotated[float, Field(ge=0)]] = Field(default_factory=lambda: dict(USUAL_WEIGHTS))
    """How often each action is drawn."""
    script: tuple[Step, ...] = ()
    """Changes after certain replies."""

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
    """The HTTP status of error replies: as documented, or always 200."""
    refused_key_code: Literal[1000, 1002] = 1000
    """The error code for a sync key that is too old."""
    page_limit: Count = 50_000
    """The most rows of one page, whatever was asked for."""
    ranges: bool = True
    """Whether downloads support ranges."""
    etags: bool = True
    """Whether downloads have an ETag."""
    compression: tuple[Literal["gzip", "zstd", "deflate", "br"], ...] = ("zstd", "gzip", "deflate", "br")
    """The encodings offered."""
    session_idle_s: Annotated[float, Field(gt=0)] = 7_200.0
    """Seconds without a call after which a session ends."""
    session_s: Annotated[float, Field(gt=0)] = 312 * 3_600.0
    """Seconds after which a session ends in any case."""
    session_bound_to_address: bool = False
    """Whether a session ends when the client's address changes."""
    message_id: Literal["kept", "assigned"] = "kept"
    """Whether a created mail keeps the client's Message-ID or gets one from the server."""


class Conditions(Value):
    """All conditions; by default a perfect link and an idle server without faults."""

    link: Link | None = None
    """The link between client and server; null: none."""
    load: Load | None = None
    """The server's load; null: none."""
    faults: tuple[Fault, ...] = ()
    """Faults of replies."""
    churn: Churn | None = None
    """Changes of the mailbox while the client works; null: none."""
    quirks: Quirks = Quirks()
    """What the vendor leaves open, or servers differ in."""

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
