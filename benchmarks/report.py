"""Result files: JSON lines, a report in Markdown, and the same as one HTML page.

`results.jsonl` has one line per measurement, the newest of each. The report compares each result with the committed
one. The page embeds its pictures, so that it can be sent as one file; it is not kept in git.
"""

from __future__ import annotations

import json
import re
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from kerio_resync.report_page import charts
from kerio_resync.report_page.page import environment

LINES = "results.jsonl"
MIN_CHANGE = 0.1  # relative change of a figure that the report names
_TEMPLATES = environment(Path(__file__).parent / "templates")


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results in a folder by name, without lines that cannot be read."""
    path = folder / LINES
    return _parse(path.read_text() if path.exists() else "")


def committed(path: Path) -> dict[str, dict[str, Any]]:
    """Return the results in the committed version of a file.

    {} without a repository or such a file.
    """
    command = ("git", "show", f"HEAD:./{path.name}")
    try:
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    except OSError:
        return {}
    return _parse(done.stdout if done.returncode == 0 else "")


def _parse(text: str) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            entries[entry["name"]] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return entries


def save(folder: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the results as JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(entries[name], sort_keys=True) for name in sorted(entries)]
    (folder / LINES).write_text("\n".join(lines) + "\n")


def figures(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the comparable numbers in a result with their paths.

    Medians, and numbers outside of lists.
    """
    if isinstance(value, dict):
        if "median" in value:
            yield path, float(value["median"])
            return
        for name, member in value.items():
            yield from figures(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and all(isinstance(member, dict) and "name" in member for member in value):
        for member in value:
            rest = {name: number for name, number in member.items() if name != "name"}
            yield from figures(rest, f"{path}[{member['name']}]")
    elif isinstance(value, float | int) and not isinstance(value, bool):
        yield path, float(value)


def compared(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a list item for each figure that changed by more than a tenth."""
    old = dict(figures(before))
    lines = []
    for name, value in figures(after):
        was = old.get(name)
        if was and abs(value / was - 1) > MIN_CHANGE:
            lines.append(f"- {name}: {was:.4g} → {value:.4g} ({value / was - 1:+.0%})")
    return lines


def write(
    folder: Path,
    entries: Mapping[str, Mapping[str, Any]],
    before: Mapping[str, Mapping[str, Any]],
    describe: Mapping[str, Callable[[Any], str]],
    notes: str = "",
    summary: str = "",
) -> Path:
    """Write `report.md` and `report.html`; return the former.

    `describe` has for each name the function that turns its results into Markdown; `before` has the results to
    compare with.
    """
    sections = [
        {
            "name": name,
            "entry": entry,
            "text": _section(name, entry, describe[name]),
            "picture": (folder / f"{name}.png").exists(),
            "old": _comparable(before.get(name), entry),
            "changes": compared(before.get(name, {}).get("results", {}), entry["results"]),
        }
        for name, entry in entries.items()
        if name in describe
    ]
    text = _TEMPLATES.get_template("report.md.j2").render(
        summary=summary.strip(), sections=sections, notes=notes.strip(), min_change=MIN_CHANGE
    )
    text = re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.md"
    path.write_text(text)
    (folder / "report.html").write_text(page(text, folder, _charts(sections)))
    return path


def _charts(sections: Sequence[Mapping[str, Any]]) -> str:
    """Return bars of how long each measurement took, and of the figures that changed."""
    rows = [(section["name"], section["entry"]["seconds"], len(section["changes"])) for section in sections]
    bars = [charts.Bar(name, seconds, f"{seconds:,.0f} s", (f"{changes:,}",)) for name, seconds, changes in rows]
    return charts.bar_chart(("Measurement", "Took", "Changed figures"), bars) if bars else ""


def _section(name: str, entry: Mapping[str, Any], describe: Callable[[Any], str]) -> str:
    """Return a section's text; results in the form of an earlier version have none."""
    try:
        text = describe(entry["results"]).strip()
    except (KeyError, TypeError, IndexError):
        text = "These results were written by an earlier version. Measure again to see them."
    return text if text.startswith("## ") else f"## {name.capitalize()}\n\n{text}"


def _comparable(old: Mapping[str, Any] | None, entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the old entry if it is another run of the same size."""
    return old if old and old != entry and old["quick"] == entry["quick"] else None


def page(text: str, folder: Path | None = None, overview: str = "") -> str:
    """Return the report as one HTML page, with the pictures of `folder` embedded.

    `overview`: HTML to begin with.
    """
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    titles = re.findall(r"<h2>(.*?)</h2>", body)
    for number, title in enumerate(titles):
        body = body.replace(f"<h2>{title}</h2>", f'<h2 id="s{number}">{title}</h2>', 1)
    if folder is not None:
        body = re.sub(r'src="([^"/:]+\.png)"', lambda match: f'src="{_data_url(folder / match[1])}"', body)
    return _TEMPLATES.get_template("report.html.j2").render(titles=titles, body=Markup(body), overview=Markup(overview))


def _data_url(path: Path) -> str:
    if not path.exists():
        return path.name
    return "data:image/png;base64," + b64encode(path.read_bytes()).decode()
