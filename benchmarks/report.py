"""Results into files: a line of JSON for each measurement, a report in Markdown, pictures, and one HTML page.

The lines are `results.jsonl`, one for each measurement, the newest of each kept: a measurement that is run alone leaves
those of the others as they are. What came is compared with what was committed last. The page holds its pictures, so
that it can be sent to somebody as one file.
"""

from __future__ import annotations

import html
import itertools
import json
import re
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

LINES = "results.jsonl"
CHANGED = 0.1  # a figure that moved by more is worth a line
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.2rem .6rem}img{max-width:100%}small{color:#666}nav{margin:1rem 0}"
)


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """The results that are there, by name; lines that can't be read are left out."""
    path = folder / LINES
    return _read(path.read_text() if path.exists() else "")


def committed(path: Path) -> dict[str, dict[str, Any]]:
    """The results in that file as they were committed last; none if there is no repository, or they are not in it."""
    asked = ("git", "show", f"HEAD:./{path.name}")
    try:
        told = subprocess.run(asked, cwd=path.parent, capture_output=True, text=True, check=False)
    except OSError:
        return {}
    return _read(told.stdout if told.returncode == 0 else "")


def _read(text: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
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
    summary: str = "",
) -> Path:
    """`report.md` and `report.html`; `words` says for each name how its results are told, `summary` stands first."""
    parts = ["# Measurements", "", summary, ""]
    for name, entry in entries.items():
        if name not in words:
            continue
        parts += [_told(name, entry, words[name]), ""]
        if (folder / f"{name}.png").exists():
            parts += [f"![{name}]({name}.png)", ""]
        parts += [_place(entry), ""]
        parts += _since(before.get(name, {}), entry)
    text = "\n".join([*parts, notes]).rstrip() + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.md"
    path.write_text(text)
    (folder / "report.html").write_text(page(text, folder))
    return path


def _told(name: str, entry: Mapping[str, Any], tell: Callable[[Any], str]) -> str:
    """The results in words. Those that an earlier version wrote down otherwise can't be told any more."""
    try:
        text = tell(entry["results"]).strip()
    except (KeyError, TypeError, IndexError):
        text = "The results that are there are of an earlier version; it has to be measured again."
    return text if text.startswith("## ") else f"## {name.capitalize()}\n\n{text}"


def _since(old: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    """What moved since the results that were committed last, if those are of a run of the same size."""
    if not old or old == entry or old["quick"] != entry["quick"]:
        return []
    there = f"{old['machine'].get('commit') or 'unknown'} ({old['machine'].get('when', 'once')})"
    moved = compared(old["results"], entry["results"])
    if not moved:
        return [f"Against {there}: nothing moved by more than {CHANGED:.0%}.", ""]
    return [f"Against {there}, what moved by more than {CHANGED:.0%}:", "", *moved, ""]


def _place(entry: Mapping[str, Any]) -> str:
    on = entry["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in on["packages"].items())
    shared = f" ({on['waiting']:.1f} s for a second of processor time)" if "waiting" in on else ""
    cost = f" and {entry['cpu']:.0f} s of processor time" if "cpu" in entry else ""
    settings = ", ".join(entry.get("settings") or (["quick"] if entry["quick"] else []))
    return (
        f"<sub>{on['when']}, commit {on['commit'] or 'unknown'}; {on['processor']}, {on['cores']} cores,"
        f" {on['memory_gb']} GB, {on['system']}, {on['filesystem']}, load {on['load']} at the start{shared};"
        f" Python {on['python']}, SQLite {on['sqlite']}, {packages};"
        f" took {entry['seconds']:.0f} s{cost}{', ' + settings if settings else ''}.</sub>"
    )


def page(text: str, folder: Path | None = None) -> str:
    """The report as one HTML page. Knows what a report is made of: headings, tables, lists, pictures, paragraphs.

    Pictures that are in `folder` are put into the page.
    """
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    links = (f'<a href="#s{place}">{_inline(title)}</a>' for place, title in enumerate(titles))
    body, sections = ["<nav>" + " · ".join(links) + "</nav>"], itertools.count()
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        if found := re.fullmatch(r"(#+) (.*)", block):
            mark = f' id="s{next(sections)}"' if found[1] == "##" else ""
            body.append(f"<h{len(found[1])}{mark}>{_inline(found[2])}</h{len(found[1])}>")
        elif lines[0].startswith("|"):
            head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            made = ["".join(f"<th>{_inline(cell)}</th>" for cell in head)]
            made += ["".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in rows]
            body.append("<table>" + "".join(f"<tr>{row}</tr>" for row in made) + "</table>")
        elif lines[0].startswith("- "):
            entries = re.split(r"\n- ", block[2:])
            body.append("<ul>" + "".join(f"<li>{_inline(each)}</li>" for each in entries) + "</ul>")
        elif found := re.fullmatch(r"!\[(.*)\]\((.*)\)", block):
            body.append(f'<img alt="{html.escape(found[1])}" src="{_picture(found[2], folder)}">')
        else:
            body.append(f"<p>{_inline(block)}</p>")
    return (
        f'<!doctype html><meta charset="utf-8"><title>Measurements</title><style>{_STYLE}</style>\n'
        + "\n".join(body)
        + "\n"
    )


def _picture(name: str, folder: Path | None) -> str:
    if folder is None or not (folder / name).exists():
        return html.escape(name)
    return "data:image/png;base64," + b64encode((folder / name).read_bytes()).decode()


def _inline(text: str) -> str:
    escaped = html.escape(text, quote=False).replace("&lt;sub&gt;", "<small>").replace("&lt;/sub&gt;", "</small>")
    escaped = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escaped, flags=re.DOTALL)
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escaped)
