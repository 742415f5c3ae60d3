"""What can go wrong, as a tree of exceptions that carry data.

    ResyncError                     .scope: item | folder | run     .retryable
    ├─ TransientServerError         retryable
    │  ├─ Unreachable               not processed                   → repeat anything
    │  │  ├─ CertificateError       its certificate is not trusted  → stop, and say what to do
    │  │  └─ Misconfigured          wrong address, proxy or TLS     → stop, and say what to do
    │  ├─ OutcomeUnknown            perhaps processed               → repeat only what is idempotent
    │  │  └─ ForeignReply .status   another program answered        → wait until the server answers
    │  └─ Overloaded .retry_after                                   → all requests wait
    ├─ ServerRefused  .code .method
    │  ├─ BadCredentials · SessionExpired · KeyExpired · ItemGone · FolderDenied · TooLarge · DownloadRefused
    ├─ ProtocolError                the reply does not fit the API
    │  ├─ ForeignAddress            an attachment's address is on another server
    │  └─ UnknownServer             the address is not that of a Kerio Connect server
    ├─ VerificationFailed .differences
    └─ LocalError
       ├─ NotEnoughSpace .needed .available · DiskTrouble
       ├─ CacheInUse · OtherAccount · NoCache · OutputFull · BadSettings
       └─ CacheDamaged
          └─ OtherFormat            perhaps sound, but of another format

Foreign exceptions are mapped at one border each (`server/http/`, `filesystem.py`, `cache/`), with `from`.
`explain` is the only place that turns an exception into a sentence and an exit code. No exception carries a password,
a token or mail text.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Literal

from kerio_resync.os_errors import CERTAIN, NO_ROOM, describe

Scope = Literal["item", "folder", "run"]


class Exit(IntEnum):
    """Exit codes; scripts depend on them."""

    DONE = 0
    INTERNAL_ERROR = 1  # an exception that nobody foresaw; written to crash.log
    USAGE = 2
    POSTPONED = 3
    UNFINISHED = 4
    CREDENTIALS = 5
    IN_USE = 6
    NOT_ENOUGH_SPACE = 7
    UNEXPECTED_RESPONSE = 8
    UNVERIFIED = 9
    REBUILD_NEEDED = 10
    OTHER_ACCOUNT = 11
    INTERRUPTED = 130


class ResyncError(Exception):
    """The root. `scope` says how much of the run it ends; `retryable` whether the same call may be made again."""

    scope: Scope = "run"
    retryable: ClassVar[bool] = False
    exit: ClassVar[Exit] = Exit.UNFINISHED
    summary: ClassVar[str] = "it failed"  # what an error without detail is called in messages

    def __init__(self, detail: str = "", *, scope: Scope | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if scope is not None:
            self.scope = scope


class TransientServerError(ResyncError):
    """The server or the way to it is in trouble; the same call may succeed later."""

    summary = "the server is in trouble"
    retryable = True


class Unreachable(TransientServerError):
    """Surely not processed: no connection, or refused before the request was read. Anything may be repeated."""

    summary = "the server can't be reached"


class CertificateError(Unreachable):
    """The server does not prove that it is the one that was asked for. Waiting does not help."""

    summary = "the certificate is not trusted"
    retryable = False


class Misconfigured(Unreachable):
    """The address, the proxy or what TLS needs is wrong. Waiting does not help."""

    summary = "the way to the server is not set up right"
    retryable = False


class OutcomeUnknown(TransientServerError):
    """Unknown whether processed: the reply was lost. Only what is idempotent may be repeated."""

    summary = "the connection broke"


class ForeignReply(OutcomeUnknown):
    """Something on the way answered in the server's place: a captive portal, a proxy, an error page.

    `status`: of HTTP; `retry_after` in seconds, None if it named no time. It says nothing about what was asked for.
    """

    summary = "another program answered"

    def __init__(self, detail: str = "", *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.retry_after = retry_after


class Overloaded(TransientServerError):
    """Surely not processed, and everyone is asked to wait. `retry_after` in seconds, None if it named no time.

    `pauses_all`: the whole server is busy, not only what was asked for.
    """

    summary = "the server is busy"

    def __init__(self, detail: str = "", *, retry_after: float | None = None, pauses_all: bool = False) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.pauses_all = pauses_all


class ServerRefused(ResyncError):
    """A documented error reply. `code`: of JSON-RPC, of the application, or the HTTP status; `method`: the call."""

    summary = "the server refused it"
    exit = Exit.UNEXPECTED_RESPONSE

    def __init__(self, detail: str = "", *, code: int = 0, method: str = "", scope: Scope | None = None) -> None:
        super().__init__(detail, scope=scope)
        self.code = code
        self.method = method


class BadCredentials(ServerRefused):
    summary = "the server refused the user name or password"
    exit = Exit.CREDENTIALS


class SessionExpired(ServerRefused):
    """The session is gone; log in once and repeat the call (it was not processed)."""

    summary = "the session expired"


class KeyExpired(ServerRefused):
    """The server refuses the sync key: start over, keeping what is still valid."""

    summary = "the sync key expired"


class ItemGone(ServerRefused):
    summary = "the item is gone"
    scope = "item"


class FolderDenied(ServerRefused):
    summary = "the folder can't be read"
    scope = "folder"


class TooLarge(ServerRefused):
    """The request or its reply is too large for the server: ask for less at once."""

    summary = "it is too large for the server"
    scope = "item"


class DownloadRefused(ServerRefused):
    """A download was answered with an HTTP error (`code`) that may concern this attachment alone.

    Whether it does must be found out: an error page on the way looks the same.
    """

    summary = "the download was refused"
    scope = "item"


class ProtocolError(ResyncError):
    """What the server said does not fit what it may say: no JSON, another shape, a list that never ends."""

    summary = "the reply does not fit"
    exit = Exit.UNEXPECTED_RESPONSE


class ForeignAddress(ProtocolError):
    """An attachment's address leads to another server, or nowhere. Nothing was sent there."""

    scope = "item"


