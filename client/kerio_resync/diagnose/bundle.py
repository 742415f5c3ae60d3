"""Collects what support needs into one zip file, without anything private.

Names of folders are replaced by numbers, unless the user wants them in. Everything is collected before anything is
written, so that the user can be shown what is inside.
"""

from __future__ import annotations

import json
import os
import platform
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from kerio_resync import run_log
from kerio_resync.cache import overview
from kerio_resync.cache.store import Store
from kerio_resync.diagnose.doctor import examine, summarise
from kerio_resync.diagnose.findings import Emit
from kerio_resync.diagnose.folder_names import FolderNames, names_in
from kerio_resync.diagnose.origins import load_complete, secrets_of
from kerio_resync.errors import BadSettings, LocalError, ResyncError, explain
from kerio_resync.events import Checked
from kerio_resync.filesystem import read_small, translate_os_error, write_private
from kerio_resync.redaction import MASK
from kerio_resync.settings import Settings, with_password
from kerio_resync.sync.status import status
from kerio_resync.version import VERSION

SYNCS: Final = 10  # writes that are timed
SYNC_BYTES: Final = 64 * 1024
PACKAGES: Final = (
    "aiohttp", "aiosqlite", "aiohttp-socks", "filelock", "isal", "keyring", "orjson", "platformdirs", "pybase64",
    "pydantic", "rich", "tenacity", "tomlkit", "typer", "uvloop", "zstandard",
)  # fmt: skip


@dataclass(slots=True)
class Bundle:
    """The members of a bundle: for each name its content, and what it is."""

    members: dict[str, bytes] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, about: str, content: str) -> None:
        """Add a text."""
        self.members[name], self.about[name] = content.encode("utf-8", "backslashreplace"), about

    def add_json(self, name: str, about: str, value: Any) -> None:
        """Add a value as indented JSON."""
        self.add(name, about, json.dumps(value, indent=1, default=str, ensure_ascii=False) + "\n")


async def collect(
    profile: Path,
    given: Mapping[str, Any],
    *,
    with_names: bool = False,
    login: bool = False,
    ask: Callable[[str], str] | None = None,
    emit: Emit = lambda _: None,
) -> Bundle:
    """Return the bundle of a profile. Nothing that is missing or damaged ends it.

    `given`: options of the command line; `login`, `ask`, `emit`: as of `examine`.
    """
    bundle = Bundle()
    findings = await examine(profile, emit, given, login=login, ask=ask)
    settings, secrets, described = Settings(profile=profile), list[str](), None
    with suppress(ResyncError):
        settings, origins = load_complete(profile, given)
        secrets = _secrets_of(settings)
        described = {name: {"value": value, "source": source} for name, value, source in origins}
    names = await _add_cache(bundle, settings, keep=with_names)
    if described is not None:
        bundle.add_json("settings.json", "settings, and where each comes from", names.value(described))
    _add_findings(bundle, names, findings)
    bundle.add_json("versions.json", "versions of the program, Python, the system and packages", _versions())
    await _add_status(bundle, names, settings)
    _add_logs(bundle, names, profile)
    bundle.add_json("timings.json", "a sample of timings: network, disk, phases of runs", _timings(profile, findings))
    _mask(bundle, secrets)
    _add_contents(bundle, with_names=with_names)
    return bundle


def _secrets_of(settings: Settings) -> list[str]:
    """Return the secrets that are known here, longest first."""
    from kerio_resync.server.http.proxies import choose_with_source

    found = []
    with suppress(ResyncError):
        found += secrets_of(with_password(settings, None))
    with suppress(ResyncError):
        setting = settings.proxy.get_secret_value() if settings.proxy is not None else None
        proxy, _ = choose_with_source(settings.server, setting, os.environ)
        found.append(proxy.password if proxy else "")
    return sorted(filter(None, found), key=len, reverse=True)


def _mask(bundle: Bundle, secrets: Sequence[str]) -> None:
    """Remove secrets that are known; the events were redacted when they were logged."""
    for name, content in bundle.members.items():
        for secret in secrets:
            for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
                content = content.replace(form.encode("utf-8", "backslashreplace"), MASK.encode())  # noqa: PLW2901
        bundle.members[name] = content


async def _add_cache(bundle: Bundle, settings: Settings, *, keep: bool) -> FolderNames:
    """Add schema and counts of the cache and of an unfinished one; return the names."""
    tables: dict[str, Any] = {}
    for label, path in (("cache", settings.cache), ("unfinished", settings.next_cache)):
        if not path.exists():
            continue
        try:
            store = await Store.open(path, readonly=True)
        except ResyncError as error:
            tables[label] = {"error": explain(error)[0]}
            continue
        try:
            tables[label] = await store.read(overview.folder_counts)
            bundle.add(f"schema-{label}.sql", f"the schema of the {label} file", await store.read(overview.schema))
        except ResyncError as error:
            tables[label] = {"error": explain(error)[0]}
        finally:
            await store.close()
    rows = [row for table in tables.values() if isinstance(table, list) for row in table]
    logged = names_in([list(run_log.entries(path)) for path in run_log.files(settings.profile)])
    given = {"exclude_folders": settings.exclude_folders, "folders": settings.folders}
    names = FolderNames([row["path"] for row in rows], others=[*logged], settings=given, keep=keep)
    for row in rows:
        row["path"] = names.alias(row["path"])
        row.pop("id", None)
    bundle.add_json("folders.json", "counts per folder", tables)
    return names


