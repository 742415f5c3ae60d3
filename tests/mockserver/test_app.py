from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from kerio_mockserver.app import bind_socket, origin, serve
from kerio_mockserver.server import MockServer
from kerio_mockserver.testing import running
from tests.support.mock_caller import envelope, login, small

CALL = envelope("Session.login", userName="jane", password="secret", application={})


async def logs_in(url: str) -> bool:
    async with aiohttp.ClientSession() as client, client.post(url + "/webmail/api/jsonrpc", data=CALL) as reply:
        return reply.status == 200


async def test_port_in_use_leaves_nothing_listening() -> None:
    with bind_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await serve(MockServer(small().store), port=port)
        with pytest.raises(OSError, match="in use"):
            await serve(MockServer(small().store), control_port=port)


async def test_aclose_stops_listening() -> None:
    async with running(small().store) as server:
        assert await logs_in(server.url)
    with pytest.raises(aiohttp.ClientConnectorError):
        await logs_in(server.url)


async def test_aclose_ends_waiting_polls() -> None:
    async with aiohttp.ClientSession() as client:
        async with running(small().store) as server:
            headers = await login(client, server)
            url = server.url + "/webmail/api/jsonrpc"
            async with client.post(url, data=envelope("Changes.getSyncKey"), headers=headers) as reply:
                key = (await reply.json())["result"]["syncKey"]
            body = envelope("Changes.get", lastSyncKey=key, timeout=600)
            poll = asyncio.ensure_future(client.post(url, data=body, headers=headers))
            while not server.store.journal.waiters:  # noqa: ASYNC110  # the server has no event for it
                await asyncio.sleep(0)
        with pytest.raises(aiohttp.ClientError):
            await poll


async def test_link_from_the_start() -> None:
    async with running(small().store, conditions={"link": {"rtt_s": 0.01}}) as server:
        assert await logs_in(server.url)
        told = server.running.link_stats()
        assert told is not None
        assert told["down_bytes"] > 100


async def test_link_changes_keep_the_address() -> None:
    async with running(small().store) as server:
        assert await logs_in(server.url)
        assert server.running.link_stats() is None
        await server.running.change(server.core.conditions.patched({"link": {"rtt_s": 0.002}}))
        assert await logs_in(server.url)
        told = server.running.link_stats()
        assert told is not None
        assert told["connections"] == 1
        await server.running.change(server.core.conditions.patched({"link": None}))
        assert await logs_in(server.url)


async def test_connections_from_before_the_link_are_closed() -> None:
    async with running(small().store) as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"</html>")
        await server.running.change(server.core.conditions.patched({"link": {"rtt_s": 0.002}}))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_reply_under_way_is_not_cut_by_a_link_that_comes() -> None:
    async with running(small().store, conditions={"load": {"call_s": 0.02, "spread": "fixed"}}) as server:
        call = asyncio.ensure_future(logs_in(server.url))
        while not server.core.stats.in_flight:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0)
        await server.running.change(server.core.conditions.patched({"link": {"rtt_s": 0.002}}))
        assert await call


def test_origin() -> None:
    with bind_socket("127.0.0.1", 0) as four:
        assert origin(four, secure=True) == f"https://127.0.0.1:{four.getsockname()[1]}"
    if socket.has_ipv6:
        try:
            six = bind_socket("::1", 0)
        except OSError:
            return
        with six:
            assert origin(six, secure=False) == f"http://[::1]:{six.getsockname()[1]}"
