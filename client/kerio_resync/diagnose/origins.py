"""Tells the value of each setting, without secrets, and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from kerio_resync.cache.file_identity import stored_owner
from kerio_resync.errors import BadSettings, LocalError
from kerio_resync.profile_file import FILE_NAME, SINGLE_RUN_SETTINGS, from_environment, load, saved_names
from kerio_resync.server.http.proxies import choose_with_source
from kerio_resync.settings import Settings, default_profile, stored_password, with_password
from kerio_resync.variables import PROFILE_VARIABLE, SETTING_VARIABLES, TOKEN_VARIABLE

COMMAND_LINE = "command line"
CACHE = "cache"
DEFAULT = "default"
_SECRET = ("profile", "password", "replace_other")  # shown in another way, or no setting of the user


class Origin(NamedTuple):
    """A setting: its name, its value as text ("" if it is not set), and its source."""

    name: str
    value: str
    source: str


def with_owner_of_cache(settings: Settings) -> Settings:
    """Fill in server and user from the cache if the settings lack them. BadSettings."""
    owner = stored_owner(settings.cache) or stored_owner(settings.next_cache)
    if owner is None:
        return settings
    named = {"server": settings.server or owner.server, "user": settings.user or owner.user}
    try:
        return Settings.model_validate(settings.model_dump() | named)
    except ValueError:  # pydantic's
        raise BadSettings(
            f"the cache in {settings.profile} names an invalid server: use `rebuild --server URL`"
        ) from None


def load_complete(profile: Path, given: Mapping[str, Any]) -> tuple[Settings, list[Origin]]:
    """Return the settings, completed from the cache, and their origins. BadSettings."""
    loaded = load(profile, given)
    settings = loaded
    if not (loaded.server and loaded.user):
        with suppress(LocalError):  # the check of the cache reports it
            settings = with_owner_of_cache(loaded)
    return settings, list_origins(loaded, settings, given)


def list_origins(loaded: Settings, settings: Settings, given: Mapping[str, Any]) -> list[Origin]:
    """Return the origin of each setting. BadSettings.

    `loaded`: before they were completed from the cache. `given`: the options of the command line.
    """
    saved, variables = saved_names(settings.profile), from_environment()

    def source_of(name: str) -> str:
        if given.get(name) is not None:
            return COMMAND_LINE
        if getattr(loaded, name) != getattr(settings, name):
            return CACHE
        if name in variables:
            return SETTING_VARIABLES[name]
        return FILE_NAME if name in saved else DEFAULT

    found = [Origin("profile", str(settings.profile), _source_of_profile(settings.profile))]
    for name in Settings.model_fields:
        if name == "proxy":
            found.append(_proxy(settings, source_of(name)))
        elif name not in SINGLE_RUN_SETTINGS or (given.get(name) is not None and name not in _SECRET):
            found.append(Origin(name, _as_text(getattr(settings, name)), source_of(name)))
    return [*found, _credentials(settings)]


def _source_of_profile(profile: Path) -> str:
    variable = os.environ.get(PROFILE_VARIABLE, "")
    if variable and Path(variable).expanduser().absolute() == profile:
        return PROFILE_VARIABLE
    with suppress(BadSettings):
        if default_profile() == profile:
            return DEFAULT
    return COMMAND_LINE


def _proxy(settings: Settings, source: str) -> Origin:
    setting = settings.proxy.get_secret_value() if settings.proxy is not None else None
    try:
        proxy, decided_by = choose_with_source(settings.server, setting, os.environ)
    except BadSettings as error:
        return Origin("proxy", f"unusable ({error.detail})", source)
    value = f"{proxy.scheme}://{proxy.place}" if proxy else "none"
    if proxy and proxy.user:
        value += " (with a login)"
    return Origin("proxy", value, source if decided_by == "proxy" else decided_by or DEFAULT)


def _credentials(settings: Settings) -> Origin:
    """Return whether there is a password or a token, and its source."""
    try:
        password, source = stored_password(settings)
    except BadSettings as error:
        return Origin("password", f"unusable ({error.detail})", "password_file")
    has_token = False
    with suppress(BadSettings):  # there is neither
        found = with_password(settings, None)
        has_token = found.token is not None
        settings.redactor.keep(*secrets_of(found))
    if has_token:
        return Origin("token", "set", TOKEN_VARIABLE if os.environ.get(TOKEN_VARIABLE, "").strip() else "keyring")
    return Origin("password", "set" if password else "", source or DEFAULT)


def secrets_of(settings: Settings) -> list[str]:
    """Return the password and the token, as far as they are set."""
    token = settings.token.get_secret_value() if settings.token else ""
    return list(filter(None, (settings.password.get_secret_value(), token)))


def _as_text(value: object) -> str:
    match value:
        case None | "" | ():
            return ""
        case bool():
            return str(value).lower()
        case tuple():
            return ", ".join(map(str, value))
        case float() if value.is_integer():
            return str(int(value))
    return str(value)
