"""plan.html: what it says, that names cannot break it, and that it stays small."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kerio_resync.fleet.outputs.page import plan_page
from kerio_resync.fleet.plan import Plan
from tests.support.browser import Browser, needs_browser, open_browser
from tests.support.plans import sample_plan

BAD = "<img src=x onerror=alert(1)>"
PRAGUE = ("Praha", "Europe/Prague")


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)).split())


def test_page_begins_with_who_when_and_what_others_feel() -> None:
    text = text_of(plan_page(sample_plan(60)))
    for sentence in (
        "All 60 users who need work have a wave.",
        "The first of 4 waves starts on Sat 28 Nov 2026 22:00 CET. The last user is expected to be ready on"
        " Sun 29 Nov 2026 03:40 CET, and between Sun 29 Nov 03:27 CET and Sun 29 Nov 04:06 CET.",
        "95 % of the webmail users’ requests wait at most 310 ms, and at most 1.6 times as long as without the"
        " upgrade; the limit is 2 times.",
        "Of the caches in waves, 45 are rebuilt from the server and 15 are converted on the machine; 79.7 GiB are"
        " fetched.",
        "If all started on Mon 30 Nov 2026 08:00 CET instead, the last user would be ready after 7 h 50 min, and"
        " 95 % of the webmail users’ requests would wait up to 14 s.",
    ):
        assert sentence in text


def test_page_names_who_does_not_fit_and_what_would_help() -> None:
    text = text_of(plan_page(sample_plan(60, unplaced=7, no_room=2)))
    for sentence in (
        "7 users have no wave, of 67 who need work.",
        "2 users have too little room on the disk, and must free some first.",
        "Too little time in the windows 7 users at Praha do not fit: its link is full until 06:00. 7 users: user00060,"
        " user00061, user00062 and 4 more. What would make these users fit: Add another window of 2 hours.",
        "No room on the disk 2 users have no room.",
        "user00067 pc-67 Brno 2.9 GiB 400 MiB",
    ):
        assert sentence in text


def test_problems_of_many_sites_share_their_remedies() -> None:
    plan = sample_plan(8, unplaced=3)
    more = [plan.problems[0].model_copy(update={"site": f"S{number}"}) for number in range(3)]
    odd = more[0].model_copy(update={"remedies": ("Ask the provider.",)})
    text = text_of(plan_page(plan.model_copy(update={"problems": (*more, odd)})))
    assert text.count("Raise the link share to 95 %.") == 1
    assert "S0, S1, S2: Raise the link share" in text
    assert "S0: Ask the provider." in text


def test_text_between_backticks_is_code_and_escaped() -> None:
    plan = sample_plan(8, unplaced=1)
    problem = plan.problems[0].model_copy(update={"remedies": (f"Set `a = {BAD}` or ` {BAD}",)})
    page = plan_page(plan.model_copy(update={"problems": (problem,)}))
    assert "Set <code>a = &lt;img src=x onerror=alert(1)&gt;</code> or  &lt;img" in page


def test_page_of_a_plan_without_waves_is_complete() -> None:
    plan = sample_plan(0, no_room=1)
    page = plan_page(plan.model_copy(update={"naive": None, "load": ()}))
    assert "No user needs a wave." in page
    assert page.rstrip().endswith("</html>")
    assert "<h2>Waves</h2>" not in page


def test_page_of_local_upgrades_only_has_no_links() -> None:
    plan = sample_plan(8)
    load = tuple(part.model_copy(update={"links": {}}) for part in plan.load)
    page = plan_page(plan.model_copy(update={"load": load}))
    assert "Busiest link" in page
    assert "up to 78%" not in page
    assert "<h2>Waves</h2>" in plan_page(plan.model_copy(update={"load": (), "naive": None}))


def test_labels_of_hours_follow_the_clock_when_it_changes() -> None:
    plan = sample_plan(8)
    back = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Prague; at 03:00 it is 02:00 again
    shift = back - plan.windows[0].start
    window = plan.windows[0].model_copy(update={"start": back, "end": back + timedelta(hours=5)})
    waves = tuple(
        wave.model_copy(update={name: getattr(wave, name) + shift for name in ("start", "end", "end_low", "end_high")})
        for wave in plan.waves[:2]
    )
    page = plan_page(plan.model_copy(update={"windows": (window,), "waves": waves, "load": ()}))
    labels = re.findall(r'style="left:([\d.]+)%">(\d\d:\d\d)', page)[:5]
    assert labels == [("0.0", "00:00"), ("20.0", "01:00"), ("40.0", "02:00"), ("80.0", "03:00"), ("100.0", "04:00")]


def test_unnoticed_waits_are_said_to_be_unnoticed() -> None:
    page = plan_page(sample_plan(8).model_copy(update={"peak_p95_s": 0.04, "peak_p95": 1.0}))
    assert "Webmail users notice nothing: 95 % of their requests wait at most 40 ms" in page
    page = plan_page(sample_plan(8).model_copy(update={"peak_p95_s": 0.0, "peak_p95": 1.0}))
    assert "Webmail users notice nothing: 95 % of their requests do not wait at all." in page


def test_naive_start_has_the_same_scales_as_the_plan() -> None:
    page = plan_page(sample_plan(60))
    pairs = re.findall(r'<div class="pair">(.*?)</div>\n</div>\n', page, re.DOTALL)
    assert len(pairs) == 3
    for pair in pairs:
        axes = re.findall(r'<div class="y">(.*?)</div>', pair)
        assert len(axes) == 2
        assert axes[0] == axes[1]
    hours = [re.findall(r'style="left:([\d.]+)%">(\d\d:\d\d)', side) for side in pairs[0].split("All at once")]
    (_, first), (_, second) = (_hour_width(ticks) for ticks in hours)
    assert first == pytest.approx(second, rel=0.02)


def _hour_width(ticks: list[tuple[str, str]]) -> tuple[int, float]:
    """Return the width of an hour in percent of the axis, from the second and third label."""
    (one, at), (two, later) = ticks[1:3]
    hours = (int(later[:2]) - int(at[:2])) % 24
    return hours, (float(two) - float(one)) / hours


def test_names_of_the_inventory_are_escaped_everywhere() -> None:
    plan = sample_plan(20, [(BAD, "Asia/Kolkata"), PRAGUE], names="{}\n" + BAD, unplaced=3, no_room=2)
    page = plan_page(plan, [f"A notice {BAD}"])
    assert BAD not in page
    assert not re.search(r"<(script|iframe|img|link|object)\b|url\(|@import", page)
    assert "default-src 'none'" in page


def test_times_of_sites_in_several_zones_name_their_zone() -> None:
    text = text_of(plan_page(sample_plan(20, [PRAGUE, ("New York", "America/New_York")])))
    assert re.search(r"New York 10 .*Sat 28 Nov 16:00 EST", text)
    assert re.search(r"Praha 10 .*Sat 28 Nov 22:00 CET", text)
    assert "Times are in Europe/Prague" in text


def test_page_of_many_users_stays_small() -> None:
    sites = [(f"Site {number}", "Europe/Prague") for number in range(120)]
    page = plan_page(sample_plan(4000, sites, windows=20, waves_per_window=10, unplaced=900, no_room=900))
    assert len(page) < 400_000
    assert page.count('<div class="row"><span>Wave') <= 60
    assert "140 more waves in plan.csv." in page
    assert "880 more users in plan.csv." in page


@pytest.mark.parametrize("mark", [pytest.param(None, marks=needs_browser)])
def test_page_fits_wide_and_narrow_windows_without_covered_labels(mark: None, tmp_path: Path) -> None:
    plans = [
        sample_plan(60, unplaced=3, no_room=2),
        sample_plan(300, [PRAGUE, ("Québec " * 6, "America/New_York"), ("A", "Europe/Prague")], windows=3),
        _short(),
        _last_window_short(),
    ]
    with open_browser() as browser:
        for number, plan in enumerate(plans):
            file = tmp_path / f"{number}.html"
            file.write_text(plan_page(plan), encoding="utf-8")
            for width in (1280, 390):
                browser.open(file.as_uri(), width, dark=width == 390)
                _look(browser)


def _short() -> Plan:
    """Return a plan whose waves end long before the window does."""
    plan = sample_plan(12, waves_per_window=1)
    return plan.model_copy(
        update={"windows": (plan.windows[0].model_copy(update={"end": plan.windows[0].end + timedelta(hours=9)}),)}
    )


def _last_window_short() -> Plan:
    """Return a plan of 60,000 users, whose last window is used for half an hour."""
    plan = sample_plan(160, windows=5, waves_per_window=10)
    last = plan.waves[-10].model_copy(update={"end": plan.waves[-10].start + timedelta(minutes=30),
                                              "end_high": plan.waves[-10].start + timedelta(minutes=31)})  # fmt: skip
    waves = [*plan.waves[:-10], last]
    sites = plan.waves[0].sites
    many = tuple(
        wave.model_copy(update={"sites": tuple(site.model_copy(update={"users": 12_345}) for site in sites)})
        for wave in waves
    )
    return plan.model_copy(update={"waves": many})


def _look(browser: Browser) -> None:
    assert browser.overflow() <= 0
    assert browser.errors() == []
    assert browser.foreign_addresses("file:") == []
    covered = browser.run(
        """return [...document.querySelectorAll('.x, .legend')].flatMap((axis) => {
          const labels = [...axis.children].filter((label) => label.textContent && label.offsetParent !== null);
          const boxes = labels.map((label) => label.getBoundingClientRect());
          const right = axis.getBoundingClientRect().right + 1;
          return labels.filter((label, place) => boxes[place].right > right || (place
              && boxes[place].top === boxes[place - 1].top && boxes[place].left < boxes[place - 1].right)
          ).map((label) => label.textContent)
        })"""
    )
    assert covered == []
    cut = browser.run(
        "return [...document.querySelectorAll('.row > span')].filter((cell) => cell.scrollWidth > cell.clientWidth + 1)"
        ".map((cell) => cell.textContent)"
    )
    assert cut == []
    tall = browser.run("return [...document.querySelectorAll('tr')].filter((row) => row.children.length > 4"
                       " && row.clientHeight > 90).map((row) => row.textContent)")  # fmt: skip
    assert tall == []