class UnknownServer(ProtocolError):
    """The first reply of a run did not come from a Kerio Connect server. Waiting does not help."""


class VerificationFailed(ResyncError):
    """The rebuilt cache and the server disagree. `differences` counts the items."""

    exit = Exit.UNVERIFIED

    def __init__(self, detail: str = "", *, differences: int = 0) -> None:
        super().__init__(detail)
        self.differences = differences


class LocalError(ResyncError):
    """Something on this machine stands in the way."""

    summary = "this machine stands in the way"
    exit = Exit.USAGE


class NotEnoughSpace(LocalError):
    """`needed` and `available` in bytes, at `where`; `needed` is 0 if a write failed before the need was known.

    `said`: the whole sentence, where figures would mislead (a quota, a limit on a file's size). `advice`: what else
    than making room would help, as a command; "" if nothing is known to."""

    exit = Exit.NOT_ENOUGH_SPACE

    def __init__(
        self,
        detail: str = "",
        *,
        needed: int = 0,
        available: int = 0,
        where: str = "",
        said: str = "",
        advice: str = "",
    ) -> None:
        super().__init__(detail)
        self.needed = needed
        self.available = available
        self.where = where
        self.said = said
        self.advice = advice


class DiskTrouble(LocalError):
    """A disk, a file system or a limit of the process refuses. The detail says what happened and what to do."""


class CacheInUse(LocalError):
    exit = Exit.IN_USE


class OtherAccount(LocalError):
    """The cache belongs to another account, or to another server, than the one that was asked for."""

    exit = Exit.OTHER_ACCOUNT


class NoCache(LocalError):
    """There is no cache yet to do this with."""

    exit = Exit.REBUILD_NEEDED


class CacheDamaged(LocalError):
    """The database file can't be trusted or understood; the server still has everything but the pending changes."""

    exit = Exit.REBUILD_NEEDED


class OtherFormat(CacheDamaged):
    """The database file is of a format that this version does not read. The file itself may be sound."""


class OutputFull(LocalError):
    """Standard output leads to a disk without room."""

    exit = Exit.NOT_ENOUGH_SPACE


