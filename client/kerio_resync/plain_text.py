"""Formats sizes, rates, times, counts and names as plain text.

Sizes are in powers of 1024 (KiB, MiB).
"""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text as one line without control characters."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def format_size(count: float) -> str:
    """Format bytes: `0 B`, `1.5 KiB`, `12.3 MiB`, `123 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 999.5 or unit == "GiB":
            break
        count /= 1024
    return f"{count:,.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"


def format_rate(per_second: float) -> str:
    """Format bytes per second: `1.5 MiB/s`."""
    return f"{format_size(per_second)}/s"


def format_duration(seconds: float) -> str:
    """Format seconds: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def format_estimate(seconds: float) -> str:
    """Format an estimate in seconds: `about 7 s`."""
    return f"about {format_duration(seconds) if seconds >= 9.95 else f'{max(1, round(seconds))} s'}"


def pluralize(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun: `1 mail`, `6,046 mails`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
