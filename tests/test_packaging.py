"""Installations: extras, messages for a missing one, types for other programs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from kerio_resync.cli import demo
from kerio_resync.errors import BadSettings
from kerio_resync.profile_file import load
from kerio_resync.settings import with_password

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("browse", "export", "fast", "keyring", "mock", "report", "socks")


def names_of(requirements: list[str]) -> set[str]:
    return {match[0] for text in requirements if (match := re.match(r"[\w.-]+", text))}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def without(*modules: str) -> str:
    """The beginning of a program in which these modules cannot be imported."""
    return f"import sys; sys.modules.update(dict.fromkeys({modules!r}))\n"


def test_client_installs_nothing_of_an_extra() -> None:
    extras = PROJECT["optional-dependencies"]
    needed = names_of(PROJECT["dependencies"])
    for extra in EXTRAS:
        assert names_of(extras[extra]).isdisjoint(needed), extra


def test_client_imports_without_extras(tmp_path: Path) -> None:
    done = run_python(
        without("uvloop", "isal", "keyring", "aiohttp_socks", "brotli", "icalendar", "cryptography", "dateutil")
        + "import kerio_resync.sync.rebuild, kerio_resync.server.kerio.mailbox, kerio_resync.upgrade.procedure\n"
        + "from kerio_resync.cache.checksums import plain_crc32; print(plain_crc32(b'x'))\n"
        + f"sys.argv[1:] = ['status', '--profile', {str(tmp_path)!r}]\n"
        + "from kerio_resync.cli.entry import main; main()"
    )
    assert (done.returncode, done.stdout.splitlines()[:2]) == (0, ["2363233923", f"Profile: {tmp_path}"]), done


@pytest.mark.parametrize("module", ["brotli", "icalendar"])
def test_mock_names_its_extra_if_a_package_is_missing(module: str, tmp_path: Path) -> None:
    (tmp_path / "a.ics").write_text("BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:x\nEND:VEVENT\nEND:VCALENDAR\n")
    done = run_python(
        without(module)
        + f"sys.argv[1:] = ['serve', '--exit-with-parent', '--import', {str(tmp_path)!r}]\n"
        + "from kerio_mockserver.entry import main; main()"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"kerio-mockserver: the package {module} is missing. Install what the mock server needs:"
        " pip install 'kerio-resync[mock]'\n"
    )


def test_demo_names_the_extra_if_the_mock_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(BadSettings, match=r"run `pip install 'kerio-resync\[mock\]'`"):
        demo.sample_mail()


def test_missing_password_names_the_extra_if_keyring_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kerio_resync.settings.find_spec", lambda name: None)
    settings = load(tmp_path, {"server": "https://mail.example.com", "user": "jane"})
    monkeypatch.setattr("kerio_resync.settings._from_keyring", lambda *_: None)
    with pytest.raises(BadSettings, match=r"`pip install 'kerio-resync\[keyring\]'` and `keyring set "):
        with_password(settings, None)


@pytest.mark.parametrize("package", ["kerio_resync", "kerio_mockserver"])
def test_package_is_typed(package: str) -> None:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert (Path(spec.origin).parent / "py.typed").is_file()


def test_wheel_has_the_files_of_the_mocks_pages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name: wheel.read(name) for name in wheel.namelist()}
    pages = ROOT / "mockserver" / "kerio_mockserver" / "static"
    files = [path for path in pages.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        assert packed[f"kerio_mockserver/static/{path.relative_to(pages).as_posix()}"] == path.read_bytes()


def test_examples_type_check(tmp_path: Path) -> None:
    pages = (ROOT / "README.md", ROOT / "docs" / "python.md")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    examples = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert examples
    for number, example in enumerate(examples):
        (tmp_path / f"example_{number}.py").write_text(example)
    command = [sys.executable, "-m", "mypy", *map(str, tmp_path.glob("*.py"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
