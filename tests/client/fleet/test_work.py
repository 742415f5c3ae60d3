"""What a cache needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kerio_resync.fleet.inputs.inventory import Person
from kerio_resync.fleet.inputs.settings import PlanSettings
from kerio_resync.fleet.model.work import work_of

OLD = Person("anna", "Prague", 2e9, 20_000, state="old", version="7.2", cache_bytes=2_000_000_000, free_bytes=10**11)
SETTINGS = PlanSettings()


@pytest.mark.parametrize(
    ("person", "action", "reason"),
    [
        (OLD, "upgrade", "format 7.2"),
        (replace(OLD, version="7.1.0"), "upgrade", "format 7.1"),
        (replace(OLD, version="70200"), "upgrade", "format 7.2"),
        (replace(OLD, version=""), "upgrade", "is old"),
        (replace(OLD, version="6.9"), "rebuild", "cannot be upgraded"),
        (replace(OLD, state="", version="7.3"), "nothing", "up to date"),
        (replace(OLD, state="current"), "nothing", "up to date"),
        (replace(OLD, state="damaged"), "rebuild", "damaged"),
        (replace(OLD, state="absent"), "rebuild", "no cache"),
        (replace(OLD, state="", version=""), "rebuild", "unknown"),
        (replace(OLD, free_bytes=1_900_000_000), "rebuild", "an upgrade does not fit"),
        (replace(OLD, free_bytes=200_000_000), "rebuild", "only without the old cache"),
        (replace(OLD, free_bytes=1000, cache_bytes=1_000_000_000), "needs-room", "does not fit on the disk"),
        (replace(OLD, free_bytes=None), "upgrade", "format 7.2"),
    ],
)
def test_action_follows_from_format_and_room(person: Person, action: str, reason: str) -> None:
    work = work_of(person, SETTINGS, 1e9)
    assert work.action == action
    assert reason in work.reason
    assert work.drop_first == ("only without" in reason)


def test_upgrade_takes_five_minutes_per_gigabyte_and_no_server() -> None:
    work = work_of(OLD, SETTINGS, 1e9)
    assert (work.seconds, work.wire, work.calls) == pytest.approx((600, 0, 0))


def test_rebuild_fetches_less_without_attachments() -> None:
    broken = replace(OLD, state="damaged")
    kept = [
        work_of(
            broken,
            SETTINGS.model_copy(update={"mailbox": SETTINGS.mailbox.model_copy(update={"attachments_kept": how})}),
            1e9,
        )
        for how in ("all", "inbox", "none")
    ]
    assert kept[0].wire > kept[1].wire > kept[2].wire > 0
    assert kept[0].calls > kept[1].calls > kept[2].calls > 0


def test_rebuild_of_unknown_size_takes_that_of_the_others() -> None:
    unknown = Person("bert", "Prague", state="absent")
    assert work_of(unknown, SETTINGS, 2e9) == work_of(replace(unknown, mailbox_bytes=2e9), SETTINGS, 7)
