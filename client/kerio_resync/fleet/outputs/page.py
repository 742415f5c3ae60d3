"""Makes plan.html: one page without scripts.

Its size depends little on the number of users.

Names come from an inventory and are escaped. Details of each user are in plan.csv.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from kerio_resync.fleet.outputs import page_tables, sentences
from kerio_resync.fleet.outputs.clock import Clock
from kerio_resync.fleet.outputs.pictures import MAX_LINKS, Pictures
from kerio_resync.fleet.plan import Plan
from kerio_resync.plain_text import printable
from kerio_resync.report_page.page import environment

if TYPE_CHECKING:
    from markupsafe import Markup

MAX_NOTICES: Final = 40
_FILES: Final = (
    ("plan.csv", "One line per user: wave, start, expected end, site, action and why."),
    ("waves.ics", "One calendar entry per wave. After another plan, import it again to update the entries."),
    ("plan.json", "Everything on this page, for programs."),
)
_NOTICES: Final = ("notices/", "Texts, mails, calendar entries and lists of recipients, per wave and language.")


def plan_page(plan: Plan, notices: Sequence[str] = (), *, has_notices: bool = True) -> str:
    """Return the page.

    `notices`: further sentences about the input; `has_notices`: there are notices to users.
    """
    from markupsafe import Markup

    zones = {site.time_zone for site in plan.sites}
    zone = ZoneInfo(zones.pop() if len(zones) == 1 else plan.server.time_zone)
    clock, pictures = Clock(zone), Pictures(plan, zone)
    naive_title = sentences.naive_title(plan, clock)
    hidden = len(plan.sites) - MAX_LINKS
    template = environment(Path(__file__).parent / "templates").get_template("plan.html.j2")
    return template.render(
        title=sentences.title(plan),
        summary=sentences.summary(plan, clock),
        cards=page_tables.cards(plan),
        zone=zone.key,
        problems=page_tables.problem_groups(plan),
        code=_code,
        range=plan.range,
        waves=page_tables.waves_table(plan, clock),
        wave_picture=Markup(pictures.waves()),
        users_text=sentences.limit_text(plan),
        users_picture=Markup(pictures.users()),
        server_picture=Markup(pictures.server()),
        clients_picture=Markup(pictures.clients()),
        links=[(name, Markup(picture)) for name, picture in pictures.links()],
        link_limit=f"{plan.limits.link_share:.0%}",
        more_links=f" The {MAX_LINKS} busiest of {len(plan.sites):,} sites are shown." if hidden > 0 else "",
        naive_title=naive_title,
        naive_text=sentences.naive_text(plan),
        comparison=[(name, Markup(one), Markup(two)) for name, one, two in pictures.comparison()],
        figures=page_tables.comparison_table(plan, clock),
        sites=page_tables.sites_table(plan, clock),
        files=[*_FILES, *[_NOTICES] * has_notices],
        inputs=page_tables.inputs_table(plan, clock),
        notices=[printable(text) for text in (*plan.inputs.notices, *notices)][:MAX_NOTICES],
        footer=f"{plan.made_by}, {clock.full(plan.made)}.",
    )


def _code(text: str) -> Markup:
    """Return a text in which what stands between backticks is code."""
    from markupsafe import Markup

    parts = text.split("`")
    return Markup().join(
        Markup("<code>{}</code>").format(part) if place % 2 and place < len(parts) - 1 else part
        for place, part in enumerate(parts)
    )
