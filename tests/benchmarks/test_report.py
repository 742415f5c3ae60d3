"""Results that come back as they went, comparisons that show what moved, and a page that hides nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import limits, scale
from benchmarks.report import committed, compared, load, page, save, write

PLACE: dict[str, Any] = {
    "when": "2026-01-01T00:00:00Z", "commit": "abc", "processor": "P", "cores": 2, "memory_gb": 4, "system": "S",
    "filesystem": "ext4", "load": 0.1, "python": "3.11", "sqlite": "3.40", "packages": {"aiohttp": "3"},
}  # fmt: skip


def entry(results: dict[str, Any]) -> dict[str, Any]:
    return {"name": "one", "machine": PLACE, "seconds": 1.0, "quick": True, "results": results}


def test_results_come_back(tmp_path: Path) -> None:
    save(tmp_path, {"one": entry({"x": 1.5})})
    assert load(tmp_path) == {"one": entry({"x": 1.5})}


def test_broken_lines_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"name": "one", "x": 1}\nno json\n[1]\n{"nameless": 1}\n')
    assert list(load(tmp_path)) == ["one"]


def test_what_moved_is_named_and_what_did_not_is_not() -> None:
    before = {"a": 1.0, "b": {"median": 2.0, "least": 1.0}, "c": [{"name": "x", "v": 4.0}], "ok": True}
    after = {"a": 1.05, "b": {"median": 3.0, "least": 9.0}, "c": [{"name": "x", "v": 2.0}], "ok": False}
    assert compared(before, after) == ["- b: 2 → 3 (+50%)", "- c[x].v: 4 → 2 (-50%)"]


def test_a_report_has_the_place_and_the_comparison(tmp_path: Path) -> None:
    path = write(
        tmp_path, {"one": entry({"x": 2.0})}, {"one": entry({"x": 1.0})}, {"one": lambda found: f"x {found['x']}"}
    )
    text = path.read_text()
    assert "x 2.0" in text
    assert "Against abc" in text
    assert "- x: 1 → 2 (+100%)" in text
    assert "Python 3.11" in text


def test_results_of_an_earlier_version_are_no_end_of_the_report(tmp_path: Path) -> None:
    text = write(tmp_path, {"one": entry({"x": 2.0})}, {}, {"one": lambda found: str(found["y"])}).read_text()
    assert "## One" in text
    assert "has to be measured again" in text


def test_what_is_compared_with_is_what_was_committed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=tmp_path, check=True)

    assert committed(tmp_path / "results.jsonl") == {}
    git("init", "--quiet")
    save(tmp_path, {"one": entry({"x": 1.0})})
    git("add", "results.jsonl")
    git("commit", "--quiet", "--message", "m")
    save(tmp_path, {"one": entry({"x": 2.0})})
    assert committed(tmp_path / "results.jsonl")["one"]["results"] == {"x": 1.0}


def test_the_page_holds_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "n.png").write_bytes(b"PNG")
    made = page("## A\n\n![n](n.png)\n\n**b**", tmp_path)
    assert '<img alt="n" src="data:image/png;base64,UE5H">' in made
    assert '<a href="#s0">A</a>' in made
    assert '<h2 id="s0">A</h2>' in made
    assert "<b>b</b>" in made


def test_the_page_shows_tables_lists_and_nothing_as_markup() -> None:
    made = page("# A <b>\n\n| h | i |\n|:--|--:|\n| 1 | `x` |\n\n- p\n- q\n\n![n](n.png)\n\ntext")
    assert "<h1>A &lt;b&gt;</h1>" in made
    assert "<tr><td>1</td><td><code>x</code></td></tr>" in made
    assert "<li>p</li><li>q</li>" in made
    assert '<img alt="n" src="n.png">' in made


@pytest.mark.parametrize("power", [0.9, 1.0, 1.3])
def test_the_exponent_of_a_power_law(power: float) -> None:
    assert scale.exponent([(n, 3 * n**power) for n in (10.0, 100.0, 5000.0)]) == pytest.approx(power)


def test_a_rate_that_falls_shows() -> None:
    even = [{"elapsed": n * 0.25, "items_done": n * 200} for n in range(101)]
    assert scale.steadiness(even) == pytest.approx(1.0, abs=0.1)
    slow = [*even[:91], *({"elapsed": 22.5 + n, "items_done": 18_000 + n * 200} for n in range(1, 11))]
    assert scale.steadiness(slow) < 0.5


def test_ratios_are_taken_within_a_turn() -> None:
    turn = {"rebuild": 3.0, "process": 4.0, "cpu": 2.0, "peak": 100.0, "copy": 0.1, "server_cpu": 1.0,
            "read": {"seconds": 2.0, "cpu": 0.5}, "write": {"seconds": 1.0, "cpu": 0.5}}  # fmt: skip
    slower = {**turn, "rebuild": 30.0, "read": {"seconds": 20.0, "cpu": 0.5}}
    found = limits._judged([turn, slower, turn])
    assert found["slower"]["median"] == 1.5
    assert found["slower"]["most"] == 1.5
    assert found["ok"]
    assert not limits._judged([{**turn, "peak": 130.0}])["ok"]
