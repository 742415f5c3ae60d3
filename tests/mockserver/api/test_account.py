"""The methods that the reference lacks: some are answered, the others refused with 1003."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.support.mock_caller import Refused, logged_in

UNPLAYED = {
    "Alarms": "set dismiss",
    "CallManager": "login dial hangup getCallStatus getExtensions",
    "Certificates": "get getById getStatus init open openEdit openWithOldLoginPassword "
    "openEditWithOldLoginPassword close closeEdit changePassword remove reset setPreferred "
    "toSource",
    "Delegation": "getInbound set setInbound",
    "Filters": "get getById set setById generateRule",
    "Integration": "getASyncFolderList setASyncFolderList getIPhoneSyncFolderList setIPhoneSyncFolderList",
    "MultiServer": "appendRemoteItem appendRemoteItems getCertificates",
    "Session": "getSpamSettings setSpamSettings getSignatureImageList getMobileDeviceList "
    "removeMobileDevice wipeMobileDevice cancelWipeMobileDevice",
    "im": "sendMessage getPresence anything",
}


@pytest.mark.parametrize("method", [f"{service}.{name}" for service in UNPLAYED for name in UNPLAYED[service].split()])
async def test_unsupported_method_answers_1003(method: str) -> None:
    caller, _ = await logged_in()
    with pytest.raises(Refused) as refused:
        await caller.call(method, query={"fields": 3})
    assert (refused.value.code, refused.value.status) == (1003, 200)
    caller.core.sessions.close_all()
    with pytest.raises(Refused) as refused:
        await caller.call(method)
    assert refused.value.code == -32001


@pytest.mark.parametrize("method", ["Alarms.nonsense", "im", "imap.get", "Session.getOutOfOffices", "alarms.get"])
async def test_unknown_method_answers_32601(method: str) -> None:
    caller, _ = await logged_in()
    with pytest.raises(Refused) as refused:
        await caller.call(method)
    assert (refused.value.code, refused.value.status) == (-32601, 404)


@pytest.mark.parametrize("as_text", [True, False])
async def test_settings_are_kept_and_read_by_path(as_text: bool) -> None:
    caller, _ = await logged_in()

    async def put(settings: dict[str, Any]) -> None:
        given = orjson.dumps(settings).decode() if as_text else settings
        assert await caller.call("Session.setSettings", settings=given) == {}

    async def get(*paths: list[str]) -> Any:
        return orjson.loads((await caller.call("Session.getSettings", query=list(paths)))["settings"])

    assert await get() == {}
    await put({"mail": {"signature": "Jane", "font": {"size": 11}}, "calendar": {"first": 1}})
    await put({"mail": {"font": {"size": 12}}})
    assert await get() == {"mail": {"signature": "Jane", "font": {"size": 12}}, "calendar": {"first": 1}}
    assert await get(["mail", "font"], ["calendar", "none"], ["none"]) == {"mail": {"font": {"size": 12}}}
    assert await get([]) == await get()


@pytest.mark.parametrize("settings", ["{", "[]", 3, None, [], "null"])
async def test_settings_must_be_an_object(settings: Any) -> None:
    caller, _ = await logged_in()
    with pytest.raises(Refused) as refused:
        await caller.call("Session.setSettings", settings=settings)
    assert refused.value.code == -32602


async def test_settings_refuse_too_many_bytes() -> None:
    caller, _ = await logged_in()
    with pytest.raises(Refused) as refused:
        await caller.call("Session.setSettings", settings={"a": "x" * (1 << 20)})
    assert refused.value.code == 413
    assert (await caller.call("Session.getSettings", query=[]))["settings"] == "{}"


async def test_out_of_office_returns_what_was_set() -> None:
    caller, _ = await logged_in()
    blank = (await caller.call("Session.getOutOfOffice"))["settings"]
    assert blank == {
        "isEnabled": False, "text": "", "isTimeRangeEnabled": False, "timeRangeStart": "", "timeRangeEnd": ""
    }  # fmt: skip
    await caller.call("Session.setOutOfOffice", settings={"isEnabled": True, "text": "Away", "nonsense": 1})
    assert (await caller.call("Session.getOutOfOffice"))["settings"] == blank | {"isEnabled": True, "text": "Away"}
    with pytest.raises(Refused) as refused:
        await caller.call("Session.setOutOfOffice", settings={"isEnabled": "yes"})
    assert refused.value.code == -32602


async def test_principals_are_user_domain_and_shared_owners() -> None:
    caller, _ = await logged_in()
    everybody = (await caller.call("Principals.get", users=True, groups=True, domains=True))["list"]
    assert [(one["type"], one["mailAddress"]) for one in everybody] == [
        ("ptUser", "jane@example.com"),
        ("ptUser", "bob@example.com"),
        ("ptDomain", "example.com"),
    ]
    assert (await caller.call("Principals.get", users=False, groups=True, domains=False))["list"] == []
    found = (await caller.call("Principals.getByEmail", email="BOB@example.com"))["principal"]
    assert found["displayName"] == "Bob"
    with pytest.raises(Refused) as refused:
        await caller.call("Principals.getByEmail", email="eve@example.com")
    assert refused.value.code == 1002


async def test_get_delegates_and_api_version() -> None:
    caller, _ = await logged_in()
    assert await caller.call("Delegation.get") == {"list": []}
    assert "apiVersion" in await caller.call("Version.getApiVersion")


@pytest.mark.parametrize("depth", [300, 900, 1_500])
async def test_set_settings_survives_deep_nesting(depth: int) -> None:
    caller, _ = await logged_in()
    nested = '{"a":' * depth + "1" + "}" * depth
    for given in (nested, orjson.dumps(nested).decode()):
        body = f'{{"jsonrpc":"2.0","id":1,"method":"Session.setSettings","params":{{"settings":{given}}}}}'
        reply = await caller.send(body.encode())
        assert isinstance(reply.body, bytes)
        told = orjson.loads(reply.body)
        assert "result" in told or told["error"]["code"] in (-32700, -32602, 413)
    assert not caller.core.stats.internal_errors


async def test_free_busy_refuses_too_many_addresses() -> None:
    caller, _ = await logged_in()
    many = [f"a{n}@example.com" for n in range(1_000)]
    with pytest.raises(Refused) as refused:
        await caller.call("FreeBusy.get", userAddresses=many, start="20260101", end="20260201")
    assert refused.value.code == -32602
