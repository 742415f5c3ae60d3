"""Finds phrases that a reader has to decipher, and names an alternative.

    python tools/check_prose.py [PATH...]

Checked are the comments and strings of Python files, and Markdown outside of code blocks. Outside of `tests`, the first
line of a docstring must be short, too. Without a path all files of the project are checked. Exits with 1 if there are
findings. The rules behind the list are in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "client", "docs", "mockserver", "simulation", "tests", "tools")
MAX_SUMMARY_CHARACTERS = 80
PHRASES = (
    (r"that (?:is|are|was|were) none\b", "name the defect: invalid, missing, empty"),
    (r"\b(?:go|goes|going|gone|went) on with\b", "resume, continue"),
    (r"\blet(?:s|ting)? go of\b", "release, drop"),
    (r"\bwhat of it\b", "name what it is"),
    (r"\bwhoever\b", "name the user, operator or caller"),
    (r"\bnobody\b(?= \w)", "name the subject: no task, no process, no user"),
    (r"\b(?:is|are|was|were|be|been) told\b", "receives, reports, is passed"),
    (r"\btold rightly\b", "say what was wrong and what is right now"),
    (r"\bmak(?:e|es|ing) no sense\b", "is unexpected, is invalid"),
    (r"\bwhat (?:became|becomes) of\b", "the result of, the state of"),
    (r"\bno business\b", "does not use, must not reach"),
)
# A phrase may be wrapped: each blank in it stands for any white space.
_FOUND = re.compile("|".join(f"({phrase})" for phrase, _ in PHRASES).replace(" ", r"\s+"), re.IGNORECASE)
_CODE_BLOCK = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_STRINGS = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


def python_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment and string of Python source with its line number.

    Adjacent comment lines are joined: a phrase may be wrapped.
    """
    comment: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if token.type not in _STRINGS:
            continue
        line = token.start[0]
        if token.type != tokenize.COMMENT:
            yield line, token.string
            continue
        if comment and line != last + 1:
            yield first, "\n".join(comment)
            comment = []
        if not comment:
            first = line
        comment.append(token.string.lstrip("# "))
        last = line
    if comment:
        yield first, "\n".join(comment)


def markdown_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield the source without its code blocks, line numbers kept."""
    yield 1, _CODE_BLOCK.sub(lambda block: "\n" * block[0].count("\n"), source)


def long_summaries(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, first line) of each docstring whose first line is too long."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            if len(summary) > MAX_SUMMARY_CHARACTERS:
                yield node.body[0].lineno, summary


def findings(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, text, alternative) for each finding in a file."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py" and not path.is_relative_to(ROOT / "tests"):
        for line, summary in long_summaries(source):
            yield line, summary, f"a first line of at most {MAX_SUMMARY_CHARACTERS} characters, then the rest"
    for line, text in (markdown_prose if path.suffix == ".md" else python_prose)(source):
        for found in _FOUND.finditer(text):
            assert found.lastindex is not None
            phrase = " ".join(found[0].split())
            yield line + text.count("\n", 0, found.start()), phrase, PHRASES[found.lastindex - 1][1]


def files(paths: list[Path]) -> list[Path]:
    """Return the Python and Markdown files among or below the paths."""
    found = (file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*"))))
    return [file for file in found if file.suffix in (".py", ".md") and file.is_file()]


def main(arguments: list[str]) -> int:
    """Print the findings; return the exit code."""
    paths = [Path(name) for name in arguments] or [*sorted(ROOT.glob("*.md")), *(ROOT / name for name in FOLDERS)]
    count = 0
    for path in files(paths):
        for line, phrase, alternative in findings(path):
            count += 1
            print(f'{path}:{line}: "{phrase}": {alternative}')
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
