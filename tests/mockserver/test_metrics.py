from __future__ import annotations

import aiohttp
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from kerio_mockserver.testing import Server, running
from tests.support.mock_caller import envelope, login, small


async def metrics(server: Server, accept: str = "") -> tuple[str, dict[tuple[str, str], float]]:
    """The content type, and each sample by name and label's value, as Prometheus' own parser reads them."""
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{server.control_url}/metrics", headers={"Accept": accept}) as reply,
    ):
        assert reply.status == 200
        text = await reply.text()
    parse = openmetrics.text_string_to_metric_families if "openmetrics" in accept else text_string_to_metric_families
    samples = {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in parse(text)
        for sample in family.samples
    }
    return reply.headers["Content-Type"], samples


async def test_metrics_have_the_figures_of_stats() -> None:
    conditions = {
        "load": {"workers": 3, "users": {"per_second": 100, "service_s": 0.01}},
        "faults": [{"kind": "html", "method": "Folders.get", "nth": 2}],
    }
    async with running(small(10).store, conditions=conditions) as server, aiohttp.ClientSession() as client:
        headers = await login(client, server)
        for method in ("Folders.get", "Folders.get", "Nonsense.get"):
            async with client.post(
                f"{server.url}/webmail/api/jsonrpc/", data=envelope(method), headers=headers
            ) as reply:
                await reply.read()
        server.core.load.stop()
        kind, found = await metrics(server)
        assert kind.startswith("text/plain")
        stats = server.core.stats.as_json()
    name = "kerio_mockserver_"
    assert found[name + "requests_total", "Folders.get"] == 2
    assert found[name + "replies_total", "404"] == 1
    assert found[name + "errors_total", "-32601"] == 1
    assert found[name + "faults_total", "html"] == 1
    assert found[name + "sent_bytes_total", ""] == stats["bytes"]["out_wire"] > 0
    assert found[name + "received_bytes_total", ""] == stats["bytes"]["in"] > 0
    assert (found[name + "sessions", ""], found[name + "workers", ""]) == (1, 3)
    waits = server.core.load.tally.users
    assert found[name + "user_waits_total", ""] == waits.count > 0
    assert found[name + "user_wait_percentile_seconds", "0.95"] == waits.percentile(0.95)
    assert found[name + "queue_length", ""] == 0


async def test_metrics_come_as_openmetrics_if_asked_for() -> None:
    async with running(small(5).store) as server:
        kind, found = await metrics(server, "application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert found["kerio_mockserver_requests_in_flight", ""] == 0
