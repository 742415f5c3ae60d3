"""Connections over real sockets: proxies, trust, client certificates, and mistakes in the address."""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp_socks import ProxyError, ProxyTimeoutError
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kerio_resync.errors import (
    BadSettings,
    CertificateError,
    DiskTrouble,
    Misconfigured,
    OutcomeUnknown,
    ResyncError,
    Unreachable,
)
from kerio_resync.server.http import connections
from kerio_resync.server.http.connections import map_transport_error, without_frames
from kerio_resync.server.http.proxies import Proxy
from kerio_resync.server.http.transport import AiohttpTransport, Request, Route
from kerio_resync.server.http.trust import handshake_advice, tls_context
from tests.support.certificates import Authority, fingerprint, made, pem, pem_of_key
from tests.support.proxy_servers import http_proxy, socks_proxy
from tests.support.socket_server import saying, serving


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def web(tls: ssl.SSLContext | None = None, reply: bytes = b"") -> AbstractAsyncContextManager[str]:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply or b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    return serving(answer, tls)


async def fetched(url: str, route: Route) -> bytes:
    transport = AiohttpTransport(route=route, connect_timeout=5.0)
    try:
        async with asyncio.timeout(20), transport.send(Request("GET", f"{url}/x?y=1", timeout=5.0)) as response:
            return await response.read(100)
    finally:
        await transport.aclose()


async def failure(url: str, route: Route) -> ResyncError:
    with pytest.raises(ResyncError) as caught:
        await fetched(url, route)
    return caught.value


# trust


@pytest.mark.parametrize(
    ("kind", "ca", "says"),
    [
        ("expired", True, "has expired.*renew"),
        ("not yet", True, "not valid yet.*date and time"),
        ("other host", True, "another name"),
        ("no intermediate", True, "intermediate"),
        ("no intermediate", False, "unknown authority.*--ca-file.*intermediate"),
        ("good", False, "unknown authority"),
        ("self-signed", False, "self-signed.*--ca-file.*--fingerprint"),
    ],
)
async def test_each_certificate_that_is_not_trusted_has_its_own_advice(
    authority: Authority, kind: str, ca: bool, says: str
) -> None:
    context, _ = authority.server(kind=kind)
    async with web(context) as url:
        error = await failure(url, Route(ca_file=authority.file if ca else None))
    assert isinstance(error, CertificateError)
    assert re.search(says, error.detail), error.detail


