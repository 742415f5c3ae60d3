"""Correspondents: names in several scripts, each with a language."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import NamedTuple


class Person(NamedTuple):
    """A sender or recipient."""

    name: str
    address: str
    language: str
    first: str = ""
    last: str = ""


_NAMES: tuple[tuple[str, str, str, int], ...] = (
    ("en", "John Mary Linda Peter Susan Oliver Grace", "Smith O'Brien Taylor Walker Brown", 30),
    ("de", "Jürgen Anna Käthe Björn Lena Uwe", "Müller Groß Schäfer von_der_Aue Weiß", 22),
    ("fr", "Amélie François Zoé René Chloé", "Lefèvre Dupont Garçon d'Aubigné", 10),
    ("es", "José Nuria Íñigo María Ángel", "Muñoz García Núñez de_la_Fuente", 8),
    ("cs", "Jiří Zdeněk Kateřina Šárka Ondřej", "Novák Dvořáková Říha Černý", 10),
    ("ru", "Иван Ольга Дмитрий Наталья", "Иванов Петрова Щукин Ёлкина", 6),
    ("el", "Γιώργος Ελένη", "Παπαδόπουλος Νικολάου", 2),
    ("ar", "محمد فاطمة", "العلي حسن", 3),
    ("he", "דוד שרה", "כהן לוי", 2),
    ("hi", "राहुल प्रिया", "शर्मा पटेल", 2),
    ("ja", "太郎 花子 健", "山田 鈴木 佐藤", 4),
    ("zh", "伟 芳 丽娜", "王 李 张", 3),
)
_DOMAINS = ("example.com", "example.org", "partner.example", "kunden.example.de", "müller-bau.example", "例え.example")
PEOPLE = 400


@lru_cache(maxsize=8)
def people(seed: int) -> tuple[Person, ...]:
    """Return the people of a seed; common languages have more of them."""
    dice = Random(f"{seed}/people")
    weights = [weight for *_, weight in _NAMES]
    found = []
    for n in range(PEOPLE):
        language, firsts, lasts, _ = dice.choices(_NAMES, weights)[0]
        first, last = dice.choice(firsts.split()), dice.choice(lasts.split()).replace("_", " ")
        mailbox = f"{first}.{last}".lower().replace(" ", "").replace("'", "")
        local = mailbox if mailbox.isascii() else f"person{n}"
        found.append(Person(f"{first} {last}", f"{local}@{dice.choice(_DOMAINS)}", language, first, last))
    return tuple(found)
