"""Writes: each has its result, each is made once, and each is found again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from kerio_resync.errors import (
    FolderDenied,
    ItemGone,
    OutcomeUnknown,
    Overloaded,
    ProtocolError,
    ServerRefused,
    TooLarge,
)
from kerio_resync.model import WriteResult
from kerio_resync.redaction import Redactor
from kerio_resync.server.jmap.mailbox import JmapMailbox
from kerio_resync.server.jmap.writing import set_error
from kerio_resync.server.mailbox import Upload
from tests.client.server.jmap.test_listing import filled, version
from tests.support.jmap_double.choices import LIKE_CYRUS, Choices
from tests.support.jmap_double.running import opened
from tests.support.jmap_double.server import Fault, JmapDouble

SOURCE = b"From: jane@example.com\r\nSubject: made here\r\nMessage-ID: <made@here>\r\n\r\nahoj\r\n"


async def chunks(data: bytes = SOURCE) -> AsyncIterator[bytes]:
    yield data[:10]
    yield data[10:]


def flag_all(mailbox: JmapMailbox, double: JmapDouble, flags: bytes) -> Coroutine[Any, Any, tuple[WriteResult, ...]]:
    dialect = mailbox.dialect
    return mailbox.update(
        "mail", [dialect.with_id(dialect.flags_struct("mail", flags), one) for one in double.store.mails]
    )


def test_update_patches_flags_and_keeps_others() -> None:
    double = filled()  # in parts, since the server takes three at once
    before = {mail.id: set(mail.keywords) for mail in double.store.mails.values()}
    results = opened(double, lambda mailbox: flag_all(mailbox, double, b'{"seen":false,"flagged":true}'))
    for result, mail in zip(results, double.store.mails.values(), strict=True):
        assert mail.keywords == before[mail.id] - {"$seen"} | {"$flagged"}
        assert (result.id, result.version, result.error) == (mail.id, version(mail), None)


def test_update_names_mail_that_is_gone() -> None:
    double = filled(LIKE_CYRUS, 2)
    ids = list(double.store.mails)

    async def work(mailbox: JmapMailbox) -> tuple[WriteResult, ...]:
        structs = [mailbox.dialect.with_id(b'{"keywords/$seen":true}', one) for one in ids]
        double.store.destroy(ids[0])
        return await mailbox.update("mail", structs)

    first, second = opened(double, work)
    assert isinstance(first.error, ItemGone)
    assert second.error is None


@pytest.mark.parametrize("kind", ["lost", "cut", "503", "429", "refused", "serverFail"])
def test_update_is_repeated_until_answered(kind: Any) -> None:
    double = filled(LIKE_CYRUS, 3)
    double.faults.append(Fault(kind, "Email/set"))
    results = opened(double, lambda mailbox: flag_all(mailbox, double, b'{"flagged":true}'))
    assert [result.error for result in results] == [None] * 3
    assert all("$flagged" in mail.keywords for mail in double.store.mails.values())


@pytest.mark.parametrize("struct", [b"{}", b"[]", b'{"id":7}'])
def test_update_refuses_struct_without_id(struct: bytes) -> None:
    with pytest.raises(ValueError, match="id"):
        opened(filled(LIKE_CYRUS, 1), lambda mailbox: mailbox.update("mail", [struct]))


def test_move_leaves_only_the_folder_it_is_moved_from() -> None:
    double = filled(LIKE_CYRUS, 1)
    (mail,) = double.store.mails.values()
    first, second, third = list(double.store.mailboxes)[:3]
    double.store.change(mail.id, mailboxes={first, second})

    async def work(mailbox: JmapMailbox) -> None:
        (result,) = await mailbox.move("mail", [mail.id], third, from_folder_id=first)
        assert mail.mailboxes == {second, third}
        assert (result.id, result.version) == (mail.id, version(mail))
        await mailbox.move("mail", [mail.id], first)
        assert mail.mailboxes == {first}
        await mailbox.move("mail", [mail.id], first, from_folder_id=first)
        assert mail.mailboxes == {first}

    opened(double, work)


def test_move_to_another_account_is_refused() -> None:
    double = filled(LIKE_CYRUS, 1)
    other = double.share("b", "bob@example.com")

    async def work(mailbox: JmapMailbox) -> tuple[WriteResult, ...]:
        return await mailbox.move("mail", [*double.store.mails, "b/M"], f"b/{next(iter(other.mailboxes))}")

    first, second = opened(double, work)
    assert isinstance(first.error, ServerRefused)
    assert isinstance(second.error, ItemGone)
    assert (first.index, second.index) == (0, 1)


def test_remove_takes_missing_mails_for_deleted() -> None:
    double = filled(Choices(), 7)
    ids = [*double.store.mails, "Mnone"]
    double.faults.append(Fault("lost", "Email/set"))
    results = opened(double, lambda mailbox: mailbox.remove("mail", ids))
    assert [(result.index, result.error) for result in results] == [(number, None) for number in range(8)]
    assert not double.store.mails


async def imported(mailbox: JmapMailbox, folder_id: str, source: bytes = SOURCE) -> WriteResult:
    dialect = mailbox.dialect
    struct, data = dialect.from_source(b'{"seen":true,"draft":true}', source, "<uuid@outbox>")
    blob_id = await mailbox.upload("a.eml", "message/rfc822", chunks(data), len(data))
    struct = dialect.with_files("mail", struct, [Upload(blob_id, "a.eml", "message/rfc822", "")])
    (result,) = await mailbox.create("mail", folder_id, [struct])
    return result


def test_create_imports_source_with_flags() -> None:
    double = filled(LIKE_CYRUS, 1)
    folder_id = list(double.store.mailboxes)[1]
    result = opened(double, lambda mailbox: imported(mailbox, folder_id))
    mail = double.store.mails[result.id]
    assert (mail.source, mail.mailboxes, mail.keywords) == (SOURCE, {folder_id}, {"$seen", "$draft"})


def test_create_puts_mail_that_the_server_has_into_the_folder() -> None:
    double = filled(Choices(), 1)
    first, second = list(double.store.mailboxes)[:2]
    mail_id = double.store.deliver(SOURCE, {first})
    result = opened(double, lambda mailbox: imported(mailbox, second))
    assert (result.id, result.error) == (mail_id, None)
    assert double.store.mails[mail_id].mailboxes == {first, second}


@pytest.mark.parametrize("kind", ["lost", "cut", "html", "serverFail"])
def test_create_is_not_repeated_but_found(kind: Any) -> None:
    double = filled(LIKE_CYRUS, 5)
    folder_id = next(iter(double.store.mailboxes))
    double.faults.append(Fault(kind, "Email/import"))

    async def work(mailbox: JmapMailbox) -> tuple[str, ...]:
        with pytest.raises(OutcomeUnknown):
            await imported(mailbox, folder_id)
        struct, _ = mailbox.dialect.from_source(b"{}", SOURCE, "<uuid@outbox>")
        return await mailbox.find(mailbox.dialect.item_from_struct("mail", "local:1", folder_id, struct))

    found = opened(double, work)
    assert double.calls["Email/import"] == (kind != "html")
    assert list(found) == [mail.id for mail in double.store.mails.values() if mail.source == SOURCE]
    assert len(found) == (kind in ("lost", "cut"))


def test_create_of_email_object_sets_its_members() -> None:
    double = filled(LIKE_CYRUS, 1)
    folder_id = next(iter(double.store.mailboxes))
    struct = b'{"subject":"draft","messageId":["d@x"],"keywords":{"$draft":true},"id":"no","size":7}'
    (result,) = opened(double, lambda mailbox: mailbox.create("mail", folder_id, [struct]))
    assert b"Subject: draft" in double.store.mails[result.id].source


def test_create_names_refusal() -> None:
    (result,) = opened(filled(LIKE_CYRUS, 1), lambda mailbox: mailbox.create("mail", "F", [b'{"blobId":"none"}']))
    assert isinstance(result.error, ItemGone)


@pytest.mark.parametrize("choices", [LIKE_CYRUS, Choices()], ids=["searched", "search-refused"])
def test_find_compares_by_content_without_message_id(choices: Choices) -> None:
    double = filled(choices, 5)
    mail = next(iter(double.store.mails.values()))
    folder_id = min(mail.mailboxes)

    async def work(mailbox: JmapMailbox) -> tuple[str, ...]:
        batch = await mailbox.items_by_id("mail", [mail.id])
        item = batch.items[0]._replace(message_id="", folder_ids=(folder_id,))
        assert await mailbox.find(item._replace(title="")) == ()
        assert await mailbox.find(mailbox.dialect.with_changes(item, b'{"subject":"another"}')) == ()
        return await mailbox.find(item)

    assert opened(double, work) == (mail.id,)


@pytest.mark.parametrize("kind", ["lost", "503", "refused"])
def test_upload_is_repeated(kind: Any) -> None:
    double = filled(LIKE_CYRUS, 0)
    double.faults.append(Fault(kind, "upload"))
    opened(double, lambda mailbox: mailbox.upload("a", "text/plain", chunks(), len(SOURCE)))
    assert SOURCE in double.store.blobs.values()


def test_upload_refuses_file_of_other_length_or_too_large() -> None:
    double = filled(LIKE_CYRUS, 0)
    with pytest.raises(ProtocolError, match="another length"):
        opened(double, lambda mailbox: mailbox.upload("a", "text/plain", chunks(), 1))
    with pytest.raises(TooLarge):
        opened(double, lambda mailbox: mailbox.upload("a", "text/plain", chunks(), 10**9))
    assert not double.requests["/upload"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("notFound", ItemGone),
        ("forbidden", FolderDenied),
        ("tooLarge", TooLarge),
        ("rateLimit", Overloaded),
        ("overQuota", ServerRefused),
        (None, ServerRefused),
    ],
)
def test_set_error_is_one_of_ours(kind: str | None, error: type[Exception]) -> None:
    found = set_error("Email/set", {"type": kind, "description": "because"}, Redactor())
    assert type(found) is error
    assert "because" in str(found)
