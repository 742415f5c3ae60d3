from __future__ import annotations

import pytest

from kerio_mockserver.api.errors import ApiError
from kerio_mockserver.api.sessions import Session, Sessions, cookies, set_cookies
from kerio_mockserver.conditions.model import Quirks
from kerio_mockserver.server import MockServer
from tests.support.mock_caller import Caller, Refused, envelope, logged_in, small


def headers(session: Session, **changes: str) -> dict[str, str]:
    return {"cookie": f"SESSION_CONNECT_WEBMAIL={session.cookie}", "x-token": session.token} | changes


def test_session_ends_after_idle_time_and_maximum_age() -> None:
    sessions = Sessions(Quirks())
    session = sessions.open("a", 0.0)
    now = 0.0
    while now + 7000 < 312 * 3600:
        now += 7000
        assert sessions.find(headers(session), "a", now) is session
    with pytest.raises(ApiError) as refused:
        sessions.find(headers(session), "a", 312 * 3600 + 1)
    assert refused.value.code == -32001
    idle = sessions.open("a", now)
    sessions.find(headers(idle), "a", now + 7200)
    with pytest.raises(ApiError):
        sessions.find(headers(idle), "a", now + 7200 + 7201)
    with pytest.raises(ApiError):
        sessions.find(headers(idle), "a", now)  # what has ended, has ended
    assert len(sessions) == 0


@pytest.mark.parametrize("bound", [True, False])
def test_session_ends_at_another_address_if_bound(bound: bool) -> None:
    sessions = Sessions(Quirks(session_bound_to_address=bound))
    session = sessions.open("a", 0.0)
    if bound:
        with pytest.raises(ApiError):
            sessions.find(headers(session), "b", 1.0)
    else:
        assert sessions.find(headers(session), "b", 1.0) is session


@pytest.mark.parametrize(
    "changes", [{"x-token": "wrong"}, {"x-token": "č"}, {"cookie": ""}, {"cookie": "nonsense;;=\x01"}]
)
def test_cookie_and_header_are_both_needed(changes: dict[str, str]) -> None:
    sessions = Sessions(Quirks())
    session = sessions.open("a", 0.0)
    with pytest.raises(ApiError):
        sessions.find(headers(session, **changes), "a", 1.0)


def test_download_needs_the_cookie_but_refuses_a_wrong_token() -> None:
    sessions = Sessions(Quirks())
    session = sessions.open("a", 0.0)
    bare = {"cookie": headers(session)["cookie"]}
    assert sessions.find(bare, "a", 1.0, header_needed=False) is session
    with pytest.raises(ApiError):
        sessions.find(bare, "a", 1.0)
    with pytest.raises(ApiError):
        sessions.find(bare | {"x-token": "wrong"}, "a", 1.0, header_needed=False)


def test_login_sets_documented_cookies() -> None:
    session = Sessions(Quirks()).open("a", 0.0)
    first, second = set_cookies(session, secure=True)
    assert first == f"SESSION_CONNECT_WEBMAIL={session.cookie}; Path=/webmail/; Secure; HttpOnly"
    assert second == f"TOKEN_CONNECT_WEBMAIL={session.token}; Path=/webmail/; Secure"
    assert "Secure" not in set_cookies(session, secure=False)[0]
    assert cookies({"cookie": "a=1; b=2"}) == {"a": "1", "b": "2"}


def test_same_seed_gives_the_same_tokens() -> None:
    assert Sessions(Quirks(), seed=3).open("a", 0.0) == Sessions(Quirks(), seed=3).open("a", 0.0)
    assert Sessions(Quirks(), seed=3).open("a", 0.0) != Sessions(Quirks(), seed=4).open("a", 0.0)


async def test_logout_ends_the_session() -> None:
    caller, _ = await logged_in()
    assert (await caller.call("Session.whoAmI"))["userDetails"]["emails"] == ["jane@example.com"]
    assert (await caller.call("Session.logout")) == {}
    with pytest.raises(Refused) as refused:
        await caller.call("Session.whoAmI")
    assert refused.value.code == -32001


@pytest.mark.parametrize(("user", "password"), [("jane", "wrong"), ("bob", "secret"), ("", "")])
async def test_login_refuses_wrong_credentials(user: str, password: str) -> None:
    caller = Caller(MockServer(small().store))
    with pytest.raises(Refused) as refused:
        await caller.call("Session.login", userName=user, password=password, application={})
    assert (refused.value.code, refused.value.status) == (1000, 200)
    assert password not in refused.value.error["message"] or not password


@pytest.mark.parametrize("user", ["jane", "JANE@example.com"])
async def test_login_accepts_name_or_address(user: str) -> None:
    caller = Caller(MockServer(small().store))
    assert await caller.call("Session.login", userName=user, password="secret", application={})


async def test_two_sessions_are_independent() -> None:
    caller, _ = await logged_in()
    other = Caller(caller.core)
    await other.login()
    assert other.token != caller.token
    await caller.call("Session.logout")
    assert await other.call("Session.whoAmI")
    mixed = await other.send(envelope("Session.whoAmI"), **{"x-token": caller.token})
    assert mixed.status == 500


async def test_quota_counts_the_own_mailbox() -> None:
    caller, box = await logged_in()
    assert (await caller.call("Session.getQuotaInformation"))["quotaInfo"] == box.store.quota()


def test_too_many_sessions_end_the_least_recently_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerio_mockserver.api.sessions.MAX_SESSIONS", 3)
    sessions = Sessions(Quirks())
    opened = [sessions.open("1.2.3.4", now) for now in range(3)]
    sessions.find(headers(opened[0]), "1.2.3.4", 5.0)
    opened.append(sessions.open("1.2.3.4", 6.0))
    assert len(sessions) == 3
    with pytest.raises(ApiError):
        sessions.find(headers(opened[1]), "1.2.3.4", 7.0)
    for one in (opened[0], opened[2], opened[3]):
        assert sessions.find(headers(one), "1.2.3.4", 7.0) is one


def test_login_drops_idle_sessions() -> None:
    sessions = Sessions(Quirks())
    for _ in range(50):
        sessions.open("1.2.3.4", 0.0)
    sessions.open("1.2.3.4", Quirks().session_idle_s + 1)
    assert len(sessions) == 1
