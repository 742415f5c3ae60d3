"""The command `export` as a person runs it: what it prints, its exit codes, and its memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kerio_resync.cache.mutations import PutItems
from tests.support.cache import attachment, filled, mail, whole
from tests.support.programs import kerio_resync

MEASURE = """
import sys
from kerio_resync.cli.app import main
try:
    main(sys.argv[1:])
finally:
    with open("/proc/self/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
"""


async def profile_with(folder: Path, size: int) -> Path:
    """A profile with one mail that has an attachment of this size."""
    folder.mkdir()
    item = mail("1", attached=(attachment("a.bin", size),))
    cache = await filled(folder / "cache.db", PutItems((item,)))
    for mutation in whole(1, os.urandom(size)):
        await cache.apply(mutation)
    await cache.finish()
    await cache.close()
    return folder


async def test_export_prints_what_it_did_and_ends_with_0(tmp_path: Path) -> None:
    profile = await profile_with(tmp_path / "profile", 100)
    command = ("--profile", profile, "export", "--maildir", tmp_path / "mail")
    first = await kerio_resync(*command, password=None)
    assert first.code == 0, first
    assert first.out.splitlines()[0] == f"Exported 1 mail in 2 folders to {tmp_path / 'mail'}."
    assert first.out.splitlines()[1].startswith("  1 written; ")
    second = await kerio_resync(*command, "--json", password=None)
    assert [event["event"] for event in second.events][-1] == "run-finished"
    [target] = second.events[-1]["summary"]["targets"]
    assert (target["written"], target["unchanged"]) == (0, 1)
    dry = await kerio_resync("--profile", profile, "export", "--mbox", tmp_path / "none", "--dry-run", password=None)
    assert dry.out.startswith("Would export 1 mail in 2 folders to ")
    assert not (tmp_path / "none").exists()


async def test_export_that_is_refused_ends_with_the_documented_code(tmp_path: Path) -> None:
    async def code(*arguments: str | Path) -> int:
        done = await kerio_resync("--profile", tmp_path / "profile", "export", *arguments, "--json", password=None)
        assert done.events[-1]["event"] == "run-finished"
        assert done.events[-1]["exit_code"] == done.code
        assert done.err.count("kerio-resync: ") == 1, done.err
        return done.code

    target = ("--maildir", tmp_path / "mail")
    (tmp_path / "profile").mkdir()
    assert await code(*target) == 10
    shutil.rmtree(tmp_path / "profile")
    await profile_with(tmp_path / "profile", 100)
    assert await code() == 2
    assert await code(*target, "--since", "once") == 2
    assert await code(*target, "--folder", "Nowhere") == 2
    assert await code(*target, "--layout", "thunderbird") == 2
    (tmp_path / "profile" / "cache.db").write_bytes(b"nothing" * 10_000)
    assert await code(*target) == 10


def peak_memory(*arguments: str) -> int:
    """The peak memory of an export in KiB."""
    command = [sys.executable, "-c", MEASURE, *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *events, peak = done.stdout.splitlines()
    assert json.loads(events[-1])["ok"]
    return int(peak)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("name", ["maildir", "mbox"])
async def test_memory_does_not_grow_with_an_attachment(tmp_path: Path, name: str) -> None:
    peaks = []
    for size in (1000, 60_000_000):
        profile = await profile_with(tmp_path / f"profile-{size}", size)
        peaks.append(peak_memory("--profile", str(profile), "export", f"--{name}", str(tmp_path / str(size))))
    assert peaks[1] - peaks[0] < 25_000, peaks  # the content has 58,594
