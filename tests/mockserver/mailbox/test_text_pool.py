from __future__ import annotations

import orjson
import pytest

from kerio_mockserver.mailbox.text_pool import LANGUAGES, html_pool, pool
from kerio_mockserver.mailbox.vocabulary import SUBJECTS


@pytest.mark.parametrize("language", LANGUAGES)
def test_slices_have_about_the_wanted_size(language: str) -> None:
    for made in (pool(language), html_pool(language)):
        for first, size in ((0, 1), (3, 900), (159, 5_000), (7_000_000, 60_000), (5, 700_000)):
            text = made.slice_paragraphs(first, size)
            assert text
            assert abs(len(text.encode()) - size) < 4_000
            assert orjson.loads(b'"' + made.cut_json(first, size) + b'"') == text


def test_every_language_has_subjects_and_long_cuts_have_every_oddity() -> None:
    assert SUBJECTS.keys() == set(LANGUAGES)
    assert all(odd in pool("en").text for odd in ("👩‍👩‍👧‍👦", "\u2028", "\t", "\u202b"))