@pytest.mark.parametrize("file", [True, False], ids=["ca-file", "system"])
async def test_authorities_without_a_key_identifier_are_trusted_on_every_python(
    file: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert not tls_context(authority.file if file else None).verify_flags & ssl.VERIFY_X509_STRICT
    context, _ = authority.server()
    async with web(context) as url:
        assert await fetched(url, Route(ca_file=authority.file if file else None)) == b"hello"


async def test_ca_file_is_the_only_trust(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Authority(tmp_path, "other")
    context, _ = authority.server()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with web(context) as url:
        assert await fetched(url, Route()) == b"hello"
        assert isinstance(await failure(url, Route(ca_file=other.file)), CertificateError)
        assert await fetched(url, Route(ca_file=authority.file)) == b"hello"


async def test_ca_file_may_be_the_servers_own_certificate(authority: Authority, tmp_path: Path) -> None:
    context, certificate = authority.server(kind="self-signed")
    file = tmp_path / "own.pem"
    file.write_bytes(pem(certificate))
    async with web(context) as url:
        assert await fetched(url, Route(ca_file=file)) == b"hello"


@pytest.mark.parametrize("through", ["", "http", "socks5"])
async def test_a_fingerprint_is_compared_in_every_connection(authority: Authority, through: str) -> None:
    context, certificate = authority.server(kind="self-signed")
    right = fingerprint(certificate)
    running_proxy = socks_proxy() if through == "socks5" else http_proxy()
    async with web(context) as url, running_proxy as log:
        proxy = Proxy(through, "127.0.0.1", log.port) if through else None
        assert await fetched(url, Route(proxy, fingerprint=right)) == b"hello"
        error = await failure(url, Route(proxy, fingerprint="ab" * 32))
        assert isinstance(error, CertificateError)
        assert right.upper()[-2:] in error.detail
        assert right in error.detail.replace(":", "").lower()
        assert len(log.asked) == (2 if through else 0)
        # with an authority both must hold
        assert isinstance(await failure(url, Route(proxy, authority.file, fingerprint=right)), CertificateError)


async def test_a_fingerprint_mismatch_sends_nothing(authority: Authority) -> None:
    context, _ = authority.server()
    seen: list[bytes] = []

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(act, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await failure(url, Route(fingerprint="00" * 32))
        await asyncio.sleep(0.05)
    assert not any(seen)


# client certificates


async def test_a_client_certificate_is_shown_and_one_that_is_missing_named(
    authority: Authority, tmp_path: Path
) -> None:
    context, _ = authority.server()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    key = ec.generate_private_key(ec.SECP256R1())
    own, stranger = made("client", key, "root", authority.key), made("client", key, "client", key)
    (tmp_path / "both.pem").write_bytes(pem(own) + pem_of_key(key))
    (tmp_path / "beside.pem").write_bytes(pem(own))
    (tmp_path / "beside.key").write_bytes(pem_of_key(key))
    (tmp_path / "stranger.pem").write_bytes(pem(stranger) + pem_of_key(key))
    async with web(context) as url:
        for name in ("both.pem", "beside.pem"):
            assert await fetched(url, Route(None, authority.file, tmp_path / name)) == b"hello"
        missing = await failure(url, Route(ca_file=authority.file))
        refused = await failure(url, Route(None, authority.file, tmp_path / "stranger.pem"))
    assert "--client-cert" in missing.detail
    assert isinstance(refused, Unreachable | OutcomeUnknown)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("encrypted", "encrypted.*openssl pkey"),
        ("alone", "no private key"),
        ("other key", "key belongs to another certificate"),
        ("binary", "not PEM.*openssl pkcs12"),
        ("broken", "cannot be used"),
    ],
)
def test_a_client_certificate_that_cannot_be_used_says_why(tmp_path: Path, content: str, says: str) -> None:
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    certificate = pem(made("client", key, "client", key))
    texts = {
        "encrypted": certificate + pem_of_key(key, serialization.BestAvailableEncryption(b"secret")),
        "alone": certificate,
        "other key": certificate + pem_of_key(other),
        "binary": b"\x30\x82\x00\x00",
        "broken": b"-----BEGIN CERTIFICATE-----\nx\n-----BEGIN PRIVATE KEY-----\n",
    }
    file = tmp_path / "client.pem"
    file.write_bytes(texts[content])
    with pytest.raises(BadSettings, match=f"(?s)client_cert .*client.pem.*{says}"):
        tls_context(None, file)


# mistakes in the address


async def test_http_to_a_tls_port_is_seen_at_once(authority: Authority) -> None:
    context, _ = authority.server()
    async with web(context) as url:
        error = await failure(url.replace("https:", "http:"), Route())
    assert isinstance(error, Misconfigured)
    assert f"did you mean {url}?" in error.detail


async def test_https_to_a_plain_port_is_seen_at_once() -> None:
    async with web() as url:
        error = await failure(url.replace("http:", "https:"), Route())
    assert isinstance(error, Misconfigured)
    assert f"did you mean {url}?" in error.detail


@pytest.mark.parametrize("through", ["http", "socks5h"])
@pytest.mark.parametrize("tls", [True, False])
async def test_a_wrong_scheme_is_seen_through_a_proxy_too(authority: Authority, through: str, tls: bool) -> None:
    proxy = socks_proxy() if through == "socks5h" else http_proxy()
    async with web(authority.server()[0] if tls else None) as url, proxy as log:
        wrong = url.replace("https:", "http:") if tls else url.replace("http:", "https:")
        error = await failure(wrong, Route(Proxy(through, "127.0.0.1", log.port)))
    assert f"did you mean {url}?" in error.detail


async def test_a_port_of_another_protocol_is_seen_at_once() -> None:
    async with web(reply=b"* OK IMAP4rev1 ready\r\n") as url:
        error = await failure(url, Route())
    assert isinstance(error, Misconfigured)
    assert "not a web server" in error.detail
    assert "https://127.0.0.1" in error.detail


async def test_http_to_a_tls_port_that_answers_400_is_seen_at_once() -> None:
    """Many web servers answer plain HTTP on their TLS port; the alert shows that it speaks TLS."""
    alert = b"\x15\x03\x01\x00\x02\x02\x46"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tls = (await reader.read(1000))[:1] == b"\x16"
        writer.write(alert if tls else b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error = await failure(f"http://{place}", Route())
    assert isinstance(error, Misconfigured)
    assert f"did you mean https://{place}?" in error.detail


async def test_https_to_a_port_of_old_tls_is_seen_at_once() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")  # the alert "protocol version"
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        error = await failure(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", Route())
    assert isinstance(error, Misconfigured)
    assert "speaks only an old version of TLS" in error.detail


async def test_tls_connection_closed_before_reply_suggests_client_cert(authority: Authority) -> None:
    async with serving(saying(), authority.server()[0]) as url:
        error = await failure(url, Route(ca_file=authority.file))
    assert isinstance(error, OutcomeUnknown)
    assert "use --client-cert" in error.detail


async def test_refused_port_suggests_the_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def speaks_http(_: aiohttp.ClientSession, origin: str, __: Route) -> bool:
        asked.append(origin)
        return ":8843" in origin

    monkeypatch.setattr(connections, "speaks_http", speaks_http)
    key: Any = SimpleNamespace(host="mail.test", port=1, ssl=True)
    refused = aiohttp.ClientConnectorError(key, ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
    async with aiohttp.ClientSession() as session:
        args = session, "https://mail.test:1/x", Route()
        error = await connections.diagnose(refused, Unreachable("no connection"), *args)
    assert "did you mean https://mail.test:8843?" in str(error)
    assert asked == ["https://mail.test", "https://mail.test:8843"]


async def test_status_400_of_a_server_without_tls_is_passed_on() -> None:
    async with web(reply=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\nhello") as url:
        assert await fetched(url, Route()) == b"hello"


def test_map_transport_error_names_the_reason_of_a_failed_handshake() -> None:
    key = aiohttp.client_reqrep.ConnectionKey("mail.test", 443, True, True, None, None, None)
    failure = ssl.SSLError(1, "wrong version number")
    failure.reason = "WRONG_VERSION_NUMBER"
    error = map_transport_error(aiohttp.ClientConnectorSSLError(key, failure), "https://mail.test/x", 5.0, Route())
    assert isinstance(error, Unreachable)
    assert error.detail == handshake_advice("WRONG_VERSION_NUMBER", "mail.test")


def test_map_transport_error_names_limit_of_open_files() -> None:
    error = map_transport_error(OSError(errno.EMFILE, "x"), "https://mail.test/x", 5.0, Route())
    assert isinstance(error, DiskTrouble)
    assert "ulimit -n" in str(error)


@pytest.mark.parametrize(
    ("foreign", "says"),
    [(ProxyTimeoutError("x"), "in time"), (ProxyError("host unreachable"), "does not connect to mail.test")],
)
def test_map_transport_error_names_socks_proxy(foreign: Exception, says: str) -> None:
    error = map_transport_error(foreign, "https://mail.test/x", 5.0, Route(Proxy("socks5h", "127.0.0.1", 9)))
    assert isinstance(error, Unreachable)
    assert "the proxy 127.0.0.1:9" in error.detail
    assert says in error.detail


def test_without_frames_removes_quoted_bytes_of_reply() -> None:
    outer = OutcomeUnknown("the connection broke")
    outer.__cause__ = HttpProcessingError(code=400, message="bytes of a mail", headers=None)
    assert "mail" not in repr(without_frames(outer).__cause__) + str(vars(outer.__cause__))


async def test_socks_proxy_refuses_login_that_is_not_ascii() -> None:
    error = await failure("http://mail.test", Route(Proxy("socks5h", "127.0.0.1", 9, "jürgen", "x")))
    assert isinstance(error, BadSettings)
    assert "must be ASCII" in error.detail


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("TLSV1_ALERT_PROTOCOL_VERSION", "TLS 1.2"),
        ("UNSUPPORTED_PROTOCOL", "TLS 1.2"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", "--client-cert"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "--client-cert"),
        ("TLSV1_ALERT_UNKNOWN_CA", "does not accept the client certificate"),
        ("TLSV1_UNRECOGNIZED_NAME", "name in --server"),
        ("EE_KEY_TOO_SMALL", "too weak"),
        ("", "the TLS handshake with"),
    ],
)
def test_handshake_advice_fits_the_reason(reason: str, says: str) -> None:
    assert says in handshake_advice(reason, "mail.test")


async def test_after_the_first_answer_a_failure_is_trouble_that_passes(authority: Authority) -> None:
    context, _ = authority.server()
    transport = AiohttpTransport(route=Route(ca_file=authority.file))
    async with web(context) as url, transport.send(Request("GET", f"{url}/x", timeout=5.0)) as response:
        await response.read(100)
    port = int(url.rpartition(":")[2])
    other = Authority(authority.folder, "other").server()[0]
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", port, ssl=other)
    async with server:
        for _ in range(2):  # the first may find the old connection
            with pytest.raises(ResyncError) as caught:
                async with transport.send(Request("GET", f"{url}/x", timeout=5.0)):
                    pass
    await transport.aclose()
    assert caught.value.retryable


# proxies


@pytest.mark.parametrize("login", ["", "us@er:p:w $/"])
@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("kind", ["http", "socks5", "socks5h"])
async def test_a_request_goes_through_the_proxy(authority: Authority, kind: str, tls: bool, login: str) -> None:
    user, _, password = login.partition(":")
    proxy = http_proxy(login=login) if kind == "http" else socks_proxy(login=login)
    async with web(authority.server()[0] if tls else None) as url, proxy as log:
        named = url.replace("127.0.0.1", "mail.test") if kind != "socks5" else url  # only the proxy knows that name
        route = Route(Proxy(kind, "127.0.0.1", log.port, user, password), authority.file)
        assert await fetched(named, route) == b"hello"
    place = named.partition("//")[2]
    asked = log.asked[0]
    assert asked == ({True: f"CONNECT {place}", False: f"GET {named}/x?y=1"}[tls] if kind == "http" else place)
    assert all(b"X-Token" not in head for head in log.heads)


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize(
    ("given", "scheme", "says"),
    [
        (("", ""), "Basic realm=x", r"wants a user name and password \(407\).*USER:PASSWORD@"),
        (("u", "wr0ng-pw"), "Basic", r"refuses the user name or password.*\(407\)"),
        (("", ""), "Negotiate", r"not supported \(407\).*cntlm"),
    ],
)
async def test_407_is_explained(
    authority: Authority, tls: bool, given: tuple[str, str], scheme: str, says: str
) -> None:
    async with web(authority.server()[0] if tls else None) as url, http_proxy(login="u:right", scheme=scheme) as log:
        error = await failure(url, Route(Proxy("http", "127.0.0.1", log.port, *given), authority.file))
    assert isinstance(error, Misconfigured)
    assert re.search(says, error.detail), error.detail
    assert "wr0ng" not in repr(error) + repr(error.__cause__)


@pytest.mark.parametrize("login", ["u:wrong", ""])
async def test_a_socks_proxy_that_wants_a_login_is_explained(login: str) -> None:
    user, _, password = login.partition(":")
    async with web() as url, socks_proxy(login="u:right") as log:
        error = await failure(url, Route(Proxy("socks5h", "127.0.0.1", log.port, user, password)))
    assert isinstance(error, Misconfigured)
    assert "user name" in error.detail


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Misconfigured), (403, Misconfigured), (502, Unreachable), (503, Unreachable)]
)
async def test_a_proxy_that_does_not_connect_is_named(
    authority: Authority, status: int, kind: type[ResyncError]
) -> None:
    async with web(authority.server()[0]) as url, http_proxy(status=status) as log:
        error = await failure(url, Route(Proxy("http", "127.0.0.1", log.port)))
    assert type(error) is kind
    assert f"the proxy 127.0.0.1:{log.port}" in error.detail


@pytest.mark.parametrize("kind", ["http", "socks5h"])
async def test_a_proxy_that_is_not_there_is_named(kind: str) -> None:
    async with http_proxy() as log:
        pass
    error = await failure("http://mail.test", Route(Proxy(kind, "127.0.0.1", log.port, "u", "p4ssw0rd")))
    assert isinstance(error, Unreachable)
    assert f"the proxy 127.0.0.1:{log.port}" in error.detail
    assert "p4ssw0rd" not in repr(error) + repr(error.__cause__)


async def test_without_the_extra_a_socks_proxy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp_socks", None)
    error = await failure("http://mail.test", Route(Proxy("socks5h", "127.0.0.1", 9)))
    assert isinstance(error, BadSettings)
    assert "pip install 'kerio-resync[socks]'" in error.detail
