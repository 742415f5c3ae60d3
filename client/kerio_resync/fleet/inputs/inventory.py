"""The inventory: one row per user's cache, from CSV or JSON.

CSV may have a byte order mark, commas, semicolons (Excel in many countries) or tabs, and quoted fields. The columns may
have any order. Columns that are not known are named in a notice and ignored. All rows that are wrong are named in one
error, with the numbers of their lines.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.inputs.units import parse_size
from kerio_resync.os_errors import describe

MAX_BYTES: Final = 1 << 30
_SHOWN_PROBLEMS: Final = 20
_SHOWN_COLUMNS: Final = 12
_ZIP: Final = b"PK\x03\x04"  # .xlsx and .ods
STATES: Final = ("current", "old", "absent", "damaged", "unknown", "unreadable", "newer", "mid-change")
# What columns may be called, without case, spaces and underscores.
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "user": ("user", "username", "login", "account"),
    "email": ("email", "mail", "emailaddress", "address"),
    "site": ("site", "location", "office"),
    "language": ("language", "lang", "locale"),
    "machine": ("machine", "computer", "host", "hostname"),
    "mailbox_bytes": ("mailboxbytes", "bytes", "mailboxsize", "size", "mailbox"),
    "items": ("items", "itemcount", "mails", "messages"),
    "state": ("cachestate", "state"),
    "version": ("cacheformat", "format", "cacheversion"),
    "cache_bytes": ("cachebytes", "cachesize"),
    "free_bytes": ("freebytes", "free", "freeroom", "freespace"),
}
_COLUMNS: Final = {alias: name for name, aliases in _NAMES.items() for alias in aliases}
_NUMBERS: Final = ("mailbox_bytes", "items", "cache_bytes", "free_bytes")


@dataclass(frozen=True, slots=True)
class Person:
    """One user's cache, as the inventory has it; None or "" for what is not known.

    `state`: as `kerio-resync status` names it (one of STATES). `version`: of the cache's format, such as 7.1.
    """

    user: str
    site: str
    mailbox_bytes: float | None = None
    items: int | None = None
    email: str = ""
    language: str = ""
    machine: str = ""
    state: str = ""
    version: str = ""
    cache_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """The users, and what was unusual in the file, one sentence each."""

    people: tuple[Person, ...]
    notices: tuple[str, ...] = ()


def read_inventory(path: Path, default_site: str = "", sites: Iterable[str] = ()) -> Inventory:
    """Read an inventory; BadSettings names all that is wrong.

    `default_site`: of rows without a site; "" if they are wrong. `sites`: the names in the settings, which replace
    those that differ in case or spaces only.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadSettings(describe(error, str(path))) from None
    if len(content) > MAX_BYTES:
        raise BadSettings(f"{path} has more than a gigabyte; an inventory has one short row per user")
    text = _decode(content, path)
    rows, notices = _json_rows(text, path) if text.lstrip()[:1] in ("[", "{") else _csv_rows(text, path)
    return _collect(rows, notices, path, default_site, {_fold(site): site for site in sites})


def _decode(content: bytes, path: Path) -> str:
    if content.startswith(_ZIP):
        raise BadSettings(f"{path} is a workbook; save it as CSV UTF-8")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadSettings(f"{path} is not in UTF-8 (line {line}); save it as CSV UTF-8") from None


def _collect(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    notices: list[str],
    path: Path,
    default_site: str,
    sites: Mapping[str, str],
) -> Inventory:
    people: list[Person] = []
    problems: list[str] = []
    seen: dict[tuple[str, str], str] = {}
    for where, row in rows:
        person, wrong = _person(row, default_site)
        if wrong:
            problems.append(f"{where}: {', '.join(wrong)}")
            continue
        key = (person.user.casefold(), person.machine.casefold())
        if key in seen:
            on = f" on {person.machine}" if person.machine else ""
            problems.append(f"{where}: {person.user}{on} is already in {seen[key]}")
            continue
        seen[key] = where
        people.append(replace(person, site=sites.get(_fold(person.site), person.site)))
    if problems:
        more = f"; and {len(problems) - _SHOWN_PROBLEMS:,} more" if len(problems) > _SHOWN_PROBLEMS else ""
        raise BadSettings(f"{path}: {'; '.join(problems[:_SHOWN_PROBLEMS])}{more}")
    if not people:
        raise BadSettings(f"{path} has no users; `fleet plan --example DIR` writes an inventory to start from")
    return Inventory(tuple(people), tuple(notices))


