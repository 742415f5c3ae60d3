"""Crews on Dask's workers; a cluster that cannot be used is one clear sentence."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.measure import cluster
from kerio_resync.fleet.measure.cluster import connected, shares

OURS = version("kerio-resync")


@pytest.mark.parametrize(("count", "among", "expected"), [(5, 2, [3, 2]), (1, 3, [1, 0, 0]), (4, 2, [2, 2])])
def test_shares_differ_by_at_most_one(count: int, among: int, expected: list[int]) -> None:
    assert shares(count, among) == expected


class Client:
    """Stands for Dask's client: its workers answer with these versions."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {name.replace("_", ":"): answer for name, answer in answers.items()}

    async def run(self, call: object, *args: object, on_error: str) -> dict[str, Any]:
        return self._answers


async def test_workers_of_this_version_are_accepted() -> None:
    await cluster._require_workers(Client(a_1=OURS, b_1=OURS), "tcp://x")


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({}, "the Dask cluster at tcp://x has no workers: start some with `dask worker tcp://x`"),
        ({"a_1": OURS, "b_1": "0.1"}, f"the workers need kerio-resync {OURS}, as it is here: b:1 has version 0.1;"),
        ({"a_1": PackageNotFoundError()}, "a:1 has none; install the same version there"),
        ({f"w{n}_1": "0.1" for n in range(5)}, "w2:1 has version 0.1 and 2 more;"),
    ],
)
async def test_other_workers_are_refused(answers: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadSettings) as caught:
        await cluster._require_workers(Client(**answers), "tcp://x")
    assert problem in str(caught.value)


async def test_dask_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(BadSettings, match=r"pip install 'kerio-resync\[fleet\]'"):
        async with connected():
            pass
