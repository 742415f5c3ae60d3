"""Churn changes the mailbox, the same in every run, and never breaks it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, get_args

import pytest

from kerio_mockserver.conditions.model import Action, Churn, Step
from kerio_mockserver.mailbox.churn.driver import Churning
from kerio_mockserver.mailbox.store import MailboxStore
from simulation.virtual_time import run


def mailbox() -> MailboxStore:
    """A small mailbox with folders of every kind."""
    store = MailboxStore()
    root = store.add_folder("", "Anna", "FRoot")
    inbox = store.add_folder(root, "Inbox", sub_type="FSubInbox")
    store.add_folder(root, "Drafts", sub_type="FSubDrafts")
    store.add_folder(root, "Sent Items", sub_type="FSubSentItems")
    project = store.add_folder(root, "Project")
    store.add_folder(project, "Minutes")
    for name, kind in [("Contacts", "FContact"), ("Calendar", "FCalendar"), ("Tasks", "FTask"), ("Notes", "FNote")]:
        store.add_folder(root, name, kind, "FSubDefault")
    for number in range(30):
        mail = {"subject": f"Mail {number}", "receiveDate": "20260101T080000Z", "isSeen": number % 2 == 0}
        store.add("mail", inbox if number % 3 else project, mail)
    return store


def by_name(store: MailboxStore) -> dict[str, Any]:
    return {folder["name"]: folder for folder in store.folders()}


def churning(
    churn: Churn | None = None, seed: int = 0, store: MailboxStore | None = None
) -> tuple[Churning, MailboxStore]:
    made = store or mailbox()
    return Churning(lambda: made, churn, seed=seed), made


def by_chance(seed: int, speed: float) -> tuple[list[Any], list[str], Any]:
    """500 changes at so many a second: journal, digest, history."""

    async def main() -> tuple[list[Any], list[str], Any]:
        one, store = churning(Churn(per_second=speed, limit=500), seed)
        one.start()
        await asyncio.sleep(1000)
        one.stop()
        return store.journal.history(), list(store.digest()), one.history()

    return run(main())


def test_history_depends_on_the_seed_not_on_speed() -> None:
    journal, digest, history = by_chance(1, 5)
    assert len(history) == 500
    assert by_chance(1, 500) == (journal, digest, history)
    assert by_chance(2, 5)[0] != journal


def test_changes_are_of_all_kinds_and_most_happen() -> None:
    _, _, history = by_chance(1, 5)
    done = Counter(one.action for one in history if one.id)
    assert done.keys() == set(get_args(Action))
    assert done.total() > 450


@pytest.mark.parametrize("action", get_args(Action))
def test_each_action_changes_the_journal(action: Action) -> None:
    one, store = churning()
    before = store.journal.watermark
    happened = one.do([Step(action=action, times=10)])
    assert {line.action for line in happened} == {action}
    assert all(line.id for line in happened) or action in ("remove-folder", "move-folder")
    assert store.journal.watermark > before


@pytest.mark.parametrize("action", get_args(Action))
def test_empty_mailbox_raises_no_error(action: Action) -> None:
    one, _ = churning(store=MailboxStore())
    one.do([Step(action=action, times=3)])
    assert len(one.history()) == 3


def test_step_changes_the_named_folder() -> None:
    one, store = churning()
    before = by_name(store)
    one.do([Step(action="delete", folder="Project", times=3), Step(action="arrive", folder="Minutes", times=2)])
    after = by_name(store)
    counts = {name: after[name]["messageCount"] - before[name]["messageCount"] for name in before}
    assert {name: count for name, count in counts.items() if count} == {"Project": -3, "Minutes": 2}
    (happened,) = one.do([Step(action="delete", folder="Nowhere")])
    assert happened.id == ""


def test_script_follows_replies() -> None:
    step = Step(action="arrive", method="Mails.*", nth=2, every=3, times=2, folder="Inbox")
    one, store = churning(Churn(script=(step,)))
    counts = []
    for _ in range(9):
        one.replied("Folders.get")
        one.replied("Mails.get")
        counts.append(by_name(store)["Inbox"]["messageCount"] - 20)
    assert counts == [0, 2, 2, 2, 4, 4, 4, 6, 6]
    assert [happened.number for happened in one.history()][:3] == ["script-0/2/0", "script-0/2/1", "script-0/5/0"]


def test_script_changes_the_same_in_each_run() -> None:
    script = (Step(action="move", nth=1, every=1), Step(action="delete", method="Mails.getById", nth=2, every=2))

    def journal() -> list[Any]:
        one, store = churning(Churn(script=script), seed=5)
        for method in ["Mails.get", "Mails.getById"] * 5:
            one.replied(method)
        return store.journal.history()

    assert journal() == journal() != []


def test_change_replaces_running_churn() -> None:
    async def main() -> None:
        one, store = churning(Churn(per_second=1, weights={"arrive": 1}))
        one.start()
        await asyncio.sleep(50)
        some = len(one.history())
        assert some == pytest.approx(50, abs=25)
        assert {happened.action for happened in one.history()} == {"arrive"}
        one.change(Churn(per_second=100, weights={"read": 1}))
        await asyncio.sleep(1)
        assert {happened.action for happened in one.history()} == {"read"}
        one.change(None)
        watermark = store.journal.watermark
        await asyncio.sleep(100)
        assert store.journal.watermark == watermark
        one.stop()

    run(main())
