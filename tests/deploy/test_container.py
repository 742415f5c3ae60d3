"""The Dockerfile and the compose file of the mock server, as far as they can be run without Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from kerio_mockserver.cli import parser
from kerio_mockserver.conditions.presets import PRESETS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "mockserver"
INSTRUCTIONS = re.sub(r"\\\n", "", re.sub(r"(?m)^#.*\n", "", (FOLDER / "Dockerfile").read_text())).splitlines()


def values(instruction: str) -> list[str]:
    return [line.partition(" ")[2].strip() for line in INSTRUCTIONS if line.startswith(f"{instruction} ")]


def words(instruction: str) -> list[str]:
    """Return the words of an instruction in exec form."""
    [value] = values(instruction)
    found = json.loads(value)
    assert isinstance(found, list)
    return list(map(str, found))


def compose() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    return services


def with_defaults(text: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def copied() -> list[str]:
    lines = [value.split()[:-1] for value in values("COPY") if not value.startswith("--from")]
    return [source for line in lines for source in line]


def ignored(path: str) -> bool:
    """Return whether .dockerignore leaves a path out: the last pattern that matches it or a parent counts."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    parents = [str(parent) for parent in (Path(path), *Path(path).parents) if str(parent) != "."]
    verdict = False
    for line in lines:
        if any(fnmatch(parent, line.removeprefix("!").removeprefix("**/")) for parent in parents):
            verdict = not line.startswith("!")
    return verdict


def test_image_is_pinned_small_and_not_run_by_root() -> None:
    images = values("FROM")
    assert len(images) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+( AS build)?", image) for image in images)
    [user] = values("USER")
    assert all(int(number) > 0 for number in user.split(":"))


def test_context_has_what_is_copied_and_little_else() -> None:
    assert all((ROOT / source).exists() for source in copied())
    assert [source for source in copied() if ignored(source)] == []
    assert ignored("tests/conftest.py")
    assert ignored(".git/config")
    assert ignored(".venv/bin/python")


def test_copied_files_are_enough_for_the_wheel(tmp_path: Path) -> None:
    for source in copied():
        target = tmp_path / "src" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(command, cwd=tmp_path / "src", capture_output=True, check=True)
    assert len(list((tmp_path / "dist").glob("*.whl"))) == 1


@pytest.mark.parametrize("service", [None, "mock", "import"])
def test_command_has_options_that_exist_and_ports_that_are_published(service: str | None, tmp_path: Path) -> None:
    more = [with_defaults(word) for word in compose()[service]["command"]] if service else words("CMD")
    options = parser().parse_args([*words("ENTRYPOINT")[1:], *more])
    assert options.host == "0.0.0.0"
    assert values("EXPOSE") == [f"{options.port} {options.control_port}"]
    assert (options.control_host == "127.0.0.1") == (service is None)  # opened by compose alone
    ports = [f"127.0.0.1:{port}:{port}" for port in (options.port, options.control_port)]
    assert compose()["mock"]["ports"] == ports
    if service:
        assert options.preset in PRESETS


def test_compose_builds_this_dockerfile_and_confines_the_server() -> None:
    mock, imports = compose()["mock"], compose()["import"]
    assert (FOLDER / mock["build"]["context"]).resolve() == ROOT
    assert (ROOT / mock["build"]["dockerfile"]).samefile(FOLDER / "Dockerfile")
    assert mock["read_only"] is True
    assert mock["cap_drop"] == ["ALL"]
    assert imports["extends"] == {"service": "mock"}
    [volume] = imports["volumes"]
    assert with_defaults(volume).split(":")[1:] == [imports["command"][-1], "ro"]


def test_server_of_the_image_is_healthy_and_ends_at_sigterm(tmp_path: Path) -> None:
    """Runs entry point and health check with this interpreter, other ports and a folder that may not be written."""
    start = words("ENTRYPOINT")
    assert start[0] == "/opt/mock/bin/kerio-mockserver"
    command = [sys.executable, "-m", "kerio_mockserver", *start[1:], *words("CMD"), "--host", "127.0.0.1"]
    command += ["--port", "0", "--control-port", "0", "--mails", "5"]
    tmp_path.chmod(0o500)
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["control_url"]
        [check] = values("HEALTHCHECK")
        probe = json.loads(check[check.index("CMD ") + 4 :])
        assert probe[0] == "/opt/mock/bin/python"
        code = probe[2].replace("http://127.0.0.1:8081", url)
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
        with urllib.request.urlopen(url + "/conditions", timeout=10) as reply:
            assert reply.status == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        down = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
        assert down.returncode == 1  # what Docker takes for unhealthy
