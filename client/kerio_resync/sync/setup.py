"""Checks before a run, and its errors after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kerio_resync.cache.files import require_places
from kerio_resync.errors import BadSettings, ResyncError
from kerio_resync.filesystem import translate_os_error, write_private
from kerio_resync.redaction import emptied
from kerio_resync.settings import Settings


def check_profile(settings: Settings) -> None:
    """Create the profile's folder if it is missing.

    BadSettings, DiskTrouble if a run cannot use it.
    """
    if not settings.server or not settings.user:
        raise BadSettings("no server and user are set: give --server URL and --user NAME")
    try:
        settings.profile.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError as error:
        raise BadSettings(f"{settings.profile} is not a folder; name another one with --profile") from error
    except OSError as error:
        raise translate_os_error(error, settings.profile) from error
    require_places(settings.profile)
    for folder in {settings.profile, settings.cache.parent}:
        probe = folder / ".writable"
        try:
            write_private(probe, b"", sync=False)
            probe.unlink()
        except OSError as error:
            raise translate_os_error(error, probe) from error


@contextmanager
def single_errors() -> Iterator[None]:
    """Raise the most severe error of a group alone.

    The local variables that its tracebacks hold are cleared.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        emptied(group)
        raise most_severe(group) from None
    except ResyncError as error:
        emptied(error)
        raise


def most_severe(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group that is not retryable.

    The group itself if it holds other errors than ours.

    Raise the result from a plain `except`: Python 3.11.2 wraps what is raised within `except*` in a new group.
    """
    errors: list[ResyncError] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending[:0] = error.exceptions
        elif isinstance(error, ResyncError):
            errors.append(error)
        else:
            return group
    return min(errors, key=lambda error: error.retryable)
