from __future__ import annotations

import io
from typing import Any

import pytest

from kerio_resync.cli import formatting

REPORT: dict[str, Any] = {
    "cache": "/p/cache.db", "folders": 2, "items": {"mail": 6046, "contact": 1, "note": 0}, "attachments": 312,
    "plain_bytes": 10 * 2**20, "wire_bytes": 4 * 2**20, "seconds": 10.0, "resumed": False, "salvaged": 0, "repaired": 0,
    "retries": 0, "skipped": [], "outbox_sent": 0, "outbox_pending": 0, "conflicts": 0, "problems": [],
}  # fmt: skip


def test_the_summary_of_a_quiet_run() -> None:
    assert formatting.summary_of_rebuild(REPORT) == [
        "Rebuilt in 10 s: 6,046 mails, 1 contact in 2 folders, 312 attachments.",
        "Fetched 10.0 MiB (4.0 MiB on the wire), 1.0 MiB/s.",
        "Database: /p/cache.db",
    ]


def test_the_summary_of_an_eventful_run_names_the_first_ten_that_were_skipped() -> None:
    more = {
        "resumed": True, "retries": 1, "salvaged": 5, "outbox_sent": 2, "outbox_pending": 1, "conflicts": 1,
        "problems": ["The key expired."], "skipped": [["item", f"id{n}", "gone"] for n in range(12)], "seconds": 0.0,
        "items": {},
    }  # fmt: skip
    lines = formatting.summary_of_rebuild(REPORT | more)
    assert lines[0] == "Rebuilt in 0.0 s: no items in 2 folders, 312 attachments."
    assert lines[1] == (
        "Fetched 10.0 MiB (4.0 MiB on the wire), 0 B/s, resumed an earlier run, 1 retry,"
        " 5 items reused from the old cache."
    )
    assert "Local changes: 2 sent, 1 pending, 1 conflict." in lines
    refused = formatting.summary_of_rebuild(REPORT | {"outbox_refused": 3, "outbox_pending": 1, "unfinished": True})
    assert "Local changes: 0 sent, 1 pending, 0 conflicts, 3 refused." in refused
    assert "Some local changes are not settled yet. Run again." in refused
    assert lines[lines.index("Problems (1):") + 1] == "  The key expired."
    start = lines.index("Skipped (12):")
    assert lines[start + 1] == "  item id0: gone"
    assert lines[start + 10] == "  item id9: gone"
    assert lines[start + 11] == "  and 2 more"
    assert "id10" not in "".join(lines)


def test_the_summary_of_a_verification() -> None:
    verdict = {"checked": 10, "differences": (), "count": 0, "repaired": 0, "ok": True}
    assert formatting.summary_of_verify(verdict) == ["Compared 10 items with the server: no difference."]
    differing = {"checked": 10, "differences": ("missing mail x",), "count": 1, "repaired": 1, "ok": True}
    assert formatting.summary_of_verify(differing) == [
        "Compared 10 items with the server: 1 difference, 1 repaired.",
        "Differences (1):",
        "  missing mail x",
    ]
    many = {"checked": 9, "differences": tuple("abcdefghijkl"), "count": 5000, "repaired": 0, "ok": False}
    *_, more, advice = formatting.summary_of_verify(many)
    assert (more, advice) == ("  and 4,990 more", "Run `kerio-resync verify --repair` to fetch what differs again.")
    *_, more, advice = formatting.summary_of_verify(many, repair=True)
    assert (more, advice.rpartition(". ")[2]) == ("  and 4,990 more", "Run `kerio-resync rebuild`.")


FILE: dict[str, Any] = {
    "path": "/p/cache.db", "state": "ready", "bytes": 2**20, "account": "jane", "server": "https://x", "folders": 3,
    "folders_listed": 3, "items": {"mail": 2}, "wanted": 0, "attachments": 1, "attachments_wanted": 0, "skipped": 0,
    "finished_at": "2026-03-01T10:00:00Z", "problem": "",
}  # fmt: skip
STATUS: dict[str, Any] = {
    "profile": "/p", "cache": FILE, "building": FILE | {"state": "absent"}, "outbox": [], "holder": "",
    "free_bytes": 5 * 2**30, "asked_at": "",
}  # fmt: skip


def test_a_status_with_nothing_to_do() -> None:
    assert formatting.lines_of_status(STATUS) == [
        "Profile: /p",
        "Cache: ready, 1.0 MiB, finished 2026-03-01T10:00:00Z",
        "  jane at https://x",
        "  2 mails in 3 folders, 1 attachment",
        "Unfinished cache: none",
        "Local changes: none",
        "In use by: no process",
        "Free on the disk: 5.0 GiB",
    ]


def test_a_status_in_the_middle_of_things() -> None:
    building = FILE | {"state": "building", "wanted": 7, "attachments_wanted": 2, "folders_listed": 1, "skipped": 4}
    damaged = FILE | {"state": "damaged", "problem": "it is no database"}
    change = {"id": 1, "action": "create", "kind": "mail", "state": "refused", "reason": "quota"}
    lines = formatting.lines_of_status(
        STATUS | {"cache": damaged, "building": building, "outbox": [change], "holder": "pid 7"}
    )
    assert "Cache: damaged, 1.0 MiB: it is no database" in lines
    assert "  still to fetch: 7 items, 2 attachments; 1 of 3 folders listed" in lines
    assert "  4 skipped" in lines
    assert "  1 create mail refused quota" in lines
    assert "In use by: pid 7" in lines


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_fit_wraps_at_words_and_indents_further_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    line = "  verify: exit code 5: the server refused the user name /a/path/that/is/longer/than/the/terminal"
    assert formatting.fit(line, Terminal()).split("\n") == [
        "  verify: exit code 5: the",
        "    server refused the user",
        "    name",
        "    /a/path/that/is/longer/than/the/terminal",
    ]
    assert formatting.fit("short", Terminal()) == "short"
    assert formatting.fit(line, io.StringIO()) == line


PLAN: dict[str, Any] = {
    "server": "https://mail.example.com", "user": "jane", "items": 7, "bytes": 0, "has_cache": False, "partial": False,
    "folders": [{"path": "Inbox", "kind": "mail", "items": 7, "bytes": 0}], "needed_bytes": 2**20, "free_bytes": 2**30,
    "excluded": (), "unknown": (), "rebuild": None,
    "rebuild_problem": "there is no folder 'Nots'; did you mean 'Notes'?",
}  # fmt: skip


def test_plan_without_sizes_says_that_they_are_unknown() -> None:
    lines = formatting.lines_of_plan(PLAN)
    assert lines[0].endswith("would fetch 7 items in 1 folder, of unknown size.")
    assert lines[2] == "  Inbox: 7 items"
    assert lines[3].endswith("did you mean 'Notes'?")
    assert lines[-2] == "How much room it needs is unknown, because the server states no sizes; 1.0 GiB are free."


def test_plan_with_sizes_compares_them_with_the_room() -> None:
    folders = [PLAN["folders"][0] | {"bytes": 2048}]
    lines = formatting.lines_of_plan(PLAN | {"bytes": 2048, "folders": folders})
    assert lines[0].endswith(", 2.0 KiB at most.")
    assert lines[2] == "  Inbox: 7 items, 2.0 KiB"
    assert lines[-2] == "It needs 1.0 MiB on the disk; 1.0 GiB are free: enough."
    assert formatting.lines_of_plan(PLAN | {"needed_bytes": 2**31})[-2].endswith("are free: NOT ENOUGH.")
