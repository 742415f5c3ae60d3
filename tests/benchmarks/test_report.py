"""Results are kept, compared with the committed ones, and written as a report and a page."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import limits, scale
from benchmarks.report import committed, compared, load, page, save, write

MACHINE: dict[str, Any] = {
    "when": "2026-01-01T00:00:00Z", "commit": "abc", "processor": "P", "cores": 2, "memory_gb": 4, "system": "S",
    "filesystem": "ext4", "load": 0.1, "python": "3.11", "sqlite": "3.40", "packages": {"aiohttp": "3"},
}  # fmt: skip


def entry(results: dict[str, Any]) -> dict[str, Any]:
    return {"name": "one", "machine": MACHINE, "seconds": 1.0, "quick": True, "results": results}


def test_load_returns_what_save_wrote(tmp_path: Path) -> None:
    save(tmp_path, {"one": entry({"x": 1.5})})
    assert load(tmp_path) == {"one": entry({"x": 1.5})}


def test_load_leaves_out_broken_lines(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"name": "one", "x": 1}\nno json\n[1]\n{"nameless": 1}\n')
    assert list(load(tmp_path)) == ["one"]


def test_compared_names_only_figures_that_changed() -> None:
    before = {"a": 1.0, "b": {"median": 2.0, "least": 1.0}, "c": [{"name": "x", "v": 4.0}], "ok": True}
    after = {"a": 1.05, "b": {"median": 3.0, "least": 9.0}, "c": [{"name": "x", "v": 2.0}], "ok": False}
    assert compared(before, after) == ["- b: 2 → 3 (+50%)", "- c[x].v: 4 → 2 (-50%)"]


def test_write_names_machine_and_changes(tmp_path: Path) -> None:
    path = write(
        tmp_path, {"one": entry({"x": 2.0})}, {"one": entry({"x": 1.0})}, {"one": lambda results: f"x {results['x']}"}
    )
    text = path.read_text()
    assert "x 2.0" in text
    assert "Changes by more than 10 % since abc" in text
    assert "- x: 1 → 2 (+100%)" in text
    assert "Python 3.11" in text


def test_write_says_that_nothing_changed(tmp_path: Path) -> None:
    text = write(
        tmp_path, {"one": entry({"x": 2.0})}, {"one": entry({"x": 2.1})}, {"one": lambda results: "text"}
    ).read_text()
    assert "No figure changed by more than 10 % since abc" in text


def test_write_survives_results_of_an_earlier_version(tmp_path: Path) -> None:
    text = write(tmp_path, {"one": entry({"x": 2.0})}, {}, {"one": lambda results: str(results["y"])}).read_text()
    assert "## One" in text
    assert "Measure again" in text


def test_committed_reads_the_committed_version(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=tmp_path, check=True)

    assert committed(tmp_path / "results.jsonl") == {}
    git("init", "--quiet")
    save(tmp_path, {"one": entry({"x": 1.0})})
    git("add", "results.jsonl")
    git("commit", "--quiet", "--message", "m")
    save(tmp_path, {"one": entry({"x": 2.0})})
    assert committed(tmp_path / "results.jsonl")["one"]["results"] == {"x": 1.0}


def test_page_embeds_pictures_and_links_sections(tmp_path: Path) -> None:
    (tmp_path / "n.png").write_bytes(b"PNG")
    html = page("## A\n\n![n](n.png)\n\n**b**", tmp_path)
    assert '<img src="data:image/png;base64,UE5H" alt="n"' in html
    assert '<a href="#s0">A</a>' in html
    assert '<h2 id="s0">A</h2>' in html
    assert "<strong>b</strong>" in html


def test_page_escapes_markup_and_renders_tables_and_lists() -> None:
    html = page("# A <b>\n\n| h | i |\n|:--|--:|\n| 1 | `x` |\n\n- p\n- q\n\n![n](n.png)\n\ntext")
    assert "<h1>A &lt;b&gt;</h1>" in html
    assert "<code>x</code></td>" in html
    assert "<li>p</li>\n<li>q</li>" in html
    assert '<img src="n.png" alt="n"' in html


@pytest.mark.parametrize("power", [0.9, 1.0, 1.3])
def test_exponent_of_a_power_law(power: float) -> None:
    assert scale.exponent([(n, 3 * n**power) for n in (10.0, 100.0, 5000.0)]) == pytest.approx(power)


def test_steadiness_falls_with_the_rate_of_the_last_tenth() -> None:
    even = [{"elapsed": n * 0.25, "items_done": n * 200} for n in range(101)]
    assert scale.steadiness(even) == pytest.approx(1.0, abs=0.1)
    slow = [*even[:91], *({"elapsed": 22.5 + n, "items_done": 18_000 + n * 200} for n in range(1, 11))]
    assert scale.steadiness(slow) < 0.5


def test_limits_take_ratios_within_a_turn() -> None:
    turn = {"rebuild": 3.0, "process": 4.0, "cpu": 2.0, "peak": 100.0, "copy": 0.1, "server_cpu": 1.0,
            "read": {"seconds": 2.0, "cpu": 0.5}, "write": {"seconds": 1.0, "cpu": 0.5}}  # fmt: skip
    slower = {**turn, "rebuild": 30.0, "read": {"seconds": 20.0, "cpu": 0.5}}
    found = limits._judged([turn, slower, turn])
    assert found["slower"]["median"] == 1.5
    assert found["slower"]["most"] == 1.5
    assert found["ok"]
    assert not limits._judged([{**turn, "peak": 130.0}])["ok"]
