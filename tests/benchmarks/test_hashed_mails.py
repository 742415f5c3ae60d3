from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.measure import scale
from benchmarks.tools import hashed_mails, machine


@pytest.mark.parametrize("number", [0, 1, 77, 10**6, 2**40 + 3, 2**64 - 1])
def test_number_is_read_back_from_its_hash(number: int) -> None:
    assert hashed_mails.number_of(hashed_mails.hashed(number)) == number


def test_ids_are_in_no_order() -> None:
    ids = [hashed_mails.mail_id(number) for number in range(1000)]
    rising = sum(one < other for one, other in pairwise(ids))
    assert len(set(ids)) == 1000
    assert 400 < rising < 600


def test_rebuild_brings_all_mails_with_their_sources(tmp_path: Path) -> None:
    with machine.child("JMAP server", "benchmarks.tools.hashed_mails", "50") as (_, line):
        account = machine.Account(line.strip(), "jane", "secret")
        _, summary = machine.rebuilt(account, tmp_path / "profile", "--protocol", "jmap")
    assert summary["items"]["mail"] == 50
    assert summary["folders"] == hashed_mails.FOLDERS


def test_report_of_scale_has_both_protocols() -> None:
    cell = {
        "name": "1,000 mails", "mails": 1000, "folders": 2, "seconds": 1.0, "cpu": 1.0, "server_cpu": 1.0,
        "peak": 50.0, "database": 10**6, "steady": 1.0,
    }  # fmt: skip
    figures = {"cells": [cell], "exponent": 1.02, "spread": 3.0, "steady": 1.0, "ok": True}
    text = scale.report({**figures, "jmap": {**figures, "exponent": 1.07}})
    assert "power 1.020" in text
    assert "power 1.070" in text
