from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from kerio_mockserver.testing import Server, running
from tests.support.mock_caller import Mailbox, envelope, login, small


async def ask(server: Server, method: str, path: str, **options: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as client, client.request(method, server.control_url + path, **options) as reply:
        return reply.status, await reply.json()


async def test_digest_returns_the_stores_lines() -> None:
    box = small(120)
    async with (
        running(box.store) as server,
        aiohttp.ClientSession() as client,
        client.get(server.control_url + "/digest") as reply,
    ):
        text = await reply.text()
    assert text == "".join(box.store.digest())
    lines = text.encode().splitlines()
    assert len(lines) == 124
    assert lines == sorted(lines)


async def test_digest_breaks_off_when_the_mailbox_changes() -> None:
    box = small(200)
    async with running(box.store) as server, aiohttp.ClientSession() as client:
        real = box.store.digest

        def digest() -> Any:
            for number, line in enumerate(real()):
                if number == 60:
                    box.store.remove(box.store.folder(box.inbox).ordered("id")[199])
                yield line

        box.store.digest = digest  # type: ignore[method-assign,assignment]
        with pytest.raises(aiohttp.ClientPayloadError):
            await (await client.get(server.control_url + "/digest")).text()


async def test_stats_and_reset() -> None:
    async with running(small().store) as server, aiohttp.ClientSession() as client:
        headers = await login(client, server)
        url = server.url + "/webmail/api/jsonrpc/"
        for method in ("Folders.get", "Folders.get", "Nonsense.get"):
            async with client.post(url, data=envelope(method), headers={**headers, "Accept-Encoding": "gzip"}) as reply:
                await reply.read()
        _, told = await ask(server, "GET", "/stats")
        assert told["requests"] == {"Session.login": 1, "Folders.get": 2, "invalid": 1}
        assert told["errors"] == {"-32601": 1}
        assert told["statuses"] == {"200": 3, "404": 1}
        assert told["bytes"]["out_plain"] > told["bytes"]["out_wire"] > 0
        assert told["bytes"]["in"] > 100
        assert (told["sessions"], told["in_flight"], told["mistakes"]) == (1, 0, 0)
        assert await ask(server, "POST", "/reset") == (200, {})
        _, told = await ask(server, "GET", "/stats")
        assert (told["requests_total"], told["sessions"]) == (0, 1)


async def test_reset_counts_the_links_bytes_anew_too() -> None:
    async with running(seed=1, mails=3, conditions={"link": {"rtt_s": 0.001}}) as server:
        async with aiohttp.ClientSession() as client, client.get(server.url) as answer:
            await answer.read()
        _, before = await ask(server, "GET", "/stats")
        assert before["link"]["down_bytes"] > 0
        assert await ask(server, "POST", "/reset") == (200, {})
        _, after = await ask(server, "GET", "/stats")
        assert (after["link"]["down_bytes"], after["link"]["connections"]) == (0, 0)


async def test_reset_of_the_mailbox() -> None:
    made: list[Mailbox] = []

    def fresh() -> Any:
        made.append(small())
        return made[-1].store

    first = small()
    async with running(first.store, fresh=fresh) as server, aiohttp.ClientSession() as client:
        await login(client, server)
        first.store.remove(first.store.folder(first.inbox).ordered("id")[0])
        assert await ask(server, "POST", "/reset", json={"mailbox": True}) == (200, {})
        assert server.store is made[0].store
        _, told = await ask(server, "GET", "/stats")
        assert told["sessions"] == 0
        assert server.core.generation == 2
    async with running(small().store) as server:
        status, told = await ask(server, "POST", "/reset", json={"mailbox": True})
        assert status == 400
        assert "cannot be generated again" in told["error"]


async def test_conditions_are_read_replaced_and_patched() -> None:
    async with running(small().store) as server:
        status, told = await ask(server, "PATCH", "/conditions", json={"quirks": {"page_limit": 5}})
        assert (status, told["quirks"]["page_limit"]) == (200, 5)
        assert server.core.quirks.page_limit == 5
        _, told = await ask(server, "PUT", "/conditions", json={"faults": [{"kind": "empty"}]})
        assert (told["quirks"]["page_limit"], len(told["faults"])) == (50_000, 1)
        assert (await ask(server, "GET", "/conditions"))[1] == told


async def test_conditions_are_replaced_only_if_they_are_those_of_if_match() -> None:
    async with running(small().store) as server, aiohttp.ClientSession() as client:
        url = f"{server.control_url}/conditions"
        async with client.get(url) as reply:
            etag = reply.headers["ETag"]
            assert reply.headers["Link"] == '</conditions/schema>; rel="describedby"'
        async with client.put(url, json={"faults": [{"kind": "cut"}]}, headers={"If-Match": etag}) as reply:
            assert reply.status == 200
            assert reply.headers["ETag"] != etag
        for method in ("PUT", "PATCH"):
            async with client.request(method, url, json={}, headers={"If-Match": etag}) as reply:
                assert reply.status == 412
                assert "changed meanwhile" in (await reply.json())["error"]
        assert len(server.core.conditions.faults) == 1
        async with client.put(url, json={}, headers={"If-Match": "*"}) as reply:
            assert reply.status == 200


async def test_schema_and_presets_are_served() -> None:
    async with running(small().store) as server:
        _, presets = await ask(server, "GET", "/presets")
        assert presets["monday-morning"]["about"].startswith("40 webmail users")
        for preset in presets.values():
            status, told = await ask(server, "PUT", "/conditions", json=preset["conditions"])
            assert (status, told) == (200, preset["conditions"])
        async with aiohttp.ClientSession() as client, client.get(f"{server.control_url}/conditions/schema") as reply:
            assert reply.content_type == "application/schema+json"
            schema = await reply.json(content_type=None)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert set(schema["properties"]) == set(presets["none"]["conditions"])


async def test_journal_returns_the_last_changes_if_asked_for() -> None:
    async with running(small().store) as server:
        await ask(server, "POST", "/churn", json={"steps": [{"action": "arrive", "times": 5}]})
        every = (await ask(server, "GET", "/journal"))[1]
        assert (await ask(server, "GET", "/journal?last=2"))[1] == every[-2:]
        assert (await ask(server, "GET", "/journal?last=0"))[1] == []
        assert (await ask(server, "GET", "/journal?last=99"))[1] == every
        assert (await ask(server, "GET", "/journal?last=-1"))[0] == 400


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"quirks": {"page_limit": 0}}', b'{"nonsense": 1}'])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_invalid_conditions_change_nothing(body: bytes, method: str) -> None:
    async with running(small().store) as server:
        before = server.core.conditions
        status, told = await ask(server, method, "/conditions", data=body, headers={"Content-Type": "application/json"})
        assert status == 400
        assert told["error"]
        assert server.core.conditions is before