class BadSettings(LocalError):
    """A setting, an argument, or the profile folder itself is unusable."""


# The first that fits; {what} is the call, if there is one.
_SENTENCES: tuple[tuple[type[ResyncError], str], ...] = (
    (BadCredentials, "The server refused the user name or password ({detail}); check both and run again."),
    (CertificateError, "The server's certificate is not trusted: {detail}."),
    (Misconfigured, "The server can't be reached this way: {detail}."),
    (Unreachable, "The server can't be reached: {detail}. Check the address and the network, then run again."),
    (Overloaded, "The server is too busy: {detail}. What was fetched is kept; run again later to resume."),
    (
        ForeignReply,
        "Something else answered in the server's place: {detail}. See whether this network needs a login or a proxy."
        " What was fetched is kept; run again to resume.",
    ),
    (
        TransientServerError,
        "The connection to the server broke: {detail}. What was fetched is kept; run again to resume.",
    ),
    (
        ServerRefused,
        "The server refused a request ({what}{detail}, code {code})."
        " Run again; if it stays, tell the server's administrator.",
    ),
    (
        UnknownServer,
        "This is not the answer of a Kerio Connect server: {detail}. Check the address, and whether this network needs"
        " a login (open any web page in a browser) or a proxy.",
    ),
    (
        ProtocolError,
        "Unexpected response from the server: {detail}. Check that the address is that of a Kerio Connect server.",
    ),
    (
        VerificationFailed,
        "Verification failed: {detail}. Run again; if it stays, the server contradicts itself: tell its administrator.",
    ),
    (CacheInUse, "The cache is in use: {detail}. Close the mail program (or wait for the other run) and run again."),
    (OtherFormat, "The local cache can't be used: {detail}. Run `kerio-resync rebuild`."),
    (CacheDamaged, "The local cache is damaged: {detail}. Run `kerio-resync rebuild`."),
)


def words_of(error: BaseException) -> str:
    """What went wrong, as part of a sentence: the error's own words, else what its kind is called."""
    return str(error) or (error.summary if isinstance(error, ResyncError) else ResyncError.summary)


def explain(error: BaseException) -> tuple[str, Exit]:
    """One sentence for a person, saying what to do, and the exit code for a script."""
    match error:
        case NotEnoughSpace():
            return _explain_space(error), error.exit
        case ResyncError():
            return _explain_by_table(error), error.exit
        case BaseExceptionGroup():
            return explain(_most_severe(error))
        case OSError() if error.errno in CERTAIN:  # from a place without a border of its own
            said = describe(error, error.filename or "the profile")
            return f"{said[:1].upper()}{said[1:]}.", Exit.NOT_ENOUGH_SPACE if error.errno in NO_ROOM else Exit.USAGE
        case Exception():
            kind = type(error).__name__
            return (
                f"Internal error in kerio-resync ({kind}).",
                Exit.INTERNAL_ERROR,
            )
        case _:  # CancelledError, KeyboardInterrupt
            return "Interrupted; run again to resume.", Exit.INTERRUPTED


def _explain_by_table(error: ResyncError) -> str:
    detail = error.detail.rstrip(".")
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            method = getattr(error, "method", "")
            what = f"{method}: " if method else ""
            said = sentence.format(detail=detail, code=getattr(error, "code", 0), what=what)
            return said.replace("?.", "?")
    return f"{detail[:1].upper()}{detail[1:]}."


def _explain_space(error: NotEnoughSpace) -> str:
    if error.said:
        return error.said
    needed = f"{error.needed:,} bytes are needed and " if error.needed else ""
    return (
        f"There is not enough room on the disk: {needed}{error.available:,} are free at {error.where or 'the profile'}."
        f" Make room and run again{f', or use {error.advice}' if error.advice else ''}."
    )


def _most_severe(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one to tell of: an unforeseen error before a foreseen one, that before an interruption."""
    leaves = [_most_severe(each) if isinstance(each, BaseExceptionGroup) else each for each in group.exceptions]
    return min(leaves, key=lambda each: (not isinstance(each, Exception), isinstance(each, ResyncError)))
