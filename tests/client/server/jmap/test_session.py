"""Credentials: where they go, and where they never go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from pydantic import SecretStr

from kerio_resync.errors import (
    BadCredentials,
    BadSettings,
    ForeignAddress,
    ForeignReply,
    Misconfigured,
    UnknownServer,
    Unreachable,
)
from kerio_resync.server.jmap.mailbox import JmapMailbox
from kerio_resync.server.jmap.session import Session, redirect_target, resource_url
from kerio_resync.settings import Settings
from simulation.virtual_time import run
from tests.client.server.jmap.test_resource import LIKE_CYRUS
from tests.support.jmap_double.choices import Choices
from tests.support.jmap_double.running import opened
from tests.support.jmap_double.server import Fault, JmapDouble
from tests.support.respx_transport import RouterTransport

HERE = "https://mail.example.com"
WELL_KNOWN = f"{HERE}/.well-known/jmap"
PASSWORD = "correct-horse-battery"


def settings(server: str = HERE, **more: Any) -> Settings:
    values = {"profile": Path("nowhere"), "server": server, "user": "jane", "password": PASSWORD}
    return Settings.model_validate({**values, **more})


def open_on(router: respx.Router, **more: Any) -> tuple[JmapMailbox, RouterTransport]:
    """Open a mailbox whose server is `router`."""
    transport = RouterTransport(router)

    async def main() -> JmapMailbox:
        mailbox = JmapMailbox(settings(**more), transport=transport, chance=lambda: 0.5)
        try:
            await mailbox.open()
        finally:
            await mailbox.close()
        return mailbox

    return run(main()), transport


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (HERE, WELL_KNOWN),
        (f"{HERE}/", WELL_KNOWN),
        (f"{HERE}:8443", f"{HERE}:8443/.well-known/jmap"),
        (f"{HERE}/jmap/session", f"{HERE}/jmap/session"),
    ],
)
def test_resource_url_is_path_of_address_or_well_known(address: str, url: str) -> None:
    assert resource_url(settings(address).address) == url


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        (WELL_KNOWN, "/jmap", f"{HERE}/jmap"),
        (WELL_KNOWN, "https://api.example.net/s#x", "https://api.example.net/s"),
        ("http://mail.example.com/a", f"{HERE}/a", f"{HERE}/a"),
        ("http://mail.example.com/a", "b", "http://mail.example.com/b"),
    ],
)
def test_redirect_target_follows(url: str, location: str, target: str) -> None:
    assert redirect_target(url, location) == target


@pytest.mark.parametrize(
    ("url", "location"),
    [
        (WELL_KNOWN, "http://mail.example.com/jmap"),
        ("http://mail.example.com/a", "http://evil.example/a"),
        ("http://mail.example.com/a", "https://evil.example/a"),
        (WELL_KNOWN, "https://a:b@mail.example.com/"),
        (WELL_KNOWN, "https://[x/"),
    ],
)
def test_redirect_target_refuses(url: str, location: str) -> None:
    with pytest.raises(ForeignReply):
        redirect_target(url, location)


def test_open_sends_credentials_to_redirect_over_tls() -> None:
    router = respx.Router(assert_all_called=False)
    router.get(WELL_KNOWN).respond(301, headers={"Location": "https://api.example.net/session"})
    target = router.get("https://api.example.net/session").respond(200, json=LIKE_CYRUS)
    open_on(router)
    assert target.calls.last.request.headers["authorization"].startswith("Basic ")


def test_open_sends_nothing_to_unencrypted_redirect() -> None:
    router = respx.Router(assert_all_called=False)
    router.get(WELL_KNOWN).respond(302, headers={"Location": "http://mail.example.com/session"})
    with pytest.raises(UnknownServer, match="redirect to another server"):
        open_on(router)
    assert len(router.calls) == 1


def test_open_ends_with_endless_redirects() -> None:
    router = respx.Router(assert_all_called=False)
    router.get(WELL_KNOWN).respond(301, headers={"Location": WELL_KNOWN})
    with pytest.raises(Misconfigured, match="without end"):
        open_on(router)
    assert len(router.calls) < 10


def test_headers_are_for_named_origins_only() -> None:
    router = respx.Router(assert_all_called=False)
    api = {**LIKE_CYRUS, "apiUrl": "https://api.example.com/jmap"}
    router.get(WELL_KNOWN).respond(200, json=api)
    mailbox, _ = open_on(router)
    session = mailbox._client.session
    assert session.headers("https://api.example.com/jmap") == session.headers(f"{HERE}/x") != {}
    for url in ("https://evil.example/", "http://mail.example.com/x", "https://mail.example.com.evil.example/"):
        with pytest.raises(ForeignAddress):
            session.headers(url)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (httpx.Response(401), BadCredentials),
        (httpx.Response(404), UnknownServer),
        (httpx.Response(200, text="<html>Please log in</html>"), UnknownServer),
        (httpx.Response(403, text="no"), UnknownServer),
        (httpx.Response(200, json={"a": 1}), UnknownServer),
    ],
)
def test_open_reports_first_reply_at_once(reply: httpx.Response, kind: type[Exception]) -> None:
    router = respx.Router(assert_all_called=False)
    router.get(WELL_KNOWN).mock(return_value=reply)
    with pytest.raises(kind):
        open_on(router)
    assert len(router.calls) == 1


def test_open_gives_up_early_if_nothing_answers() -> None:
    router = respx.Router(assert_all_called=False)
    router.get(WELL_KNOWN).mock(side_effect=httpx.ConnectError)
    with pytest.raises(Unreachable):
        open_on(router)


def test_secrets_are_not_shown() -> None:
    with_token = settings(token=SecretStr("t0ken-of-jane"))
    shown = f"{Session(settings())} {Session(with_token)} {JmapMailbox(settings())}"
    assert PASSWORD not in shown
    assert "t0ken" not in shown
    assert "t0ken-of-jane" not in with_token.redactor.foreign("it says t0ken-of-jane")


def test_bearer_token_replaces_password() -> None:
    double = JmapDouble(Choices(token="a-bearer-token"))
    opened(double, lambda mailbox: mailbox.folders())
    assert set(double.logins[1:]) == {"Bearer a-bearer-token"}


def test_refused_credentials_are_tried_once() -> None:
    double = JmapDouble()
    with pytest.raises(BadCredentials):
        opened(double, lambda mailbox: mailbox.folders(), password="wrong")
    assert double.requests["/session"] == 1


def test_credentials_refused_during_run_are_not_sent_again() -> None:
    double = JmapDouble()

    async def work(mailbox: JmapMailbox) -> None:
        double.faults.append(Fault("unauthorized"))
        for _ in range(3):
            with pytest.raises(BadCredentials):
                await mailbox.folders()

    opened(double, work)
    assert double.requests["/api"] == 1


@pytest.mark.parametrize("missing", ["server", "user"])
def test_mailbox_needs_server_and_user(missing: str) -> None:
    with pytest.raises(BadSettings):
        JmapMailbox(settings(**{missing: ""}))
