"""The weights of facts: what bounds the bytes that wait to be stored."""

from __future__ import annotations

import pytest

from kerio_resync.cache.mutations import (
    AddChange,
    ApplyChanges,
    DeleteItems,
    EnqueueItems,
    FinishAttachment,
    LocalChange,
    LocalFile,
    MarkChange,
    Mutation,
    OmitAttachment,
    PatchItems,
    PutAttachmentBytes,
    PutItems,
    PutLocal,
    PutPage,
    PutWholeAttachment,
    ResetListing,
    RestartAttachment,
    SetFolders,
    SetMeta,
    SkipEntry,
    UnskipEntry,
)
from kerio_resync.cache.write import dispatch
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.model import ItemPatch
from tests.support.cache import FOLDERS, listed, mail

LARGE = 100_000
BIG = mail("1", text="x" * LARGE)
BYTES = bytes(LARGE)
ROWS = tuple(listed(str(n)) for n in range(500))
FILES = (LocalFile("a", "t", BYTES),)
HEAVY: list[Mutation] = [
    PutPage(("inbox",), ROWS),
    PutPage(("inbox",), (), (BIG,)),
    PutItems((BIG,)),
    PutAttachmentBytes(1, 0, BYTES),
    PutWholeAttachment(1, BYTES, b""),
    EnqueueItems("inbox", "mail", ROWS),
    DeleteItems(tuple(row.id for row in ROWS)),
    ApplyChanges("k", deleted=tuple(row.id for row in ROWS)),
    ApplyChanges("k", queued=tuple(("inbox", "mail", row) for row in ROWS)),
    ApplyChanges("k", moved=tuple((row.id, row.id, "inbox") for row in ROWS)),
    PatchItems(tuple(ItemPatch(row.id, ("inbox",), "2", True, False, False, False, b"{}") for row in ROWS[:200])),
    SetMeta("k", "x" * LARGE),
    AddChange(LocalChange("u", "create", "mail", struct=BYTES)),
    AddChange(LocalChange("u", "create", "mail"), FILES),
    MarkChange("u", "sending", attempt="x" * LARGE),
    PutLocal(BIG),
    PutLocal(mail("1"), FILES),
]
LIGHT: list[Mutation] = [
    FOLDERS,
    SetFolders(()),
    ResetListing(("inbox",)),
    FinishAttachment(1, b"", 5),
    RestartAttachment(1),
    OmitAttachment(1, "policy"),
    SkipEntry("item", "1", "x"),
    UnskipEntry("item", "1"),
]


@pytest.mark.parametrize("fact", HEAVY, ids=lambda fact: type(fact).__name__)
def test_byte_size_of_large_mutation_covers_its_content(fact: Mutation) -> None:
    assert LARGE <= fact.byte_size() < 10 * LARGE


@pytest.mark.parametrize("fact", LIGHT, ids=lambda fact: type(fact).__name__)
def test_byte_size_of_small_mutation_is_small(fact: Mutation) -> None:
    assert 0 <= fact.byte_size() < 5000


def test_byte_size_is_tested_for_each_mutation() -> None:
    classes = {*dispatch.apply_mutation.registry, PutWholeAttachment} - {object}
    assert {type(mutation) for mutation in HEAVY + LIGHT} == classes


def test_apply_mutation_refuses_unregistered_class(tables: WriteSession) -> None:
    with pytest.raises(TypeError, match="no function applies str"):
        dispatch.apply_mutation("text", tables)  # type: ignore[arg-type]
