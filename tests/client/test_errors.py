from __future__ import annotations

import asyncio
import errno
import inspect

import pytest

from kerio_resync import errors
from kerio_resync.errors import Exit, ResyncError, explain
from kerio_resync.server.kerio.replies import MalformedJson

TABLE: list[tuple[BaseException, Exit, str]] = [
    (
        errors.BadCredentials("no such user", code=1000),
        Exit.CREDENTIALS,
        "refused the user name or password (no such user)",
    ),
    (errors.Unreachable("connection refused"), Exit.UNFINISHED, "cannot be reached: connection refused."),
    (errors.CertificateError("it has expired"), Exit.UNFINISHED, "certificate is not trusted: it has expired."),
    (errors.Misconfigured("try https"), Exit.UNFINISHED, "cannot be reached this way: try https."),
    (errors.Misconfigured("did you mean x?"), Exit.UNFINISHED, "way: did you mean x?"),
    (errors.OutcomeUnknown("reset"), Exit.UNFINISHED, "connection to the server broke: reset."),
    (errors.ForeignReply("a page", status=200), Exit.UNFINISHED, "program answered in the server's place: a page."),
    (errors.Overloaded("503", retry_after=3), Exit.UNFINISHED, "too busy: 503."),
    (errors.TransientServerError("x"), Exit.UNFINISHED, "connection to the server broke: x."),
    (errors.ServerRefused("no", code=7, method="A.b"), Exit.UNEXPECTED_RESPONSE, "(A.b: no, code 7)"),
    (errors.ServerRefused("no {detail}", code=7), Exit.UNEXPECTED_RESPONSE, "(no {detail}, code 7)"),
    (errors.SessionExpired("s"), Exit.UNEXPECTED_RESPONSE, "refused a request (s"),
    (errors.KeyExpired("k"), Exit.UNEXPECTED_RESPONSE, "refused a request (k"),
    (errors.ItemGone("i"), Exit.UNEXPECTED_RESPONSE, "refused a request (i"),
    (errors.FolderDenied("f"), Exit.UNEXPECTED_RESPONSE, "refused a request (f"),
    (errors.TooLarge("t"), Exit.UNEXPECTED_RESPONSE, "refused a request (t"),
    (errors.DownloadRefused("d"), Exit.UNEXPECTED_RESPONSE, "refused a request (d"),
    (errors.UnknownServer("a page"), Exit.UNEXPECTED_RESPONSE, "neither a Kerio Connect nor a JMAP server: a page."),
    (
        errors.UnknownServer("x", protocol="kerio"),
        Exit.UNEXPECTED_RESPONSE,
        "is not a Kerio Connect server (with --prot",
    ),
    (
        errors.UnknownServer("x", protocol="jmap"),
        Exit.UNEXPECTED_RESPONSE,
        "is not a JMAP server (with --protocol auto",
    ),
    (errors.ForeignAddress("elsewhere"), Exit.UNEXPECTED_RESPONSE, "Unexpected response from the server: elsewhere."),
    (errors.ProtocolError("no JSON"), Exit.UNEXPECTED_RESPONSE, "Unexpected response from the server: no JSON."),
    (errors.VerificationFailed("2 items differ", differences=2), Exit.UNVERIFIED, "failed: 2 items differ."),
    (
        errors.NotEnoughSpace(needed=2048, available=1024, where="/p"),
        Exit.NOT_ENOUGH_SPACE,
        "2,048 bytes are needed and 1,024 are free at /p",
    ),
    (
        errors.NotEnoughSpace(sentence="The quota is used up. Raise it."),
        Exit.NOT_ENOUGH_SPACE,
        "The quota is used up. Raise it.",
    ),
    (errors.NotEnoughSpace(needed=1, advice="`x`"), Exit.NOT_ENOUGH_SPACE, "run again, or use `x`."),
    (errors.DiskTrouble("the disk is odd. Check it"), Exit.USAGE, "The disk is odd. Check it."),
    (errors.NotEnoughSpace(available=0), Exit.NOT_ENOUGH_SPACE, "disk: 0 are free at the profile"),
    (errors.CacheInUse("by pid 7"), Exit.IN_USE, "in use: by pid 7."),
    (errors.TargetInUse("/x is written by pid 7"), Exit.IN_USE, "/x is written by pid 7."),
    (errors.OtherAccount("the cache is another's"), Exit.OTHER_ACCOUNT, "The cache is another's."),
    (errors.NoCache("there is none"), Exit.REBUILD_NEEDED, "There is none."),
    (
        errors.OtherFormat("its format is 7.0"),
        Exit.REBUILD_NEEDED,
        "cannot be used: its format is 7.0. Run `kerio-resync rebuild`.",
    ),
    (
        errors.OlderFormat("its format is 7.2"),
        Exit.REBUILD_NEEDED,
        "cannot be used: its format is 7.2. Run `kerio-resync upgrade`.",
    ),
    (errors.CacheDamaged("page 1"), Exit.REBUILD_NEEDED, "damaged: page 1. Run `kerio-resync rebuild`."),
    (errors.BadSettings("no user is named."), Exit.USAGE, "No user is named."),
    (errors.Postponed("it is too late to begin"), Exit.POSTPONED, "It is too late to begin."),
    (errors.OutputFull("standard output is full"), Exit.NOT_ENOUGH_SPACE, "Standard output is full."),
    (errors.LocalError("x"), Exit.USAGE, "X."),
    (errors.ResyncError("something"), Exit.UNFINISHED, "Something."),
    (KeyboardInterrupt(), Exit.INTERRUPTED, "Interrupted; run again to resume."),
    (asyncio.CancelledError(), Exit.INTERRUPTED, "Interrupted; run again to resume."),
    (errors.OutputFull("standard output cannot be written"), Exit.NOT_ENOUGH_SPACE, "Standard output"),
    (ValueError("a mail's text"), Exit.INTERNAL_ERROR, "(ValueError)"),
]


