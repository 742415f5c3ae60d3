"""Generated mailboxes, each generated once per process and then copied."""

from __future__ import annotations

import io
import pickle
from functools import cache
from typing import Any

from kerio_mockserver.mailbox.generate.seed import SeedOptions, generate_mailbox
from kerio_mockserver.mailbox.generate.size_table import Line
from kerio_mockserver.mailbox.store import MailboxStore


def cached_mailbox(seed: int, mails: int, **options: Any) -> MailboxStore:
    """Return a new copy of the mailbox of `SeedOptions(seed, mails, **options)`.

    Copying is far faster than generating.
    """
    store: MailboxStore = _Unpickler(*_pickled(SeedOptions(seed, mails, **options))).load()
    return store


@cache
def _pickled(options: SeedOptions) -> tuple[bytes, list[list[Line]]]:
    pickler = _Pickler(file := io.BytesIO())
    pickler.dump(generate_mailbox(options))
    return file.getvalue(), pickler.shared


class _Pickler(pickle.Pickler):
    """Leaves the size tables, which are large and never change, in `shared`."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.shared: list[list[Line]] = []

    def persistent_id(self, obj: Any) -> int | None:
        if type(obj) is not list or not obj or type(obj[0]) is not Line:
            return None
        self.shared.append(obj)
        return len(self.shared) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, shared: list[list[Line]]) -> None:
        super().__init__(io.BytesIO(data))
        self._shared = shared

    def persistent_load(self, pid: int) -> list[Line]:
        return self._shared[pid]
