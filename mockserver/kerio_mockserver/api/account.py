"""The account's other methods: settings, automatic reply, principals, delegation.

The vendor's reference of the mailbox does not name these methods; their shapes are those that clients in the field send
and read. `REFUSED` lists further methods of real servers. They answer 1003; without them the mock would answer -32601
and look like another product.

Open (chosen here): a mailbox has no delegates; `Principals.get` returns no groups; settings that were never set are
left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from kerio_mockserver.api.call import Call, method
from kerio_mockserver.api.errors import INVALID_PARAMS, TOO_LARGE, ApiError
from kerio_mockserver.mailbox.ids import SCHEME

MAX_SETTINGS_BYTES = 1 << 20
_SERVICES = {
    "Alarms": "dismiss set",
    "CallManager": "dial getCallStatus getExtensions hangup login",
    "Certificates": "changePassword close closeEdit exportPKCS12 get getById getStatus importPKCS12 init open openEdit"
    " openEditWithOldLoginPassword openWithOldLoginPassword remove reset setPreferred toSource",
    "Delegation": "getInbound set setInbound",
    "Filters": "generateRule get getById set setById",
    "Integration": "getASyncFolderList getIPhoneSyncFolderList setASyncFolderList setIPhoneSyncFolderList",
    "MultiServer": "appendRemoteItem appendRemoteItems getCertificates",
    "Session": "cancelWipeMobileDevice getMobileDeviceList getSignatureImageList getSpamSettings removeMobileDevice"
    " setSpamSettings wipeMobileDevice",
}
REFUSED = frozenset(f"{service}.{name}" for service, names in _SERVICES.items() for name in names.split())
PARAMS: Mapping[str, Mapping[str, str]] = {
    "Alarms.get": {"since": "UtcTime", "until": "UtcTime"},
    "Delegation.get": {},
    "FreeBusy.get": {"userAddresses": "string[]", "start": "UtcDateTime", "end": "UtcDateTime"},
    "Principals.get": {"users": "boolean", "groups": "boolean", "domains": "boolean"},
    "Principals.getByEmail": {"email": "string"},
    "Session.getOutOfOffice": {},
    "Session.setOutOfOffice": {"settings": "OutOfOfficeSettings"},
    "Session.setSettings": {},  # documented as a text; clients also send an object
    "Version.getApiVersion": {},
}
"""Parameters of the methods that the reference does not name, or for which clients send others."""


def is_refused(name: str) -> bool:
    """Return whether real servers have this method and the mock refuses it."""
    return name in REFUSED or name.startswith("im.")


@method("Session.getSettings")
def get_settings(call: Call) -> dict[str, Any]:
    """Return all settings, or the branches at the given paths, as JSON in a text."""
    settings = call.server.preferences.settings
    paths: list[list[str]] = call.params["query"]
    chosen: dict[str, Any] = {} if any(paths) else settings
    for path in paths:
        found: Any = settings
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None and path:
            branch = chosen
            for name in path[:-1]:
                branch = branch.setdefault(name, {})
            branch[path[-1]] = found
    return {"settings": orjson.dumps(chosen).decode()}


@method("Session.setSettings")
def set_settings(call: Call) -> dict[str, Any]:
    """Merge settings into the stored ones; clients send an object or its JSON."""
    given = call.params.get("settings")
    if isinstance(given, str):
        try:
            given = orjson.loads(given)
        except orjson.JSONDecodeError:
            given = None
    if not isinstance(given, dict):
        raise ApiError(INVALID_PARAMS, "Invalid params: %1 must be %2.", "settings", "an object or its JSON")
    try:
        merged = _merged(call.server.preferences.settings, given)
        size = len(orjson.dumps(merged))
    except (RecursionError, orjson.JSONEncodeError):
        size = MAX_SETTINGS_BYTES + 1
    if size > MAX_SETTINGS_BYTES:
        raise ApiError(TOO_LARGE, "The settings are too large.")
    call.server.preferences.settings = merged
    return {}


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {name: _merged(old.get(name), value) for name, value in new.items()}


@method("Session.getOutOfOffice")
def get_out_of_office(call: Call) -> dict[str, Any]:
    return {"settings": dict(call.server.preferences.out_of_office)}


@method("Session.setOutOfOffice")
def set_out_of_office(call: Call) -> dict[str, Any]:
    kept = call.server.preferences.out_of_office
    given = {name: value for name, value in call.params["settings"].items() if name in kept}
    for name, value in given.items():
        if type(value) is not type(kept[name]):
            raise ApiError(
                INVALID_PARAMS, "Invalid params: %1 must be %2.", f"settings.{name}", type(kept[name]).__name__
            )
    if len(orjson.dumps(given)) > MAX_SETTINGS_BYTES:
        raise ApiError(TOO_LARGE, "The settings are too large.")
    kept |= given
    return {}


@method("Version.getApiVersion", session=False)
def api_version(call: Call) -> dict[str, Any]:
    return {"apiVersion": 1}


@method("Delegation.get")
def delegates(call: Call) -> dict[str, Any]:
    return {"list": []}


@method("Principals.get")
def principals(call: Call) -> dict[str, Any]:
    store = call.server.store
    found: list[dict[str, str]] = []
    if call.params["users"]:
        found += _users(call)
    if call.params["domains"]:
        name = store.domain
        found.append({"id": f"{SCHEME}domain/{name}", "type": "ptDomain", "displayName": name, "mailAddress": name})
    return {"list": found}


@method("Principals.getByEmail")
def principal_by_email(call: Call) -> dict[str, Any]:
    address = call.params["email"].casefold()
    for user in _users(call):
        if address in (user["mailAddress"].casefold(), user["mailAddress"].partition("@")[0].casefold()):
            return {"principal": user}
    raise ApiError(1002, "User %1 does not exist.", call.params["email"])


def _users(call: Call) -> Sequence[dict[str, str]]:
    """Return the own user and the users who share a mailbox."""
    store = call.server.store
    own = {
        "id": f"{SCHEME}user/{store.domain}/{store.user}",
        "type": "ptUser",
        "displayName": store.name,
        "mailAddress": store.address,
    }
    return [own, *(mailbox["principal"] for mailbox in store.shared_mailboxes())]
