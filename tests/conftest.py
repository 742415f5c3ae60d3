"""Settings for all tests: Hypothesis, temporary files, proxies, the collector."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

from tests.support.cases import EXAMPLES

if TYPE_CHECKING:
    from benchmarks.rivals.cyrus import Cyrus
    from tests.support.browser import Browser

# Workers that start together would create the same folders and files: each has its own.
if "PYTEST_XDIST_WORKER" in os.environ:
    set_hypothesis_home_dir(Path(__file__).parents[1] / ".hypothesis" / os.environ["PYTEST_XDIST_WORKER"])

settings.register_profile("suite", max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

MEMORY = Path("/dev/shm")  # a file system in memory, on Linux
MIN_FREE_BYTES = 2**30  # the suite needs about a fifth

# Nearly every test writes a database and waits for each fsync. No test depends on the disk: kills end processes only,
# and a power cut is simulated by a copy. `TMPDIR` overrides this; `make soak` runs on the disk.
if (
    "TMPDIR" not in os.environ
    and os.access(MEMORY, os.W_OK | os.X_OK)
    and shutil.disk_usage(MEMORY).free > MIN_FREE_BYTES
):
    tempfile.tempdir = os.environ["TMPDIR"] = str(MEMORY)

# The servers of the tests are on this machine and are reached without a proxy.
for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")]:
    del os.environ[name]


def pytest_collection_finish() -> None:
    """Excludes the collected tests, which live to the end, from garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def cyrus() -> Iterator[Cyrus]:
    """A started Cyrus with an empty mailbox; the test has the mark `cyrus`."""
    from benchmarks.rivals.cyrus import missing, running

    if reason := missing():
        pytest.skip(reason)
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for the files that `browser` saves."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def browser(downloads: Path) -> Iterator[Browser]:
    """A Chromium; the test has the marks `needs_browser`."""
    from tests.support.browser import open_browser

    with open_browser(str(downloads)) as browser:
        yield browser
