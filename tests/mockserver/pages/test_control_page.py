"""The control page in Chromium: charts, each condition as a control, presets, churn, faults, journal, reset."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from selenium.webdriver.common.keys import Keys

from benchmarks.measure import load as benchmark
from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.conditions.presets import PRESETS
from tests.support import programs
from tests.support.browser import Browser, needs_browser
from tests.support.webmail_caller import control as ask
from tests.support.webmail_caller import mock_process

pytestmark = needs_browser


@pytest.fixture
def url() -> Iterator[str]:
    """The control port of a mock server under `monday-morning`."""
    with mock_process("--mails", "50", "--preset", "monday-morning") as caller:
        yield caller.control_url


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Browser]:
    """The open page; its console must stay empty."""
    browser.open(f"{url}/control/")
    browser.until(lambda: browser.text("#status") == "live")
    yield browser
    assert browser.errors() == []


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All members of conditions by path, those of lists with their index."""
    if isinstance(value, str | float | int | None):
        yield path, value
        return
    for name, member in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(member, f"{path}.{name}" if path else str(name))


def field(path: str) -> str:
    return f'[data-path="{path}"]'


def tab(page: Browser, name: str) -> None:
    page.find(f"#tab-{name}").click()


def test_page_loads_nothing_from_elsewhere(page: Browser, url: str) -> None:
    assert page.foreign_addresses(url) == []