def _csv_rows(text: str, path: Path) -> tuple[Iterator[tuple[str, Mapping[str, Any]]], list[str]]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    if first.lower().startswith("sep=") and len(first) == 5:  # written and read by Excel
        delimiter, text = first[4], text.partition("\n")[2]
    else:
        delimiter = max(";,\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        head = next((row for row in reader if any(cell.strip() for cell in row)), [])
    except csv.Error as error:
        raise BadSettings(f"{path}: line 1 is no CSV ({error})") from None
    columns, notices = _columns(head, path)
    return _numbered(reader, columns, path), notices


def _numbered(reader: Any, columns: list[str], path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadSettings(f"{path}: line {line} is no CSV ({error}); is a quotation mark missing?") from None
        if not any(cell.strip() for cell in cells):
            continue
        row: dict[str, Any] = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name}
        if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
            row["?"] = f"it has {len(cells)} fields, but the first line names {len(columns)}"
        yield f"line {line}", row


def _json_rows(text: str, path: Path) -> tuple[Iterator[tuple[str, Mapping[str, Any]]], list[str]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadSettings(f"{path} is no JSON ({error})") from None
    rows = found.get("users") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise BadSettings(f'{path}: give a list of users, or an object with the member "users"')
    keys = list(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))
    columns, notices = _columns(keys, path)
    names = dict(zip(keys, columns, strict=True))

    def numbered() -> Iterator[tuple[str, Mapping[str, Any]]]:
        for number, row in enumerate(rows, 1):
            if isinstance(row, dict):
                yield f"user {number}", {names[key]: value for key, value in row.items() if names[key]}
            else:
                yield f"user {number}", {"?": "it is no object"}

    return numbered(), notices


def _columns(head: Iterable[str], path: Path) -> tuple[list[str], list[str]]:
    """Return our names of the columns ("" for unknown ones), and notices."""
    found, unknown = [], []
    for title in head:
        name = _COLUMNS.get(str(title).strip().casefold().replace(" ", "").replace("_", "").replace("-", ""), "")
        if name in found and name:
            raise BadSettings(f'{path}: two columns mean "{name}"; remove "{title}"')
        found.append(name)
        if not name and str(title).strip():
            unknown.append(f'"{str(title).strip()}"')
    if "user" not in found:
        columns = f" (the first line has: {', '.join(unknown[:_SHOWN_COLUMNS])})" if unknown else ""
        raise BadSettings(
            f'{path}: there is no column "user"{columns}; `fleet plan --example DIR` writes a file to start from'
        )
    return found, [f"Ignored columns of the inventory that are not known: {', '.join(unknown)}."] if unknown else []


def _person(row: Mapping[str, Any], default_site: str) -> tuple[Person, list[str]]:
    """Return a user, and what is wrong with the row."""
    wrong = [row["?"]] if "?" in row else []
    numbers: dict[str, float | None] = {}
    for name in _NUMBERS:
        try:
            numbers[name] = _number(row.get(name))
        except ValueError as error:
            wrong.append(f"{name} is {row[name]!r}: {error}")
            numbers[name] = None
    texts = {
        name: "" if row.get(name) is None else str(row[name]).strip()
        for name in ("user", "email", "site", "language", "machine", "state", "version")
    }
    if not texts["user"] and not wrong:
        wrong.append("the user is missing")
    if not (site := texts["site"] or default_site):
        wrong.append("the site is missing")
    state = texts["state"].casefold()
    if state and state not in STATES:
        wrong.append(f'cache_state is "{texts["state"]}": give one of {", ".join(STATES)}, or nothing')
    items, cache, free = numbers["items"], numbers["cache_bytes"], numbers["free_bytes"]
    person = Person(
        texts["user"], site, numbers["mailbox_bytes"], None if items is None else int(items),
        texts["email"] or (texts["user"] if "@" in texts["user"] else ""), texts["language"].replace("_", "-"),
        texts["machine"], state, texts["version"],
        None if cache is None else int(cache), None if free is None else int(free),
    )  # fmt: skip
    return person, wrong


def _fold(name: str) -> str:
    """Return a name without the differences that people do not see."""
    return unicodedata.normalize("NFC", " ".join(name.split())).casefold()


def _number(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("give a number")
    number = float(parse_size(value))
    if not 0 <= number <= 1e15:
        raise ValueError("give a number that is not negative")
    return number
