from __future__ import annotations

import json

import pytest

from kerio_resync.cache.mutations import PutItems
from kerio_resync.cache.shared_text import MIN_CHARS, place_text, read_text, text_sql
from kerio_resync.cache.write.items import read_item_row
from kerio_resync.cache.write.session import WriteSession
from tests.support.cache import mail, put

LONG = 'Grüße, "Ann"\\ \n\t \x1f 𝄞 ' * 20


def payload(*texts: str) -> bytes:
    return json.dumps({"parts": texts}, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("text", [LONG, "x" * MIN_CHARS, "n" + LONG])
def test_long_text_of_payload_is_stored_once(text: str) -> None:
    data = payload("before", "x" * 150, text, "after " + text)
    stored, at, size = place_text(text, data)
    assert stored is None
    assert read_text(data, None, at, size) == text


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (None, b"{}"),
        ("", b'{"a":""}'),
        ("short", payload("short")),
        (LONG, b"{}"),
        (LONG + "x", payload(LONG)),
        ("\ud800" * 100, b"{}"),
        (LONG + "\0", payload(LONG + "\0")),
        ("x" * 100 + "\0", payload("x" * 100 + "\0")),
        ("x" * 100 + "y", payload(*(f"{'x' * 100}{n}" for n in range(20)), "x" * 100 + "y")),  # too many tries
    ],
)
def test_text_that_is_not_found_in_payload_is_stored(text: str | None, data: bytes) -> None:
    assert place_text(text, data) == (text, None, None)


@pytest.mark.parametrize(("at", "size"), [(1, 10), (-5, 3), (0, 9999), (3, -1), (7, 0)])
def test_damaged_place_gives_another_text(at: int, size: int) -> None:
    assert read_text(payload(LONG), None, at, size) != LONG


def test_text_of_every_item_is_read_back_and_shown(tables: WriteSession) -> None:
    first = mail("1", text=LONG)
    html = "<p>" + LONG
    first = first._replace(payload=payload(LONG, html), html=html)
    put(tables, PutItems((first, mail("2", text="short"), mail("3", text=LONG)._replace(text=LONG + "!", html=None))))
    read = {item.id: (item.text, item.html) for _, item, _ in read_item_row(tables.db, "TRUE", ())}
    assert read == {"1": (LONG, html), "2": ("short", None), "3": (LONG + "!", None)}
    kept = tables.db.execute("SELECT id FROM item WHERE text IS NOT NULL OR html IS NOT NULL ORDER BY id").fetchall()
    assert kept == [("2",), ("3",)]
    shown = tables.db.execute(f"SELECT id, {text_sql('text')}, {text_sql('html')} FROM item ORDER BY id").fetchall()
    assert {row[0]: row[1:] for row in shown} == read
