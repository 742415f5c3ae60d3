"""What a run is told to do: one immutable value, read from `profile.toml`, the command line, or made by a caller.

The password is never in the file: it comes from KERIO_RESYNC_PASSWORD, the keyring, or the caller.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class Settings(BaseModel):
    """`profile` is the folder of `profile.toml` and `cache.db`. Rates are bytes a second, times seconds, sizes bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Path
    server: str = ""
    user: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = None
    attachments: Literal["all", "inbox", "none"] = "all"
    shared: bool = False
    public: bool = False
    folders: tuple[str, ...] = ()  # rebuild only these; empty: all
    fresh: bool = False
    drop_first: bool = False
    bwlimit: float | None = Field(default=None, gt=0)
    max_in_flight: int = Field(default=64, ge=1, le=1024)
    patience: float = Field(default=600.0, ge=0)  # how long one call may go on being retried
    overlap: int = Field(default=3, ge=0)  # rows by which a page reaches back into the page before
    page_size: int = Field(default=1000, ge=2, le=50_000)
    on_failure: Literal["offer", "rebuild"] = "offer"  # when the local upgrade can't be done

    @field_validator("server")
    @classmethod
    def _origin(cls, value: str) -> str:
        """Keeps the origin (scheme, host, port); a bare host means https."""
        if not value:
            return value
        parts = urlsplit(value if "://" in value else f"https://{value}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an address such as https://mail.example.com")
        if parts.username or parts.password:
            raise ValueError("must not hold a user name or password")
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def cache(self) -> Path:
        return self.profile / "cache.db"

    @property
    def next_cache(self) -> Path:
        return self.profile / "cache.db.next"
