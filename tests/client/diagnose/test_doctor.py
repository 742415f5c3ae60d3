"""`doctor` against many kinds of trouble: the first failure, or else the first warning, names the cause.

Each trouble is made: by a server of its own on loopback, by a damaged file, or by a system call that fails.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from kerio_mockserver.testing import Server, running
from kerio_resync import Settings, filesystem, rebuild
from kerio_resync.cache.lock import ProfileLock
from kerio_resync.diagnose import doctor, local, network, way
from kerio_resync.diagnose.doctor import ALL_CHECKS, examine, summarise
from kerio_resync.diagnose.findings import exit_of
from kerio_resync.errors import Exit
from kerio_resync.events import Checked
from kerio_resync.variables import PASSWORD_VARIABLE
from tests.support.certificates import Authority, fingerprint
from tests.support.jmap_double.choices import LIKE_CYRUS
from tests.support.jmap_double.running import settings_of
from tests.support.jmap_double.server import JmapDouble
from tests.support.jmap_double.serving import serving as jmap_serving
from tests.support.proxy_servers import http_proxy, socks_proxy
from tests.support.socket_server import Handler, serving

PASSWORD = "correct horse battery staple"
PAGE = b"<!doctype html><html><title>Hotel Wi-Fi</title><form>Log in</form></html>"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")


@pytest.fixture
async def mock() -> AsyncIterator[Server]:
    async with running(mails=20, password=PASSWORD) as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "ca").mkdir()
    return Authority(tmp_path / "ca")


async def findings_of(profile: Path, *, login: bool = False, **given: Any) -> list[Checked]:
    emitted: list[Checked] = []
    findings = await examine(profile, emitted.append, {"user": "jane", **given}, login=login)
    assert emitted == findings
    assert {finding.check for finding in findings} == set(ALL_CHECKS)
    for finding in findings:
        assert (finding.level == "failure") == bool(finding.exit_code), finding
        assert bool(finding.advice) == (finding.level in ("warning", "failure")), finding
        assert not finding.found.endswith("."), finding
        assert not finding.advice.endswith("."), finding
    return findings


def cause(findings: list[Checked], level: str = "failure") -> tuple[str, str, int]:
    """The first failure or warning: its check, all of its text, and the exit code of `doctor`."""
    first = next(finding for finding in findings if finding.level == level)
    return first.check, f"{first.found}. {first.advice}", exit_of(findings)


async def trouble(profile: Path, **given: Any) -> tuple[str, str, int]:
    return cause(await findings_of(profile, **given))


def replying(status: str, body: bytes = b"", *headers: str) -> Handler:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode() + body)

    return answer


def page_server(tls: ssl.SSLContext | None = None) -> AbstractAsyncContextManager[str]:
    return serving(replying("200 OK", PAGE, "Content-Type: text/html"), tls)


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """A port that accepts connections and says nothing."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(act, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def resolving(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], list[tuple[int, str]]]) -> None:
    """Replaces the resolver, for names only."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, family: int = 0, *more: Any, **options: Any) -> Any:
        if not isinstance(host, str) or not host.endswith(".test"):
            return real(host, port, family, *more, **options)
        found = [(kind, address) for kind, address in answer(host) if family in (0, kind)]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(kind, socket.SOCK_STREAM, 6, "", (address, port)) for kind, address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def raising(error: Exception) -> Callable[..., Any]:
    def raise_it(*_: object, **__: object) -> Any:
        raise error

    return raise_it


async def test_doctor_finds_nothing_wrong_with_working_server(tmp_path: Path, mock: Server) -> None:
    await rebuild(Settings(profile=tmp_path / "p", server=mock.url, user=mock.user, password=SecretStr(PASSWORD)))
    findings = await findings_of(tmp_path / "p", login=True, server=mock.url, user=mock.user)
    assert [finding for finding in findings if finding.level != "ok"] == []
    by_name = {finding.check: finding for finding in findings}
    assert by_name["cache"].data["state"] == "ready"
    assert by_name["protocol"].data == {"protocol": "kerio"}
    assert by_name["mailbox"].data["items"] >= 20
    assert by_name["speed"].data["bytes"] > 1000
    assert len(by_name["round trip"].data["seconds"]) == doctor.ROUND_TRIPS
    summary = summarise(findings)
    assert (summary["ok"], summary["cause"], summary["exit_code"]) == (True, "", 0)
    assert PASSWORD not in str(summary)


async def test_doctor_changes_nothing_in_missing_profile(tmp_path: Path, mock: Server) -> None:
    findings = await findings_of(tmp_path / "p", server=mock.url)
    assert exit_of(findings) == Exit.DONE
    assert not (tmp_path / "p").exists()


# names and connections


async def test_doctor_names_dead_name_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", raising(socket.gaierror(socket.EAI_AGAIN, "Temporary failure")))
    check, text, code = await trouble(tmp_path, server="https://mail.test")
    assert (check, code) == ("dns", Exit.UNFINISHED)
    assert "mail.test cannot be resolved: no name server answers" in text
    assert "name servers" in text


async def test_doctor_names_unknown_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, lambda _: [])
    check, text, _ = await trouble(tmp_path, server="https://nail.test")
    assert check == "dns"
    assert "nail.test cannot be resolved: there is no such name. Check the spelling in --server" in text


async def test_doctor_names_silent_name_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "STEP_SECONDS", 0.2)
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(20))
    check, text, _ = await trouble(tmp_path, server="https://mail.test")
    release.set()
    assert check == "dns"
    assert "no answer within" in text


async def test_doctor_names_refused_connection(tmp_path: Path) -> None:
    port = closed_port()
    check, text, code = await trouble(tmp_path, server=f"https://127.0.0.1:{port}")
    assert (check, code) == ("tcp", Exit.UNFINISHED)
    assert f"no connection to port {port} of 127.0.0.1" in text
    assert "whether the server runs" in text


async def test_doctor_names_broken_ipv6(tmp_path: Path, mock: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    real = asyncio.get_running_loop().sock_connect
    resolving(monkeypatch, lambda _: [(socket.AF_INET6, "2001:db8::7"), (socket.AF_INET, "127.0.0.1")])

    async def connect(sock: socket.socket, address: Any) -> None:
        if address[0] == "2001:db8::7":
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        await real(sock, address)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)
    findings = await findings_of(tmp_path, server=mock.url.replace("127.0.0.1", "mail.test"))
    check, text, code = cause(findings, "warning")
    assert (check, code) == ("tcp", Exit.DONE)
    assert "IPv6 does not work: no connection to 2001:db8::7 (network is unreachable)" in text


async def test_doctor_names_port_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kerio_resync.diagnose import tls

    monkeypatch.setattr(tls, "STEP_SECONDS", 1.0)
    async with silent() as port:
        check, text, _ = await trouble(tmp_path, server=f"https://127.0.0.1:{port}")
    assert check == "tls"
    assert "accepts the connection and then says nothing" in text


async def test_doctor_names_web_server_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "STEP_SECONDS", 1.0)
    async with silent() as port:
        check, text, _ = await trouble(tmp_path, server=f"http://127.0.0.1:{port}")
    assert check == "http"
    assert re.search("sent nothing|does not answer", text)


async def test_doctor_names_service_that_is_no_web_server(tmp_path: Path) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK IMAP4rev1 ready\r\n")
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    check, text, code = await trouble(tmp_path, server=f"http://127.0.0.1:{port}")
    server.close()
    assert (check, code) == ("http", Exit.UNFINISHED)
    assert "is not a web server. Check the port" in text


# TLS


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("expired", "has expired .*by middle, .* to .*administrator has to renew it"),
        ("other host", r"is for another name \(it is for 127\.0\.0\.2, mail\.test, by middle"),
        ("self-signed", "is self-signed .*SHA-256 [0-9a-f]{64}.*--fingerprint"),
        ("no intermediate", "does not send its intermediate certificates"),
    ],
)
async def test_doctor_names_fault_of_certificate(kind: str, says: str, tmp_path: Path, authority: Authority) -> None:
    context, _ = authority.server(kind=kind)
    async with page_server(context) as url:
        check, text, code = await trouble(tmp_path, server=url, ca_file=authority.file)
    assert (check, code) == ("tls", Exit.UNFINISHED)
    assert re.search(says, text), text


async def test_doctor_names_unknown_authority(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other root")
    async with page_server(authority.server()[0]) as url:
        check, text, _ = await trouble(tmp_path, server=url, ca_file=other.file)
    assert check == "tls"
    assert "is not from the authority in ca_file" in text


async def test_doctor_names_wrong_fingerprint(tmp_path: Path, authority: Authority) -> None:
    context, certificate = authority.server()
    async with page_server(context) as url:
        check, text, _ = await trouble(tmp_path, server=url, fingerprint="ab" * 32)
    assert check == "tls"
    assert "another fingerprint" in text
    assert fingerprint(certificate) in text


async def test_doctor_names_http_server_behind_https_address(tmp_path: Path, mock: Server) -> None:
    check, text, _ = await trouble(tmp_path, server=mock.url.replace("http:", "https:"))
    assert check == "tls"
    assert f"Did you mean {mock.url}" in text


async def test_doctor_names_unusable_ca_file(tmp_path: Path, mock: Server) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    given = {"server": mock.url.replace("http:", "https:"), "ca_file": tmp_path / "ca.pem"}
    check, text, code = await trouble(tmp_path, **given)
    assert (check, code) == ("tls", Exit.USAGE)
    assert "ca.pem" in text


async def test_doctor_names_clock_before_certificate(tmp_path: Path, authority: Authority) -> None:
    context, _ = authority.server(kind="not yet")
    date = format_datetime(datetime.now(UTC) + timedelta(days=7), usegmt=True)
    async with serving(replying("200 OK", PAGE, f"Date: {date}"), context) as url:
        findings = await findings_of(tmp_path, server=url, ca_file=authority.file)
    check, text, _ = cause(findings)
    assert check == "clock"
    assert "this computer's clock is 7 days slow, so certificates look invalid" in text
    assert [finding.check for finding in findings if finding.level == "failure"] == ["clock", "tls"]


async def test_doctor_warns_of_clock_difference(tmp_path: Path) -> None:
    date = format_datetime(datetime.now(UTC) - timedelta(hours=3), usegmt=True)
    async with serving(replying("200 OK", PAGE, f"Date: {date}")) as url:
        check, text, _ = cause(await findings_of(tmp_path, server=url), "warning")
    assert check == "clock"
    assert "this computer's clock is 3 hours fast. Set the date" in text


# proxies


async def test_doctor_names_dead_proxy(tmp_path: Path, mock: Server) -> None:
    proxy = f"http://127.0.0.1:{closed_port()}"
    check, text, _ = await trouble(tmp_path, server=mock.url, proxy=proxy)
    assert check == "tcp"
    assert "no connection to the proxy 127.0.0.1" in text


async def test_doctor_names_unknown_proxy(tmp_path: Path, mock: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, lambda _: [])
    check, text, _ = await trouble(tmp_path, server=mock.url, proxy="http://proxy.test:3128")
    assert check == "dns"
    assert "the proxy's name proxy.test cannot be resolved" in text
    assert "--proxy" in text


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_doctor_names_proxy_that_wants_login(scheme: str, tmp_path: Path, mock: Server) -> None:
    async with http_proxy(login="jane:proxy-secret") as log:
        server, proxy = mock.url.replace("http:", f"{scheme}:"), f"http://127.0.0.1:{log.port}"
        check, text, _ = await trouble(tmp_path, server=server, proxy=proxy)
        assert (check, "wants a user name and password (407)" in text) == ("proxy", True), text
        findings = await findings_of(tmp_path, server=server, proxy=f"http://jane:wrong-secret@127.0.0.1:{log.port}")
    check, text, _ = cause(findings)
    assert check == "proxy"
    assert "refuses the user name or password given for it" in text
    assert "wrong-secret" not in str(findings)


async def test_doctor_names_proxy_that_refuses_server(tmp_path: Path) -> None:
    async with http_proxy(status=403) as log:
        proxy = f"http://127.0.0.1:{log.port}"
        check, text, _ = await trouble(tmp_path, server="https://127.0.0.1:9", proxy=proxy)
    assert check == "proxy"
    assert "does not connect to 127.0.0.1:9 (status 403)" in text


async def test_doctor_names_unusable_proxy_setting(tmp_path: Path, mock: Server) -> None:
    check, text, code = await trouble(tmp_path, server=mock.url, proxy="ftp://proxy:21")
    assert (check, code) == ("settings", Exit.USAGE)
    assert "a proxy must be http://" in text


@pytest.mark.parametrize("kind", ["http", "socks5h"])
async def test_doctor_goes_through_proxy(kind: str, tmp_path: Path, authority: Authority) -> None:
    async with (
        http_proxy() if kind == "http" else socks_proxy() as log,
        running(mails=5, password=PASSWORD, ssl_context=authority.server()[0]) as server,
    ):
        given = {"server": server.url, "user": server.user, "ca_file": authority.file}
        findings = await findings_of(tmp_path, login=True, proxy=f"{kind}://127.0.0.1:{log.port}", **given)
    assert [finding for finding in findings if finding.level in ("failure", "warning") and finding.check != "tls"] == []
    assert log.asked


# what answers


async def test_doctor_names_captive_page(tmp_path: Path) -> None:
    async with page_server() as url:
        check, text, code = await trouble(tmp_path, server=url)
    assert (check, code) == ("protocol", Exit.UNEXPECTED_RESPONSE)
    assert "a web page (status 200)" in text
    assert "whether this network needs a login" in text


@pytest.mark.parametrize(
    ("status", "headers", "says"),
    [
        ("302 Found", ("Location: https://login.hotel.test/?next=x",), "redirect to another server.*needs? a login"),
        ("511 Network Authentication Required", (), "this network needs a login"),
        ("503 Service Unavailable", (), "status 503 .*administrator"),
    ],
)
async def test_doctor_names_reply_of_network_or_gateway(
    status: str, headers: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    async with serving(replying(status, PAGE, *headers)) as url:
        check, text, code = await trouble(tmp_path, server=url)
    assert (check, code) == ("http", Exit.UNFINISHED)
    assert re.search(says, text), text


async def test_doctor_names_server_of_another_kind(tmp_path: Path) -> None:
    async with serving(replying("404 Not Found", b'{"error": "no such route"}')) as url:
        check, text, code = await trouble(tmp_path, server=url)
    assert (check, code) == ("protocol", Exit.UNEXPECTED_RESPONSE)
    assert "does not answer as JMAP or Kerio Connect" in text


async def test_doctor_finds_and_uses_jmap_server(tmp_path: Path) -> None:
    double = JmapDouble(LIKE_CYRUS)
    async with jmap_serving(double):
        settings = settings_of(double)
        given = {"server": settings.server, "user": settings.user}
        password = settings.password.get_secret_value()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(PASSWORD_VARIABLE, password)
            good = await findings_of(tmp_path, login=True, **given)
            patch.setenv(PASSWORD_VARIABLE, "wrong battery")
            check, text, code = await trouble(tmp_path, login=True, **given)
    by_name = {finding.check: finding for finding in good}
    assert by_name["protocol"].data == {"protocol": "jmap"}
    assert [by_name[name].level for name in ("login", "mailbox")] == ["ok", "ok"]
    assert by_name["speed"].level in ("ok", "skipped")
    assert (check, code) == ("login", Exit.CREDENTIALS), text


async def test_doctor_names_server_of_another_protocol_than_set(tmp_path: Path, mock: Server) -> None:
    check, text, code = await trouble(tmp_path, server=mock.url, protocol="jmap")
    assert (check, code) == ("protocol", Exit.UNEXPECTED_RESPONSE)
    assert "does not answer as JMAP" in text


async def test_doctor_finds_jmap_behind_redirect(tmp_path: Path) -> None:
    pages = [replying("200 OK", PAGE)]
    moved = replying("301 Moved Permanently", b"", "Location: /jmap/session")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (pages.pop() if pages else moved)(reader, writer)

    async with serving(answer) as url:
        findings = await findings_of(tmp_path, server=url)
    assert {f.check: f.data for f in findings}["protocol"] == {"protocol": "jmap"}


async def test_doctor_names_wrong_login(tmp_path: Path, mock: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong battery")
    check, text, code = await trouble(tmp_path, login=True, server=mock.url, user=mock.user)
    assert (check, code) == ("login", Exit.CREDENTIALS)
    assert "refused the user name or password" in text


async def test_doctor_names_missing_password(tmp_path: Path, mock: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE)
    check, text, code = await trouble(tmp_path, login=True, server=mock.url)
    assert (check, code) == ("settings", Exit.USAGE)
    assert "no password" in text


async def test_doctor_names_mailbox_that_does_not_fit(
    tmp_path: Path, mock: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kerio_resync.diagnose import login

    monkeypatch.setattr(login, "available_bytes", lambda _: 64 * 2**20 + 1000)
    check, text, code = await trouble(tmp_path, login=True, server=mock.url, user=mock.user)
    assert (check, code) == ("mailbox", Exit.NOT_ENOUGH_SPACE)
    assert "64 MiB are free" in text


# this computer


async def test_doctor_names_full_disk(tmp_path: Path, mock: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "write_private", raising(OSError(errno.ENOSPC, "No space left on device")))
    monkeypatch.setattr(filesystem, "available_bytes", lambda _: 0)
    check, text, code = await trouble(tmp_path, server=mock.url)
    assert (check, code) == ("profile", Exit.NOT_ENOUGH_SPACE)
    assert "is full. Free some space" in text


async def test_doctor_names_small_disk(tmp_path: Path, mock: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "available_bytes", lambda _: 5 * 2**20)
    check, text, code = await trouble(tmp_path, server=mock.url)
    assert (check, code) == ("disk", Exit.NOT_ENOUGH_SPACE)
    assert text.startswith("5.0 MiB free at")


async def test_doctor_names_read_only_disk(tmp_path: Path, mock: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "write_private", raising(OSError(errno.EROFS, "Read-only file system")))
    check, text, code = await trouble(tmp_path, server=mock.url)
    assert (check, code) == ("profile", Exit.USAGE)
    assert "is read-only. Make it writable" in text


async def test_doctor_names_file_in_place_of_profile(tmp_path: Path, mock: Server) -> None:
    (tmp_path / "p").touch()
    check, text, code = await trouble(tmp_path / "p", server=mock.url)
    assert code == Exit.USAGE
    assert (check, text) == ("profile", f"{tmp_path / 'p'} is not a folder. Name another one with --profile")


async def test_doctor_names_holder_of_lock(tmp_path: Path, mock: Server) -> None:
    with ProfileLock(tmp_path):
        check, text, code = await trouble(tmp_path, server=mock.url)
    assert (check, code) == ("lock", Exit.IN_USE)
    assert "in use by process" in text


async def test_doctor_names_truncated_cache(tmp_path: Path, mock: Server) -> None:
    await rebuild(Settings(profile=tmp_path, server=mock.url, user=mock.user, password=SecretStr(PASSWORD)))
    with (tmp_path / "cache.db").open("r+b") as file:
        file.truncate(40_000)
    check, text, code = await trouble(tmp_path)
    assert (check, code) == ("cache", Exit.REBUILD_NEEDED)
    assert "Run `kerio-resync rebuild`" in text


async def test_doctor_names_broken_settings_file(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text("server = [")
    check, text, code = await trouble(tmp_path)
    assert (check, code) == ("settings", Exit.USAGE)
    assert "profile.toml is not valid TOML" in text


async def test_doctor_names_settings_that_take_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(doctor, "SETTINGS_SECONDS", 0.05)
    monkeypatch.setattr(doctor, "load_complete", lambda *_: release.wait(60))
    findings = await findings_of(tmp_path)
    release.set()
    [found] = [finding for finding in findings if finding.level == "failure"]
    assert (found.check, found.advice.startswith("Run again. If it persists, connect the disk")) == ("settings", True)
    assert {f.found for f in findings if f.check in ("dns", "speed")} == {
        "not checked, because the check `settings` failed"
    }


async def test_doctor_warns_of_profile_that_others_can_read(tmp_path: Path, mock: Server) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "profile.toml").touch(0o644)
    check, text, code = cause(await findings_of(tmp_path, server=mock.url), "warning")
    assert (check, code) == ("profile", Exit.DONE)
    assert "other users have access to profile.toml in" in text


async def test_doctor_ends_in_time_when_nothing_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk, the name servers and the server hang, each in its own way."""

    def resolve_slowly(_: str) -> list[tuple[int, str]]:
        time.sleep(way.STEP_SECONDS - 0.5)
        return [(socket.AF_INET, "127.0.0.1")]

    release = threading.Event()
    monkeypatch.setattr(local, "status", lambda _: release.wait(60))
    began = time.monotonic()
    async with silent() as port:
        resolving(monkeypatch, resolve_slowly)
        findings = await findings_of(tmp_path, server=f"https://mail.test:{port}")
    seconds = time.monotonic() - began
    release.set()
    assert seconds < 15
    assert exit_of(findings) != Exit.DONE
    assert [finding.check for finding in findings if finding.level == "failure"] == ["cache", "tls"]
