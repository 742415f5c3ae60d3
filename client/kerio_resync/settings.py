"""The settings of a run, from `profile.toml`, the command line, or a caller.

Promises: what the command line says wins over the file, the file over the defaults; the file is written once, on first
use, readable by its owner only; an invalid setting is a BadSettings that names it. Refuses a password in the
file or on the command line: it comes from KERIO_RESYNC_PASSWORD, the keyring, or a prompt, and lives in memory only.
"""

from __future__ import annotations

import codecs
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError, field_validator

from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import read_small, real_place, translate_os_error, write_private
from kerio_resync.redaction import Redactor
from kerio_resync.variables import PASSWORD_VARIABLE

# never in the file
_SINGLE_RUN_SETTINGS = frozenset(
    {"profile", "password", "folders", "fresh", "drop_first", "same_mailbox", "replace_other"}
)
_RENAMED = {"patience": "retry_timeout"}  # settings by the names that earlier versions wrote
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_UNITS |= {f"{unit}{end}": 2**power for unit, power in (("k", 10), ("m", 20), ("g", 30)) for end in ("i", "ib")}
_HOST = re.compile(r"[\w.~-]+|[0-9a-fA-F:.]+(%[\w.~-]+)?")


class Settings(BaseModel):
    """`profile` is the folder of `profile.toml` and `cache.db`. Rates are bytes a second, times seconds, sizes bytes.

    ValueError (pydantic's) if a member is invalid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Path
    server: str = ""
    user: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = None
    client_cert: Path | None = None
    fingerprint: str = ""  # SHA-256 of the server's certificate, 64 hexadecimal digits
    proxy: SecretStr | None = None  # its URL, which may hold a password; "": none; None: as the environment says
    attachments: Literal["all", "inbox", "none"] = "all"
    shared: bool = False
    public: bool = False
    folders: tuple[str, ...] = ()  # rebuild only these; empty: all
    fresh: bool = False
    drop_first: bool = False
    same_mailbox: bool = False  # the server or the account was renamed: the cache is theirs all the same
    replace_other: bool = False  # move another mailbox's cache aside and begin anew
    bwlimit: float | None = Field(default=None, gt=0)
    max_in_flight: int = Field(default=64, ge=1, le=1024)
    retry_timeout: float = Field(default=600.0, ge=0)  # seconds that one call is retried before it fails
    overlap: int = Field(default=3, ge=0)  # rows by which a page reaches back into the page before
    page_size: int = Field(default=1000, ge=2, le=50_000)
    on_failure: Literal["offer", "rebuild"] = "offer"  # when the local upgrade can't be done

    _redactor: Redactor = PrivateAttr(default_factory=Redactor)

    @property
    def redactor(self) -> Redactor:
        """What takes this run's secrets out of texts; copies of these settings share it."""
        return self._redactor

    @field_validator("server")
    @classmethod
    def _origin(cls, value: str) -> str:
        """Keeps the origin (scheme, host, port); a bare host means https."""
        value = value.strip()
        if not value:
            return value
        parts = urlsplit(value if "://" in value else f"https://{value}")
        if parts.username or parts.password:
            raise ValueError("must not hold a user name or password")
        if (
            parts.scheme not in ("http", "https")
            or not _HOST.fullmatch(parts.hostname or "")
            or not _has_good_port(parts.netloc)
        ):
            raise ValueError("must be an address such as https://mail.example.com")
        return f"{parts.scheme}://{parts.netloc.lower()}"

    @field_validator("fingerprint")
    @classmethod
    def _digits(cls, value: str) -> str:
        return sha256_digits(value) if value.strip() else ""

    @field_validator("user", "folders")
    @classmethod
    def _text(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if any("\ud800" <= letter <= "\udfff" for letter in "".join(value)):
            raise ValueError("must be text; it has bytes that are not characters in this locale")
        return value.strip() if isinstance(value, str) else value

    @field_validator("bwlimit", mode="before")
    @classmethod
    def _rate(cls, value: object) -> object:
        return byte_rate(value) if isinstance(value, str) else value

    @property
    def cache(self) -> Path:
        """The cache itself: where `cache.db` is a link, what it leads to."""
        return real_place(self.profile / "cache.db")

    @property
    def next_cache(self) -> Path:
        """Beside the cache, so that one can take the other's place."""
        cache = self.cache
        return cache.with_name(f"{cache.name}.next")

    @property
    def sends_in_clear(self) -> bool:
        """Whether the password would cross a network unencrypted."""
        parts = urlsplit(self.server)
        return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def _has_good_port(netloc: str) -> bool:
    port = netloc.rpartition("]")[2].partition(":")
    return not port[1] or (port[2].isascii() and port[2].isdigit() and 0 < int(port[2]) < 65536)


def sha256_digits(text: str) -> str:
    """A SHA-256 in hexadecimal, with or without colons, as 64 lower-case digits. ValueError if it is none."""
    digits = re.sub(r"[\s:]", "", re.sub(r"^sha-?256([ :=]fingerprint)?[:= ]", "", text.strip().lower()))
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(
            "must be the SHA-256 of the server's certificate: 64 hexadecimal digits, with or without colons"
        )
    return digits


def byte_rate(text: str) -> float:
    """Bytes a second. `k`, `M`, `G` mean 1024 times as rclone has it (`10M` = `10MiB`); `kB`, `MB`, `GB` 1000 times.

    ValueError if it is no positive number with such a unit.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*?)(?:/s)?", text.strip().lower(), re.ASCII)
    if match is None or match[2] not in _UNITS or float(match[1]) == 0:
        raise ValueError("must be a rate in bytes a second such as 500k, 10M or 1.5MiB")
    return float(match[1]) * _UNITS[match[2]]


def default_profile() -> Path:
    """Return the default profile, in the user's data folder; BadSettings if there is none."""
    from platformdirs import user_data_path

    try:
        return user_data_path("kerio-resync", appauthor=False)
    except RuntimeError:
        raise BadSettings(
            "this user has no home folder (HOME is not set): name the profile with --profile DIR"
        ) from None


def load(profile: Path, given: Mapping[str, Any]) -> Settings:
    """The settings of one run: `given` (None: not given) over `profile.toml` over the defaults. BadSettings."""
    kept = _read(profile / "profile.toml")
    chosen = {name: value for name, value in given.items() if value is not None}
    merged = {**kept, **chosen, "profile": profile}
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise BadSettings(_first_complaint(error, profile, chosen)) from None  # pydantic's own text repeats the input
    found = {name: _file(settings, name, chosen) for name in ("ca_file", "client_cert") if getattr(settings, name)}
    return settings.model_copy(update=found) if found else settings


def _file(settings: Settings, name: str, chosen: Mapping[str, Any]) -> Path:
    """A file that a setting names: from where the command is given, or from the profile's folder."""
    base = Path.cwd() if name in chosen else settings.profile.absolute()
    path: Path = base / _from_home(getattr(settings, name))
    if not path.is_file():
        place = f"--{name.replace('_', '-')}" if name in chosen else f"{settings.profile / 'profile.toml'}: {name}"
        raise BadSettings(f"{place}: there is no file {path}")
    return path


def _from_home(path: Path) -> Path:
    """`~` as a shell would read it, which sees it neither in a file nor after a `=`."""
    with suppress(RuntimeError):  # a home that is not known here
        return path.expanduser()
    return path


def make_profile(settings: Settings) -> None:
    """Makes the profile's folder; BadSettings if that fails, or it can't be written to."""
    with _usable(settings.profile):
        settings.profile.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(settings.profile, os.W_OK | os.X_OK):
            raise BadSettings(f"the profile folder {settings.profile} can't be written to")


def is_bound(settings: Settings) -> bool:
    """Whether the profile has a cache, or an unfinished one."""
    return settings.cache.exists() or settings.next_cache.exists()


def remember(settings: Settings, given: Mapping[str, Any], *, bound: bool) -> None:
    """Writes `profile.toml` with what was `given`, if there is none; BadSettings if that fails.

    Called once the server has answered: settings of a run that never reached it are not kept. If the profile had no
    cache when the run began (`bound`), what is given replaces what is in the file: nothing depends on that yet.
    """
    path = settings.profile / "profile.toml"
    with _usable(settings.profile):
        if not path.exists():
            _write(path, _first_text(settings, given))
        elif not bound:
            wanted = {"server": settings.server, "user": settings.user}
            _correct(path, wanted | {name: _kept(settings, given, name) for name in _said(given)})


def rebind(settings: Settings) -> None:
    """Writes the server and the user into `profile.toml`, where there is one."""
    path = settings.profile / "profile.toml"
    with _usable(settings.profile):
        if path.exists():
            _correct(path, {"server": settings.server, "user": settings.user})


def vouches(settings: Settings) -> bool:
    """Whether `profile.toml` names just this server and user."""
    path = settings.profile / "profile.toml"
    kept = _read(path)
    try:
        named = Settings(profile=settings.profile, server=kept.get("server", ""), user=kept.get("user", ""))
    except ValidationError:
        return False
    return bool(named.server) and (named.server, named.user) == (settings.server, settings.user)


@contextmanager
def _usable(profile: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise BadSettings(f"{profile} is not a folder; name another one with --profile") from error
    except OSError as error:
        raise translate_os_error(error, Path(os.fsdecode(error.filename or profile))) from error


def with_password(settings: Settings, ask: Callable[[str], str] | None) -> Settings:
    """Return the settings with the password; `ask`: a prompt, if there is a terminal. BadSettings."""
    password = os.environ.get(PASSWORD_VARIABLE) or _from_keyring(settings)
    if not password and ask is not None:
        password = ask(f"Password of {settings.user} at {settings.server}: ")
    if not password:
        install = "" if find_spec("keyring") else " `pip install 'kerio-resync[keyring]'` and"
        raise BadSettings(
            f"no password: set {PASSWORD_VARIABLE}, or store it with{install}"
            f" `keyring set {keyring_name(settings)} {settings.user}`"
        )
    source = f"the password in {PASSWORD_VARIABLE}" if os.environ.get(PASSWORD_VARIABLE) else "the password"
    if password[-1] in "\r\n":
        raise BadSettings(f"{source} ends with a line end; set it without one")
    if not password.isascii() and any("\ud800" <= letter <= "\udfff" for letter in password):
        raise BadSettings(f"{source} has bytes that are not UTF-8; set it in UTF-8")
    return settings.model_copy(update={"password": SecretStr(password)})


def keyring_name(settings: Settings) -> str:
    """The name under which the keyring has the password: one for each server."""
    return f"kerio-resync:{settings.server}"


def _from_keyring(settings: Settings) -> str | None:
    try:
        import keyring

        return keyring.get_password(keyring_name(settings), settings.user)
    except Exception:  # a keyring that is missing, locked or broken in any way only means: ask elsewhere
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = tomllib.loads(_text(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise translate_os_error(error, path) from error
    except UnicodeDecodeError as error:
        raise BadSettings(f"{path} is not UTF-8; save it as UTF-8 in an editor") from error
    except tomllib.TOMLDecodeError as error:
        raise BadSettings(f"{path} is not valid TOML: {error}") from error
    if "password" in kept:
        raise BadSettings(
            f"{path} holds a password, which must not be in a file:"
            f" take it out and use {PASSWORD_VARIABLE} or the keyring"
        )
    kept = {_RENAMED.get(name, name): value for name, value in kept.items() if _RENAMED.get(name) not in kept}
    for name in kept:
        if name not in Settings.model_fields or name in _SINGLE_RUN_SETTINGS:
            raise BadSettings(f"{path}: there is no setting {name!r} here")
    return kept


def _text(path: Path) -> str:
    """What the file says, also if an editor wrote it with a byte order mark."""
    data = read_small(path)
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf_16 else "utf-8-sig").replace("\r\n", "\n")


def _said(given: Mapping[str, Any]) -> list[str]:
    """The lasting settings that were given, but for a proxy's address that holds a password."""
    said = [name for name, _, _ in _OPTIONS if given.get(name) is not None]
    return [name for name in said if name != "proxy" or "@" not in given[name]]


def _kept(settings: Settings, given: Mapping[str, Any], name: str) -> Any:
    """What the file is to say for a setting: some as they were typed, a path as text."""
    value = given[name] if name in ("bwlimit", "proxy", "fingerprint") else getattr(settings, name)
    return str(value) if isinstance(value, Path) else value


def _first_complaint(error: ValidationError, profile: Path, chosen: Mapping[str, Any]) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    place = (
        f"--{name.rstrip('s') if name == 'folders' else name}".replace("_", "-")
        if name in chosen
        else f"{profile / 'profile.toml'}: {name}"
    )
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def _first_text(settings: Settings, given: Mapping[str, Any]) -> str:
    import tomlkit

    said = _said(given)
    document = tomlkit.document()
    document.add(
        tomlkit.comment("Settings of this kerio-resync profile. What the command line says wins for that run.")
    )
    document.add(
        tomlkit.comment(f"The password is never here: it comes from {PASSWORD_VARIABLE}, the keyring, or a prompt.")
    )
    document.add("server", tomlkit.item(settings.server))
    document.add("user", tomlkit.item(settings.user))
    for name, about, example in _OPTIONS:
        document.add(tomlkit.nl())
        document.add(tomlkit.comment(about))
        if name in said:
            document.add(name, tomlkit.item(_kept(settings, given, name)))
        else:
            document.add(tomlkit.comment(f"{name} = {tomlkit.item(example).as_string()}"))
    return tomlkit.dumps(document)


_OPTIONS: tuple[tuple[str, str, Any], ...] = (
    ("ca_file", "a certificate authority of your own (PEM); if not set: the system's", "/path/to/ca.pem"),
    ("client_cert", "a certificate of your own with its key (PEM), where the server wants one", "/path/to/client.pem"),
    ("fingerprint", "trust the server's certificate with this SHA-256, without an authority", "0123456789abcdef" * 4),
    (
        "proxy",
        'http://, socks5:// or socks5h://; "none": no proxy; if not set: as the environment says',
        "http://proxy:3128",
    ),
    ("attachments", "whose attachments to fetch: all, inbox or none", "all"),
    ("shared", "also the mailboxes that others share with you", False),
    ("public", "also the public folders", False),
    ("bwlimit", "at most so many bytes a second, such as 500k or 10M; if not set: no limit", "10M"),
    ("max_in_flight", "at most so many requests at once", 64),
    ("retry_timeout", "seconds that one call is retried before it fails", 600.0),
    ("on_failure", "when the database can't be upgraded here: offer a rebuild, or rebuild at once", "offer"),
)


def _correct(path: Path, wanted: Mapping[str, Any]) -> None:
    import tomlkit

    document = tomlkit.parse(_text(path))
    if any(document.get(name) != value for name, value in wanted.items()):
        document.update(wanted)
        _write(path, tomlkit.dumps(document))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write_private(part, text.encode())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
