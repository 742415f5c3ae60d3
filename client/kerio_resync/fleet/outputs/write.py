"""Writes a plan into a folder.

Plan.json, plan.html, plan.csv, waves.ics and notices/.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.outputs.folder import OwnedFolder, check_folder
from kerio_resync.fleet.plan import Plan

if TYPE_CHECKING:
    from kerio_resync.fleet.outputs.templates import NoticeTemplates

_PACKAGES: Final = ("babel", "icalendar", "jinja2")


class Written(NamedTuple):
    """What was written. `notices`: sentences that the administrator should read."""

    folder: Path
    files: int
    notices: tuple[str, ...]


class PlanWriter:
    """Where and how a plan is written.

    Made before planning, so that a mistake is found at once.

    `folder`: empty, missing, or of an earlier plan. `templates`: a folder of templates for notices, beside those of
    this package. `language`: of users whose language is unknown. `sender`: an address for the notices, such as
    `IT Helpdesk <helpdesk@example.com>`. BadSettings if one of them cannot be used.
    """

    def __init__(self, folder: Path, *, templates: Path | None = None, language: str = "en", sender: str = "") -> None:
        missing = [name for name in _PACKAGES if find_spec(name) is None]
        if missing:
            raise BadSettings(
                f"to write a plan needs the packages {', '.join(missing)}: run `pip install 'kerio-resync[fleet]'`"
            )
        from kerio_resync.fleet.outputs.notices import check_sender
        from kerio_resync.fleet.outputs.templates import NoticeTemplates

        check_folder(folder)
        check_sender(sender)
        self._folder, self._sender = folder, sender
        self._templates: NoticeTemplates = NoticeTemplates(templates, language)

    def write(self, plan: Plan) -> Written:
        """Write all files, or none.

        BadSettings if the folder has files of someone else at their places, and if a template fails. An edited notice
        is such a file.
        """
        from kerio_resync.fleet.outputs.calendars import waves_calendar
        from kerio_resync.fleet.outputs.notices import NoticeWriter
        from kerio_resync.fleet.outputs.page import plan_page
        from kerio_resync.fleet.outputs.table import user_table

        with OwnedFolder(self._folder) as folder:
            series = str(folder.notes.get("series") or _series(plan))
            gone = _gone(plan, folder.notes.get("waves"))
            notices = NoticeWriter(plan, self._templates, series, self._sender)
            count = 0
            for name, content in notices.files():
                folder.stage(name, content)
                count += 1
            sentences = tuple(notices.notices())
            folder.stage("plan.csv", user_table(plan))
            folder.stage("waves.ics", waves_calendar(plan, series, gone))
            folder.stage("plan.html", plan_page(plan, sentences, has_notices=count > 0).encode("utf-8", "replace"))
            folder.stage("plan.json", plan.model_dump_json(indent=1).encode())
            times = [(wave.start, wave.end) for wave in plan.waves] + gone
            folder.notes = {"series": series, "waves": [[start.isoformat(), end.isoformat()] for start, end in times]}
            folder.commit()
        return Written(self._folder, count + 4, sentences)


def _series(plan: Plan) -> str:
    """Return the name of a rollout.

    The same for the same files and the same first day.
    """
    first = plan.windows[0].start.date().isoformat() if plan.windows else ""
    return f"{plan.inputs.inventory}|{plan.inputs.settings}|{first}"


def _gone(plan: Plan, earlier: Any) -> list[tuple[datetime, datetime]]:
    """Return start and end of waves that only the earlier plan had.

    They are those after the last wave of this plan.
    """
    if not isinstance(earlier, Sequence):
        return []
    try:
        times = [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in earlier]
    except (TypeError, ValueError):
        return []
    return [(start, end) for start, end in times[len(plan.waves) :] if start.tzinfo and end.tzinfo]
