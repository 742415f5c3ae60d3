"""The probe beside the clients, and the waits of a mock's users."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from kerio_mockserver.conditions.model import Conditions
from kerio_mockserver.testing import running
from kerio_resync.errors import BadCredentials, BadSettings, Overloaded, Unreachable
from kerio_resync.fleet.measure import probe
from kerio_resync.fleet.measure.probe import MockUsers, Probe, percentile, probing
from kerio_resync.settings import Settings
from tests.support.fake_cluster import until


def settings(url: str, password: str = "secret") -> Settings:
    values = {"profile": Path("."), "server": url, "protocol": "kerio", "user": "anna", "password": password}
    return Settings.model_validate({**values, "proxy": SecretStr("")})


def test_percentile_needs_enough_samples() -> None:
    assert percentile([1.0] * 19, 0.95) is None
    assert percentile(list(map(float, range(1, 101))), 0.95) == 95.0
    assert percentile(list(map(float, range(20, 0, -1))), 0.95) == 19.0


async def test_the_probe_asks_for_a_page_of_the_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PER_SECOND", 200.0)
    async with running(mails=100) as server:
        async with probing(settings(server.url)) as found:
            assert found is not None
            await until(lambda: found.p95() is not None)
            assert found.error is None
            found.reset()
            assert found.p95() is None
        requests = server.core.stats.as_json()["requests"]
        assert requests["Mails.get"] > probe.MIN_SAMPLES
        assert {"Mails.getById", "Changes.get"}.isdisjoint(requests)  # small requests only
        assert requests["Session.logout"] == 1


async def test_requests_of_a_slow_server_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PER_SECOND", 100.0)
    async with running(mails=10) as server, probing(settings(server.url)) as found:
        assert found is not None
        await found.ask_once()
        await server.running.change(Conditions.parse({"load": {"workers": 100, "call_s": 0.4}}))
        await until(lambda: server.core.stats.in_flight > 20)  # the client's own limit begins with 8
        assert found.error is None


async def test_a_probe_that_cannot_log_in_is_an_error() -> None:
    async with running(mails=1) as server:
        with pytest.raises(BadCredentials):
            async with probing(settings(server.url, "wrong")):
                pass


class Slow(Probe):
    """Each request takes `seconds`, or fails."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]
        self._seconds, self._error = seconds, error
        self.asked = 0

    async def ask_once(self) -> None:
        self.asked += 1
        await asyncio.sleep(self._seconds)
        if self._error is not None:
            raise self._error


async def run_for(slow: Slow, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await slow.run()


async def test_slow_answers_do_not_slow_down_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PER_SECOND", 100.0)
    slow = Slow(0.2)
    await run_for(slow, 0.7)
    assert slow.asked > 35
    wait = slow.p95()
    assert wait is not None
    assert wait >= 0.2


async def test_a_request_without_an_answer_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_SECONDS", 0.05)
    slow = Slow(60)
    await run_for(slow, 0.5)
    assert slow.unanswered >= 1
    assert slow.error is None


async def test_a_failed_request_is_kept_as_the_error() -> None:
    slow = Slow(0, Unreachable("no way"))
    await run_for(slow, 0.4)
    assert isinstance(slow.error, Unreachable)
    assert slow.unanswered == 0


async def test_a_refusal_for_load_counts_as_no_answer() -> None:
    slow = Slow(0, Overloaded("503"))
    await run_for(slow, 0.4)
    assert slow.unanswered >= 1
    assert slow.error is None


async def test_mock_users_tell_both_waits() -> None:
    load = {"load": {"workers": 2, "users": {"per_second": 400, "service_s": 0.004}}}
    async with running(mails=1, conditions=load) as server:
        users = MockUsers(server.control_url + "/")
        await until(lambda: server.core.load.tally.users.count >= probe.MIN_SAMPLES)
        waits = await users.waits()
        assert waits is not None
        assert waits.users >= probe.MIN_SAMPLES
        assert waits.p95 >= 0
        assert waits.alone >= 0
        await users.reset()
        assert (await users.all_waits()).users < waits.users


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://127.0.0.1", "", "http://"])
def test_a_control_address_must_be_one(url: str) -> None:
    with pytest.raises(BadSettings, match="is not an address such as"):
        MockUsers(url)


async def test_a_control_address_where_nothing_answers_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        await MockUsers("http://127.0.0.1:9").waits()


async def test_an_address_of_another_server_is_refused() -> None:
    async with running(mails=1) as server:
        with pytest.raises(BadSettings, match="is not a mock server's control address"):
            await MockUsers(server.url).waits()
