"""Databases in memory for the tests of the cache, closed at their end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from kerio_resync.cache.write.session import WriteSession
from tests.support.cache import memory, open_tables


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with memory() as db:
        yield db


@pytest.fixture
def tables() -> Iterator[WriteSession]:
    with open_tables() as tables:
        yield tables
