"""The layers and fences of the house, held against the code by import-linter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = {path.stem for path in (ROOT / "client" / "kerio_resync").iterdir() if not path.name.startswith("_")}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    return subprocess.run([*command, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)


def test_a_row_imports_only_rows_below_it() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_a_breach_is_found(tmp_path: Path) -> None:
    """The check can fail: the same contracts over a package where `settings` imports the command line."""
    package = tmp_path / "kerio_resync"
    for name in ROWS:
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    for name in ("__init__.py", "__main__.py", "server/transport.py", "server/retry.py"):
        (package / name).touch()
    for name in ("transport", "connections"):
        (package / "server" / f"{name}.py").write_text("import aiohttp\n")
    (package / "server" / "retry.py").write_text("import tenacity\n")
    (package / "settings" / "__init__.py").write_text("import kerio_resync.cli\n")
    (tmp_path / "kerio_mockserver").mkdir()
    (tmp_path / "kerio_mockserver" / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "kerio_resync.settings is not allowed to import kerio_resync.cli" in done.stdout
