"""Reads and writes `profile.toml`.

The command line wins over the file, the file over the defaults. The file is written once, on first use, readable by its
owner only. An invalid setting is a BadSettings that names it.
"""

from __future__ import annotations

import codecs
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import read_small, replace_private, translate_os_error
from kerio_resync.settings import Settings
from kerio_resync.variables import PASSWORD_VARIABLE, SETTING_VARIABLES, TOKEN_VARIABLE

FILE_NAME = "profile.toml"
SINGLE_RUN_SETTINGS = frozenset(
    {"profile", "path", "password", "token", "folders", "fresh", "drop_first", "same_mailbox", "replace_other"}
)
_RENAMED = {"patience": "retry_timeout"}  # settings by the names that earlier versions wrote


def saved_names(profile: Path) -> frozenset[str]:
    """Return the names of the settings that the file has. BadSettings."""
    return frozenset(_read(profile / FILE_NAME))


def load(profile: Path, given: Mapping[str, Any]) -> Settings:
    """Return the settings of one run. BadSettings.

    A value of `given` (None: not given) precedes one of the environment, that one of the file, and that the default.
    """
    kept = _read(profile / FILE_NAME)
    chosen = {name: value for name, value in given.items() if value is not None}
    merged = {**kept, **from_environment(), **chosen, "profile": profile}
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise BadSettings(_first_problem(error, profile, chosen)) from None  # pydantic's own text repeats the input
    names = [name for name in ("ca_file", "client_cert", "password_file") if getattr(settings, name)]
    return settings.model_copy(update={name: _resolve_file(settings, name, chosen) for name in names})


def from_environment() -> dict[str, str]:
    """Return the settings that variables of the environment have."""
    return {name: text for name, variable in SETTING_VARIABLES.items() if (text := os.environ.get(variable, ""))}


def _resolve_file(settings: Settings, name: str, chosen: Mapping[str, Any]) -> Path:
    """Return the file that a setting names.

    A relative path starts at the current folder or, if it comes from profile.toml, at the profile.
    """
    base = Path.cwd() if name in chosen else settings.profile.absolute()
    path: Path = base / _expand_home(getattr(settings, name))
    if not path.is_file():
        place = f"--{name.replace('_', '-')}" if name in chosen else f"{settings.profile / FILE_NAME}: {name}"
        raise BadSettings(f"{place}: there is no file {path}")
    return path


def _expand_home(path: Path) -> Path:
    """Expand `~`, which a shell does neither in a file nor after `=`."""
    with suppress(RuntimeError):  # an unknown user
        return path.expanduser()
    return path


def make_profile(settings: Settings) -> None:
    """Create the profile's folder. BadSettings if that fails, or it is not writable."""
    with _mapping_errors(settings.profile):
        settings.profile.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(settings.profile, os.W_OK | os.X_OK):
            raise BadSettings(f"the profile folder {settings.profile} is not writable")


def is_bound(settings: Settings) -> bool:
    """Return whether the profile has a cache, or an unfinished one."""
    return settings.cache.exists() or settings.next_cache.exists()


def remember(settings: Settings, given: Mapping[str, Any], *, bound: bool) -> None:
    """Write the file with the settings `given`, if there is none. BadSettings.

    Call it when the server has answered: settings of a run that never reached it are not kept. Unless the profile had
    a cache when the run began (`bound`), given settings replace those in the file: nothing depends on them yet.
    """
    path = settings.profile / FILE_NAME
    with _mapping_errors(settings.profile):
        if not path.exists():
            replace_private(path, _first_text(settings, given).encode())
        elif not bound:
            wanted = {"server": settings.address, "user": settings.user}
            _update(path, wanted | {name: _file_value(settings, given, name) for name in _given_names(given)})


def remember_protocol(settings: Settings, protocol: str) -> None:
    """Write the protocol that was found out into the file, if it exists. BadSettings."""
    path = settings.profile / FILE_NAME
    with _mapping_errors(settings.profile):
        if settings.protocol == "auto" and path.exists():
            _update(path, {"protocol": protocol})


def rebind(settings: Settings) -> None:
    """Write the server and the user into the file, if it exists."""
    path = settings.profile / FILE_NAME
    with _mapping_errors(settings.profile):
        if path.exists():
            _update(path, {"server": settings.address, "user": settings.user})


def vouches(settings: Settings) -> bool:
    """Return whether the file names this server and user."""
    path = settings.profile / FILE_NAME
    kept = _read(path)
    try:
        named = Settings(profile=settings.profile, server=kept.get("server", ""), user=kept.get("user", ""))
    except ValidationError:
        return False
    return bool(named.server) and (named.server, named.user) == (settings.server, settings.user)


