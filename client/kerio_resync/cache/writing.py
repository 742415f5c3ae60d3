"""Which function stores which fact."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, Final

from kerio_resync.cache import changes, contents, folders, items, wants
from kerio_resync.cache.facts import (
    AddChange,
    Apply,
    Fact,
    FinishAttachment,
    Forget,
    MarkChange,
    OmitAttachment,
    PutContent,
    PutItems,
    PutLocal,
    PutPage,
    PutSalvaged,
    PutWhole,
    Relist,
    RestartAttachment,
    SetFolders,
    SetMeta,
    Skip,
    Unskip,
    Want,
)
from kerio_resync.cache.tables import Tables


def set_meta(tables: Tables, fact: SetMeta) -> None:
    with tables.noting():
        tables.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (fact.key, fact.value))


_STORE: Final[dict[type, Callable[[Tables, Any], None]]] = {
    SetFolders: folders.set_folders,
    Relist: folders.relist,
    PutPage: wants.put_page,
    Want: wants.want,
    Forget: wants.forget,
    Apply: wants.apply,
    Skip: wants.skip,
    Unskip: wants.unskip,
    PutItems: items.put_items,
    PutContent: contents.put_content,
    FinishAttachment: contents.finish,
    RestartAttachment: contents.restart,
    OmitAttachment: contents.omit,
    PutSalvaged: contents.put_salvaged,
    AddChange: changes.add_change,
    MarkChange: changes.mark_change,
    PutLocal: changes.put_local,
    SetMeta: set_meta,
}


def store(tables: Tables, facts: Iterable[Fact]) -> None:
    """Stores the facts in their order, within the transaction that is open; whole contents in a row go in together."""
    for kind, some in groupby(facts, type):
        if kind is PutWhole:
            contents.put_whole(tables, [fact for fact in some if isinstance(fact, PutWhole)])
            continue
        for fact in some:
            _STORE[kind](tables, fact)
