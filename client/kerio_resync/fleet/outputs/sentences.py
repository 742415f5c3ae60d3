"""What the page of a plan says first: who upgrades when, and what the others feel."""

from __future__ import annotations

from collections import Counter

from kerio_resync.fleet.outputs.clock import Clock, format_wait
from kerio_resync.fleet.plan import NaiveStart, Plan
from kerio_resync.plain_text import format_duration, format_size, pluralize

Sentence = tuple[str, str]  # a class of the style sheet or "", and the text


def title(plan: Plan) -> str:
    """Return the title: how many users, sites and windows."""
    used = len({wave.window for wave in plan.waves})
    parts = [pluralize(plan.totals.users, "user"), pluralize(len(plan.sites), "site"), pluralize(used, "window")]
    return f"Upgrade plan: {', '.join(parts)}"


def summary(plan: Plan, clock: Clock) -> list[Sentence]:
    """Return the sentences below the title."""
    totals, sentences = plan.totals, [_verdict(plan)]
    if totals.needs_room:
        text = pluralize(totals.needs_room, "user has", "users have")
        sentences.append(("bad", f"{text} too little room on the disk, and must free some first."))
    if plan.waves:
        sentences += [("", _when(plan, clock)), ("", _feel(plan)), ("", _what(plan))]
    if plan.naive is not None:
        sentences.append(
            ("", f"If all started on {clock.full(plan.naive.start)} instead, {_naive_end(plan.naive)}, and 95 % of the"
                 f" webmail users’ requests would wait up to {format_wait(plan.naive.worst_p95_s)}.")
        )  # fmt: skip
    return sentences


def _verdict(plan: Plan) -> Sentence:
    work, unplaced = plan.totals.rebuild + plan.totals.upgrade, plan.totals.unplaced
    if not work:
        return ("" if plan.totals.needs_room else "good", "No user needs a wave.")
    if unplaced:
        has, need = pluralize(unplaced, "user has", "users have"), "needs" if work == 1 else "need"
        return ("bad", f"{has} no wave, of {work:,} who {need} work. What would make them fit is below.")
    if work == 1:
        return ("good", "The only user who needs work has a wave.")
    return ("good", f"All {work:,} users who need work have a wave.")


def _when(plan: Plan, clock: Clock) -> str:
    waves = plan.waves
    end = max(wave.end for wave in waves)
    low, high = (clock.short(max(getattr(wave, name) for wave in waves)) for name in ("end_low", "end_high"))
    between = f", and between {low} and {high}" if low != high else ""
    first = "The wave starts" if len(waves) == 1 else f"The first of {len(waves):,} waves starts"
    return (
        f"{first} on {clock.full(waves[0].start)}. The last user is expected to be ready on {clock.full(end)}{between}."
    )


def _feel(plan: Plan) -> str:
    wait, limits = format_wait(plan.peak_p95_s), plan.limits
    if plan.peak_p95_s < 0.0005:
        return "Webmail users notice nothing: 95 % of their requests do not wait at all."
    if plan.peak_p95_s <= limits.unnoticed_s:
        return (
            f"Webmail users notice nothing: 95 % of their requests wait at most {wait}, and up to"
            f" {format_wait(limits.unnoticed_s)} counts as unnoticed."
        )
    return (
        f"95 % of the webmail users’ requests wait at most {wait}, and at most {plan.peak_p95:.1f} times as long as"
        f" without the upgrade; the limit is {limits.users_p95:g} times."
    )


def _what(plan: Plan) -> str:
    totals = plan.totals
    planned = Counter(user.action for wave in plan.waves for user in wave.users)
    counts = [(planned["rebuild"], "rebuilt from the server"), (planned["upgrade"], "converted on the machine")]
    parts = [f"{count:,} {'is' if count == 1 else 'are'} {text}" for count, text in counts if count]
    current = f" {totals.nothing:,} {'is' if totals.nothing == 1 else 'are'} current already." if totals.nothing else ""
    return f"Of the caches in waves, {' and '.join(parts)}; {format_size(totals.bytes)} are fetched.{current}"


def limit_text(plan: Plan) -> str:
    """Return what the picture of the webmail users shows."""
    limits = plan.limits
    return (
        f"95 % of the webmail users’ requests wait at most this long. The limit is {limits.users_p95:g} times what they"
        f" wait without the upgrade; {format_wait(limits.unnoticed_s)} are always allowed."
    )


def naive_title(plan: Plan, clock: Clock) -> str:
    """Return the title of the start of all at once, "" without."""
    return f"All at once, {clock.short(plan.naive.start)}" if plan.naive else ""


def naive_text(plan: Plan) -> str:
    """Return what the start of all at once would have done, "" without."""
    naive = plan.naive
    if naive is None:
        return ""
    over = f", {format_duration(naive.over_limit_s)} of the time above the limit" if naive.over_limit_s else ""
    full = max(naive.links_full_s.values(), default=0.0)
    link = f" The busiest link would be full for {format_duration(full)}." if full else ""
    return (
        f"The same rebuilds and upgrades, without limits: {_naive_end(naive)}. Half of the users would wait longer than"
        f" {format_duration(naive.median_s)}. 95 % of the webmail users’ requests would wait up to"
        f" {format_wait(naive.worst_p95_s)}{over}.{link}"
    )


def _naive_end(naive: NaiveStart) -> str:
    if naive.end is None:
        return f"{pluralize(naive.unfinished, 'user')} would not be ready in the modelled time"
    return f"the last user would be ready after {format_duration((naive.end - naive.start).total_seconds())}"