@contextmanager
def _mapping_errors(profile: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise BadSettings(f"{profile} is not a folder; name another one with --profile") from error
    except OSError as error:
        raise translate_os_error(error, Path(os.fsdecode(error.filename or profile))) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = tomllib.loads(_read_text(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise translate_os_error(error, path) from error
    except UnicodeDecodeError as error:
        raise BadSettings(f"{path} is not UTF-8; save it as UTF-8 in an editor") from error
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{path} is not valid TOML: {error}") from error
    for name, variable in (("password", PASSWORD_VARIABLE), ("token", TOKEN_VARIABLE)):
        if name in kept:
            raise BadSettings(
                f"{path} contains a {name}, which must not be in a file: remove it and use {variable} or the keyring"
            )
    kept = {_RENAMED.get(name, name): value for name, value in kept.items() if _RENAMED.get(name) not in kept}
    for name in kept:
        if name not in Settings.model_fields or name in SINGLE_RUN_SETTINGS:
            raise BadSettings(f"{path}: there is no setting {name!r} here")
    return kept


def _read_text(path: Path) -> str:
    """Return the text of a file, with or without a byte order mark."""
    data = read_small(path)
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf_16 else "utf-8-sig").replace("\r\n", "\n")


def _given_names(given: Mapping[str, Any]) -> list[str]:
    """Return the names of the given settings that are saved in the file.

    A proxy's URL with a password is not, and neither is when this run was to begin.
    """
    names = [name for name, _, _ in _OPTIONS if given.get(name) is not None and name not in SETTING_VARIABLES]
    return [name for name in names if name != "proxy" or "@" not in given[name]]


def _file_value(settings: Settings, given: Mapping[str, Any], name: str) -> Any:
    """Return a setting's value for the file: some as they were typed, a path as text."""
    value = given[name] if name in ("bwlimit", "proxy", "fingerprint") else getattr(settings, name)
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def _first_problem(error: ValidationError, profile: Path, chosen: Mapping[str, Any]) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    if name in chosen:
        place = f"--{name.rstrip('s') if name.endswith('folders') else name}".replace("_", "-")
    elif name in from_environment():
        place = SETTING_VARIABLES[name]
    else:
        place = f"{profile / FILE_NAME}: {name}"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def _first_text(settings: Settings, given: Mapping[str, Any]) -> str:
    import tomlkit

    names = _given_names(given)
    document = tomlkit.document()
    document.add(tomlkit.comment("Settings of this kerio-resync profile. The command line wins for its run."))
    document.add(
        tomlkit.comment(
            f"The password is never here: it comes from {PASSWORD_VARIABLE}, password_file, the keyring, or a prompt."
        )
    )
    document.add("server", tomlkit.item(settings.address))
    document.add("user", tomlkit.item(settings.user))
    for name, about, example in _OPTIONS:
        document.add(tomlkit.nl())
        document.add(tomlkit.comment(about))
        if name in names:
            document.add(name, tomlkit.item(_file_value(settings, given, name)))
        else:
            document.add(tomlkit.comment(f"{name} = {tomlkit.item(example).as_string()}"))
    return tomlkit.dumps(document)


_OPTIONS: tuple[tuple[str, str, Any], ...] = (
    ("ca_file", "a certificate authority of your own (PEM); if not set: the system's", "/path/to/ca.pem"),
    ("client_cert", "a client certificate with its key (PEM), if the server requires one", "/path/to/client.pem"),
    ("fingerprint", "trust the server's certificate with this SHA-256, without an authority", "0123456789abcdef" * 4),
    ("password_file", "the file that holds the password, readable by its owner only", "/path/to/password"),
    (
        "proxy",
        'http://, socks5:// or socks5h://; "none": no proxy; if not set: as the environment says',
        "http://proxy:3128",
    ),
    ("protocol", "the server's protocol: auto, kerio or jmap", "auto"),
    ("attachments", "which attachments to download: all, inbox or none", "all"),
    ("since", "leave out attachments and sources of mails that are older than this date", "2026-01-01"),
    ("exclude_folders", "folders to leave out, with those inside them", ["Archive"]),
    ("sources", "keep the raw text of each mail, if the server has it: auto, yes or no", "auto"),
    ("shared", "also the mailboxes that other users share with you", False),
    ("public", "also the public folders", False),
    ("bwlimit", "at most this many bytes per second, such as 500k or 10M; if not set: no limit", "10M"),
    ("max_in_flight", "at most this many requests in flight", 64),
    ("retry_timeout", "seconds that one call is retried before it fails", 600.0),
    ("on_failure", "if the local upgrade fails: offer a rebuild, or rebuild at once", "offer"),
    ("not_before", "`upgrade` and `rebuild` wait until this time, of each day or with a date", "22:00"),
    ("not_after", "they do not begin after this time, and stop at it; the next start resumes", "06:00"),
    ("splay", "they wait up to this long, each computer its own part of it", "30m"),
)


def _update(path: Path, wanted: Mapping[str, Any]) -> None:
    import tomlkit

    text = _read_text(path)
    document = tomlkit.parse(text)
    if all(document.get(name) == value for name, value in wanted.items()):
        return
    for name, value in wanted.items():
        if name not in document:  # `_first_text` has a line for it, as a comment
            line = tomlkit.dumps({name: value}).rstrip("\n")
            before, found, after = _commented_out(text, name)
            text = f"{before}{line}{after}" if found else text
    document = tomlkit.parse(text)
    document.update(wanted)
    replace_private(path, tomlkit.dumps(document).encode())


def _commented_out(text: str, name: str) -> tuple[str, str, str]:
    """Divide a file at the first line that has the setting as a comment."""
    found = re.search(rf"^# *{name} *=.*$", text, re.MULTILINE)
    return (text[: found.start()], found[0], text[found.end() :]) if found else (text, "", "")
