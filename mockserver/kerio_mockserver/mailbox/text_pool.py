"""Text in many languages, as slices of pools that are made once per process.

A body is a slice of a pool between two paragraphs: a memory copy, however long it is. Its length is known before it is
made. The pools do not depend on the seed; the seed decides where a mail's slice starts.
"""

from __future__ import annotations

import html
from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate
from random import Random

import orjson

from kerio_mockserver.mailbox.vocabulary import ODD_LINES, WORDS

LANGUAGES: tuple[str, ...] = tuple(WORDS)
_PARAGRAPHS = 160
_UNSPACED = ("ja", "zh")


class Pool:
    """Paragraphs in sequence, twice, so that a slice can continue past the last one."""

    def __init__(self, paragraphs: list[str]) -> None:
        self.count = len(paragraphs)
        self.text = "".join(paragraphs)
        self._twice = self.text * 2
        self._starts = [0, *accumulate(len(paragraph) for paragraph in paragraphs * 2)]
        self._bytes = [0, *accumulate(len(paragraph.encode()) for paragraph in paragraphs * 2)]
        self.size = self._bytes[self.count]
        coded = [as_json(paragraph) for paragraph in paragraphs * 2]
        self._json = b"".join(coded)
        self._json_starts = [0, *accumulate(len(paragraph) for paragraph in coded)]

    def slice_paragraphs(self, first: int, size: int) -> str:
        """Return whole paragraphs from number `first` on, of about `size` bytes."""
        first, last, laps = self._span(first, size)
        piece = self._twice[self._starts[first] : self._starts[last]]
        return piece + self.text * laps if laps else piece

    def cut_json(self, first: int, size: int) -> bytes:
        """Return the same slice as the inside of a JSON string."""
        first, last, laps = self._span(first, size)
        piece = self._json[self._json_starts[first] : self._json_starts[last]]
        return piece + self._json[: self._json_starts[self.count]] * laps if laps else piece

    def _span(self, first: int, size: int) -> tuple[int, int, int]:
        """Return the first and last paragraph, and the number of whole pools after them."""
        first %= self.count
        laps, rest = divmod(size, self.size)
        begin = self._bytes[first]
        last = max(bisect_left(self._bytes, begin + rest), first + 1)
        if last > first + 1 and self._bytes[last] - begin - rest > rest - self._bytes[last - 1] + begin:
            last -= 1
        return first, last, laps


def as_json(text: str) -> bytes:
    """Return text as the inside of a JSON string."""
    return orjson.dumps(text)[1:-1]


@lru_cache(maxsize=len(LANGUAGES))
def pool(language: str) -> Pool:
    """Return a language's pool of plain text; an empty line ends each paragraph."""
    return Pool([f"{paragraph}\n\n" for paragraph in _paragraphs(language)])


@lru_cache(maxsize=len(LANGUAGES))
def html_pool(language: str) -> Pool:
    """Return the same as HTML paragraphs, with some markup that mail programs add."""
    return Pool([_marked_up(at, paragraph) for at, paragraph in enumerate(_paragraphs(language))])


def _paragraphs(language: str) -> list[str]:
    dice = Random(f"paragraphs/{language}")
    made = [_paragraph(dice, language) for _ in range(_PARAGRAPHS)]
    for line in ODD_LINES:
        made[dice.randrange(_PARAGRAPHS)] = line
    return made


def _paragraph(dice: Random, language: str) -> str:
    words = WORDS[language].split()
    between, stop = ("", "。") if language in _UNSPACED else (" ", ". ")
    sentences = []
    for _ in range(dice.choice((1, 1, 2, 3, 3, 4, 5, 7))):
        sentence = between.join(dice.choices(words, k=dice.randint(5, 16)))
        sentences.append(sentence[0].upper() + sentence[1:])
    return stop.join(sentences) + stop.rstrip()


def _marked_up(at: int, paragraph: str) -> str:
    text = html.escape(paragraph, quote=False)
    match at % 6:
        case 0:
            return f'<p style="margin:0 0 12px 0;font-family:Calibri,Arial,sans-serif;font-size:11pt">{text}</p>\n'
        case 1:
            return f'<div class="MsoNormal"><span lang="x">{text}<o:p></o:p></span></div>\n'
        case 2:
            return f"<p><b>{text[:12]}</b>{text[12:]}&nbsp;</p>\n"
        case 3:
            return f"<table><tr><td>{at}</td><td>{text}</td></tr></table>\n"
        case 4:
            return f'<blockquote type="cite">{text}</blockquote>\n'
        case _:
            return f'<p>{text} <a href="https://example.org/{at}?a=1&amp;b=2">https://example.org/{at}</a></p>\n'
