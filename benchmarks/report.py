"""Results into files: a line of JSON for each measurement, a report in Markdown, pictures, and one HTML page.

The lines are `results.jsonl`, one for each measurement, the newest of each kept: a measurement that is run alone leaves
those of the others as they are. What was there before is compared with what came.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

LINES = "results.jsonl"
CHANGED = 0.1  # a figure that moved by more is worth a line
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.2rem .6rem}img{max-width:100%}"
)


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """The results that are there, by name; lines that can't be read are left out."""
    found: dict[str, dict[str, Any]] = {}
    path = folder / LINES
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            found[entry["name"]] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return found


def save(folder: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(entries[name], sort_keys=True) for name in sorted(entries)]
    (folder / LINES).write_text("\n".join(lines) + "\n")


def figures(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The numbers inside a result that are worth comparing: medians, and plain numbers outside of lists."""
    if isinstance(value, dict):
        if "median" in value:
            yield path, float(value["median"])
            return
        for name, each in value.items():
            yield from figures(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and all(isinstance(each, dict) and "name" in each for each in value):
        for each in value:
            yield from figures({name: one for name, one in each.items() if name != "name"}, f"{path}[{each['name']}]")
    elif isinstance(value, float | int) and not isinstance(value, bool):
        yield path, float(value)


def compared(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line for each figure that moved by more than a tenth."""
    old = dict(figures(before))
    lines = []
    for name, value in figures(after):
        was = old.get(name)
        if was and abs(value / was - 1) > CHANGED:
            lines.append(f"- {name}: {was:.4g} → {value:.4g} ({value / was - 1:+.0%})")
    return lines


def write(
    folder: Path,
    entries: Mapping[str, Mapping[str, Any]],
    before: Mapping[str, Mapping[str, Any]],
    words: Mapping[str, Callable[[Any], str]],
    notes: str = "",
) -> Path:
    """`report.md` and `report.html`; `words` says for each name how its results are told."""
    parts = ["# Measurements", ""]
    for name, entry in entries.items():
        if name not in words:
            continue
        parts += [words[name](entry["results"]).strip(), ""]
        if (folder / f"{name}.png").exists():
            parts += [f"![{name}]({name}.png)", ""]
        parts += [_place(entry), ""]
        old = before.get(name, {})
        alike = old and old != entry and old["quick"] == entry["quick"]
        if alike and (moved := compared(old["results"], entry["results"])):
            parts += [f"Against {old['machine'].get('commit', 'before')}:", "", *moved, ""]
    text = "\n".join([*parts, notes]).rstrip() + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.md"
    path.write_text(text)
    (folder / "report.html").write_text(page(text))
    return path


def _place(entry: Mapping[str, Any]) -> str:
    on = entry["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in on["packages"].items())
    return (
        f"<sub>{on['when']}, commit {on['commit'] or 'unknown'}; {on['processor']}, {on['cores']} cores,"
        f" {on['memory_gb']} GB, {on['system']}, {on['filesystem']}, load {on['load']} at the start;"
        f" Python {on['python']}, SQLite {on['sqlite']}, {packages};"
        f" took {entry['seconds']:.0f} s{', quick' if entry['quick'] else ''}.</sub>"
    )


def page(text: str) -> str:
    """The report as one HTML page. Knows what a report is made of: headings, tables, lists, pictures, paragraphs."""
    body: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        if found := re.fullmatch(r"(#+) (.*)", block):
            body.append(f"<h{len(found[1])}>{_inline(found[2])}</h{len(found[1])}>")
        elif lines[0].startswith("|"):
            head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            made = ["".join(f"<th>{_inline(cell)}</th>" for cell in head)]
            made += ["".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in rows]
            body.append("<table>" + "".join(f"<tr>{row}</tr>" for row in made) + "</table>")
        elif lines[0].startswith("- "):
            entries = re.split(r"\n- ", block[2:])
            body.append("<ul>" + "".join(f"<li>{_inline(each)}</li>" for each in entries) + "</ul>")
        elif found := re.fullmatch(r"!\[(.*)\]\((.*)\)", block):
            body.append(f'<img alt="{html.escape(found[1])}" src="{html.escape(found[2])}">')
        else:
            body.append(f"<p>{_inline(block)}</p>")
    return (
        f'<!doctype html><meta charset="utf-8"><title>Measurements</title><style>{_STYLE}</style>\n'
        + "\n".join(body)
        + "\n"
    )


def _inline(text: str) -> str:
    escaped = html.escape(text, quote=False).replace("&lt;sub&gt;", "<small>").replace("&lt;/sub&gt;", "</small>")
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escaped)