def _add_findings(bundle: Bundle, names: FolderNames, findings: list[Checked]) -> None:
    bundle.add_json("doctor.json", "what `doctor` found", names.value(summarise(findings)))


def _versions() -> dict[str, Any]:
    packages = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "kerio-resync": VERSION, "python": platform.python_version(), "python_kind": platform.python_implementation(),
        "system": platform.platform(), "machine": platform.machine(), "processors": os.cpu_count(),
        "sqlite": overview.sqlite_version(), "packages": packages,
    }  # fmt: skip


async def _add_status(bundle: Bundle, names: FolderNames, settings: Settings) -> None:
    try:
        state = (await status(settings)).as_json()
    except LocalError as error:
        state = {"error": explain(error)[0]}
    state["runs"] = [record.as_json() for record in run_log.last_runs(settings.profile, 20)]
    bundle.add_json("status.json", "state of the files, unsent changes without contents, last runs", names.value(state))


def _add_logs(bundle: Bundle, names: FolderNames, profile: Path) -> None:
    for path in run_log.files(profile):
        lines = [_clean_line(names, line) for line in run_log.read_lines(path)]
        bundle.add(f"logs/{path.name}", "events of runs", "\n".join([*lines, ""]))
    for name, about in (("crash.log", "where in the program an error happened"), ("upgrade.json", "failed upgrades")):
        with suppress(OSError, ResyncError):
            text = read_small(profile / name, links=False).decode("utf-8", "replace")
            bundle.add(f"logs/{name}", about, _clean_text(names, text))


def _clean_line(names: FolderNames, line: str) -> str:
    try:
        return json.dumps(names.value(json.loads(line)), ensure_ascii=False)
    except (ValueError, RecursionError):  # names in it cannot be found
        return line if names.keep else f"(a damaged line of {len(line)} characters)"


def _clean_text(names: FolderNames, text: str) -> str:
    """Replace the names in a JSON value or in the lines of a traceback.

    Lines that quote code stay as they are.
    """
    with suppress(ValueError, RecursionError):
        return json.dumps(names.value(json.loads(text)), ensure_ascii=False)
    lines = text.split("\n")
    return "\n".join(names.text(line) if line.startswith(" ") else names.sentence(line) for line in lines)


def _timings(profile: Path, findings: Sequence[Checked]) -> dict[str, Any]:
    network = {f.check: f.data["seconds"] for f in findings if "seconds" in f.data}
    return {"network_seconds": network, "disk_sync_seconds": _time_disk(profile), "runs": _phases(profile)}


def _time_disk(profile: Path) -> list[float]:
    """Return the seconds of a few small writes that are durable."""
    probe, seconds = profile / f".doctor-{os.getpid()}", []
    try:
        for _ in range(SYNCS):
            started = time.perf_counter()
            write_private(probe, bytes(SYNC_BYTES))
            seconds.append(round(time.perf_counter() - started, 5))
    except OSError:
        pass
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return seconds


def _phases(profile: Path) -> dict[str, list[tuple[str, float]]]:
    """Return how long each phase of each logged run took."""
    marks: dict[str, list[tuple[datetime, str]]] = {}
    for path in reversed(run_log.files(profile)):
        for entry in run_log.entries(path):
            name = entry.get("phase") if entry.get("event") == "phase" else entry.get("event")
            with suppress(ValueError):
                if entry.get("event") in ("phase", "run-finished"):
                    marks.setdefault(entry["run"], []).append((datetime.fromisoformat(entry["time"]), str(name)))
    return {
        run: [(name, round((end - at).total_seconds(), 3)) for (at, name), (end, _) in pairwise(found)]
        for run, found in marks.items()
    }


def _add_contents(bundle: Bundle, *, with_names: bool) -> None:
    names = "Names of folders are in it." if with_names else "Names of folders are replaced by numbers."
    lines = [
        f"A support bundle of kerio-resync {VERSION}, made at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        f"{names} No password and no text of a mail is in it.",
        "",
        *(f"{name:<26} {about}" for name, about in bundle.about.items()),
    ]
    bundle.add("CONTENTS.txt", "this list", "\n".join([*lines, ""]))


def require_new(path: Path) -> None:
    """Raise BadSettings if the file exists."""
    if os.path.lexists(path):
        raise BadSettings(f"{path} exists already; name another file with --output")


def write(bundle: Bundle, path: Path) -> int:
    """Write the zip file, readable by its owner only; return its size.

    LocalError, also if the file exists.
    """
    require_new(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in bundle.members.items():
                archive.writestr(name, content)
        return path.stat().st_size
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise translate_os_error(error, path) from error
