"""All errors, as a tree of exceptions that carry data.

    ResyncError                     .scope: item | folder | run     .retryable
    ├─ TransientServerError         retryable
    │  ├─ Unreachable               not processed                   → any call may be repeated
    │  │  ├─ CertificateError       its certificate is not trusted  → stop
    │  │  └─ Misconfigured          wrong address, proxy or TLS     → stop
    │  ├─ OutcomeUnknown            perhaps processed               → only idempotent calls may be repeated
    │  │  └─ ForeignReply           another program answered        → as OutcomeUnknown; all requests wait
    │  └─ Overloaded                not processed                   → any call may be repeated; fewer requests
    ├─ ServerRefused                an error of the API
    │  ├─ BadCredentials · SessionExpired · KeyExpired · ItemGone · FolderDenied · TooLarge · DownloadRefused
    ├─ ProtocolError                the reply does not fit the API
    │  ├─ ForeignAddress            an attachment's URL is on another server
    │  └─ UnknownServer             the address is not that of a known server
    ├─ VerificationFailed           cache and server differ
    └─ LocalError
       ├─ NotEnoughSpace · DiskTrouble · OutputFull
       ├─ CacheInUse · TargetInUse · OtherAccount · NoCache · BadSettings
       ├─ Postponed                 the window of an unattended run is closed
       └─ CacheDamaged
          └─ OtherFormat            perhaps sound, but in another format
             └─ OlderFormat         an upgrade converts it

What an error does to other requests (`server/pacing/limiter.py`): Overloaded lowers the number of requests in flight.
With `pauses_all` no request starts before a pause is over, and then one alone tries; otherwise only its own call waits.
ForeignReply starts the same pause and leaves the number as it is. A read timeout, which is an OutcomeUnknown, lowers
the number. Unreachable and any other OutcomeUnknown change neither. All other errors count as answers.

Each package maps foreign exceptions in one place (`server/http/`, `filesystem.py`, `cache/`), with `from`. `explain`
is the only function that turns an exception into a sentence and an exit code, and `kind_of` into a word for programs.
No exception contains a password, a token or mail text.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import ClassVar, Literal

from kerio_resync.os_errors import CERTAIN, NO_ROOM, describe

Scope = Literal["item", "folder", "run"]


class Exit(IntEnum):
    """Exit codes; scripts depend on them."""

    DONE = 0
    INTERNAL_ERROR = 1  # an unexpected exception; written to crash.log
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
    """The root of all errors.

    `detail`: part of a sentence. `scope`: how much of the run the error ends. `retryable`: the call may be repeated.
    `exit`: the exit code of a run that it ends. `summary`: stands in for a missing detail.
    """

    scope: Scope = "run"
    retryable: ClassVar[bool] = False
    exit: ClassVar[Exit] = Exit.UNFINISHED
    summary: ClassVar[str] = "it failed"

    def __init__(self, detail: str = "", *, scope: Scope | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if scope is not None:
            self.scope = scope


class TransientServerError(ResyncError):
    """The server or the network is in trouble; the same call may succeed later."""

    summary = "the server is in trouble"
    retryable = True


class Unreachable(TransientServerError):
    """The request was not processed: no connection, or refused before it was read.

    Any call may be repeated. Other requests continue at the same pace.
    """

    summary = "the server cannot be reached"


class CertificateError(Unreachable):
    """The server's certificate is not trusted. Waiting does not help."""

    summary = "the certificate is not trusted"
    retryable = False


class Misconfigured(Unreachable):
    """The address, the proxy or the TLS settings are wrong. Waiting does not help."""

    summary = "the address, the proxy or TLS is not set up correctly"
    retryable = False


class OutcomeUnknown(TransientServerError):
    """The request may have been processed; the reply was lost.

    Only idempotent calls may be repeated. Other requests continue; a read timeout lowers their number.
    """

    summary = "the connection broke"


