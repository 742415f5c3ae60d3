"""Folders, however many there are, and the size of the mailbox."""

from __future__ import annotations

from typing import Any

import pytest

from kerio_resync.errors import ProtocolError
from kerio_resync.events import Event, Notice, Skipped
from kerio_resync.model import Folder, Quota
from kerio_resync.server.http.transport import Request
from kerio_resync.server.jmap.mailbox import JmapMailbox
from tests.client.server.jmap.test_listing import filled
from tests.support.jmap_double.choices import LIKE_CYRUS, Choices
from tests.support.jmap_double.running import opened


async def listed(mailbox: JmapMailbox) -> dict[str, Folder]:
    return {folder.id: folder for folder in await mailbox.folders(shared=True)}


@pytest.mark.parametrize("choices", [Choices(query_rows=3), Choices(), LIKE_CYRUS])
def test_folders_are_complete_whatever_the_server_returns_at_once(choices: Choices) -> None:
    double = filled(choices, 10)
    folders = opened(double, listed)
    assert {one.id: (one.name, one.parent_id) for one in folders.values()} == {
        one.id: (one.name, one.parent or "") for one in double.store.mailboxes.values()
    }
    for folder in folders.values():
        assert folder.count == len(list(double.store.in_mailbox(folder.id)))


def test_folders_miss_none_if_another_disappears_meanwhile() -> None:
    double = filled(Choices(query_rows=3), 3)
    first = list(double.store.mailboxes)[1]

    async def disturb(request: Request) -> None:
        if b'"position":3' in (request.body or b"") and first in double.store.mailboxes:
            double.store.remove_mailbox(first)

    folders = opened(double, listed, before=disturb)
    assert set(folders) == set(double.store.mailboxes)


def test_folders_that_change_all_the_time_end() -> None:
    double = filled(Choices(query_rows=3), 3)

    async def disturb(request: Request) -> None:
        if b"Mailbox/query" in (request.body or b""):
            double.store.mutate("arrive")

    with pytest.raises(ProtocolError, match="all the time"):
        opened(double, listed, before=disturb)


def test_folders_leave_out_invalid_ones_and_withdrawn_accounts() -> None:
    double = filled(LIKE_CYRUS, 3)
    double.share("b", "bob@example.com")
    events: list[Event] = []

    def spoilt(result: dict[str, Any], _: Any) -> dict[str, Any]:
        return {**result, "list": [{**result["list"][0], "id": None}, 7, *result["list"][1:]]}

    async def work(mailbox: JmapMailbox) -> int:
        double.alter("Mailbox/get", spoilt)
        del double.stores["b"]
        return len(await listed(mailbox))

    assert opened(double, work, events=events) == len(double.store.mailboxes) - 1
    assert [event.scope for event in events if isinstance(event, Skipped)] == ["folder"] * 3


def test_quota_is_what_the_server_states() -> None:
    double = filled(Choices(), 5)
    size = sum(len(mail.source) for mail in double.store.mails.values())
    assert opened(double, lambda mailbox: mailbox.quota()) == Quota(5, size)
    like_cyrus = filled(LIKE_CYRUS, 1)
    like_cyrus.alter("Quota/get", lambda *_: {"list": [{"id": "mail", "used": 7000, "total": 9000}]})
    assert opened(like_cyrus, lambda mailbox: mailbox.quota()) == Quota(0, 7000)
    assert opened(filled(Choices(quota=False), 1), lambda mailbox: mailbox.quota()) == Quota(0, 0)


def test_contacts_and_calendars_are_left_out_with_one_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    double = filled(Choices(), 1)
    resource = double.session()
    resource["capabilities"]["urn:ietf:params:jmap:contacts"] = {}
    monkeypatch.setattr(double, "session", lambda: resource)
    events: list[Event] = []

    async def work(mailbox: JmapMailbox) -> None:
        await mailbox.folders()
        await mailbox.folders()

    opened(double, work, events=events)
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "Only mail is synchronised over JMAP; contacts and calendars are left out."
    ]
