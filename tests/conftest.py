"""For all tests: what Hypothesis may not take offence at on a busy machine, and what each test would pay for all."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

# Workers that start together would create the same folders and files: each has its own.
if "PYTEST_XDIST_WORKER" in os.environ:
    set_hypothesis_home_dir(Path(__file__).parents[1] / ".hypothesis" / os.environ["PYTEST_XDIST_WORKER"])

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

MEMORY = Path("/dev/shm")  # a file system in memory, where there is one
ROOM = 2**30  # bytes that must be free in it; the suite needs about a fifth

# Nearly every test writes a database, and waits for each fsync, whose effect none can see: deaths are those of
# processes, and a power cut is a copy put back. `TMPDIR` says otherwise; `make soak` runs on the disk.
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    tempfile.tempdir = os.environ["TMPDIR"] = str(MEMORY)

# The servers of the tests are on this machine; a proxy in the environment is not meant for them.
for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")]:
    del os.environ[name]


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end: the garbage collector need not look through them again and again."""
    gc.collect()
    gc.freeze()
