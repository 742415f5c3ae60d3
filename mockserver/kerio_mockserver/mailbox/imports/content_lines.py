"""Content lines of iCalendar and vCard files, grouped into components.

One reader serves both formats: both consist of `NAME;PARAMETER=value:value` lines between BEGIN and END. It accepts
what programs write: folds inside a UTF-8 character, UTF-16, a byte order mark, quoted-printable values (vCard 2.1,
vCalendar 1.0), raw line ends within a text, and components without an END. An unreadable line is skipped and counted.
Time is proportional to the size.
"""

from __future__ import annotations

import binascii
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kerio_mockserver.mailbox.imports.charsets import Warnings, decode, detected, from_utf16

STRAY_LINE = "line without a property name"
NO_END = "END missing"

_HEAD = re.compile(
    r"[ \t]*(?:([\w-]+)\.)?([A-Za-z0-9-]+)[ \t]*((?:;[^\":;]*(?:\"[^\"]*\"[^\":;]*)*)*)[ \t]*:", re.ASCII
)
_PARAMETER = re.compile(r";[ \t]*([^=;\":]*)((?:=[^\";]*(?:\"[^\"]*\"[^\";]*)*)?)")
_VALUE = re.compile(r'"([^"]*)"|([^",]+)')
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_LONGEST_HEAD = 8192
_PROPERTIES = """
    BEGIN END VERSION PRODID METHOD CALSCALE NAME UID DTSTAMP DTSTART DTEND DUE DURATION COMPLETED CREATED LAST-MODIFIED
    SUMMARY DESCRIPTION LOCATION COMMENT CONTACT CATEGORIES CLASS STATUS PRIORITY TRANSP URL GEO SEQUENCE RESOURCES
    PERCENT-COMPLETE ORGANIZER ATTENDEE ATTACH RRULE RDATE EXRULE EXDATE RECURRENCE-ID RELATED-TO REQUEST-STATUS
    TZID TZNAME TZOFFSETFROM TZOFFSETTO TZURL ACTION TRIGGER REPEAT FREEBUSY COLOR IMAGE CONFERENCE ACKNOWLEDGED
    DAYLIGHT DCREATED AALARM DALARM MALARM PALARM
    N FN NICKNAME PHOTO BDAY ANNIVERSARY GENDER ADR LABEL TEL EMAIL IMPP LANG TZ TITLE ROLE LOGO AGENT ORG MEMBER
    RELATED NOTE REV SORT-STRING SOUND CLIENTPIDMAP KEY FBURL CALADRURI CALURI XML KIND SOURCE PROFILE MAILER
    SOCIALPROFILE PRONOUNS GRAMGENDER
"""
_NAMES = frozenset(_PROPERTIES.split())
_ONE_VALUED = re.compile(r"DT(?:START|END|STAMP)|DUE|DURATION|[RX]RULE|EXDATE|RDATE|RECURRENCE-ID|UID|TRIGGER|TZ.*")
"""Values that a stray line after them would only spoil."""
_TOP = frozenset({"VCALENDAR", "VCARD"})
_ENTRIES = _TOP | {"VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VTIMEZONE"}
"""Components that never stand inside another of these, except inside VCALENDAR: their BEGIN ends what is open."""


@dataclass(slots=True)
class Line:
    """A property; names are in upper case, `value` is decoded but still escaped."""

    name: str
    value: str
    parameters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    group: str = ""

    def parameter(self, name: str) -> str:
        """Return the first value of a parameter, or ""."""
        return next(iter(self.parameters.get(name, ())), "")


@dataclass(slots=True)
class Component:
    """The lines between BEGIN and END; `complete` if there was an END."""

    name: str
    lines: list[Line] = field(default_factory=list)
    parts: list[Component] = field(default_factory=list)
    complete: bool = False

    def all(self, name: str) -> list[Line]:
        """Return the properties of a name."""
        return [line for line in self.lines if line.name == name]

    def one(self, name: str) -> Line | None:
        """Return the first property of a name."""
        return next((line for line in self.lines if line.name == name), None)


def read_components(data: bytes, warnings: Warnings) -> list[Component]:
    """Return the outermost components: calendars, cards, and single entries."""
    found: list[Component] = []
    open_ones: list[Component] = []
    names: Counter[str] = Counter()  # of the open ones; searching them would be quadratic in the depth

    def close(kept: int) -> None:
        while len(open_ones) > kept:
            names[open_ones.pop().name] -= 1

    def begin(name: str) -> None:
        if name in _ENTRIES and not (name == "VCARD" and open_ones and _awaits_agent(open_ones[-1])):
            # an open component, except a calendar around an entry, has lost its END
            close(1 if name not in _TOP and open_ones and open_ones[0].name == "VCALENDAR" else 0)
        component = Component(name)
        (open_ones[-1].parts if open_ones else found).append(component)
        open_ones.append(component)
        names[name] += 1

    for line in read_lines(data, warnings):
        if line.name == "BEGIN":
            begin(line.value.strip().upper())
        elif line.name == "END":
            name = line.value.strip().upper()
            if names[name]:
                while open_ones[-1].name != name:
                    close(len(open_ones) - 1)
                open_ones[-1].complete = True
                close(len(open_ones) - 1)
        elif open_ones:
            open_ones[-1].lines.append(line)
    return found


