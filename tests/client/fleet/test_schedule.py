"""The planner: limits and windows hold, and no user is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerio_resync.fleet import remedies
from kerio_resync.fleet.assemble import make_plan
from kerio_resync.fleet.capacity import Capacity, ClientSeconds, MeasuredMailbox, Point
from kerio_resync.fleet.inputs.inventory import Inventory, Person
from kerio_resync.fleet.inputs.settings import PlanSettings, settings_from
from kerio_resync.fleet.inputs.windows import parse_window, resolve_windows
from kerio_resync.fleet.make_plan import PlanInput
from kerio_resync.fleet.model import server
from kerio_resync.fleet.plan import Inputs, Plan

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
INPUTS = Inputs(inventory="people.csv", settings="", capacity="", seed=None, notices=())
STATES = ("absent", "old", "damaged", "current", "")


def capacity(rate: float, clients: int = 16, p95: float = 0.15) -> Capacity:
    """Return a server whose total grows up to `clients` at once."""
    counts = (1, clients) if clients > 1 else (1,)
    return Capacity(
        measured=NOW, server="mail.example.com", mailbox=MeasuredMailbox(items=1000, bytes=50_000_000),
        users_alone_p95_s=0.1,
        points=tuple(
            Point(clients=count, seconds=ClientSeconds(fastest=1, median=1, slowest=1), items_per_s=1,
                  bytes_per_s=rate * count / counts[-1], users_p95_s=p95)
            for count in counts
        ),
    )  # fmt: skip


def settings_of(sites: int = 1, link: Any = "50 Mbit/s", **more: Any) -> PlanSettings:
    return settings_from({"site": [{"name": f"site{n}", "down": link} for n in range(sites)], **more}, "x")


def plan(people: list[Person], given_: PlanSettings, windows: list[str], server: Capacity | None = None) -> Plan:
    resolved = resolve_windows([parse_window(text) for text in windows], "UTC", NOW)
    return make_plan(PlanInput(Inventory(tuple(people)), given_, resolved, NOW, server or capacity(20e6)), INPUTS)


@dataclass(frozen=True)
class Case:
    people: list[Person]
    settings: PlanSettings
    windows: list[str]
    server: Capacity


@st.composite
def cases(draw: st.DrawFn) -> Case:
    sites = draw(st.integers(1, 3))
    people = [
        Person(
            f"user{n}", f"site{draw(st.integers(0, sites - 1))}", draw(st.floats(0, 2e10)),
            state=draw(st.sampled_from(STATES)), version=draw(st.sampled_from(("", "7.1", "7.2", "7.3", "5"))),
            cache_bytes=draw(st.none() | st.integers(0, 10**11)), free_bytes=draw(st.none() | st.integers(0, 10**11)),
        )
        for n in range(draw(st.integers(1, 25)))
    ]  # fmt: skip
    given_ = settings_of(sites, draw(st.floats(1e5, 1e8)), uncertainty=draw(st.floats(0, 1)))
    windows = ["2026-12-01 22:00-06:00", "2026-12-02 21:00-23:30"][: draw(st.integers(1, 2))]
    return Case(
        people,
        given_,
        windows,
        capacity(draw(st.floats(1e5, 1e8)), draw(st.integers(1, 20)), draw(st.floats(0.1, 0.3))),
    )


@patch.object(remedies, "MAX_TRIALS", 1)  # the trials take most of the time, and are tested below
@settings(max_examples=10, deadline=None)
@given(cases())
def test_plan_keeps_everyone_once_and_all_promises(case: Case) -> None:
    made = plan(case.people, case.settings, case.windows, case.server)
    placed = [user for wave in made.waves for user in wave.users]
    assert Counter(user.user for user in (*placed, *made.others)) == Counter(p.user for p in case.people)
    named = {user for problem in made.problems for user in problem.users}
    assert named == {user.user for user in made.others if user.action != "nothing"}
    assert made.ok == (not named)
    assert made.totals.unplaced == sum(user.action in ("rebuild", "upgrade") for user in made.others)
    for wave in made.waves:
        window = made.windows[wave.window]
        assert sum(part.users for part in wave.sites) == len(wave.users) > 0
        assert sum(part.bytes for part in wave.sites) == wave.bytes == sum(user.bytes for user in wave.users)
        for user in wave.users:
            assert user.start is not None
            assert user.end is not None
            assert user.end_low is not None
            assert user.end_high is not None
            assert window.start <= wave.start <= user.start <= wave.start + timedelta(seconds=wave.splay_s)
            assert user.start <= user.end_low <= user.end <= user.end_high <= window.end + timedelta(seconds=2)
    assert made.totals.bytes == sum(user.bytes for user in placed)
    assert made.peak_p95 <= made.limits.users_p95 + 0.001
    for series in made.load:
        assert max(series.active) <= (case.server.points[-1].clients) + 1e-6
        for shares in series.links.values():
            assert max(shares) <= made.limits.link_share + 0.001


@patch.object(remedies, "MAX_TRIALS", 1)
@settings(max_examples=3, deadline=None)
@given(cases())
def test_plan_is_the_same_for_the_same_input(case: Case) -> None:
    one, other = (plan(case.people, case.settings, case.windows, case.server) for _ in range(2))
    assert one.model_dump_json() == other.model_dump_json()
    assert Plan.model_validate_json(one.model_dump_json()) == one


def fetched(made: Plan) -> float:
    """Return the bytes that the series say were fetched."""
    total = 0.0
    for series in made.load:
        for site in made.sites:
            total += sum(series.links[site.name]) * series.step_s * site.down
    return total


def test_bytes_in_the_series_are_those_of_the_rebuilds() -> None:
    people = [Person(f"user{n}", "site0", 1e8 * (n + 1), state="absent") for n in range(20)]
    made = plan(people, settings_of(), ["2026-12-01 22:00-06:00"])
    assert made.ok
    assert fetched(made) == pytest.approx(made.totals.bytes, rel=0.02)


def test_clients_at_a_site_get_a_bwlimit_that_keeps_the_share() -> None:
    people = [Person(f"user{n}", "site0", 1e9, state="absent") for n in range(6)]
    made = plan(people, settings_of(link="20 Mbit/s"), ["2026-12-01 22:00-06:00"])
    (part,) = made.waves[0].sites
    assert part.bwlimit == 1_000_000  # two at once, 80 % of 2.5 MB/s
    assert 0.7 < max(made.load[0].links["site0"]) <= 0.8


def test_no_client_starts_that_would_make_webmail_users_wait() -> None:
    people = [Person(f"user{n}", "site0", 1e8, state="absent") for n in range(3)]
    made = plan(people, settings_of(), ["2026-12-01 22:00-06:00"], capacity(20e6, p95=0.5))
    assert not made.waves
    (problem,) = made.problems
    assert problem.kind == "server"


def test_mailbox_that_no_window_holds_is_named_with_what_helps() -> None:
    people = [Person("huge", "site0", 2e11, state="absent"), Person("small", "site0", 1e8, state="absent")]
    made = plan(people, settings_of(link="50 Mbit/s"), ["2026-12-01 22:00-06:00"], capacity(1e9, 100))
    (problem,) = made.problems
    assert (problem.kind, problem.users) == ("mailbox", ("huge",))
    assert any("Mbit/s instead of 50 Mbit/s at site0" in remedy for remedy in problem.remedies)


def test_remedies_that_are_named_make_all_fit() -> None:
    people = [Person(f"user{n:02}", "site0", 2e9, state="absent") for n in range(22)]
    short, given_ = ["2026-12-01 22:00-00:00"], settings_of(link="20 Mbit/s")
    made = plan(people, given_, short)
    (problem,) = made.problems
    assert problem.kind == "window"
    assert any(remedy.startswith("Another window of 4 h") for remedy in problem.remedies)
    assert plan(people, given_, [*short, "2026-12-02 22:00-02:00"]).ok
    assert not plan(people, given_, [*short, "2026-12-02 22:00-00:00"]).ok


def test_upgrades_are_planned_beside_rebuilds_and_take_no_link() -> None:
    old = [Person(f"old{n}", "site0", 2e9, state="old", version="7.2", cache_bytes=2_000_000_000) for n in range(40)]
    made = plan([*old, Person("new", "site0", 1e8, state="absent")], settings_of(), ["2026-12-01 22:00-06:00"])
    assert made.ok
    assert (made.totals.upgrade, made.totals.rebuild) == (40, 1)
    assert sum(user.bytes for wave in made.waves for user in wave.users if user.action == "upgrade") == 0
    assert len(made.waves) == 4  # spread over the first half of eight hours


def test_naive_start_is_worse_than_the_plan() -> None:
    people = [Person(f"user{n}", "site0", 1e9, state="absent") for n in range(40)]
    made = plan(people, settings_of(link="50 Mbit/s"), ["2026-12-01 22:00-06:00"])
    assert made.naive is not None
    assert made.naive.start == datetime(2026, 12, 2, 8, tzinfo=UTC)
    assert made.naive.links_full_s["site0"] > 1000
    assert made.naive.end is not None
    assert made.totals.end is not None
    assert max(made.naive.series.active) > max(made.load[0].active)


def test_plan_made_within_a_window_starts_now() -> None:
    people = [Person("anna", "site0", 1e8, state="absent")]
    made = plan(people, settings_of(), ["2026-12-01 10:00-14:00"])
    assert made.waves[0].start == NOW


def test_limit_on_waits_holds_on_a_server_with_workers() -> None:
    people = [Person(f"user{n:02}", f"site{n % 2}", 3e7 * (n + 1), state="absent") for n in range(40)]
    given_ = settings_of(2, "200 Mbit/s", server={"workers": 4, "webmail": {"per_second": 12}})
    resolved = resolve_windows([parse_window("2026-12-01 18:00-06:00")], "UTC", NOW)
    with patch.object(server, "EVENTS", 3000):
        made = make_plan(PlanInput(Inventory(tuple(people)), given_, resolved, NOW), INPUTS)
    assert made.ok
    assert 0.02 < made.peak_p95_s <= 2 * max(max(series.alone_p95_s) for series in made.load) + made.limits.unnoticed_s
    assert made.peak_p95 <= made.limits.users_p95 * 1.001
