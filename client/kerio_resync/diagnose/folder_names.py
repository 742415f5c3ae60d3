"""Replaces the names of folders in what is handed to others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

# Members of events and reports that may quote a name; only these are searched, because a folder can be named "mail".
_QUOTING: Final = frozenset(
    {"text", "reason", "error", "problems", "problem", "skipped", "differences", "lines", "sentences", "found"}
    | {"advice", "failure", "cause"}
)


class FolderNames:
    """Replaces names of folders by numbers, everywhere in the same way; or keeps them."""

    def __init__(self, paths: Sequence[str] = (), *, keep: bool = False) -> None:
        self._aliases: dict[str, str] = {}
        if not keep:
            for number, path in enumerate(sorted(paths), 1):
                self._aliases[path] = f"folder-{number}"
            for path in sorted(paths):
                name = path.rpartition("/")[2]
                self._aliases.setdefault(name, self._aliases[path])
        known = sorted((name for name in self._aliases if len(name) > 1), key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, known))})(?!\w)") if known else None

    def alias(self, path: str) -> str:
        """Return the name to show for a folder."""
        return self._aliases.get(path, path)

    def text(self, text: str) -> str:
        """Return a text with each name replaced."""
        return self._pattern.sub(lambda found: self._aliases[found[0]], text) if self._pattern else text

    def value(self, value: Any, *, quoting: bool = False) -> Any:
        """Return a JSON value with the names replaced in what may quote them."""
        match value:
            case str():
                return self.text(value) if quoting else value
            case dict():
                return {key: self.value(each, quoting=quoting or key in _QUOTING) for key, each in value.items()}
            case list() | tuple():
                return [self.value(each, quoting=quoting) for each in value]
        return value
