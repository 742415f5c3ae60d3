"""Sizes, rates and durations as text.

Units are decimal, as links and disks are sold.
"""

from __future__ import annotations

import re
from typing import Any, Final

_SCALES: Final = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_RATE: Final = re.compile(r"(\d+(?:[.,]\d+)?)\s*([kmg]?)(bit|b)(?:/s|ps)", re.IGNORECASE)
_SIZE: Final = re.compile(r"(\d+(?:[.,]\d+)?)\s*([kmgt]i?)?b?(?:ytes?)?", re.IGNORECASE)
_TIME: Final = re.compile(r"(\d+(?:[.,]\d+)?)\s*(ms|s|min|h)?", re.IGNORECASE)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}


def parse_rate(value: Any) -> Any:
    """Return bytes per second from "20 Mbit/s" or "2.5 MB/s".

    Other values than texts are returned unchanged. ValueError if a text is no rate.
    """
    if not isinstance(value, str):
        return value
    found = _RATE.fullmatch(value.strip())
    if found is None:
        raise ValueError('write a rate as "20 Mbit/s" or "2.5 MB/s"')
    figure, scale, unit = found.groups()
    return _number(figure) * _SCALES[scale.lower()] / (8 if unit.lower() == "bit" else 1)


def parse_link_rate(value: str) -> float:
    """Return bytes per second; a number without a unit is in Mbit/s. ValueError."""
    try:
        return float(value.replace(",", ".")) * 1e6 / 8
    except ValueError:
        return float(parse_rate(value))


def parse_size(value: Any) -> Any:
    """Return bytes from "1.5 GB", "300 MiB" or "123456".

    Other values than texts are returned unchanged. ValueError if a text is no size.
    """
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip().replace("\N{NO-BREAK SPACE}", " "))
    if found is None:
        raise ValueError('write a size as bytes, or as "1.5 GB" or "300 MiB"')
    return _number(found[1]) * _SCALES[(found[2] or "").lower()]


def parse_seconds(value: Any) -> Any:
    """Return seconds from "20 ms", "1.5 s", "5 min" or "2 h".

    Other values than texts are returned unchanged. ValueError if a text is no duration.
    """
    if not isinstance(value, str):
        return value
    found = _TIME.fullmatch(value.strip())
    if found is None:
        raise ValueError('write a time as "20 ms", "1.5 s", "5 min" or "2 h"')
    return _number(found[1]) * _SECONDS[(found[2] or "s").lower()]


def format_link_rate(rate: float) -> str:
    """Format bytes per second as links are sold: `20 Mbit/s`, `1.5 Gbit/s`."""
    bits = rate * 8
    for unit, scale in (("Gbit/s", 1e9), ("Mbit/s", 1e6)):
        if bits >= scale:
            return f"{bits / scale:.3g} {unit}"
    return f"{bits / 1e3:.3g} kbit/s"


def _number(text: str) -> float:
    return float(text.replace(",", "."))
