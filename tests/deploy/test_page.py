"""What docs/rollout.md says of exit codes and of the playbook's variables."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from kerio_resync.errors import Exit

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "rollout.md").read_text(encoding="utf-8")
PLAYBOOK = (ROOT / "deploy" / "ansible" / "rollout.yml").read_text(encoding="utf-8")


def rows_after(heading: str) -> list[list[str]]:
    lines = PAGE[PAGE.index(heading) :].split("|---|", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_page_says_for_each_exit_code_what_to_do() -> None:
    rows = rows_after("| exit code | means |")
    assert sorted(code for row in rows for code in numbers(row[0])) == sorted(Exit)
    assert all(row[2] for row in rows)


def test_codes_that_are_tried_again_are_the_same_everywhere() -> None:
    [found] = re.findall(r"retry_codes: (\[.*\])", PLAYBOOK)
    retried = set(numbers(found))
    assert retried == {Exit.UNFINISHED, Exit.IN_USE, Exit.INTERRUPTED}
    [row] = [row for row in rows_after("| field | value |") if row[0] == "retry"]
    assert set(numbers(row[1])) == retried | {Exit.POSTPONED}


def test_page_has_each_variable_of_the_playbook() -> None:
    described = {
        name for row in rows_after("| variable | default | means |") for name in re.findall(r"`(kerio_\w+)`", row[0])
    }
    inner = {"kerio_planned", "kerio_bwlimits", "kerio_clients"}  # facts and the group
    assert set(re.findall(r"\bkerio_\w+", PLAYBOOK)) - inner == described


def test_example_inventory_sets_what_has_no_default() -> None:
    group = yaml.safe_load((ROOT / "deploy" / "ansible" / "inventory.example.yml").read_text())["kerio_clients"]
    hosts = {name: values for site in group["children"].values() for name, values in site["hosts"].items()}
    assert {"kerio_server", "kerio_profile"} <= set(group["vars"])
    assert all({"kerio_user", "ansible_become_user"} <= set(values) for values in hosts.values())
