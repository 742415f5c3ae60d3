"""The layers of the client and its third-party borders, checked by import-linter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("client/kerio_resync", "mockserver/kerio_mockserver", "simulation", "benchmarks")
BORDERS = {
    "server/http/transport.py": "import aiohttp\n",
    "server/http/connections.py": "import aiohttp\n",
    "server/pacing/retry.py": "import tenacity\n",
}
VIOLATIONS = {  # each breaks another contract: a module, and one above it
    "settings": "cli.app",
    "cache.queries": "cache.store",
    "cache.write.items": "cache.write.dispatch",
}
LINT = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"], cwd=root, capture_output=True, text=True, check=False
    )


def test_layers_hold_in_the_code() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_layers_check_names_each_import_of_a_higher_layer(tmp_path: Path) -> None:
    """Runs the same contracts over empty modules of the same names, some of which import a layer above them."""
    package = tmp_path / "kerio_resync"
    for folder in (ROOT / name for name in PACKAGES):
        for source in folder.rglob("*.py"):
            path = tmp_path / source.relative_to(folder.parent)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    for name, text in BORDERS.items():
        (package / name).write_text(text)
    for importer, imported in VIOLATIONS.items():
        (package / f"{importer.replace('.', '/')}.py").write_text(f"import kerio_resync.{imported}\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{len(VIOLATIONS)} broken" in done.stdout
    output = " ".join(done.stdout.split())
    for importer, imported in VIOLATIONS.items():
        layer = imported.removesuffix(".app")
        assert f"kerio_resync.{importer} is not allowed to import kerio_resync.{layer}" in output