@pytest.mark.parametrize(("error", "code", "says"), TABLE, ids=lambda value: type(value).__name__)
def test_each_error_has_one_sentence_and_one_code(error: BaseException, code: Exit, says: str) -> None:
    sentence, found = explain(error)
    assert found is code
    assert says in sentence
    assert "\n" not in sentence
    assert ".." not in sentence


def test_every_error_of_the_tree_is_in_the_table() -> None:
    tree = {each for each in vars(errors).values() if inspect.isclass(each) and issubclass(each, ResyncError)}
    assert {type(error) for error, _, _ in TABLE} >= tree


def test_an_unforeseen_error_is_named_but_not_quoted() -> None:
    assert "text" not in explain(ValueError("a mail's text"))[0]


@pytest.mark.parametrize(
    ("group", "code"),
    [
        ([errors.Unreachable("x")], Exit.UNFINISHED),
        ([asyncio.CancelledError(), errors.NotEnoughSpace(needed=1)], Exit.NOT_ENOUGH_SPACE),
        ([errors.Unreachable("x"), ValueError()], Exit.INTERNAL_ERROR),
        ([ExceptionGroup("inner", [errors.CacheInUse("x")])], Exit.IN_USE),
        ([KeyboardInterrupt()], Exit.INTERRUPTED),
    ],
)
def test_of_several_errors_the_weightiest_is_told(group: list[BaseException], code: Exit) -> None:
    assert explain(BaseExceptionGroup("several", group))[1] is code


@pytest.mark.parametrize(
    ("kind", "scope", "retryable"),
    [
        (errors.TransientServerError, "run", True),
        (errors.Unreachable, "run", True),
        (errors.Overloaded, "run", True),
        (errors.ForeignReply, "run", True),
        (errors.UnknownServer, "run", False),
        (errors.DownloadRefused, "item", False),
        (errors.ForeignAddress, "item", False),
        (errors.ItemGone, "item", False),
        (errors.TooLarge, "item", False),
        (errors.FolderDenied, "folder", False),
        (errors.ProtocolError, "run", False),
        (errors.CacheInUse, "run", False),
    ],
)
def test_scope_and_whether_to_try_again(kind: type[ResyncError], scope: str, retryable: bool) -> None:
    assert (kind("x").scope, kind.retryable) == (scope, retryable)
    assert errors.ServerRefused("x", scope="item").scope == "item"


def test_kinds_are_those_that_scripts_know() -> None:
    assert {errors.kind_of(error) for error, _, _ in TABLE} == {
        "bad-credentials", "bad-settings", "cache-damaged", "cache-in-use", "certificate-error", "disk-trouble",
        "download-refused", "folder-denied", "foreign-address", "foreign-reply", "internal-error", "interrupted",
        "item-gone", "key-expired", "local-error", "misconfigured", "no-cache", "not-enough-space", "older-format",
        "other-account", "other-format", "outcome-unknown", "output-full", "overloaded", "postponed", "protocol-error",
        "resync-error", "server-refused", "session-expired", "target-in-use", "too-large", "transient-server-error",
        "unknown-server", "unreachable", "verification-failed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "full"), "not-enough-space"),
        (OSError(errno.EROFS, "read-only"), "disk-trouble"),
        (ExceptionGroup("x", [errors.CacheInUse("x"), ValueError()]), "internal-error"),
        (BaseExceptionGroup("x", [asyncio.CancelledError(), errors.Overloaded("x")]), "overloaded"),
        (MalformedJson("x"), "protocol-error"),
    ],
)
def test_kind_of_foreign_grouped_and_derived_errors_is_that_of_the_sentence(error: BaseException, kind: str) -> None:
    assert errors.kind_of(error) == kind


def test_advice_of_a_kind_is_part_of_its_sentence() -> None:
    with_advice = 0
    for error, _, _ in TABLE:
        advice = errors.advice_of(errors.kind_of(error)).rstrip(".")
        if (
            advice
            and not getattr(error, "sentence", "")
            and errors.kind_of(error) not in ("internal-error", "other-account")
        ):
            assert advice.lower() in explain(error)[0].lower()
            with_advice += 1
    assert with_advice > 20
    assert errors.advice_of("bad-credentials") == "Check both and run again."
    assert errors.advice_of("no-such-kind") == ""


def test_the_codes_are_those_that_scripts_know() -> None:
    assert [code.value for code in Exit] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 130]


def test_explain_ends_a_question_without_a_full_stop() -> None:
    error = errors.BadSettings("there is no folder 'Nots'; did you mean 'Notes'?")
    assert errors.explain(error)[0] == "There is no folder 'Nots'; did you mean 'Notes'?"
