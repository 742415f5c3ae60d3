"""A small simulated mailbox that changes during the rebuild."""

from __future__ import annotations

from kerio_mockserver.conditions.model import Churn, Conditions, Fault
from kerio_mockserver.server import MockServer
from kerio_resync.events import Event, PhaseChanged, Progress, Retrying
from simulation.mailboxes import cached_mailbox
from simulation.world import PASSWORD, World


class Small(World):
    """A mailbox with each kind of item; each changes while it is fetched."""

    def __post_init__(self) -> None:
        self.store = cached_mailbox(self.seed, 16, folders=6, contacts=3, events=3, tasks=2, notes=2)
        self.server = MockServer(self.store, password=PASSWORD, seed=self.seed, conditions=Conditions(churn=Churn()))
        self.told: list[Event] = []
        self.changed = False

    def hear(self, event: Event) -> None:
        """Listens; changes each kind before the catch-up, so that items are fetched by id."""
        self.told.append(event)
        if self.changed or event != PhaseChanged("catch-up"):
            return
        self.changed = True
        for action in ("contact", "event", "task", "note", "arrive"):
            self.mutate(action, 6)

    def spoil(self, *faults: Fault) -> None:
        self.server.change(self.server.conditions.model_copy(update={"faults": faults}))

    def finished(self, **settings: object) -> None:
        """Runs to the end, compares, and checks the events."""
        assert self.run(self.hear, **settings) == "done"
        assert self.differences(everything="shared" in settings) == []
        assert self.report is not None
        closed = ["the server does not let you read 'Nur Namen'"] if "public" in settings else []
        assert [reason for _, _, reason in self.report.skipped] == closed
        self.told_sensibly()

    def told_sensibly(self) -> None:
        assert self.server.stats.internal_errors == []
        for each in self.told:
            if isinstance(each, Progress):
                assert each.seconds_left is None or each.seconds_left >= 0, each
                assert 0 <= each.items_done <= each.items_total, each
                assert 0 <= each.attachments_done <= each.attachments_total, each
                assert 0 <= each.folders_done <= each.folders_total, each
                assert 0 <= each.bytes_done <= each.bytes_total, each
            if isinstance(each, Retrying):
                assert each.reason
                assert each.wait >= 0
