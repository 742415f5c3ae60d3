"""No four characters in a row of a secret come out, however it was written, cut or spread."""

from __future__ import annotations

import base64
import html
import json
import random
import time
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_resync.errors import ResyncError
from kerio_resync.events import FolderListed, Notice, Progress, RunFinished, RunStarted, Skipped
from kerio_resync.redaction import MASK, Redactor, chain

SECRETS = ('zq7#Kw"ö&v<%9x/Jp\\ü+É@b', "9f81c3d07ae2b5641f0d8a37c2e9b460", "Zx kq Vw jp Yd bq")


def units(text: str) -> str:
    return "".join(f"\\u{int.from_bytes(c.encode('utf-16-be'), 'big'):04x}" if ord(c) < 65536 else c for c in text)


def entities(text: str) -> str:
    return "".join(f"&#{ord(c)};" if k % 2 else f"&#x{ord(c):X};" for k, c in enumerate(text))


def b64(prefix: str) -> Callable[[str], str]:
    return lambda text: base64.b64encode(f"{prefix}{text}".encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "upper": str.upper,
    "lower": str.lower,
    "json": lambda text: json.dumps(text)[1:-1],
    "json, no ascii": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json twice": lambda text: json.dumps(json.dumps(text)),
    "json three times": lambda text: json.dumps(json.dumps(json.dumps(text))),
    "every unit escaped": units,
    "upper units": lambda text: units(text).upper().replace("\\U", "\\u"),
    "repr": repr,
    "bytes": lambda text: repr(text.encode()),
    "latin bytes": lambda text: repr(text.encode("latin-1")),
    "url": lambda text: quote(text, safe=""),
    "url, lower hex": lambda text: "".join(p.lower() if len(p) == 3 else p for p in [quote(c, safe="") for c in text]),
    "url, all": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "url, latin": lambda text: "".join(f"%{byte:02x}" for byte in text.encode("latin-1")),
    "url twice": lambda text: quote(quote(text, safe=""), safe=""),
    "form": quote_plus,
    "html": html.escape,
    "entities": entities,
    "html of json": lambda text: html.escape(json.dumps(text)),
    "base64": b64(""),
    "base64 of user:password": b64("jane:"),
    "base64 shifted by two": b64("jane.d:"),
    "base64 shifted by one": b64("jane.do:"),
    "base64, for urls": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64, in lines": lambda text: "\r\n".join(b64("")(text)[at : at + 5] for at in range(0, 60, 5)),
    "hex": lambda text: text.encode().hex(),
    "hex, upper, spaced": lambda text: text.encode().hex(" ").upper(),
    "blanks": " ".join,
    "lines": "\r\n\t".join,
    "in pieces": lambda text: "\n ".join(text[at : at + 3] for at in range(0, len(text), 3)),
    "zero width": "\u200b".join,
    "soft hyphens": "\xad".join,
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "fullwidth": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "mojibake": lambda text: text.encode().decode("latin-1"),
    "its middle": lambda text: text[5:-5],
}


def kept(*secrets: str) -> Redactor:
    redactor = Redactor()
    redactor.keep(*secrets)
    return redactor


def shown(secret: str, text: str) -> list[str]:
    """The runs of four characters of the secret that are to be seen in a text, blanks and case aside."""
    squeezed, plain = "".join(text.split()).casefold(), "".join(secret.split()).casefold()
    return [plain[at : at + 4] for at in range(len(plain) - 3) if plain[at : at + 4] in squeezed]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", SECRETS)
def test_foreign_masks_every_form_wherever_it_is_cut(secret: str, form: str) -> None:
    written = FORMS[form](secret)
    redactor = kept(secret)
    for text in (written, f"bad login '{written}'!", f"<{written}>\n{written}"):
        clean = redactor.foreign(text)
        assert MASK in clean
        assert not shown(secret, clean)
        if not form.startswith("base64 ") and "json" not in form:  # these begin with a user name, or hold escapes only
            assert not shown(written, clean)
    for at in range(len(written)):  # cut before it is masked, as a server or a proxy may do
        for piece in (written[:at], written[at:]):
            assert not shown(secret, redactor.foreign(f"x: {piece}"))


