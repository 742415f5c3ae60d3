"""Templates of notices: the choice of a language, and what is said about a faulty template."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.outputs.template_files import write_templates
from kerio_resync.fleet.outputs.templates import NoticeTemplates

ALL = ["cs", "de", "en", "es", "fr"]


def template(folder: Path, name: str, text: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_five_languages_are_built_in() -> None:
    assert NoticeTemplates().languages == ALL


@pytest.mark.parametrize(
    ("language", "chosen"),
    [
        ("de", "de"), ("de-AT", "de"), ("DE_ch", "de"), (" cs ", "cs"), ("", "en"), ("pt-BR", "en"),
        ("German", "de"), ("deutsch", "de"), ("čeština", "cs"), ("Français", "fr"), ("<b>", "en"),
    ],
)  # fmt: skip
def test_language_falls_back_to_its_parent_and_then_to_the_default(language: str, chosen: str) -> None:
    assert NoticeTemplates().choose(language) == chosen


def test_languages_without_a_template_are_counted_and_named() -> None:
    templates = NoticeTemplates(default="de")
    for language in ("pl", "pl", "pt-BR", "", "de"):
        templates.choose(language)
    (sentence,) = templates.notices()
    assert "get notices in German" in sentence
    assert "pl (2 users), pt-BR (1 user)." in sentence
    assert NoticeTemplates().notices() == []


def test_own_template_adds_a_language_or_replaces_a_built_in_one(tmp_path: Path) -> None:
    template(tmp_path, "pt_BR.txt.j2", "Subject: Olá\n\n{{ start_date }}\n")
    template(tmp_path, "de.txt.j2", "\ufeffSubject: Unsere {{ action }}\n\nText\n")
    templates = NoticeTemplates(tmp_path)
    assert templates.languages == sorted([*ALL, "pt-br"])
    assert templates.render(templates.choose("pt-BR"), {"start_date": "hoje"}) == ("Olá", "hoje\n")
    assert templates.render("de", {"action": "x"}) == ("Unsere x", "Text\n")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("de.txt.j2", "Subject: {% if %}", r"de\.txt\.j2 has an error in line 1"),
        ("de.txt.j2", b"Subject: \xff", "is not UTF-8"),
        ("my notice.txt.j2", "Subject: x", "is not named after a language"),
        ("de.txt", "Subject: x", r"has no templates; name them LANGUAGE\.txt\.j2"),
    ],
)
def test_faulty_template_is_refused_at_once(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    template(tmp_path, name, text)
    with pytest.raises(BadSettings, match=message):
        NoticeTemplates(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Subject: {{ start_dat }}", r"de\.txt\.j2 fails: 'start_dat' is undefined"),
        ("Subject: {{ 1 / 0 }}", r"de\.txt\.j2 fails: division by zero"),
        ("Hello\n\nText", "has no subject; its first line must be `Subject: …`"),
        ("Subject:  \n\nText", "has no subject"),
        ("Subject: {{ ''.__class__.__mro__ }}", "fails: access to attribute '__class__'"),
    ],
)
def test_template_that_fails_is_named(tmp_path: Path, text: str, message: str) -> None:
    template(tmp_path, "de.txt.j2", text)
    with pytest.raises(BadSettings, match=message):
        NoticeTemplates(tmp_path).render("de", {})


def test_missing_folder_and_unknown_default_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="does not exist; name an existing one with --templates"):
        NoticeTemplates(tmp_path / "missing")
    with pytest.raises(BadSettings, match="no template for notices in 'pl'; choose one of: cs, de, en, es, fr"):
        NoticeTemplates(default="pl")


def test_written_templates_are_those_of_the_package_and_replace_nothing(tmp_path: Path) -> None:
    write_templates(tmp_path / "templates")
    assert sorted(path.name for path in (tmp_path / "templates").iterdir()) == [f"{name}.txt.j2" for name in ALL]
    assert NoticeTemplates(tmp_path / "templates").languages == ALL
    (tmp_path / "templates" / "cs.txt.j2").write_text("edited")
    with pytest.raises(BadSettings, match=r"cs\.txt\.j2 is there already; choose another folder"):
        write_templates(tmp_path / "templates")
    assert (tmp_path / "templates" / "cs.txt.j2").read_text() == "edited"