def _awaits_agent(card: Component) -> bool:
    """Return whether a vCard 2.1 announced a card inside it, by `AGENT:` right before."""
    return bool(card.lines) and card.lines[-1].name == "AGENT" and not card.lines[-1].value.strip()


def read_lines(data: bytes, warnings: Warnings) -> Iterator[Line]:
    """Yield the properties in order; a raw line end within a text is kept in it."""
    data = from_utf16(data).removeprefix(b"\xef\xbb\xbf")
    data = data.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    # a soft line break of quoted-printable is not a fold: the blank after it belongs to the value
    if b"QUOTED-PRINTABLE" in data.upper():
        data = re.sub(rb"(?<!=)\n[ \t]", b"", data)
    else:
        data = data.replace(b"\n ", b"").replace(b"\n\t", b"")
    guess = detected(data)
    hints = (guess,) if guess else ()
    held: Line | None = None
    pieces: list[str] = []
    raw = iter(data.split(b"\n"))
    for raw_line in raw:
        line = _line(raw_line, raw, hints, warnings)
        if line is not None:
            if held is not None:
                yield _whole(held, pieces)
            held, pieces = line, []
        elif raw_line.strip() or held is not None:
            pieces.append(decode(raw_line, "utf-8", hints, warnings))
            warnings[STRAY_LINE] += bool(raw_line.strip())
    if held is not None:
        yield _whole(held, pieces)


def _whole(line: Line, stray: list[str]) -> Line:
    while stray and not stray[-1].strip():
        stray.pop()
    if stray and line.name not in ("BEGIN", "END") and not _ONE_VALUED.fullmatch(line.name):
        line.value = "\n".join([line.value, *stray])
    return line


def _line(raw: bytes, following: Iterator[bytes], hints: Sequence[str], warnings: Warnings) -> Line | None:
    """Return the property in a line, or None; continuing lines come from `following`."""
    head = _HEAD.match(raw[:_LONGEST_HEAD].decode("latin-1"))
    if head is None or not _is_name(head[2]):
        return None
    start = head.end()
    text = decode(raw[:start], "utf-8", hints, warnings)
    parameters = _parameters(text[text.index(";") :].rstrip()[:-1] if head[3] else "")
    value = raw[start:]
    charset = next(iter(parameters.get("CHARSET", ())), "utf-8")
    if "QUOTED-PRINTABLE" in {encoding.upper() for encoding in parameters.get("ENCODING", ())}:
        value = binascii.a2b_qp(b"\n".join(_soft_broken(value, following)))
    return Line(head[2].upper(), decode(value, charset, hints, warnings), parameters, head[1] or "")


def _soft_broken(value: bytes, following: Iterator[bytes]) -> Iterator[bytes]:
    yield value
    while value.endswith(b"="):
        value = next(following, b"")
        yield value


def _is_name(name: str) -> bool:
    """Return whether this can be a property's name; text such as "Agenda: ..." cannot."""
    upper = name.upper()
    return upper in _NAMES or upper.startswith("X-") or (name == upper and not name.isdigit())


def _parameters(text: str) -> dict[str, list[str]]:
    """Return parameters by upper-case name; vCard 2.1 has bare values: `TEL;WORK;FAX`."""
    found: dict[str, list[str]] = {}
    for name, values in _PARAMETER.findall(text):
        key, rest = name.strip().upper(), values[1:]
        if not values:
            key, rest = ("ENCODING" if key in ("QUOTED-PRINTABLE", "BASE64") else "TYPE"), name.strip()
        found.setdefault(key, []).extend((quoted or plain).strip() for quoted, plain in _VALUE.findall(rest))
    return found


def unescaped(value: str) -> str:
    """Return a text value with its backslash escapes resolved."""
    if "\\" not in value:
        return value
    return _ESCAPED.sub(lambda match: "\n" if match[1] in "nN" else match[1], value)


def divided(value: str, separator: str) -> list[str]:
    """Return the parts of a structured value, unescaped."""
    if "\\" not in value:
        return value.split(separator)
    parts = [""]
    for token in re.findall(rf"\\.|[^\\{separator}]+|.", value, re.DOTALL):
        if token == separator:
            parts.append("")
        else:
            parts[-1] += unescaped(token)
    return parts
