"""Finds the folders that a user means by their names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from kerio_resync.errors import BadSettings
from kerio_resync.model import Folder

MAX_SUGGESTIONS: Final = 10  # folders in an error message


class UnknownFolder(BadSettings):
    """There is no folder of that name."""


def select_folders(names: Sequence[str], folders: Iterable[Folder], paths: Mapping[str, str]) -> list[Folder]:
    """Return the folders that `names` mean, with the folders inside them.

    A name is a path (`Inbox/Projects`), or the bare name of a single folder. BadSettings for an unknown or ambiguous
    name.
    """
    known = list(folders)
    selected: dict[str, Folder] = {}
    for name in names:
        matches = _find_by_name(name, known, paths)
        if not matches:
            existing = (paths.get(folder.id, folder.name) for folder in known)
            raise UnknownFolder(f"there is no folder {name!r}; {_suggest_folders(name, existing)}")
        if len(matches) > 1:
            several = sorted(paths.get(folder.id, folder.name) for folder in matches)
            choices = ", ".join(map(_unambiguous, several))
            raise BadSettings(f"several folders are called {name!r}; give the path of one: {choices}")
        inside = paths.get(matches[0].id, name) + "/"
        for folder in known:
            if folder is matches[0] or paths.get(folder.id, "").startswith(inside):
                selected[folder.id] = folder
    return list(selected.values())


def _find_by_name(name: str, known: Sequence[Folder], paths: Mapping[str, str]) -> list[Folder]:
    """Return the folders with that path, else those with that name.

    The comparison is exact, else normalised, else ignores case.
    """
    for normalise in (str, _composed, _folded):
        wanted = normalise(name)
        matches = [folder for folder in known if normalise(paths.get(folder.id, "")) == wanted]
        if matches := matches or [folder for folder in known if normalise(folder.name) == wanted]:
            return matches
    return []


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _unambiguous(path: str) -> str:
    """Return a path for a message; in ASCII if another path may look the same."""
    return path if path == _composed(path) else ascii(path)


def _suggest_folders(name: str, existing: Iterable[str]) -> str:
    """Return similar paths, or else existing ones, as part of a message."""
    names = {path: (path.casefold(), path.rpartition("/")[2].casefold()) for path in sorted(existing)}
    near = get_close_matches(name.casefold(), list({text: None for both in names.values() for text in both}))
    if meant := dict.fromkeys(path for text in near for path, both in names.items() if text in both):
        return f"did you mean {' or '.join(map(repr, list(meant)[:MAX_SUGGESTIONS]))}?"
    more = f" and {len(names) - MAX_SUGGESTIONS} more" if len(names) > MAX_SUGGESTIONS else ""
    return f"there are {', '.join(map(repr, list(names)[:MAX_SUGGESTIONS])) or 'none'}{more}"
