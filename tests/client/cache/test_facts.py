"""The weights of facts: what bounds the bytes that wait to be stored."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from kerio_resync.cache.facts import (
    AddChange,
    Apply,
    Fact,
    FinishAttachment,
    Forget,
    LocalChange,
    LocalFile,
    MarkChange,
    OldContent,
    OmitAttachment,
    PutContent,
    PutItems,
    PutLocal,
    PutPage,
    PutSalvaged,
    PutWhole,
    Relist,
    RestartAttachment,
    Salvaged,
    SetFolders,
    SetMeta,
    Skip,
    Unskip,
    Want,
)
from tests.client.cache.world import FOLDERS, listed, mail

LARGE = 100_000
BIG = mail("1", text="x" * LARGE)
BYTES = bytes(LARGE)
ROWS = tuple(listed(str(n)) for n in range(500))
FILES = (LocalFile("a", "t", BYTES),)
HEAVY: list[Fact] = [
    PutPage("inbox", ROWS),
    PutPage("inbox", (), (BIG,)),
    PutItems((BIG,)),
    PutContent(1, 0, BYTES),
    PutWhole(1, BYTES, b""),
    Want("inbox", "mail", ROWS),
    Forget(tuple(row.id for row in ROWS)),
    Apply("k", forget=tuple(row.id for row in ROWS)),
    Apply("k", want=tuple(("inbox", "mail", row) for row in ROWS)),
    Apply("k", moved=tuple((row.id, row.id, "inbox") for row in ROWS)),
    SetMeta("k", "x" * LARGE),
    PutSalvaged(Salvaged(BIG, Path("old"))),
    PutSalvaged(Salvaged(mail("1"), Path("old"), (OldContent(0, 1, b"", LARGE),))),
    AddChange(LocalChange("u", "create", "mail", struct=BYTES)),
    AddChange(LocalChange("u", "create", "mail", files=FILES)),
    MarkChange("u", "sending", attempt="x" * LARGE),
    PutLocal(BIG),
    PutLocal(mail("1"), FILES),
]
LIGHT: list[Fact] = [
    FOLDERS,
    SetFolders(()),
    Relist("inbox"),
    FinishAttachment(1, b"", 5),
    RestartAttachment(1),
    OmitAttachment(1, "policy"),
    Skip("item", "1", "x"),
    Unskip("item", "1"),
]


@pytest.mark.parametrize("fact", HEAVY, ids=lambda fact: type(fact).__name__)
def test_what_a_fact_holds_is_weighed(fact: Fact) -> None:
    assert LARGE <= fact.weight() < 10 * LARGE


@pytest.mark.parametrize("fact", LIGHT, ids=lambda fact: type(fact).__name__)
def test_what_holds_little_weighs_little(fact: Fact) -> None:
    assert 0 <= fact.weight() < 5000


def test_every_fact_is_weighed_here() -> None:
    assert {type(fact) for fact in HEAVY + LIGHT} == set(get_args(Fact))
