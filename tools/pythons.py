"""Finds every CPython that can run the project, and runs a command with each.

    python tools/pythons.py                      one line per version: its number and its path
    python tools/pythons.py --oldest             the path of the oldest
    python tools/pythons.py --newest             the path of the newest
    python tools/pythons.py make test            runs `make test PYTHON=… VENV=.venv-…` with each, one after another

Searched are PATH, the usual system folders and pyenv. Of several with the same version the first found is taken. What
cannot be used is named on standard error, with the reason.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOWEST = (3, 11)
SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin")
_NAME = re.compile(r"python3?(\.\d+)?(\.exe)?")
_PROBE = """
import importlib.util, json, platform, sys, sysconfig
print(json.dumps({
    "implementation": platform.python_implementation(),
    "version": list(sys.version_info[:3]),
    "release": sys.version_info.releaselevel == "final",
    "path": getattr(sys, "_base_executable", "") or sys.executable,
    "gil": not sysconfig.get_config_var("Py_GIL_DISABLED"),
    "missing": [name for name in ("venv", "ensurepip", "sqlite3", "ssl") if importlib.util.find_spec(name) is None],
}))
"""


@dataclass(frozen=True, slots=True, order=True)
class Python:
    """An interpreter: its version and its path."""

    version: tuple[int, int, int]
    path: str

    def __str__(self) -> str:
        return ".".join(map(str, self.version))


def candidates() -> Iterator[Path]:
    """Files that are called like a Python, in the order of preference."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *SYSTEM_FOLDERS]
    for root in _pyenv_roots():
        folders += [str(version / "bin") for version in sorted((root / "versions").glob("*"))]
    for folder in dict.fromkeys(folder for folder in folders if folder and not folder.rstrip("/").endswith("/shims")):
        try:
            names = sorted(name for name in os.listdir(folder) if _NAME.fullmatch(name))
        except OSError:
            continue  # a folder of PATH that does not exist or may not be read
        for name in names:
            path = Path(folder, name)
            if os.access(path, os.X_OK) and path.is_file():
                yield path


def _pyenv_roots() -> Iterator[Path]:
    if root := os.environ.get("PYENV_ROOT"):
        yield Path(root)
    elif program := shutil.which("pyenv"):
        done = subprocess.run([program, "root"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 0 and done.stdout.strip():
            yield Path(done.stdout.strip())
    home = os.environ.get("HOME")
    if home and (default := Path(home, ".pyenv")).is_dir():
        yield default


def find() -> tuple[list[Python], list[str]]:
    """Return the usable interpreters, oldest first, and a line for each other one."""
    found: dict[tuple[int, int, int], Python] = {}
    refused: dict[str, str] = {}
    seen: set[str] = set()
    for candidate in candidates():
        real = os.path.realpath(candidate)
        if real in seen:
            continue
        seen.add(real)
        facts = _probe(candidate)
        if facts is None or tuple(facts["version"]) < LOWEST or facts["implementation"] != "CPython":
            continue  # no interpreter of this project
        version = (*map(int, facts["version"]),)
        name, path = ".".join(map(str, version)), facts["path"]
        if not facts["release"]:
            refused[path] = f"{name} at {path}: it is a pre-release"
        elif not facts["gil"]:
            refused[path] = f"{name} at {path}: it is a build without the global interpreter lock"
        elif facts["missing"]:
            hint = f" (on Debian: apt-get install python{version[0]}.{version[1]}-venv)" * (
                "ensurepip" in facts["missing"]
            )
            refused[path] = f"{name} at {path}: it has no {', '.join(facts['missing'])}{hint}"
        else:
            found.setdefault(version, Python(version, path))  # type: ignore[arg-type]  # of three numbers
    return sorted(found.values()), list(refused.values())


def _probe(path: Path) -> dict | None:  # type: ignore[type-arg]  # what JSON holds
    command = [str(path), "-I", "-c", _PROBE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
        )
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def run(pythons: list[Python], command: list[str]) -> int:
    """Run `command` with each and print the outcomes; return 1 if any failed."""
    results: list[tuple[Python, int, float]] = []
    for python in pythons:
        full = [*command, f"PYTHON={python.path}", f"VENV=.venv-{python}"]
        print(f"\n=== CPython {python}: {shlex.join(full)}", flush=True)
        began = time.monotonic()
        code = subprocess.run(full, check=False).returncode
        results.append((python, code, time.monotonic() - began))
    print()
    for python, code, seconds in results:
        outcome = "passed" if code == 0 else f"FAILED (exit {code})"
        print(f"CPython {python}: {outcome} in {seconds:.0f} s ({python.path})")
    return int(any(code for _, code, _ in results))


def main(arguments: list[str]) -> int:
    """Run the program; return the exit code."""
    pythons, refused = find()
    for line in refused:
        print(f"Not used: CPython {line}", file=sys.stderr)
    if not pythons:
        print(f"No CPython {'.'.join(map(str, LOWEST))} or newer was found.", file=sys.stderr)
        return 1
    if arguments in (["--oldest"], ["--newest"]):
        print(pythons[0 if arguments == ["--oldest"] else -1].path)
        return 0
    if not arguments:
        for python in pythons:
            print(python, python.path)
        return 0
    return run(pythons, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