@pytest.mark.parametrize(("width", "height", "dark"), [(1280, 900, False), (390, 844, True)])
def test_page_fits_the_window_in_both_colour_schemes(
    browser: Browser, url: str, width: int, height: int, dark: bool
) -> None:
    browser.open(f"{url}/control/", width, height, dark=dark)
    browser.until(lambda: browser.text("#status") == "live")
    assert browser.overflow() <= 0
    shade = browser.run("return getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(shade) < 3 * 64) == dark
    assert browser.errors() == []


@pytest.mark.parametrize("preset", ["flaky", "reindexing", "living-mailbox"])
def test_page_shows_the_present_value_of_every_condition(page: Browser, url: str, preset: str) -> None:
    conditions = ask(f"{url}/conditions", "PUT", PRESETS[preset].as_json())
    page.until(lambda: page.find("#preset").get_property("value") == preset)
    assert page.text("#preset-about")
    encodings = conditions["quirks"].pop("compression")
    assert [page.find(field(f"quirks.compression.{name}")).is_selected() for name in encodings] == [True] * 4
    for path, value in leaves(conditions):
        shown = page.run(
            "const e = document.querySelector(arguments[0]); return e.type === 'checkbox' ? e.checked : e.value",
            field(path),
        )
        if path.endswith("_bytes_s"):
            assert Conditions.parse({"link": {"rtt_s": 0, "up_bytes_s": shown}}).link.up_bytes_s == value  # type: ignore[union-attr]
        elif isinstance(value, float):
            assert float(shown) == value, path
        elif isinstance(shown, bool):
            assert shown is bool(value), path
        else:
            assert shown == ("" if value is None else str(value)), path


def test_changed_control_takes_effect_in_the_api(page: Browser, url: str) -> None:
    tab(page, "load")
    page.type(field("load.workers"), "3")
    page.until(lambda: ask(f"{url}/conditions")["load"]["workers"] == 3)
    page.choose(field("load.status"), "429")
    page.until(lambda: ask(f"{url}/conditions")["load"]["status"] == 429)
    page.type(field("load.places"), "")
    page.until(lambda: ask(f"{url}/conditions")["load"]["places"] is None)
    assert page.find("#preset").get_property("value") == ""
    tab(page, "quirks")
    page.find(field("quirks.ranges")).click()
    page.until(lambda: ask(f"{url}/conditions")["quirks"]["ranges"] is False)
    page.find(field("quirks.compression.br")).click()
    page.until(lambda: ask(f"{url}/conditions")["quirks"]["compression"] == ["gzip", "zstd", "deflate"])


def test_changes_made_at_once_all_take_effect(page: Browser, url: str) -> None:
    tab(page, "load")
    page.run(
        "for (const [path, value] of arguments[0]) {"
        " const input = document.querySelector(`[data-path='${path}']`); input.value = value;"
        " input.dispatchEvent(new Event('change')); }",
        [["load.workers", "2"], ["load.call_s", "0.5"], ["load.places", "7"]],
    )
    page.until(lambda: ask(f"{url}/conditions")["load"]["places"] == 7)
    load = ask(f"{url}/conditions")["load"]
    assert (load["workers"], load["call_s"], load["places"]) == (2, 0.5, 7)


def test_rate_may_be_entered_as_it_is_sold(page: Browser, url: str) -> None:
    tab(page, "link")
    page.find(field("link")).click()
    page.type(field("link.down_bytes_s"), "16 Mbit/s")
    page.until(lambda: ask(f"{url}/conditions")["link"]["down_bytes_s"] == 2e6)
    page.find(field("link")).click()
    page.until(lambda: ask(f"{url}/conditions")["link"] is None)


def test_invalid_value_is_named_and_changes_nothing(browser: Browser, url: str) -> None:
    browser.open(f"{url}/control/")
    tab(browser, "load")
    before = ask(f"{url}/conditions")
    browser.type(field("load.workers"), "0")
    error = browser.until(lambda: browser.text('[id="load.workers-error"]'))
    assert error == "load.workers: input should be greater than or equal to 1 (got 0)"
    assert browser.find(field("load.workers")).get_attribute("aria-invalid") == "true"
    browser.type(field("load.call_s"), "soon")
    assert browser.until(lambda: browser.text('[id="load.call_s-error"]')) == "Enter a number."
    assert ask(f"{url}/conditions") == before
    browser.errors()  # Chromium logs the refusal


def test_change_by_the_api_appears_on_the_page(page: Browser, url: str) -> None:
    ask(f"{url}/conditions", "PATCH", {"load": {"workers": 5}, "faults": [{"kind": "cut"}, {"kind": "html"}]})
    page.until(lambda: page.find(field("load.workers")).get_property("value") == "5")
    assert page.text("#tab-faults .badge") == "2"


def test_preset_replaces_all_conditions(page: Browser, url: str) -> None:
    page.choose("#preset", "flaky")
    page.until(lambda: ask(f"{url}/conditions") == PRESETS["flaky"].as_json())
    page.until(lambda: page.text("#tab-link .badge") == "on")


def test_fault_is_added_changed_hit_and_removed(page: Browser, url: str) -> None:
    ask(f"{url}/conditions", "PUT", {})
    tab(page, "faults")
    page.until(lambda: page.find("#preset").get_property("value") == "none")
    page.find(field("faults+")).click()
    page.choose(field("faults.0.kind"), "html")
    page.until(lambda: ask(f"{url}/conditions")["faults"][0]["kind"] == "html")
    page.type(field("faults.0.method"), "Session.*")
    page.type(field("faults.0.chance"), "1")
    page.until(lambda: ask(f"{url}/conditions")["faults"][0]["chance"] == 1)
    public = ask(f"{url}/history")["url"]
    call = {"jsonrpc": "2.0", "id": 1, "method": "Session.login", "params": {}}
    with urlopen(Request(f"{public}/webmail/api/jsonrpc/", json.dumps(call).encode())) as reply:
        assert "html" in reply.headers["Content-Type"]
    page.until(lambda: "1 fault" in page.text("#tile-errors small"))
    page.until(lambda: "fault: html" in page.text("#chart-errors .legend"))
    page.find('[aria-label="Remove faults 1"]').click()
    page.until(lambda: ask(f"{url}/conditions")["faults"] == [])


def test_churn_changes_the_mailbox_and_the_journal_shows_it(page: Browser, url: str) -> None:
    assert page.find("#journal-empty").is_displayed()
    page.run("document.querySelector('#churn-action').value = 'arrive'")
    page.type("#churn-times", "3")
    page.find("#churn button").click()
    page.until(lambda: page.text("#churn-result") == "arrive: 3 of 3 made a change.")
    page.until(lambda: len(page.all("#journal tr")) == 3)
    assert [row["type"] for row in ask(f"{url}/journal")] == ["chtNewMail"] * 3
    assert "NewMail" in page.text("#journal tr")
    tab(page, "churn")
    page.find(field("churn")).click()
    page.until(lambda: ask(f"{url}/conditions")["churn"]["per_second"] == 10)
    page.until(lambda: len(page.all("#journal tr")) > 6)


def test_reset_restarts_the_statistics_and_after_a_question_the_mailbox(page: Browser, url: str) -> None:
    page.until(lambda: ask(f"{url}/stats")["load"]["users"]["wait"]["count"] > 20)
    page.find("#reset").click()
    page.until(lambda: page.text("#message") == "The statistics start again.")
    assert ask(f"{url}/stats")["load"]["users"]["wait"]["count"] < 20
    ask(f"{url}/churn", "POST", {"steps": [{"action": "arrive"}]})
    page.find("#reset-mailbox").click()
    page.find("dialog button[value=no]").click()
    assert len(ask(f"{url}/journal")) == 1
    page.find("#reset-mailbox").click()
    page.find("dialog button[value=yes]").click()
    page.until(lambda: ask(f"{url}/journal") == [])
    page.until(lambda: page.find("#journal-empty").is_displayed())


def test_charts_draw_what_happened(page: Browser, url: str) -> None:
    public = ask(f"{url}/history")["url"]
    for _ in range(5):
        call = {"jsonrpc": "2.0", "id": 1, "method": "Version.getApiVersion", "params": {}}
        urlopen(Request(f"{public}/webmail/api/jsonrpc/", json.dumps(call).encode())).close()
    page.until(lambda: "Version.getApiVersion" in page.text("#chart-requests .legend"))
    page.until(lambda: "p95" in (page.find("#chart-waits canvas").get_attribute("aria-label") or ""))
    picture = "return document.querySelector(arguments[0]).toDataURL().length"
    empty = page.run(picture, "#chart-refusals canvas")
    page.until(lambda: page.run(picture, "#chart-server canvas") > empty + 500)
    page.find("#pause").click()
    number = page.run("return document.body.dataset.number")
    page.until(lambda: ask(f"{url}/history")["number"] > int(number) + 2)
    assert page.run("return document.body.dataset.number") == number
    page.find("#pause").click()
    page.until(lambda: page.run("return document.body.dataset.number") != number)


def test_page_is_used_with_the_keyboard(page: Browser, url: str) -> None:
    tab(page, "load")
    page.find("#tab-load").send_keys(Keys.ARROW_RIGHT)
    assert page.run("return document.activeElement.id") == "tab-faults"
    assert page.find("#panel-faults").is_displayed()
    page.find("#tab-faults").send_keys(Keys.ARROW_LEFT)
    page.type(field("load.workers"), "6")
    page.until(lambda: ask(f"{url}/conditions")["load"]["workers"] == 6)
    assert page.run("return document.activeElement.id") == "load.call_s"  # a changed value rebuilds nothing


def test_page_says_when_the_server_is_gone(browser: Browser, url: str) -> None:
    browser.open(f"{url}/control/")
    browser.until(lambda: browser.text("#status") == "live")
    browser.driver.execute_cdp_cmd("Network.enable", {})
    down = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", down)
    browser.until(lambda: browser.text("#status") == "no answer; trying again")
    browser.driver.execute_cdp_cmd(
        "Network.emulateNetworkConditions", down | {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
    )
    browser.until(lambda: browser.text("#status") == "live")
    browser.errors()


async def test_p95_agrees_on_the_page_in_stats_and_in_the_report_during_a_rebuild(
    browser: Browser, tmp_path: Path
) -> None:
    conditions = PRESETS["monday-morning"]
    async with programs.mock(seed=3, mails=1500, conditions=conditions) as (server, names):
        rebuild = await programs.start("rebuild", "--profile", tmp_path, *names)
        await asyncio.to_thread(browser.open, f"{server.control_url}/control/")

        def shown() -> float:
            return float(browser.find("#tile-p95").get_attribute("data-value") or "nan")

        def number() -> int:
            return int(browser.run("return document.body.dataset.number ?? 0"))

        def stats() -> dict[str, Any]:
            users: dict[str, Any] = ask(f"{server.control_url}/stats")["load"]["users"]
            return users

        await asyncio.to_thread(browser.until, lambda: "GET attachment" in browser.text("#chart-requests .legend"))
        assert rebuild.returncode is None
        seen = [await asyncio.to_thread(stats)]
        live = await asyncio.to_thread(shown)
        server.core.load.stop()  # no further users: the figures stand still
        seen.append(await asyncio.to_thread(stats))
        last = await asyncio.to_thread(number)
        await asyncio.to_thread(browser.until, lambda: number() > last + 1)
        page = await asyncio.to_thread(shown)
        told = (await asyncio.to_thread(stats))["wait"]["p95"]
        report = benchmark._waits(server.core.load)
        assert live > 0
        assert page == told == report["p95"] > 0
        assert report["users"] == seen[-1]["wait"]["count"] > 40
        rebuild.terminate()
        await programs.finish(rebuild)
    assert browser.errors() == []
