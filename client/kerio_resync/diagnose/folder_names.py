"""Replaces the names of folders in what is handed to others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

# Members of events and reports that may quote a name; only these are searched, because a folder can be named "mail".
_QUOTING: Final = frozenset(
    {"text", "reason", "error", "problems", "problem", "skipped", "differences", "lines", "sentences", "found"}
    | {"advice", "failure", "cause"}
)

_SETTINGS: Final = frozenset({"exclude_folders", "folders"})  # their values are names
_QUOTED: Final = re.compile(r"""(?<!\w)(?:'([^'\n]+)'|"([^"\n]+)")(?!\w)""")


def names_in(value: Any) -> Iterator[str]:
    """Yield the names that a report states in members of their own."""
    match value:
        case dict():
            for key, each in value.items():
                yield from _names_of_member(key, each)
        case list() | tuple():
            for each in value:
                yield from names_in(each)


def _names_of_member(key: str, value: Any) -> Iterator[str]:
    match key, value:
        case "excluded", [*pairs]:
            yield from (pair[0] for pair in pairs if isinstance(pair, list) and pair and isinstance(pair[0], str))
        case "folders", [*rows]:
            yield from (row["path"] for row in rows if isinstance(row, dict) and isinstance(row.get("path"), str))
        case _:
            yield from names_in(value)


class FolderNames:
    """Replaces names of folders by numbers, everywhere in the same way; or keeps them.

    `paths`: the folders of the cache. `others`: names that it may lack. `settings`: for each setting that holds names,
    these names.
    """

    def __init__(
        self,
        paths: Sequence[str] = (),
        *,
        others: Sequence[str] = (),
        settings: Mapping[str, Sequence[str]] | None = None,
        keep: bool = False,
    ) -> None:
        self._aliases: dict[str, str] = {}
        self._given: dict[str, str] = {}  # the text of a setting, by its name
        self.keep, self._count = keep, 0
        settings = settings or {}
        named = [name for names in settings.values() for name in names]
        if not keep:
            self._add(sorted(set(paths)))
            self._add(sorted({*others, *named} - self._aliases.keys()))
            self._given = {key: ", ".join(map(self.alias, names)) for key, names in settings.items() if names}
        texts = {f"{key} {', '.join(names)}": f"{key} {self._given[key]}" for key, names in settings.items()
                 if key in self._given}  # fmt: skip
        self._texts = {name: alias for name, alias in self._aliases.items() if len(name) > 1} | texts
        known = sorted(self._texts, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, known))})(?!\w)") if known else None

    def _add(self, paths: Sequence[str]) -> None:
        for path in paths:
            self._count += 1
            self._aliases[path] = f"folder-{self._count}"
        for path in paths:
            self._aliases.setdefault(path.rpartition("/")[2], self._aliases[path])

    def alias(self, path: str) -> str:
        """Return the name to show for a folder, also for an unknown one."""
        if self.keep:
            return path
        if path not in self._aliases:
            self._count += 1
            self._aliases[path] = f"folder-{self._count}"
        return self._aliases[path]

    def text(self, text: str) -> str:
        """Return a text with each known name replaced."""
        return self._pattern.sub(lambda found: self._texts[found[0]], text) if self._pattern else text

    def sentence(self, text: str) -> str:
        """Return a message with each known name replaced, and all that it quotes.

        A message quotes the names of folders, also of those that no longer exist.
        """
        return text if self.keep else self.text(_QUOTED.sub(self._unquote, text))

    def _unquote(self, found: re.Match[str]) -> str:
        return f"'{self.alias(found[1] or found[2])}'"

    def value(self, value: Any, *, quoting: bool = False) -> Any:
        """Return a JSON value with the names replaced in what states or may quote them."""
        match value:
            case str():
                return self.sentence(value) if quoting else value
            case dict():
                return {key: self._member(key, each, quoting=quoting) for key, each in value.items()}
            case list() | tuple():
                return [self.value(each, quoting=quoting) for each in value]
        return value

    def _member(self, key: str, value: Any, *, quoting: bool) -> Any:
        match key, value:
            case "excluded", [*pairs]:
                return [[self.alias(pair[0]), *pair[1:]] if isinstance(pair, list) and pair and
                        isinstance(pair[0], str) else self.value(pair) for pair in pairs]  # fmt: skip
            case "folders", [*rows]:
                return [self._row(row) for row in rows]
            case _, {"value": str(text), **rest} if key in _SETTINGS and text and not self.keep:
                return {"value": self._given.get(key) or self.alias(text), **rest}
        return self.value(value, quoting=quoting or key in _QUOTING)

    def _row(self, row: Any) -> Any:
        if isinstance(row, dict) and isinstance(row.get("path"), str):
            return self.value(row) | {"path": self.alias(row["path"])}
        return self.value(row)
