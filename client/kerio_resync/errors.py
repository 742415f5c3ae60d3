"""What can go wrong, as a tree of exceptions that carry data.

    ResyncError                     .scope: item | folder | run     .retryable
    ├─ ServerTrouble  retryable
    │  ├─ Unreachable               surely not processed                → repeat anything
    │  ├─ Interrupted               unknown whether processed           → repeat only what is idempotent
    │  └─ Overloaded .retry_after                                       → everyone waits
    ├─ ServerRefused  .code .method
    │  ├─ BadCredentials · SessionExpired · KeyExpired · ItemGone · FolderDenied · TooLarge
    ├─ ServerNonsense               what it said doesn't fit
    ├─ VerificationFailed .differences
    └─ LocalTrouble
       ├─ NotEnoughSpace .needed .available · CacheInUse · CacheDamaged · BadSettings

Foreign exceptions are mapped at one border each (`server/transport.py`, `cache/`), with `from`. `explain` is the only
place that turns an exception into a sentence and an exit code. No exception carries a password, a token or mail text.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Literal

Scope = Literal["item", "folder", "run"]


class Exit(IntEnum):
    """Exit codes; scripts depend on them."""

    DONE = 0
    USAGE = 2
    POSTPONED = 3
    UNFINISHED = 4
    CREDENTIALS = 5
    IN_USE = 6
    NO_ROOM = 7
    NONSENSE = 8
    UNVERIFIED = 9
    INTERRUPTED = 130


class ResyncError(Exception):
    """The root. `scope` says how much of the run it ends; `retryable` whether the same call may be made again."""

    scope: Scope = "run"
    retryable: ClassVar[bool] = False
    exit: ClassVar[Exit] = Exit.UNFINISHED

    def __init__(self, detail: str = "", *, scope: Scope | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if scope is not None:
            self.scope = scope


class ServerTrouble(ResyncError):
    """The server or the way to it is in trouble; the same call may succeed later."""

    retryable = True


class Unreachable(ServerTrouble):
    """Surely not processed: no connection, or refused before the request was read. Anything may be repeated."""


class Interrupted(ServerTrouble):
    """Unknown whether processed: the reply was lost. Only what is idempotent may be repeated."""


class Overloaded(ServerTrouble):
    """Surely not processed, and everyone is asked to wait. `retry_after` in seconds, None if the server named no time."""

    def __init__(self, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ServerRefused(ResyncError):
    """A documented error reply. `code` is the JSON-RPC or application error code (or the HTTP status), `method` the call."""

    def __init__(self, detail: str = "", *, code: int = 0, method: str = "", scope: Scope | None = None) -> None:
        super().__init__(detail, scope=scope)
        self.code = code
        self.method = method


class BadCredentials(ServerRefused):
    exit = Exit.CREDENTIALS


class SessionExpired(ServerRefused):
    """The session is gone; log in once and repeat the call (it was not processed)."""


class KeyExpired(ServerRefused):
    """The server refuses the sync key: start over, keeping what is still valid."""


class ItemGone(ServerRefused):
    scope = "item"


class FolderDenied(ServerRefused):
    scope = "folder"


class TooLarge(ServerRefused):
    """The request or its reply is too large for the server: ask for less at once."""

    scope = "item"


class ServerNonsense(ResyncError):
    """What the server said does not fit what it may say: no JSON, another shape, a list that never ends."""

    exit = Exit.NONSENSE


class VerificationFailed(ResyncError):
    """The rebuilt cache and the server disagree. `differences` counts the items."""

    exit = Exit.UNVERIFIED

    def __init__(self, detail: str = "", *, differences: int = 0) -> None:
        super().__init__(detail)
        self.differences = differences


class LocalTrouble(ResyncError):
    """Something on this machine stands in the way."""

    exit = Exit.USAGE


class NotEnoughSpace(LocalTrouble):
    """`needed` and `available` in bytes, at `where`; `needed` is 0 if a write failed before the need was known."""

    exit = Exit.NO_ROOM

    def __init__(self, detail: str = "", *, needed: int = 0, available: int = 0, where: str = "") -> None:
        super().__init__(detail)
        self.needed = needed
        self.available = available
        self.where = where


class CacheInUse(LocalTrouble):
    exit = Exit.IN_USE


class CacheDamaged(LocalTrouble):
    """The database file can't be trusted or understood; the server still has everything but the pending changes."""


class BadSettings(LocalTrouble):
    """A setting, an argument, or the profile folder itself is unusable."""


def explain(error: BaseException) -> tuple[str, Exit]:
    """One sentence for a person, saying what to do, and the exit code for a script."""
    match error:
        case BadCredentials():
            return f"The server refused the user name or password ({error.detail}); check both and run again.", error.exit
        case Unreachable():
            return f"The server can't be reached: {error.detail}. Check the address and the network, then run again.", error.exit
        case Overloaded():
            return f"The server is too busy: {error.detail}. What was fetched is kept; run again later to go on.", error.exit
        case ServerTrouble():
            return f"The connection to the server broke: {error.detail}. What was fetched is kept; run again to go on.", error.exit
        case ServerRefused():
            what = f"{error.method}: " if error.method else ""
            return f"The server refused a request ({what}{error.detail}, code {error.code}). Run again; if it stays, tell the server's administrator.", Exit.NONSENSE
        case ServerNonsense():
            return f"The server's answers make no sense: {error.detail}. Check that the address is that of a Kerio Connect server.", error.exit
        case VerificationFailed():
            return f"Verification failed: {error.detail}. Run `kerio-resync verify --repair`.", error.exit
        case NotEnoughSpace():
            return _explain_space(error), error.exit
        case CacheInUse():
            return f"The cache is in use: {error.detail}. Close the mail program (or wait for the other run) and run again.", error.exit
        case CacheDamaged():
            return f"The local cache is damaged: {error.detail}. Run `kerio-resync rebuild`.", error.exit
        case ResyncError():
            return f"{error.detail}.", error.exit
        case _:
            return "Interrupted; run again to go on.", Exit.INTERRUPTED


def _explain_space(error: NotEnoughSpace) -> str:
    needed = f"{error.needed:,} bytes are needed and " if error.needed else ""
    return (
        f"There is not enough room on the disk: {needed}{error.available:,} are free at {error.where or 'the profile'}."
        " Make room and run again, or use `rebuild --drop-first`."
    )