class ForeignReply(OutcomeUnknown):
    """Another program answered in the server's place.

    Examples are a captive portal, a proxy and an error page.

    It says nothing about the request. All requests wait until one of them is answered by the server. `status`: of HTTP.
    `retry_after`: seconds, None if none were given.
    """

    summary = "another program answered"

    def __init__(self, detail: str = "", *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.retry_after = retry_after


class Overloaded(TransientServerError):
    """The request was not processed; the server asks the client to wait.

    It lowers the number of requests in flight. `retry_after`: seconds, None if none were given. `pauses_all`: the whole
    server is busy, and all requests wait; otherwise it is one folder or mailbox, and only this call waits.
    """

    summary = "the server is busy"

    def __init__(self, detail: str = "", *, retry_after: float | None = None, pauses_all: bool = False) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.pauses_all = pauses_all


class ServerRefused(ResyncError):
    """A documented error reply.

    It is not retried, except SessionExpired after a new login. It slows no other request down.
    `code`: of JSON-RPC or of the application, or the HTTP status. `method`: the call.
    """

    summary = "the server refused it"
    exit = Exit.UNEXPECTED_RESPONSE

    def __init__(self, detail: str = "", *, code: int = 0, method: str = "", scope: Scope | None = None) -> None:
        super().__init__(detail, scope=scope)
        self.code = code
        self.method = method


class BadCredentials(ServerRefused):
    """The user name or the password is wrong."""

    summary = "the server refused the user name or password"
    exit = Exit.CREDENTIALS


class SessionExpired(ServerRefused):
    """The session has expired. The call was not processed: log in and repeat it."""

    summary = "the session expired"


class KeyExpired(ServerRefused):
    """The server refuses the sync key: compare everything."""

    summary = "the sync key expired"


class ItemGone(ServerRefused):
    """The item or folder does not exist any more."""

    summary = "the item is gone"
    scope = "item"


class FolderDenied(ServerRefused):
    """The user may not read the folder."""

    summary = "the folder cannot be read"
    scope = "folder"


class TooLarge(ServerRefused):
    """The request or its reply is too large for the server: request less at once."""

    summary = "it is too large for the server"
    scope = "item"


class DownloadRefused(ServerRefused):
    """A download was answered with the HTTP error `code`.

    It may concern this attachment alone.

    The error page of a proxy looks the same.
    """

    summary = "the download was refused"
    scope = "item"


class ProtocolError(ResyncError):
    """The reply does not fit the API: no JSON, another shape, an endless list.

    Idempotent calls are repeated a few times. Other requests continue at the same pace.
    """

    summary = "the reply does not fit the API"
    exit = Exit.UNEXPECTED_RESPONSE


class ForeignAddress(ProtocolError):
    """An attachment's URL is invalid, or on another server. Nothing was sent there."""

    scope = "item"


class UnknownServer(ProtocolError):
    """The first reply of a run did not come from a Kerio Connect or JMAP server.

    Waiting does not help. `protocol`: the one that the settings name; "auto" if it was to be found out.
    """

    def __init__(self, detail: str = "", *, protocol: str = "auto") -> None:
        super().__init__(detail)
        self.protocol = protocol


class VerificationFailed(ResyncError):
    """The rebuilt cache and the server differ in `differences` items."""

    exit = Exit.UNVERIFIED

    def __init__(self, detail: str = "", *, differences: int = 0) -> None:
        super().__init__(detail)
        self.differences = differences


class LocalError(ResyncError):
    """A problem on this computer."""

    summary = "there is a problem on this computer"
    exit = Exit.USAGE


class NotEnoughSpace(LocalError):
    """The disk is full, or too small.

    `needed`, `available`: bytes at `where`; `needed` is 0 if a write failed before the need was known. `sentence`: the
    whole sentence, where figures would mislead (a quota, a limit on file sizes). `advice`: a command that needs less
    space, or "".
    """

    exit = Exit.NOT_ENOUGH_SPACE

    def __init__(
        self,
        detail: str = "",
        *,
        needed: int = 0,
        available: int = 0,
        where: str = "",
        sentence: str = "",
        advice: str = "",
    ) -> None:
        super().__init__(detail)
        self.needed = needed
        self.available = available
        self.where = where
        self.sentence = sentence
        self.advice = advice


class DiskTrouble(LocalError):
    """The disk, the file system or a limit of the process refused.

    The detail says what to do.
    """


class CacheInUse(LocalError):
    """Another program has the cache or the profile open."""

    exit = Exit.IN_USE


class TargetInUse(LocalError):
    """Another export is writing to the same folder."""

    exit = Exit.IN_USE


class OtherAccount(LocalError):
    """The cache belongs to another account or another server."""

    exit = Exit.OTHER_ACCOUNT


class NoCache(LocalError):
    """There is no cache yet."""

    exit = Exit.REBUILD_NEEDED


class CacheDamaged(LocalError):
    """The database file is damaged.

    The server still has everything except unsent changes.
    """

    exit = Exit.REBUILD_NEEDED


class OtherFormat(CacheDamaged):
    """The database file has a format that this version does not read; it may be sound."""


class OlderFormat(OtherFormat):
    """The database file has an older format, which an upgrade converts."""


class OutputFull(LocalError):
    """Standard output goes to a disk that is full."""

    exit = Exit.NOT_ENOUGH_SPACE


class BadSettings(LocalError):
    """A setting, an argument or the profile folder is unusable."""


class Postponed(LocalError):
    """The window of the run is closed, or closed while the run worked."""

    exit = Exit.POSTPONED


# Of the first class that matches: what happened, and what to do. {what} is the call, if there is one. An empty advice
# means that the detail has it.
_SENTENCES: tuple[tuple[type[ResyncError], str, str], ...] = (
    (BadCredentials, "The server refused the user name or password ({detail})", "; check both and run again."),
    (CertificateError, "The server's certificate is not trusted: {detail}.", ""),
    (Misconfigured, "The server cannot be reached this way: {detail}.", ""),
    (Unreachable, "The server cannot be reached: {detail}.", " Check the address and the network, then run again."),
    (Overloaded, "The server is too busy: {detail}.", " What was fetched is kept; run again later to resume."),
    (
        ForeignReply,
        "Another program answered in the server's place: {detail}.",
        " Check whether this network needs a login or a proxy. What was fetched is kept; run again to resume.",
    ),
    (
        TransientServerError,
        "The connection to the server broke: {detail}.",
        " What was fetched is kept; run again to resume.",
    ),
    (
        ServerRefused,
        "The server refused a request ({what}{detail}, code {code}).",
        " Run again; if it persists, tell the server's administrator.",
    ),
    (
        UnknownServer,
        "This is {server}: {detail}.",
        " Check the address, and whether this network needs a login (open any web page in a browser) or a proxy.",
    ),
    (
        ProtocolError,
        "Unexpected response from the server: {detail}.",
        " Check that the address is that of the mail server.",
    ),
    (
        VerificationFailed,
        "Verification failed: {detail}.",
        " Run again; if it persists, the server contradicts itself: tell its administrator.",
    ),
    (
        CacheInUse,
        "The cache is in use: {detail}.",
        " Close the mail program (or wait for the other run) and run again.",
    ),
    (OlderFormat, "The local cache cannot be used: {detail}.", " Run `kerio-resync upgrade`."),
    (OtherFormat, "The local cache cannot be used: {detail}.", " Run `kerio-resync rebuild`."),
    (CacheDamaged, "The local cache is damaged: {detail}.", " Run `kerio-resync rebuild`."),
)
_WRONG_SERVERS = {  # by the protocol of the settings
    "auto": "neither a Kerio Connect nor a JMAP server",
    "kerio": "not a Kerio Connect server (with --protocol auto, JMAP is tried too)",
    "jmap": "not a JMAP server (with --protocol auto, Kerio Connect is tried too)",
}
OTHER_PROFILE = "use another --profile, or --same-mailbox if this is the same mailbox under a new name"
_FREE_SPACE = "Free some space and run again"
INTERRUPTED, INTERNAL_ERROR = "interrupted", "internal-error"  # kinds of what is not a ResyncError
_ADVICE = {  # of kinds whose sentences are not made of the table
    INTERRUPTED: "Run again to resume.",
    INTERNAL_ERROR: "Please report it with crash.log, which is in the profile.",
    "not-enough-space": f"{_FREE_SPACE}.",
    "other-account": f"{OTHER_PROFILE[:1].upper()}{OTHER_PROFILE[1:]}.",
}


def words_of(error: BaseException) -> str:
    """Return an error as part of a sentence: its detail, else its summary."""
    return str(error) or (error.summary if isinstance(error, ResyncError) else ResyncError.summary)


def explain(error: BaseException) -> tuple[str, Exit]:
    """Return a message for the user, with what to do, and the exit code."""
    match error:
        case NotEnoughSpace():
            return _explain_space(error), error.exit
        case ResyncError():
            return _explain_by_table(error), error.exit
        case BaseExceptionGroup():
            return explain(_most_severe(error))
        case OSError() if error.errno in CERTAIN:  # raised where no module maps it
            text = describe(error, error.filename or "the profile")
            return f"{text[:1].upper()}{text[1:]}.", Exit.NOT_ENOUGH_SPACE if error.errno in NO_ROOM else Exit.USAGE
        case Exception():
            kind = type(error).__name__
            return (
                f"Internal error in kerio-resync ({kind}).",
                Exit.INTERNAL_ERROR,
            )
        case _:  # CancelledError, KeyboardInterrupt
            return "Interrupted; run again to resume.", Exit.INTERRUPTED


def kind_of(error: BaseException) -> str:
    """Return the kind of an error, for JSON: its class in lower case, with hyphens.

    It names the same error as the sentence of `explain`. Scripts depend on the kinds, so the class is one of this
    module also where a subclass is raised.
    """
    match error:
        case ResyncError():
            return _kind_of_class(next(each for each in type(error).__mro__ if each.__module__ == __name__))
        case BaseExceptionGroup():
            return kind_of(_most_severe(error))
        case OSError() if error.errno in CERTAIN:
            return _kind_of_class(NotEnoughSpace if error.errno in NO_ROOM else DiskTrouble)
        case Exception():
            return INTERNAL_ERROR
        case _:
            return INTERRUPTED


def advice_of(kind: str) -> str:
    """Return what to do about errors of a kind, as a sentence.

    It is the advice in the sentences of `explain`. "" if each of these sentences has its own, or the kind is unknown.
    """
    if kind in _ADVICE:
        return _ADVICE[kind]
    pending: list[type[ResyncError]] = [ResyncError]
    while pending:
        error = pending.pop()
        if _kind_of_class(error) == kind:
            advice = next((advice for each, _, advice in _SENTENCES if issubclass(error, each)), "").lstrip("; ")
            return advice[:1].upper() + advice[1:]
        pending += error.__subclasses__()
    return ""


def _kind_of_class(error: type[ResyncError]) -> str:
    return re.sub("(?<!^)(?=[A-Z])", "-", error.__name__).lower()


def end_sentence(text: str) -> str:
    """Return the text with a full stop, unless a sentence ends there already."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _explain_by_table(error: ResyncError) -> str:
    detail = error.detail.rstrip(".")
    for kind, sentence, advice in _SENTENCES:
        if isinstance(error, kind):
            method = getattr(error, "method", "")
            what = f"{method}: " if method else ""
            server = _WRONG_SERVERS[getattr(error, "protocol", "auto")]
            text = (sentence + advice).format(detail=detail, code=getattr(error, "code", 0), what=what, server=server)
            return text.replace("?.", "?")
    return end_sentence(f"{detail[:1].upper()}{detail[1:]}")


def _explain_space(error: NotEnoughSpace) -> str:
    if error.sentence:
        return error.sentence
    needed = f"{error.needed:,} bytes are needed and " if error.needed else ""
    advice = f", or use {error.advice}" if error.advice else ""
    return (
        f"There is not enough room on the disk: {needed}{error.available:,} are free at"
        f" {error.where or 'the profile'}. {_FREE_SPACE}{advice}."
    )


def _most_severe(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error of a group to report.

    An unexpected error comes first, then one of ours, then an interruption.
    """
    leaves = [_most_severe(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return min(leaves, key=lambda error: (not isinstance(error, Exception), isinstance(error, ResyncError)))
