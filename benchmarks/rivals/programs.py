"""The rivals' programs.

Installed, or unpacked from Debian's packages into a folder.

    python -m benchmarks.rivals.programs [DIR]     fetches them with `apt-get download` and unpacks them (.rivals)

Nothing is installed. Unpacked programs appear at their usual paths only inside a mount namespace of the measured
process, since dovecot uses absolute paths. That needs root, or a kernel that lets users create namespaces. If neither
programs nor a way to run them is available, `find` says why.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.tools.machine import ROOT

PACKAGES = ("isync", "dovecot-imapd", "offlineimap3")
FOLDER = ROOT / ".rivals"
UNPRIVILEGED_USER = "nobody"  # dovecot does not serve root's mail
_NEEDED = ("usr/sbin/dovecot", "usr/bin/mbsync")
_OFFLINEIMAP = "usr/bin/offlineimap"
_SHOW = "mount -t overlay overlay -o lowerdir={usr}:/usr /usr && exec {then}"


class Programs(NamedTuple):
    """How to run them; `unpacked` is their folder, None if they are installed."""

    unpacked: Path | None
    offlineimap: bool

    def inside(self, *command: str) -> list[str]:
        """Return a command that finds the programs at their usual paths."""
        if self.unpacked is None:
            return [*command]
        then = '"$@"' if os.geteuid() == 0 else f'unshare --map-user={os.getuid()} --map-group={os.getgid()} "$@"'
        show = _SHOW.format(usr=shlex.quote(str(self.unpacked / "usr")), then=then)
        return [
            "unshare",
            *([] if os.geteuid() == 0 else ["--map-root-user"]),
            "--mount",
            "sh",
            "-c",
            show,
            "-",
            *command,
        ]

    def without_rights(self, *command: str) -> list[str]:
        """Return the command without root's rights."""
        if os.geteuid() != 0:
            return self.inside(*command)
        return self.inside("setpriv", f"--reuid={UNPRIVILEGED_USER}", "--regid=nogroup", "--clear-groups", *command)


def find(folder: Path = FOLDER) -> Programs | str:
    """Return the installed programs, else those in `folder`, else why there are none."""
    if all(Path("/", path).exists() for path in _NEEDED):
        return Programs(None, Path("/", _OFFLINEIMAP).exists())
    if not all((folder / path).exists() for path in _NEEDED):
        return "mbsync and dovecot are not at hand; `python -m benchmarks.rivals.programs` gets them on Debian"
    found = Programs(folder.resolve(), (folder / _OFFLINEIMAP).exists())
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return "unpacked programs need util-linux (unshare, setpriv)"
    tried = subprocess.run(found.inside("true"), capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"unpacked programs need a mount namespace of their own: {' '.join(tried.stderr.split())}"
    return found


def find_mbsync(folder: Path = FOLDER) -> Programs | str:
    """Return the programs if mbsync is installed, else what `find` returns."""
    return Programs(None, False) if Path("/usr/bin/mbsync").exists() else find(folder)


def unpack(folder: Path) -> list[str]:
    """Download and unpack the packages and their dependencies; raise OSError."""
    asked = _run("apt-get", "install", "--simulate", "--quiet", "--no-install-recommends", *PACKAGES)
    names = sorted(set(re.findall(r"^Inst (\S+)", asked, re.MULTILINE)))
    with tempfile.TemporaryDirectory(prefix="kerio-bench-") as place:
        _run("apt-get", "download", "--quiet", *names, cwd=place)
        folder.mkdir(parents=True, exist_ok=True)
        for package in sorted(Path(place).glob("*.deb")):
            _run("dpkg-deb", "--extract", str(package), str(folder))
    return names


def _run(*command: str, cwd: str | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    except FileNotFoundError:
        raise OSError(f"{command[0]} is not there; this takes Debian or a system made from it") from None
    if done.returncode:
        raise OSError(f"{' '.join(command[:2])}: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout


def versions(programs: Programs) -> dict[str, str]:
    """Return the versions of the programs that are there, as they print them."""
    asked: dict[str, tuple[str, ...]] = {"isync": ("mbsync", "--version"), "dovecot": ("dovecot", "--version")}
    if programs.offlineimap:
        asked["offlineimap3"] = ("/usr/bin/python3", "/usr/bin/offlineimap", "--version")
    numbers = {}
    for name, command in asked.items():
        try:
            done = subprocess.run(programs.inside(*command), capture_output=True, text=True, check=False)
        except FileNotFoundError:  # `find_mbsync` is content without dovecot
            continue
        numbers[name] = found[0] if (found := re.findall(r"\d+(?:\.\d+)+", done.stdout)) else "unknown"
    return numbers


def main(arguments: list[str]) -> int:
    """Unpack the rivals into a folder; return the exit code."""
    folder = Path(arguments[0]) if arguments else FOLDER
    try:
        names = unpack(folder)
    except OSError as error:
        print(f"rivals: {error}", file=sys.stderr)
        return 1
    print(f"unpacked into {folder}: {' '.join(names) or 'nothing, all is installed'}")
    found = find(folder)
    print(
        found if isinstance(found, str) else ", ".join(f"{name} {number}" for name, number in versions(found).items())
    )
    return int(isinstance(found, str))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
