"""Writes the manual page of kerio-resync from the command line's own descriptions.

    python tools/man_page.py > docs/kerio-resync.1

The page is installed with the package, and a test compares it with the program.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import typer

from kerio_resync.cli.app import app
from kerio_resync.version import VERSION

FILES = (
    ("profile.toml", "the settings; written by the first run that reaches the server"),
    ("cache.db", "the cache"),
    ("cache.db.next", "an unfinished rebuild"),
    ("kerio-resync.log", "the events of the last runs"),
    ("crash.log", "where in the program an internal error happened"),
)
ENVIRONMENT = (
    ("KERIO_RESYNC_PASSWORD", "the password"),
    ("KERIO_RESYNC_PROFILE", "the profile's folder, as --profile"),
    ("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY", "the proxy, by the rules of curl"),
)


def escape(text: str) -> str:
    """Return text for roff; a line may begin with any character."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def lines() -> Iterator[str]:
    """Yield the lines of the page."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("kerio-resync", [], resilient_parsing=True)
    yield f'.TH KERIO\\-RESYNC 1 "" "kerio\\-resync {VERSION}" "User Commands"'
    yield from (".SH NAME", f"kerio\\-resync \\- {escape(command.help.rstrip('.').lower())}")
    yield from (
        ".SH SYNOPSIS",
        ".B kerio\\-resync",
        "[\\fB\\-\\-profile\\fR \\fIDIR\\fR] \\fICOMMAND\\fR [\\fIOPTIONS\\fR]",
    )
    yield ".SH OPTIONS"
    yield from options(command, context)
    yield ".SH COMMANDS"
    for path, found, below in commands(command, context, ""):
        usage = " ".join(below.command_path.split()[1:] + found.collect_usage_pieces(below))
        yield from (f".SS {escape(path)}", f".B {escape(usage)}", ".PP")
        yield from paragraphs(found.help or "")
        yield from options(found, below)
    yield ".SH EXIT STATUS"
    yield from paragraphs(command.epilog.removeprefix("Exit codes: "))
    for title, rows in (("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
        yield f".SH {title}"
        for name, about in rows:
            yield from (".TP", f".B {escape(name)}", escape(about))


def commands(group: Any, context: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, command and context of each command, also of those in a group."""
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        below = found.make_context(name, [], parent=context, resilient_parsing=True)
        if hasattr(found, "list_commands"):
            yield from commands(found, below, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", found, below


def paragraphs(text: str) -> Iterator[str]:
    """Yield a text with one paragraph per blank line."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        yield from ([".PP"] if number else [])
        yield escape(" ".join(paragraph.split()))


def options(command: Any, context: Any) -> Iterator[str]:
    """Yield the options of a command, and what they do."""
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and parameter.param_type_name == "option":
            yield from (".TP", f".B {escape(record[0])}", escape(" ".join(record[1].split())))


def main() -> None:
    """Print the page."""
    sys.stdout.write("\n".join(lines()) + "\n")


if __name__ == "__main__":
    main()
