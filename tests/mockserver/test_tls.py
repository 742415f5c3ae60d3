from __future__ import annotations

import ssl
import stat
from pathlib import Path

import aiohttp

from kerio_mockserver.testing import running
from kerio_mockserver.tls import certificate
from tests.support.mock_caller import envelope, small


async def test_client_that_trusts_the_file_gets_in_by_name_and_by_address(tmp_path: Path) -> None:
    made = certificate(tmp_path / "new")
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    trust = ssl.create_default_context(cafile=made.certificate)
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    async with running(small().store, ssl_context=made.context()) as server, aiohttp.ClientSession() as client:
        port = server.url.rsplit(":", 1)[1]
        for host in ("127.0.0.1", "localhost"):
            url = f"https://{host}:{port}/webmail/api/jsonrpc/"
            body = envelope("Session.login", userName="jane", password="secret", application={})
            async with client.post(url, data=body, ssl=trust) as reply:
                assert reply.status == 200
                assert all(cookie["secure"] for cookie in reply.cookies.values())
                assert reply.cookies["SESSION_CONNECT_WEBMAIL"]["httponly"]


def test_new_certificate_replaces_the_old(tmp_path: Path) -> None:
    first = certificate(tmp_path).key.read_bytes()
    made = certificate(tmp_path)
    assert made.key.read_bytes() != first
    assert made.context()
