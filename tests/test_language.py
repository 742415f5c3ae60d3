"""Constructs that mean different things on different Python versions are not used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

NUMBERED = re.compile(r"[ (,=<>]\?\d")
ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    each for folder in ("client", "mockserver", "simulation", "benchmarks") for each in (ROOT / folder).rglob("*.py")
)


def raises_within_except_star(tree: ast.AST) -> Iterator[int]:
    """Yields the lines of every `raise` within `except*`.

    Python 3.11.2 wraps the exception in a group; later versions do not.

    A function defined there is not part of the handler.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.TryStar):
            pending: list[ast.AST] = [statement for handler in node.handlers for statement in handler.body]
            while pending:
                each = pending.pop()
                if isinstance(each, ast.Raise):
                    yield each.lineno
                if not isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                    pending.extend(ast.iter_child_nodes(each))


def test_no_raise_stands_within_except_star() -> None:
    assert SOURCES
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in raises_within_except_star(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


@pytest.mark.parametrize(
    ("handler", "lines"),
    [
        ("raise", [3]),
        ("raise KeyError from None", [3]),
        ("if x: raise", [3]),
        ("x = 1", []),
        ("def f(): raise KeyError", []),
    ],
)
def test_check_finds_raise_within_except_star(handler: str, lines: list[int]) -> None:
    tree = ast.parse(f"try: f()\nexcept* ValueError:\n    {handler}\n")
    assert list(raises_within_except_star(tree)) == lines


def numbered_parameters(tree: ast.AST) -> Iterator[int]:
    """Yields the lines of texts with a numbered SQL parameter such as ?1.

    CPython 3.12 warns about a sequence for it; 3.14 refuses it.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NUMBERED.search(node.value):
            yield node.lineno


def test_no_sql_has_numbered_parameters() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in numbered_parameters(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


@pytest.mark.parametrize(("text", "lines"), [("a > ?1 AND b", [1]), ("VALUES (?, ?)", []), ("really?", [])])
def test_check_finds_numbered_parameters(text: str, lines: list[int]) -> None:
    assert list(numbered_parameters(ast.parse(repr(text)))) == lines
