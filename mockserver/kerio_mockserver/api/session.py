"""The methods of `Session`: login, logout, and facts about the user."""

from __future__ import annotations

import hmac
from typing import Any

from kerio_mockserver.api.call import Call, method
from kerio_mockserver.api.errors import FAILED, ApiError
from kerio_mockserver.api.sessions import clear_cookies, set_cookies


@method("Session.login", session=False)
def login(call: Call) -> dict[str, Any]:
    server = call.server
    known = call.params["userName"].casefold() in {server.user.casefold(), server.user.partition("@")[0].casefold()}
    right = hmac.compare_digest(call.params["password"].encode(), server.password.encode())
    if not (known and right):
        raise ApiError(FAILED, "Invalid user name or password.")
    session = server.sessions.open(call.request.peer, call.now)
    call.set_cookies += set_cookies(session, secure=server.secure)
    return {"token": session.token}


@method("Session.logout", token=False)
def logout(call: Call) -> dict[str, Any]:
    call.server.sessions.close(call.session)
    call.set_cookies += clear_cookies()
    return {}


@method("Session.whoAmI")
def who_am_i(call: Call) -> dict[str, Any]:
    store = call.server.store
    address = f"{store.user}@{store.domain}"
    return {
        "userDetails": {
            "id": f"keriostorage://user/{store.domain}/{store.user}",
            "loginName": address,
            "fullName": store.user.replace(".", " ").title(),
            "emails": [address],
            "preferredAddress": address,
            "replyToAddress": "",
        }
    }


@method("Session.getQuotaInformation")
def quota(call: Call) -> dict[str, Any]:
    return {"quotaInfo": call.server.store.quota()}


@method("Session.canUserChangePassword")
def can_change_password(call: Call) -> dict[str, Any]:
    return {"isEligible": False}


@method("Session.getAvailableLanguages")
def languages(call: Call) -> dict[str, Any]:
    return {"languages": [{"name": "English", "code": "en-US", "shortCode": "en"}]}


@method("Session.getAvailableTimeZones")
def time_zones(call: Call) -> dict[str, Any]:
    return {"zones": ["(GMT) Greenwich Mean Time", "(GMT +01:00) Central European Time"]}
