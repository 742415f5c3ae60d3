"""Sizes of mails: a table that every folder goes through in its own order.

A cycle of 4096 mails visits each line of the table once, so that a folder's total is known without computing its mails,
and a given total can be met. Bodies are log-normal with a median of about 4 KB; with headers and attachments the median
mail has about 6 KB; attachments make the tail (up to 20 MB).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from random import Random
from typing import NamedTuple

from kerio_mockserver.mailbox.blobs import mime_size

CYCLE = 4096
MASK = CYCLE - 1
_STEP = 2_654_435_761 & MASK | 1
_BIGGEST_BODY = 400_000
_BIGGEST_PART = 14_500_000  # 20 MB in base64
_SMALLEST_BODY, _SMALLEST_PART = 120, 60


class Part(NamedTuple):
    """One attachment: decoded bytes, kind of file (an index modulo the kinds), inline."""

    size: int
    file: int
    inline: bool


class Line(NamedTuple):
    """One mail: bytes of text, attachments, and the size of it all as MIME."""

    body: int
    parts: tuple[Part, ...]
    size: int


def line_at(k: int, phase: int) -> int:
    """Return the line of the table for mail k of a folder with this phase."""
    return (k * _STEP + phase) & MASK


class Sizes:
    """The table; `content` is what a client downloads: text and decoded attachments."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self._cycle = sum(line.size for line in lines)

    def total(self, phase: int, count: int) -> int:
        """Return the sum of the sizes of a folder's first `count` mails."""
        laps, rest = divmod(count, CYCLE)
        lines = self.lines
        return laps * self._cycle + sum(lines[line_at(k, phase)].size for k in range(rest))

    def content(self, folders: Iterable[tuple[int, int]]) -> tuple[int, int]:
        """Return the bytes of text and of attachments in folders given by (phase, count)."""
        uses = _uses(folders)
        text = sum(n * line.body for n, line in zip(uses, self.lines, strict=True))
        parts = sum(n * sum(part.size for part in line.parts) for n, line in zip(uses, self.lines, strict=True))
        return text, parts

    def scaled(self, folders: list[tuple[int, int]], total: int) -> Sizes:
        """Return a table with which these folders hold about `total` bytes of content.

        Attachments are scaled first; texts only if they alone exceed the total, or if there are no attachments.
        """
        text, parts = self.content(folders)
        shrink = min(1.0, total * (0.6 if parts else 1.0) / max(text, 1)) if parts else total / max(text, 1)
        result = _scale(self, shrink, 1.0)
        for _ in range(6 if parts else 2):  # sizes are clipped at both ends, so it takes several rounds
            text, parts = result.content(folders)
            if parts:
                result = _scale(result, 1.0, max(total - text, 0) / parts)
            elif text:
                result = _scale(result, total / text, 1.0)
        return result


def _scale(sizes: Sizes, bodies: float, parts: float) -> Sizes:
    def part(old: Part) -> Part:
        return old._replace(size=min(max(int(old.size * parts), _SMALLEST_PART), _BIGGEST_PART))

    def line(old: Line) -> Line:
        return _line(min(max(int(old.body * bodies), _SMALLEST_BODY), _BIGGEST_BODY), tuple(map(part, old.parts)))

    return Sizes([line(old) for old in sizes.lines])


@lru_cache(maxsize=8)
def draw_sizes(seed: int, attachments: float) -> Sizes:
    """Return the table of a seed; `attachments` is the share of mails that have any."""
    dice = Random(f"{seed}/sizes")
    having = round(CYCLE * attachments)
    order = list(range(CYCLE))
    dice.shuffle(order)
    lines: list[Line] = []
    for place in order:
        body = min(max(int(dice.lognormvariate(8.25, 0.85)), _SMALLEST_BODY), _BIGGEST_BODY)
        count = 1 + (place % 3 == 0) + 3 * (place % 17 == 0) if place < having else 0
        lines.append(_line(body, tuple(_part(dice) for _ in range(count))))
    return Sizes(lines)


@lru_cache(maxsize=64)
def fitted(seed: int, attachments: float, folders: tuple[tuple[int, int], ...], total: int) -> Sizes:
    """Return the table of a seed, scaled so that these folders hold `total` bytes."""
    return draw_sizes(seed, attachments).scaled(list(folders), total)


def _part(dice: Random) -> Part:
    inline = dice.random() < 0.25
    size = dice.lognormvariate(9.5, 1.0) if inline else dice.lognormvariate(11.0, 1.7)
    return Part(min(max(int(size), _SMALLEST_PART), _BIGGEST_PART), dice.randrange(1 << 16), inline)


def _line(body: int, parts: tuple[Part, ...]) -> Line:
    return Line(body, parts, mime_size(body, (part.size for part in parts)))


def _uses(folders: Iterable[tuple[int, int]]) -> list[int]:
    """Return how often each line is used."""
    uses = [0] * CYCLE
    everywhere = 0
    for phase, count in folders:
        laps, rest = divmod(count, CYCLE)
        everywhere += laps
        for k in range(rest):
            uses[line_at(k, phase)] += 1
    return [n + everywhere for n in uses]
