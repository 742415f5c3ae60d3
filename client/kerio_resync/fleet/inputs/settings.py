"""The settings of a plan: server, limits, mailboxes, sites and windows.

Read from a TOML or JSON file. Unknown members are refused, because a misspelt limit would be ignored. All problems are
named in one error.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.inputs.units import parse_rate, parse_seconds, parse_size
from kerio_resync.os_errors import describe

# The share of the busiest hour's webmail requests in each hour of a working day.
OFFICE_DAY: Final = (
    0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.1, 0.4, 0.9, 1.0, 1.0, 1.0, 0.8, 0.9, 1.0, 0.9, 0.8, 0.5, 0.3, 0.25, 0.2, 0.1,
    0.05, 0.05,
)  # fmt: skip
MAX_SITES: Final = 10_000
_SHOWN_PROBLEMS: Final = 20


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f'"{name}" is no time zone of the IANA database, such as Europe/Prague') from None
    return name


Rate = Annotated[float, BeforeValidator(parse_rate), Field(gt=0, le=1e12)]
Bytes = Annotated[float, BeforeValidator(parse_size), Field(gt=0, le=1e15)]
Seconds = Annotated[float, BeforeValidator(parse_seconds), Field(ge=0, le=3600)]
Zone = Annotated[str, AfterValidator(_zone)]


class Part(BaseModel):
    """An immutable part of the settings.

    Unknown members, NaN and infinity are refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class WebmailSettings(Part):
    """The webmail users of the server.

    `per_second`: their requests in the busiest hour of the day, or 24 values from midnight. `service_s`: seconds that
    one of them occupies a worker, on average.
    """

    per_second: float | tuple[float, ...] = Field(default=40.0)
    service_s: Seconds = 0.15

    @model_validator(mode="after")
    def _whole_day(self) -> WebmailSettings:
        values = self.per_second if isinstance(self.per_second, tuple) else (self.per_second,)
        if len(values) not in (1, 24):
            raise ValueError(f"per_second: give one value, or 24 from midnight (got {len(values)})")
        if min(values) < 0 or max(values) > 100_000:
            raise ValueError("per_second: give values between 0 and 100,000")
        return self

    def by_hour(self) -> tuple[float, ...]:
        """Return the requests per second for each hour of the day."""
        if isinstance(self.per_second, tuple):
            return self.per_second if len(self.per_second) == 24 else self.per_second * 24
        return tuple(round(share * self.per_second, 6) for share in OFFICE_DAY)


class ServerSettings(Part):
    """The server.

    `workers`: requests served at once. `call_s`: seconds that a request occupies a worker; `kb_s`: more seconds per
    1,000 bytes of its reply. `places`: requests that may wait for a worker before others are refused, None for any
    number. `url`: what clients connect to, for the texts. `webmail_url`: what users work with meanwhile.
    `time_zone`: of the webmail users' day, and of windows and sites without their own.
    """

    workers: int = Field(default=8, ge=1, le=256)
    call_s: Seconds = 0.015
    kb_s: Seconds = 0.0003
    places: int | None = Field(default=None, ge=0)
    url: str = ""
    webmail_url: str = ""
    time_zone: Zone = "UTC"
    webmail: WebmailSettings = WebmailSettings()


class LimitSettings(Part):
    """What a plan must keep; see `plan.Limits`."""

    users_p95: float = Field(default=2.0, gt=1, le=100)
    unnoticed_s: Seconds = 0.1
    link_share: float = Field(default=0.8, gt=0, le=1)