def test_foreign_keeps_the_words_around_a_secret() -> None:
    clean = kept("p4ssw0rd-Xy", "jk39").foreign("Wrong password 'p4ssw0rd-Xy' for jane (jk39); ask 4100 p4 ssw")
    assert clean == "Wrong password '…' for jane (…); ask 4100 …"


@pytest.mark.parametrize("secret", ["", "a", "ab", "a1c", " a b c "])
def test_a_secret_of_three_characters_is_not_looked_for(secret: str) -> None:
    assert kept(secret).foreign("a b c abc a1c ab") == "a b c abc a1c ab"


def test_own_masks_the_secret_but_not_words_that_share_four_characters() -> None:
    redactor = kept("mail-Server-2024")
    assert redactor.own("no connection to mail.example.com: server") == "no connection to mail.example.com: server"
    assert redactor.own("folder 'x mail-Server-2024'") == "folder 'x …'"
    assert redactor.own("folder 'Server-2024'") == "folder '…'"


def test_value_cleans_members_and_names_and_drops_what_is_too_deep() -> None:
    redactor = kept("zq7kwv9x")
    value = {"message": "zq7kwv9x", "data": {"zq7kwv9x": ["a", 1, None, {"x": "ZQ7KWV9X"}]}}
    assert redactor.value(value) == {"message": "…", "data": {"…": ["a", 1, None, {"x": "…"}]}}
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    assert len(json.dumps(redactor.value(deep))) < 100


def test_events_lose_what_they_quote_but_not_what_the_user_gave() -> None:
    redactor = kept("zq7kwv9x")
    assert redactor.event(Skipped("folder", "zq7kwv9x", "no 'zq7kwv9x'")) == Skipped("folder", "…", "no '…'")
    assert redactor.event(FolderListed("zq7kwv9x", 3)) == FolderListed("…", 3)
    assert redactor.event(Notice("zq7kwv9x")) == Notice("…")
    finished = RunFinished(ok=False, exit_code=4, summary={"skipped": [("item", "zq7kwv9x", "")]})
    assert "zq7kwv9x" not in str(redactor.event(finished))
    for event in (Progress(), RunStarted("/p", "https://s", "zq7kwv9x")):
        assert redactor.event(event) is event


def test_error_cleans_the_errors_behind_it() -> None:
    redactor = kept("zq7kwv9x")
    cause, error = ValueError("bad zq7kwv9x"), ResyncError("said zq7kwv9x")
    error.__cause__ = cause
    group = ExceptionGroup("some", [error])
    redactor.error(group)
    assert chain(group) == [group, error, cause]
    assert (error.detail, str(error), str(cause)) == ("said …", "said …", "bad …")


def test_new_tokens_do_not_push_out_the_password() -> None:
    redactor = kept("zq7kwv9x")
    for number in range(1000):
        redactor.keep(f"token-{number:05}-{number * 7919:08}")
    assert redactor.foreign("zq7kwv9x") == "…"
    assert redactor.foreign("token-00999-07911081") == "…"
    assert "1000" not in repr(redactor)


def test_time_is_linear_in_the_text() -> None:
    redactor = kept("zq7kwv9x", "9f81c3d07ae2b5641f0d8a37c2e9b460")
    took = {}
    for count in (4_000, 16_000):
        text = "%41\\u0041&#65;" * (count // 14)
        start = time.process_time()
        redactor.foreign(text)
        took[count] = time.process_time() - start
    assert took[16_000] < 20 * max(took[4_000], 0.001)


@given(st.text(min_size=8, max_size=24), st.text(max_size=12), st.text(max_size=12), st.sampled_from(sorted(FORMS)))
def test_foreign_shows_no_four_characters_of_any_secret(secret: str, before: str, after: str, form: str) -> None:
    try:
        written = FORMS[form](secret)
    except UnicodeEncodeError:
        written = secret
    clean = kept(secret).foreign(before + written + after)
    visible = "".join(c for c in secret if c.isprintable() and not c.isspace())
    grams = {visible[at : at + 4] for at in range(len(visible) - 3)}
    assert not any(gram in clean for gram in grams)


def test_a_random_text_hardly_loses_anything() -> None:
    dice = random.Random(5)
    redactor = kept("".join(dice.choices("0123456789abcdef", k=64)))
    text = " ".join("".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(500))
    assert redactor.foreign(text).count(MASK) <= 2
