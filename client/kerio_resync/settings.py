"""Settings of one run: an immutable value, checked by pydantic.

A setting comes from the command line, from `profile.toml` (see `profile_file`), or from its default. A password or a
token is never an argument or in profile.toml: it comes from a file of its own, KERIO_RESYNC_PASSWORD or
KERIO_RESYNC_TOKEN, the keyring or a prompt, and lives in memory only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator

from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import read_small, real_place
from kerio_resync.os_errors import reason_of
from kerio_resync.redaction import Redactor
from kerio_resync.start_window import MAX_SPLAY_SECONDS, parse_bound, parse_duration
from kerio_resync.variables import PASSWORD_VARIABLE, TOKEN_VARIABLE

_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_UNITS |= {f"{unit}{end}": 2**power for unit, power in (("k", 10), ("m", 20), ("g", 30)) for end in ("i", "ib")}
_HOST = re.compile(r"[\w.~-]+|[0-9a-fA-F:.]+(%[\w.~-]+)?")


class Settings(BaseModel):
    """Settings of one run; ValidationError (pydantic's) for an invalid one.

    `profile`: the folder of `profile.toml` and `cache.db`. Rates are bytes per second, times seconds, sizes bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Path
    server: str = ""  # its origin
    path: str = ""  # of its address, if there is one: where a JMAP server has its session resource
    protocol: Literal["auto", "kerio", "jmap"] = "auto"
    user: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr | None = None  # for a server that takes a bearer token instead of a password
    password_file: Path | None = None  # its first line is the password
    ca_file: Path | None = None
    client_cert: Path | None = None
    fingerprint: str = ""  # SHA-256 of the server's certificate, 64 hexadecimal digits
    proxy: SecretStr | None = None  # its URL, with or without password; "": none; None: from the environment
    attachments: Literal["all", "inbox", "none"] = "all"
    sources: Literal["auto", "yes", "no"] = "auto"  # keep the raw text of mails, if the server has it
    shared: bool = False
    public: bool = False
    folders: tuple[str, ...] = ()  # rebuild only these; empty: all
    since: str = ""  # leave out the attachments of mails that are older than this date or time
    exclude_folders: tuple[str, ...] = ()  # leave these out, and what is inside them
    fresh: bool = False
    drop_first: bool = False
    same_mailbox: bool = False  # the server or the account was renamed
    replace_other: bool = False  # set another mailbox's cache aside, and start a new one
    bwlimit: float | None = Field(default=None, gt=0)
    max_in_flight: int = Field(default=64, ge=1, le=1024)
    retry_timeout: float = Field(default=600.0, ge=0)  # seconds that one call is retried before it fails
    overlap: int = Field(default=3, ge=0)  # rows that a page has in common with the one before
    page_size: int = Field(default=1000, ge=2, le=50_000)
    on_failure: Literal["offer", "rebuild"] = "offer"  # if the local upgrade fails
    splay: float = Field(default=0.0, ge=0, le=MAX_SPLAY_SECONDS)  # the longest delay of an unattended run
    not_before: str = ""  # an unattended run waits until then
    not_after: str = ""  # it does not begin after that, and ends then

    _redactor: Redactor = PrivateAttr(default_factory=Redactor)

    @property
    def redactor(self) -> Redactor:
        """Remove this run's secrets from texts; shared by copies of these settings."""
        return self._redactor

    @property
    def address(self) -> str:
        """Return the server's address with its path."""
        return self.server + self.path

    @property
    def has_credentials(self) -> bool:
        """Return whether there is a password or a token."""
        return bool(self.token or self.password.get_secret_value())

    @property
    def keeps_sources(self) -> bool:
        """Return whether the sources of mails are kept if the server has them."""
        return self.sources == "yes" or (self.sources == "auto" and self.attachments == "all" and not self.since)

    @model_validator(mode="before")
    @classmethod
    def _split_address(cls, values: Any) -> Any:
        """Split the path off the server's address."""
        server = values.get("server") if isinstance(values, dict) else None
        if not isinstance(server, str) or values.get("path"):
            return values
        try:
            parts = urlsplit(server.strip() if "://" in server else f"https://{server.strip()}")
        except ValueError:
            return values
        return {**values, "path": parts.path.rstrip("/")}

    @field_validator("server")
    @classmethod
    def _origin(cls, value: str) -> str:
        """Return the origin (scheme, host, port); a bare host means https."""
        value = value.strip()
        if not value:
            return value
        parts = urlsplit(value if "://" in value else f"https://{value}")
        if parts.username or parts.password:
            raise ValueError("must not contain a user name or password")
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

    @field_validator("user", "folders", "exclude_folders")
    @classmethod
    def _text(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if any("\ud800" <= letter <= "\udfff" for letter in "".join(value)):
            raise ValueError("must be text; it contains bytes that are no characters in this locale")
        return value.strip() if isinstance(value, str) else value

    @field_validator("since", mode="before")
    @classmethod
    def _date(cls, value: object) -> str:
        return parse_date(str(value)) if value else ""

    @field_validator("bwlimit", mode="before")
    @classmethod
    def _rate(cls, value: object) -> object:
        return byte_rate(value) if isinstance(value, str) else value

    @field_validator("splay", mode="before")
    @classmethod
    def _duration(cls, value: object) -> object:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("not_before", "not_after", mode="before")
    @classmethod
    def _bound(cls, value: object) -> str:
        """Return a bound as text; TOML has values of its own for times."""
        text = value.isoformat() if isinstance(value, (datetime, time)) else str(value).strip()
        text = "" if text.lower() == "none" else text
        parse_bound(text)
        return text

    @property
    def cache(self) -> Path:
        """The path of the cache; the target if `cache.db` is a link."""
        return real_place(self.profile / "cache.db")

    @property
    def next_cache(self) -> Path:
        """The path of an unfinished cache, beside the cache that it replaces."""
        cache = self.cache
        return cache.with_name(f"{cache.name}.next")

    @property
    def sends_in_clear(self) -> bool:
        """Return whether the password would travel unencrypted over a network."""
        parts = urlsplit(self.server)
        return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def _has_good_port(netloc: str) -> bool:
    port = netloc.rpartition("]")[2].partition(":")
    return not port[1] or (port[2].isascii() and port[2].isdigit() and 0 < int(port[2]) < 65536)


def sha256_digits(text: str) -> str:
    """Return a SHA-256 as 64 lower-case hexadecimal digits; colons may separate them.

    ValueError.
    """
    digits = re.sub(r"[\s:]", "", re.sub(r"^sha-?256([ :=]fingerprint)?[:= ]", "", text.strip().lower()))
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(
            "must be the SHA-256 of the server's certificate: 64 hexadecimal digits, with or without colons"
        )
    return digits


def parse_date(text: str) -> str:
    """Return a date or a time as the cache has them.

    For example `2026-03-01` or `2026-03-01T09:00:00Z`. A time without a zone is that of this computer. ValueError
    for anything else.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is not a date; write it as 2026-03-01") from None
    if len(text.strip()) <= len("2026-03-01"):
        return moment.date().isoformat()
    return moment.astimezone().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def byte_rate(text: str) -> float:
    """Return bytes per second.

    `k`, `M`, `G` mean powers of 1024 as in rclone; `kB`, `MB`, `GB` powers of 1000.

    ValueError if the text is no positive number with such a unit.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*?)(?:/s)?", text.strip().lower(), re.ASCII)
    if match is None or match[2] not in _UNITS or float(match[1]) == 0:
        raise ValueError("must be a rate in bytes per second such as 500k, 10M or 1.5MiB")
    return float(match[1]) * _UNITS[match[2]]


def default_profile() -> Path:
    """Return the default profile, in the user's data folder.

    BadSettings if there is no home folder.
    """
    from platformdirs import user_data_path

    try:
        return user_data_path("kerio-resync", appauthor=False)
    except RuntimeError:
        raise BadSettings(
            "this user has no home folder (HOME is not set): name the profile with --profile DIR"
        ) from None


def with_password(settings: Settings, ask: Callable[[str], str] | None) -> Settings:
    """Return the settings with the token or the password.

    `ask` prompts for a password, None: no prompt is possible. BadSettings.
    """
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return _with_token(settings, token, TOKEN_VARIABLE)
    password, source = stored_password(settings)
    if not password and (token := _from_keyring(settings, f"{settings.user} token") or ""):
        return _with_token(settings, token, "the keyring")
    if not password and ask is not None:
        password = ask(f"Password of {settings.user} at {settings.server}: ")
    if not password:
        install = "" if find_spec("keyring") else " `pip install 'kerio-resync[keyring]'` and"
        raise BadSettings(
            f"no password: set {PASSWORD_VARIABLE}, name a file with --password-file, or store it with{install}"
            f" `keyring set {keyring_name(settings)} {settings.user}`"
        )
    source = f"the password in {source}" if source and source != "keyring" else "the password"
    if password[-1] in "\r\n":
        raise BadSettings(f"{source} ends with a line end; set it without one")
    if not password.isascii() and any("\ud800" <= letter <= "\udfff" for letter in password):
        raise BadSettings(f"{source} contains bytes that are not UTF-8; set it in UTF-8")
    return settings.model_copy(update={"password": SecretStr(password)})


def _with_token(settings: Settings, token: str, source: str) -> Settings:
    if not token.isascii() or not token.isprintable():
        raise BadSettings(f"the token in {source} contains characters that no token has; set it again")
    return settings.model_copy(update={"token": SecretStr(token)})


def stored_password(settings: Settings) -> tuple[str, str]:
    """Return the stored password and its source, without asking for it.

    Both are "" if none is stored. A password file precedes the variable, and that precedes the keyring. BadSettings for
    an unusable file.
    """
    if settings.password_file is not None:
        return _from_file(settings.password_file), str(settings.password_file)
    if password := os.environ.get(PASSWORD_VARIABLE):
        return password, PASSWORD_VARIABLE
    password = _from_keyring(settings) or ""
    return password, "keyring" if password else ""


def _from_file(path: Path) -> str:
    try:
        data = read_small(path)
    except OSError as error:
        raise BadSettings(f"the password file {path} cannot be read: {reason_of(error)}") from error
    first, _, rest = data.partition(b"\n")
    if rest.strip():
        raise BadSettings(f"the password file {path} has more than one line; keep only the password in it")
    try:
        password = first.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise BadSettings(f"the password file {path} is not UTF-8; save it as UTF-8") from None
    if not password:
        raise BadSettings(f"the password file {path} is empty")
    return password


def keyring_name(settings: Settings) -> str:
    """Return the keyring's service name of the password, one per server."""
    return f"kerio-resync:{settings.server}"


def _from_keyring(settings: Settings, name: str = "") -> str | None:
    try:
        import keyring

        return keyring.get_password(keyring_name(settings), name or settings.user)
    except Exception:  # missing, locked or broken: use another source
        return None