class MailboxSettings(Part):
    """What a mailbox holds where the inventory does not say it.

    See docs/fleet.md for the sources.

    `bytes_per_mail`: of the mailbox as the server states it (MIME). `entries`: contacts, events, tasks and notes among
    the items of a mailbox. `folders`: per mailbox. `text_bytes`: of an item's JSON, and `compression`: of that what
    travels. `attachments`: downloads per mail.
    `contents`: bytes of a download per byte of MIME. `attachments_kept`: which of them clients fetch (setting
    `attachments`). `inbox_share`: the share of attachments in the Inbox.
    """

    bytes_per_mail: Bytes = 80_000
    entries: int = Field(default=460, ge=0, le=1_000_000)
    folders: int = Field(default=40, ge=1, le=100_000)
    text_bytes: Bytes = 3_500
    compression: float = Field(default=0.3, gt=0, le=1)
    attachments: float = Field(default=0.32, ge=0, le=100)
    contents: float = Field(default=0.73, gt=0, le=2)
    attachments_kept: str = Field(default="all", pattern="^(all|inbox|none)$")
    inbox_share: float = Field(default=0.3, ge=0, le=1)


class ClientSettings(Part):
    """The users' machines.

    `item_s`: processor seconds per item of a rebuild. `start_s`: seconds of its start and of its comparison at the end.
    `upgrade_bytes_s`: bytes of an old cache that a local upgrade converts per second (the vendor's figure: 1 GB in
    5 minutes).
    """

    item_s: Seconds = 0.001
    start_s: Seconds = 1.7
    upgrade_bytes_s: Rate = 1e9 / 300


class SiteSettings(Part):
    """A site: its link and its users' time zone (the server's if not given).

    `machines`: how many users `--users` puts there; a share if the sum is another number.
    """

    name: str = Field(min_length=1, max_length=200)
    down: Rate
    up: Rate | None = None
    round_trip: Seconds = 0.02
    time_zone: Zone | None = None
    machines: int | None = Field(default=None, ge=0)
    language: str = ""


class WindowSettings(Part):
    """A window of the settings.

    `date`: such as 2026-12-04. `start`, `end`: such as 22:00 and 06:00 (of the next day).
    """

    date: str
    start: str = Field(alias="from")
    end: str = Field(alias="to")
    time_zone: Zone | None = None


class PlanSettings(Part):
    """All settings of a plan.

    `wave_minutes`: users whose clients start within so many minutes are one wave. `uncertainty`: how much longer a
    client may take than expected, as a share (0.35: by a third).
    """

    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    mailbox: MailboxSettings = MailboxSettings()
    client: ClientSettings = ClientSettings()
    site: tuple[SiteSettings, ...] = Field(default=(), max_length=MAX_SITES)
    window: tuple[WindowSettings, ...] = Field(default=(), max_length=366)
    wave_minutes: float = Field(default=60.0, ge=1, le=1440)
    uncertainty: float = Field(default=0.35, ge=0, le=3)

    @model_validator(mode="after")
    def _names_differ(self) -> PlanSettings:
        seen: set[str] = set()
        for site in self.site:
            if site.name in seen:
                raise ValueError(f'site: "{site.name}" is there twice; give each site one entry')
            seen.add(site.name)
        return self


def read_settings(path: Path) -> PlanSettings:
    """Read a file of settings, TOML or JSON; BadSettings names all that is wrong."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadSettings(describe(error, str(path))) from None
    except UnicodeDecodeError:
        raise BadSettings(f"{path} is not a text in UTF-8; save it as UTF-8") from None
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise BadSettings(f"{path} is neither TOML nor JSON ({error}); `fleet plan --example DIR` writes one") from None
    return settings_from(found, str(path))


def settings_from(found: Any, source: str) -> PlanSettings:
    """Check settings; BadSettings names each member that is wrong, and `source`."""
    try:
        return PlanSettings.model_validate(found)
    except ValidationError as error:
        problems = [_problem(details) for details in error.errors(include_url=False)]
        more = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        raise BadSettings(f"{source}: {'; '.join(problems[:_SHOWN_PROBLEMS])}{more}") from None


def _problem(details: Any) -> str:
    where = ""
    for part in details["loc"]:
        where += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    text = details["msg"].removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        text = "there is no such setting"
    elif details["type"] == "missing":
        text = "is missing"
    got = details["input"]
    shown = f" (got {got!r})" if isinstance(got, str | int | float | bool) and details["type"] != "missing" else ""
    return f"{where.lstrip('.')}: {text[:1].lower()}{text[1:]}{shown}" if where else text