async def test_churn_and_journal() -> None:
    async with running(small().store) as server:
        before = server.store.journal.watermark
        steps = [{"action": "arrive", "times": 3}, {"action": "new-folder"}]
        status, told = await ask(server, "POST", "/churn", json={"steps": steps})
        assert status == 200
        assert [one["action"] for one in told] == ["arrive", "arrive", "arrive", "new-folder"]
        assert all(one["id"] for one in told)
        assert server.store.journal.watermark == before + 4
        assert (await ask(server, "GET", "/churn"))[1] == told
        assert len((await ask(server, "GET", "/journal"))[1]) == 4
        status, told = await ask(server, "POST", "/churn", json={"steps": [{"action": "explode"}]})
        assert status == 400
        assert "action" in told["error"]


async def test_changed_conditions_take_effect() -> None:
    """Faults, load and churn are wired into the server: each shows in a reply."""
    async with running(small().store) as server, aiohttp.ClientSession() as client:
        headers = await login(client, server)
        url = server.url + "/webmail/api/jsonrpc/"

        async def call(method: str = "Folders.get") -> tuple[int, bytes]:
            async with client.post(url, data=envelope(method), headers=headers) as reply:
                return reply.status, await reply.read()

        await ask(server, "PUT", "/conditions", json={"faults": [{"kind": "code", "code": 4100, "nth": 1}]})
        assert b"4100" in (await call())[1]
        assert b"4100" not in (await call())[1]
        await ask(
            server, "PUT", "/conditions", json={"load": {"refusal_windows": [{"seconds": 60, "retry_after_s": 3}]}}
        )
        assert (await call())[0] == 503
        await ask(server, "PUT", "/conditions", json={"load": {"locks": [{"seconds": 60}]}})
        assert b"4101" in (await call())[1]
        step = {"action": "arrive", "method": "Session.whoAmI"}
        await ask(server, "PUT", "/conditions", json={"churn": {"script": [step]}})
        before = len(server.store.folder(server.store.folders()[1]["id"]))
        assert (await call("Session.whoAmI"))[0] == 200
        assert len(server.store.folder(server.store.folders()[1]["id"])) == before + 1
        await ask(server, "PUT", "/conditions", json={"faults": [{"kind": "session-death"}]})
        assert (await call())[0] == 200
        assert b"-32001" in (await call())[1]
