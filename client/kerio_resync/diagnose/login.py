"""Checks that need a login: credentials, size of the mailbox, speed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

from kerio_resync.diagnose.findings import Emit, failure, of_error, ok, skipped, warning
from kerio_resync.diagnose.local import existing_folder
from kerio_resync.diagnose.protocols import Probe
from kerio_resync.diagnose.way import Way
from kerio_resync.errors import Exit, ResyncError
from kerio_resync.events import Checked
from kerio_resync.filesystem import available_bytes
from kerio_resync.identity import describe
from kerio_resync.model import Folder
from kerio_resync.server.connect import open_mailbox
from kerio_resync.server.mailbox import Mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.disk_space import DATABASE_OVERHEAD, RESERVE_BYTES, expected_bytes

LOGIN_CHECKS: Final = ("login", "mailbox", "speed")
LOGIN_SECONDS: Final = 6.0
SAMPLE_SECONDS: Final = 2.0
SAMPLE_ROWS: Final = 100  # of one folder, with their texts
_MAILBOX_ADVICE: Final = "Run again later"


async def check_login(settings: Settings, way: Way, probe: Probe, emit: Emit) -> None:
    """Log in once, and look at the mailbox."""
    mailbox = await open_mailbox(settings.model_copy(update={"protocol": probe.protocol}))
    loop = asyncio.get_running_loop()
    started, left = loop.time(), list(LOGIN_CHECKS)

    def tell(finding: Checked) -> None:
        left.remove(finding.check)
        emit(finding)

    try:
        async with asyncio.timeout(LOGIN_SECONDS):
            identity = await mailbox.open()
            way.timings["login"] = loop.time() - started
            tell(ok("login", f"{describe(identity)}, in {way.timings['login']:.1f} s", user=identity.user))
            folders = await mailbox.folders(shared=settings.shared, public=settings.public)
            tell(check_mailbox(settings, folders))
        tell(await _measure(mailbox, folders))
    except ResyncError as error:
        _fail(left, of_error(left[0], error, _MAILBOX_ADVICE), emit)
    except TimeoutError:
        found = f"no answer within {LOGIN_SECONDS:.0f} s"
        _fail(left, failure(left[0], found, "The server is overloaded: run again later", Exit.UNFINISHED), emit)
    finally:
        await mailbox.close()


def _fail(left: list[str], finding: Checked, emit: Emit) -> None:
    emit(finding)
    for name in left[1:]:
        emit(skipped(name, f"not checked, because the check `{finding.check}` failed"))


def check_mailbox(settings: Settings, folders: tuple[Folder, ...]) -> Checked:
    """Compare the size of the mailbox with the free room."""
    size = expected_bytes(list(folders), settings.attachments)
    needed, free = int(size * DATABASE_OVERHEAD) + RESERVE_BYTES, available_bytes(existing_folder(settings.cache))
    readable = [folder for folder in folders if folder.kind and folder.readable]
    items = sum(folder.count for folder in readable)
    found = f"{items:,} items in {len(readable):,} folders"
    found += f", {size / 2**20:,.1f} MiB to fetch at most" if size else ""
    data = {"items": items, "bytes": size, "needed_bytes": needed, "free_bytes": free}
    if needed <= free:
        return ok("mailbox", found, **data)
    advice = "Free some space, or use `rebuild` with --drop-first, or with --attachments inbox or none"
    found += f"; a rebuild needs {needed / 2**20:,.0f} MiB and {free / 2**20:,.0f} MiB are free"
    if settings.cache.exists():  # what it has is not fetched again
        return warning("mailbox", found, advice, **data)
    return failure("mailbox", found, advice, Exit.NOT_ENOUGH_SPACE, **data)


async def _measure(mailbox: Mailbox, folders: tuple[Folder, ...]) -> Checked:
    """Fetch the newest mails of the largest folder; return the rate."""
    loop = asyncio.get_running_loop()
    mails = [folder for folder in folders if folder.kind == "mail" and folder.readable and folder.count]
    if not mails:
        return skipped("speed", "the mailbox has no mails to measure with")
    largest = max(mails, key=lambda folder: folder.count)
    before, started = mailbox.wire_bytes, loop.time()
    try:
        async with asyncio.timeout(SAMPLE_SECONDS):
            async with aclosing(mailbox.list_items(mailbox.listings([largest])[0])) as pages:
                rows = (await anext(pages)).rows[:SAMPLE_ROWS]
            sizes = {row.id: row.size for row in rows}
            await mailbox.items_by_id("mail", [row.id for row in rows], sizes=sizes)
    except TimeoutError:
        pass  # what has arrived is measured
    seconds, count = loop.time() - started, mailbox.wire_bytes - before
    rate, round_trip = count / max(seconds, 1e-3), mailbox.min_latency
    found = (
        f"round trip {round_trip * 1000:.0f} ms, {count / 1024:,.0f} KiB in {seconds:.2f} s ({rate / 1024:,.0f} KiB/s)"
    )
    return ok("speed", found, round_trip=round(round_trip, 4), bytes=count, seconds=round(seconds, 4), rate=round(rate))
