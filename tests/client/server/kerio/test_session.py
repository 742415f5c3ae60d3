from __future__ import annotations

import asyncio

import pytest

from kerio_resync.errors import BadCredentials, ProtocolError
from kerio_resync.server.kerio.session import Session, resolve_url

ORIGIN = "https://mail.example.com"


def begun() -> Session:
    session = Session(ORIGIN)
    session.begin("s3cr3t-token", "SESSION_CONNECT_WEBMAIL=c00kie; Path=/webmail/; HttpOnly\nTOKEN_CONNECT_WEBMAIL=t0k")
    return session


def test_the_server_that_issued_them_gets_token_and_cookies() -> None:
    assert begun().headers(f"{ORIGIN}/webmail/x") == {
        "X-Token": "s3cr3t-token",
        "Cookie": "SESSION_CONNECT_WEBMAIL=c00kie; TOKEN_CONNECT_WEBMAIL=t0k",
    }
    assert Session(ORIGIN).headers(ORIGIN) == {}


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/x", "http://mail.example.com/x", f"{ORIGIN}.evil/x", f"{ORIGIN}:8443/x", f"{ORIGIN}@evil/"],
)
def test_nobody_else_does(url: str) -> None:
    with pytest.raises(ProtocolError):
        begun().headers(url)


def test_no_secret_shows() -> None:
    session = begun()
    session.redactor.keep("p4ssw0rd")
    assert "s3cr3t" not in repr(session)
    assert "c00kie" not in repr(session)
    assert session.redactor.foreign("no p4ssw0rd, s3cr3t-token or c00kie") == "no …, … or …"


@pytest.mark.parametrize(
    "line", ["", "nonsense", "a=b=c", "x=\r\nX-Evil: 1", "=v", 'q="a b"', "ü=1", "\x00=1", ";", "a=b c"]
)
def test_cookies_that_are_none_are_left_out_or_harmless(line: str) -> None:
    session = Session(ORIGIN)
    session.begin("t", line)
    cookie = session.headers(ORIGIN).get("Cookie", "")
    assert not set("\r\n\0 ") & set(cookie)


async def test_forty_calls_log_in_once() -> None:
    session, logins = begun(), 0

    async def login() -> None:
        nonlocal logins
        logins += 1
        await asyncio.sleep(0)
        session.begin("new", "")

    await asyncio.gather(*(session.renew(1, login) for _ in range(40)))
    await session.renew(1, login)  # a late one finds it done
    assert logins == 1
    assert session.generation == 2


async def test_a_refused_login_is_refused_for_all() -> None:
    session, logins = begun(), 0

    async def login() -> None:
        nonlocal logins
        logins += 1
        await asyncio.sleep(0)
        raise BadCredentials("no")

    found = await asyncio.gather(*(session.renew(1, login) for _ in range(40)), return_exceptions=True)
    assert {type(one) for one in found} == {BadCredentials}
    with pytest.raises(BadCredentials):  # a later call does not try the password again
        await session.renew(1, login)
    assert logins == 1


async def test_who_began_the_login_may_be_cancelled() -> None:
    session = begun()
    go = asyncio.Event()

    async def login() -> None:
        await go.wait()
        session.begin("new", "")

    first = asyncio.create_task(session.renew(1, login))
    second = asyncio.create_task(session.renew(1, login))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    await second
    assert session.generation == 2


async def test_closing_ends_a_login_under_way() -> None:
    session = begun()
    waiter = asyncio.create_task(session.renew(1, asyncio.Event().wait))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await session.close()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert session.headers(ORIGIN) == {}


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("/webmail/api/x/1/2/a%20b.pdf", "/webmail/api/x/1/2/a%20b.pdf"),
        ("/webmail/a b.pdf", "/webmail/a%20b.pdf"),
        ("/webmail/ü.pdf", "/webmail/%C3%BC.pdf"),
        ("webmail/x?part=1&name=ü", "/webmail/x?part=1&name=%C3%BC"),
        ("/webmail/../../x", "/webmail/%2E%2E/%2E%2E/x"),
        (f"{ORIGIN}/x", "/x"),
        (f"{ORIGIN}:443/x", "/x"),
        ("HTTPS://MAIL.example.com/x", "/x"),
        ("/x#fragment", "/x"),
        ("/a//b", "/a//b"),
    ],
)
def test_addresses_of_the_server(url: str, absolute: str) -> None:
    assert resolve_url(ORIGIN, url) == ORIGIN + absolute


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://evil.example/x",
        "//evil.example/x",
        "http://mail.example.com/x",
        "https://mail.example.com:8443/x",
        "https://mail.example.com@evil.example/x",
        "https://user@mail.example.com/x",
        "https://mail.example.com\\@evil.example/x",
        "/\\evil.example/x",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/plain,x",
        "/x\r\nHost: evil",
        "/x\0",
        "https://[::1/x",
        "https://mail.example.com:port/x",
    ],
)
def test_addresses_of_others_are_refused(url: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        resolve_url(ORIGIN, url)
    assert caught.value.scope == "item"


def test_an_origin_with_a_port() -> None:
    assert resolve_url("http://127.0.0.1:8080", "/x") == "http://127.0.0.1:8080/x"
    with pytest.raises(ProtocolError):
        resolve_url("http://127.0.0.1:8080", "http://127.0.0.1/x")
