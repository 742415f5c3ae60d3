"""Errors of reading a file of format 7.1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kerio_resync.cache.db_errors import FOREIGN, map_db_error
from kerio_resync.errors import CacheDamaged

_DECODING_ERRORS: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


@contextmanager
def mapped_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite, of the disk and of decoding into ours."""
    try:
        yield
    except FOREIGN as error:
        raise map_db_error(error, path) from error
    except _DECODING_ERRORS as error:
        raise CacheDamaged(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return a reason in our own words: libraries may quote mail in theirs."""
    if type(error) is ValueError:
        return str(error)
    if isinstance(error, KeyError):
        return "a row refers to one that is missing"
    return "a content cannot be decoded" if isinstance(error, ValueError) else "a row does not fit its table"
