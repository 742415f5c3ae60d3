from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from kerio_resync.errors import BadSettings, Unreachable
from kerio_resync.server.connect import open_mailbox
from kerio_resync.server.jmap.mailbox import JmapMailbox
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.settings import Settings
from tests.support.respx_transport import RouterTransport

HERE = "https://mail.example.com"
WELL_KNOWN = f"{HERE}/.well-known/jmap"


def settings(**more: Any) -> Settings:
    return Settings.model_validate(
        {"profile": Path("x"), "server": HERE, "user": "jane", "password": "pass-w0rd"} | more
    )


@pytest.mark.parametrize(("protocol", "kind"), [("kerio", KerioMailbox), ("jmap", JmapMailbox)])
async def test_open_mailbox_makes_no_request_for_known_protocol(protocol: str, kind: type) -> None:
    assert isinstance(await open_mailbox(settings(protocol=protocol)), kind)


async def test_open_mailbox_refuses_settings_without_server() -> None:
    with pytest.raises(BadSettings, match="server"):
        await open_mailbox(settings(server=""))


def redirect(target: str) -> httpx.Response:
    return httpx.Response(301, headers={"Location": target})


PAGE = httpx.Response(200, text="<html>Log in to this network</html>")
RESOURCE = httpx.Response(200, json={"apiUrl": "/jmap", "capabilities": {}})


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ({WELL_KNOWN: RESOURCE}, JmapMailbox),
        ({WELL_KNOWN: httpx.Response(401)}, JmapMailbox),
        ({WELL_KNOWN: redirect("/jmap/session")}, JmapMailbox),
        ({WELL_KNOWN: redirect("/api"), f"{HERE}/api": httpx.Response(401)}, JmapMailbox),
        ({WELL_KNOWN: redirect("https://api.example.net/"), "https://api.example.net/": RESOURCE}, JmapMailbox),
        ({WELL_KNOWN: redirect("/webmail/login"), f"{HERE}/webmail/login": PAGE}, KerioMailbox),
        ({WELL_KNOWN: redirect("http://portal.example/")}, KerioMailbox),
        ({WELL_KNOWN: httpx.Response(404)}, KerioMailbox),
        ({WELL_KNOWN: httpx.Response(503)}, KerioMailbox),
        ({WELL_KNOWN: httpx.Response(200, json={"a": 1})}, KerioMailbox),
        ({WELL_KNOWN: httpx.Response(200, text="x" * (2 << 20))}, KerioMailbox),
        ({WELL_KNOWN: PAGE}, KerioMailbox),
    ],
)
async def test_open_mailbox_finds_protocol_without_credentials(replies: dict[str, httpx.Response], kind: type) -> None:
    router = respx.Router(assert_all_called=False)
    for url, reply in replies.items():
        router.get(url).mock(return_value=reply)
    transport = RouterTransport(router)
    assert isinstance(await open_mailbox(settings(), transport=transport), kind)
    assert len(transport.requests) <= 2
    assert not any("Authorization" in request.headers for request in transport.requests)


async def test_open_mailbox_looks_at_path_of_address_first() -> None:
    router = respx.Router(assert_all_called=False)
    router.get(f"{HERE}/jmap/session").mock(return_value=httpx.Response(401))
    transport = RouterTransport(router)
    found = await open_mailbox(settings(server=f"{HERE}/jmap/session"), transport=transport)
    assert isinstance(found, JmapMailbox)
    router.get(f"{HERE}/webmail").mock(return_value=PAGE)
    router.get(WELL_KNOWN).mock(return_value=httpx.Response(404))
    found = await open_mailbox(settings(server=f"{HERE}/webmail/"), transport=transport)
    assert isinstance(found, KerioMailbox)
    assert len(transport.requests) == 3


async def test_open_mailbox_reports_server_that_does_not_answer() -> None:
    router = respx.Router(assert_all_called=False)
    router.get(WELL_KNOWN).mock(side_effect=httpx.ConnectError)
    with pytest.raises(Unreachable):
        await open_mailbox(settings(retry_timeout=0), transport=RouterTransport(router))


def test_import_loads_no_protocol() -> None:
    """The command line imports it, and `--help` must be quick."""
    heavy = ("kerio_resync.server.kerio", "kerio_resync.server.jmap", "aiohttp")
    code = f"import sys, kerio_resync.server.connect; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
