"""The options that several commands share, as annotations for typer."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kerio_resync.errors import BadSettings
from kerio_resync.run_log import Level


class ProtocolChoice(StrEnum):
    """The protocol of the server."""

    AUTO = "auto"
    KERIO = "kerio"
    JMAP = "jmap"


class SourcePolicy(StrEnum):
    """Whether to keep the sources of mails."""

    YES = "yes"
    NO = "no"


class AttachmentPolicy(StrEnum):
    """Which attachments to download."""

    ALL = "all"
    INBOX = "inbox"
    NONE = "none"


class MailLayout(StrEnum):
    """How exported folders lie in each other."""

    NESTED = "nested"
    MAILDIR_PLUS_PLUS = "maildir++"
    THUNDERBIRD = "thunderbird"


class NoteFormat(StrEnum):
    """How exported notes are written."""

    JOURNAL = "journal"
    TEXT = "text"


class LogLevelName(StrEnum):
    """The least level of what the logs get."""

    value: Level
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    OFF = "off"


def parse_path(value: str) -> Path:
    """Parse the value of an option that is a path; refuse an empty one."""
    if not value:
        raise typer.BadParameter("the path is empty (is a variable not set?)")
    return Path(value)


def parse_text(value: str) -> str:
    """Parse the value of an option that is a text; refuse an empty one."""
    if not value:
        raise typer.BadParameter("the value is empty (is a variable not set?)")
    return value


Profile = Annotated[
    Path | None,
    typer.Option(
        "--profile", metavar="DIR", parser=parse_path, help="The profile folder, with profile.toml and cache.db."
    ),
]
Server = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="The server, such as https://mail.example.com.")
]
Protocol = Annotated[
    ProtocolChoice | None,
    typer.Option("--protocol", help="The server's protocol. auto finds it out, and remembers it."),
]
User = Annotated[str | None, typer.Option("--user", metavar="NAME", help="The name to log in with.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, one object per line.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only.")]
LogFile = Annotated[
    Path | None, typer.Option("--log-file", metavar="PATH", help="Append every event to this file, as JSON.")
]
LogLevel = Annotated[
    LogLevelName | None, typer.Option("--log-level", help="Log this and what is more severe, in both logs.")
]
Notify = Annotated[
    str | None,
    typer.Option("--notify", metavar="COMMAND", help="Run this at the end, with the report as JSON on its input."),
]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", metavar="PATH", help="Trust only this certificate authority (PEM).")
]
ClientCert = Annotated[
    Path | None,
    typer.Option("--client-cert", metavar="PATH", help="Present this certificate to the server (PEM, with its key)."),
]
Fingerprint = Annotated[
    str | None,
    typer.Option("--fingerprint", metavar="SHA256", help="Trust the server's certificate with this fingerprint."),
]
Proxy = Annotated[
    str | None,
    typer.Option("--proxy", metavar="URL", help='Proxy: http://, socks5:// or socks5h://; "none" for no proxy.'),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="PATH", help="Read the password from the first line of this file."),
]
BwLimit = Annotated[
    str | None,
    typer.Option("--bwlimit", metavar="RATE", help="Limit the bandwidth, in bytes per second: 500k, 10M, 1.5MiB."),
]
Splay = Annotated[
    str | None,
    typer.Option(
        "--splay",
        metavar="DURATION",
        parser=parse_text,
        help="Wait up to this long, such as 30m; each computer and user its own part of it.",
    ),
]
NotBefore = Annotated[
    str | None,
    typer.Option(
        "--not-before", metavar="TIME", parser=parse_text, help="Wait until this time: 22:00 or 2026-12-01T22:00."
    ),
]
NotAfter = Annotated[
    str | None,
    typer.Option(
        "--not-after",
        metavar="TIME",
        parser=parse_text,
        help="Do not begin after this time, and stop at it; exit with 3.",
    ),
]
SameMailbox = Annotated[
    bool,
    typer.Option("--same-mailbox", help="Keep the cache although the server or the account was renamed."),
]
InFlight = Annotated[
    int | None, typer.Option("--max-in-flight", metavar="N", help="Limit the number of requests in flight.")
]


def located(path: Path, option: str) -> Path:
    """Make a path from the command line absolute; BadSettings if that is impossible."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:  # of expanduser
        raise BadSettings(f"{option}: the home folder {path.parts[0]} is unknown; give an absolute path") from None
    except FileNotFoundError:
        raise BadSettings(
            f"{option}: the working folder was removed; give {path} as an absolute path, or change to another folder"
        ) from None
