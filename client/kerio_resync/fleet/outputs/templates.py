"""The templates of notices.

One per language, those of the administrator before those of this package.

A template is a file `LANGUAGE.txt.j2`, such as `de.txt.j2` or `pt-br.txt.j2`. Its first line is `Subject: …`, then an
empty line, then the text. docs/fleet.md lists the variables.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from babel import Locale, UnknownLocaleError
from jinja2 import Environment, StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.outputs.template_files import BUILT_IN, SUFFIX
from kerio_resync.os_errors import describe
from kerio_resync.plain_text import pluralize

_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")
_SUBJECT: Final = "Subject:"


class NoticeTemplates:
    """The templates of `folder`, if it is given, and of this package.

    `default`: the language of users whose language is not known or has no template. BadSettings if a template is
    unreadable, or if there is none for `default`.
    """

    def __init__(self, folder: Path | None = None, default: str = "en") -> None:
        self._environment = SandboxedEnvironment(
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
        )
        self._templates = _load(self._environment, BUILT_IN)
        if folder is not None:
            self._templates |= _load_custom(self._environment, folder)
        self.default = self._find(default) or ""
        if not self.default:
            names = ", ".join(self.languages)
            raise BadSettings(f"there is no template for notices in {default!r}; choose one of: {names}")
        self.unknown = Counter[str]()  # languages without a template → users
        self._chosen = dict[str, str | None]()

    @property
    def languages(self) -> list[str]:
        """Return the languages that have a template, in order."""
        return sorted(self._templates)

    def choose(self, language: str) -> str:
        """Return the language that a user's notice is in; counts those without a template."""
        if language not in self._chosen:
            self._chosen[language] = self._find(language)
        found = self._chosen[language]
        if found is None:
            self.unknown[language.strip()] += bool(language.strip())
        return found or self.default

    def notices(self) -> list[str]:
        """Return a sentence about languages without a template."""
        missing = [(language, count) for language, count in self.unknown.most_common(5) if count]
        if not missing:
            return []
        named = ", ".join(f"{language} ({pluralize(count, 'user')})" for language, count in missing)
        return [
            f"Users of these languages get notices in {english_name(self.default)}, because there is no template for"
            f" them: {named}. Add one with --templates."
        ]

    def render(self, language: str, values: Mapping[str, Any]) -> tuple[str, str]:
        """Return subject and text of a notice.

        BadSettings if the template fails or has no subject.
        """
        template = self._templates[language]
        try:
            text = template.render(**values)
        except TemplateError as error:
            raise BadSettings(
                f"the template {template.filename} fails: {error.message or type(error).__name__}"
            ) from None
        except Exception as error:  # an expression of the template, such as a division by zero
            raise BadSettings(f"the template {template.filename} fails: {error}") from None
        head, _, body = text.lstrip("\ufeff\n").partition("\n")
        subject = head.removeprefix(_SUBJECT).strip()
        if not head.startswith(_SUBJECT) or not subject:
            raise BadSettings(f"the template {template.filename} has no subject; its first line must be `Subject: …`")
        return " ".join(subject.split()), re.sub(r"\n{3,}", "\n\n", body.strip("\n")) + "\n"

    def _find(self, language: str) -> str | None:
        """Return the template of a language.

        `tag`: such as `de-AT`, or a name such as `German` or `Deutsch`.
        """
        tag = language.strip().lower().replace("_", "-")
        while tag:
            if tag in self._templates:
                return tag
            tag = tag.rpartition("-")[0]
        return {name: code for code in self._templates for name in _names(code)}.get(language.strip().lower())


def english_name(language: str) -> str:
    """Return the English name of a language, or its tag."""
    try:
        return str(Locale.parse(language, sep="-").english_name or language)
    except (ValueError, UnknownLocaleError):
        return language


def _names(language: str) -> set[str]:
    try:
        locale = Locale.parse(language, sep="-")
    except (ValueError, UnknownLocaleError):
        return set()
    return {str(name).lower() for name in (locale.english_name, locale.language_name) if name}


def _load_custom(environment: Environment, folder: Path) -> dict[str, Template]:
    if not folder.is_dir():
        raise BadSettings(f"the folder of templates {folder} does not exist; name an existing one with --templates")
    found = _load(environment, folder)
    if not found:
        raise BadSettings(f"{folder} has no templates; name them LANGUAGE{SUFFIX}, such as de{SUFFIX}")
    return found


def _load(environment: Environment, folder: Path) -> dict[str, Template]:
    """Return language → template.

    BadSettings for a file that is unreadable or has a bad name.
    """
    return {_language(path): _compile(environment, path) for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _language(path: Path) -> str:
    language = path.name.removesuffix(SUFFIX).lower().replace("_", "-")
    if not _LANGUAGE.fullmatch(language):
        raise BadSettings(f"{path} is not named after a language; name it such as de{SUFFIX} or pt-br{SUFFIX}")
    return language


def _compile(environment: Environment, path: Path) -> Template:
    try:
        source = path.read_text(encoding="utf-8-sig")
        code = environment.compile(source, filename=str(path))
    except OSError as error:
        raise BadSettings(describe(error, path)) from None
    except UnicodeDecodeError:
        raise BadSettings(f"{path} is not UTF-8; save it as UTF-8") from None
    except TemplateSyntaxError as error:
        raise BadSettings(f"the template {path} has an error in line {error.lineno}: {error.message}") from None
    return Template.from_code(environment, code, environment.make_globals(None))
