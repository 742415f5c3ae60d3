from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PHRASE = "an address that is " + "none"  # in two pieces: the check covers this file, too


def load_tool() -> ModuleType:
    spec = spec_from_file_location("check_prose", ROOT / "tools" / "check_prose.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_prose = load_tool()


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("comment.py", f"x = 1  # {PHRASE}\n", 1),
        ("wrapped.py", f"x = 1\n# {PHRASE.replace(' ', chr(10) + '# ')}\n", 4),
        ("docstring.py", f'"""First.\n\n{PHRASE}."""\n', 3),
        ("wrapped_docstring.py", f'"""First.\n\nan address\nthat is\n{PHRASE[-4:]}."""\n', 4),
        ("message.py", f'x = 1\nraise ValueError(f"{PHRASE}: {{x}}")\n', 2),
        ("page.md", f"# Title\n\n{PHRASE.title()}\n", 3),
    ],
)
def test_findings_names_line_of_phrase(tmp_path: Path, name: str, text: str, line: int) -> None:
    (tmp_path / name).write_text(text)
    [(found, phrase, alternative)] = check_prose.findings(tmp_path / name)
    assert (found, phrase.lower()) == (line, PHRASE[-12:])
    assert alternative


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("name.py", f"{'who' + 'ever'} = 1\n"),
        ("user.py", 'USER = "nobody"\n'),
        ("page.md", f"```text\n{PHRASE}\n```\n"),
    ],
)
def test_findings_ignores_code(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert list(check_prose.findings(tmp_path / name)) == []


@pytest.mark.parametrize(
    "text",
    [
        '"""{}"""\n',
        'class C:\n    """{}"""\n',
        'def f():\n    """{}\n\n    More.\n    """\n',
        'async def f():\n    """{}"""\n',
    ],
)
def test_findings_names_long_first_line_of_docstring(tmp_path: Path, text: str) -> None:
    path, longest = tmp_path / "a.py", "x" * 79 + "."
    path.write_text(text.format(longest))
    assert list(check_prose.findings(path)) == []
    path.write_text(text.format("x" + longest))
    [(line, summary, alternative)] = check_prose.findings(path)
    assert (line, summary) == (text[: text.index("{")].count("\n") + 1, "x" + longest)
    assert "80 characters" in alternative


def test_findings_allows_long_later_line_of_docstring(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(f'"""Short.\n\n{"x" * 100}.\n"""\n')
    assert list(check_prose.findings(path)) == []


def test_main_exits_1_and_prints_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text(f"# {PHRASE}\n")
    assert check_prose.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith(f'{tmp_path}/a.py:1: "{PHRASE[-12:]}": ')
    assert check_prose.main([str(ROOT / "tools")]) == 0


def test_list_of_folders_is_complete() -> None:
    python = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("*/**/*.py") if path.parent != ROOT}
    assert {name for name in python if not name.startswith(".")} <= set(check_prose.FOLDERS)
