"""Checks everything that a rebuild needs, in the order of a rebuild.

The first failure names the cause. Local checks and those of the network run at the same time, and all of them end in
MAX_SECONDS even if neither the disk nor the network answers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from kerio_resync.diagnose.findings import Emit, exit_of, failure, of_error, ok, skipped, warning
from kerio_resync.diagnose.local import LOCAL_CHECKS, check_files, check_version
from kerio_resync.diagnose.login import LOGIN_CHECKS, check_login
from kerio_resync.diagnose.network import NETWORK_CHECKS, check_clock, check_way
from kerio_resync.diagnose.origins import DEFAULT, Origin, load_complete, secrets_of
from kerio_resync.diagnose.protocols import Probe, check_protocol, send
from kerio_resync.diagnose.way import STEP_SECONDS, Way, in_thread
from kerio_resync.errors import BadSettings, Exit, ResyncError
from kerio_resync.events import Checked
from kerio_resync.server.http.proxies import choose_with_source
from kerio_resync.server.http.routes import route_of
from kerio_resync.server.http.transport import AiohttpTransport
from kerio_resync.settings import Settings, with_password

MAX_SECONDS: Final = 14.0
SETTINGS_SECONDS: Final = 3.0  # the keyring may be slow, or wait for its user
CHECKS_SECONDS: Final = 11.0  # for the local checks, and for those of the network
ROUND_TRIPS: Final = 5
ALL_CHECKS: Final = ("version", *LOCAL_CHECKS, "settings", "proxy", *NETWORK_CHECKS, "round trip", *LOGIN_CHECKS)


async def examine(
    profile: Path,
    emit: Emit,
    given: Mapping[str, Any] | None = None,
    *,
    login: bool = False,
    ask: Callable[[str], str] | None = None,
) -> list[Checked]:
    """Make all checks; pass each finding to `emit` at once, and return them all.

    `given`: options of the command line. `login`: log in with the stored password, or with what `ask` returns.
    """
    findings: list[Checked] = []

    def note(finding: Checked) -> None:
        findings.append(finding)
        emit(finding)

    note(check_version())
    loaded, about = await _load(profile, given or {}, ask if login else None, login=login)
    local, network = _Queue(), _Queue()
    settings = loaded or Settings(profile=profile)
    tasks = [
        asyncio.create_task(_run_local(settings, local.put)),
        asyncio.create_task(_run_network(loaded, network.put, login=login)),
    ]
    try:
        await local.pass_on(tasks[0], note)
        note(about)
        await network.pass_on(tasks[1], note)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return findings


async def _load(
    profile: Path, given: Mapping[str, Any], ask: Callable[[str], str] | None, *, login: bool
) -> tuple[Settings | None, Checked]:
    """Return the settings, None if they cannot be used, and the finding about them."""
    try:
        settings, origins = await in_thread(lambda: load_complete(profile, given), SETTINGS_SECONDS)
    except ResyncError as error:
        return None, of_error("settings", error)
    except TimeoutError:
        found = f"they could not be read within {SETTINGS_SECONDS:.0f} s"
        advice = f"Run again. If it persists, connect the disk or network share with {profile}, or unlock the keyring"
        return None, failure("settings", found, advice, Exit.USAGE)
    finding = check_settings(settings, origins)
    if login and finding.level != "failure":
        try:
            settings = with_password(settings, ask)
        except BadSettings as error:
            finding = of_error("settings", error)
        settings.redactor.keep(*secrets_of(settings))
    return settings, finding


class _Queue:
    """Keeps the findings of one group until it is their turn."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Checked | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, finding: Checked) -> None:
        """Add a finding, from any thread."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._queue.put_nowait, finding)

    async def pass_on(self, task: asyncio.Task[None], note: Emit) -> None:
        """Pass on the findings until the task has ended; raise its error."""
        task.add_done_callback(lambda _: self._loop.call_soon(self._queue.put_nowait, None))
        while (finding := await self._queue.get()) is not None:
            note(finding)
        await task


async def _run_local(settings: Settings, emit: Emit) -> None:
    """Run the local checks in a thread: a network share that is gone blocks it."""
    missing = list(LOCAL_CHECKS)

    def tell(finding: Checked) -> None:
        if finding.check in missing:
            missing.remove(finding.check)
            emit(finding)

    try:
        await in_thread(lambda: asyncio.run(check_files(settings, tell)), CHECKS_SECONDS)
    except TimeoutError:
        name, *later = tuple(missing)
        missing.clear()  # the thread may still run
        found = f"{settings.profile} does not answer within {CHECKS_SECONDS:.0f} s"
        emit(failure(name, found, "Connect its disk or network share, or check the disk", Exit.USAGE))
        for other in later:
            emit(skipped(other, f"not checked, because the check `{name}` failed"))


def check_settings(settings: Settings, origins: list[Origin]) -> Checked:
    """Tell the settings that are not defaults, and where each comes from."""
    shown = [f"{name} {value} ({source})" for name, value, source in origins[1:] if value and source != DEFAULT]
    data = {name: {"value": value, "source": source} for name, value, source in origins}
    if not settings.server or not settings.user:
        missing = " and ".join(name for name in ("server", "user") if not getattr(settings, name))
        advice = "Use `kerio-resync rebuild --server URL --user NAME`"
        return failure("settings", f"no {missing} is set", advice, Exit.USAGE, **data)
    if unusable := next((o for o in origins if o.value.startswith("unusable")), None):
        return failure("settings", f"{unusable.name}: {unusable.value}", "Correct it", Exit.USAGE, **data)
    if settings.password_file and settings.password_file.stat().st_mode & 0o077:
        found = f"other users can read the password file {settings.password_file}"
        return warning("settings", found, f"Run `chmod 600 {settings.password_file}`", **data)
    return ok("settings", ", ".join(shown) or "only defaults", **data)


async def _run_network(settings: Settings | None, emit: Emit, *, login: bool) -> None:
    later = [*NETWORK_CHECKS, "round trip", *LOGIN_CHECKS]
    if settings is None or not settings.server:
        for name in ("proxy", *later):
            emit(skipped(name, "no server is set" if settings else "not checked, because the check `settings` failed"))
        return
    try:
        route = route_of(settings)
        setting = settings.proxy.get_secret_value() if settings.proxy is not None else None
        emit(check_proxy(*choose_with_source(settings.server, setting, os.environ)))
    except BadSettings as error:
        emit(of_error("proxy", error))
        for name in later:
            emit(skipped(name, "not checked, because the check `proxy` failed"))
        return

    def tell(finding: Checked) -> None:
        if finding.check in later:
            later.remove(finding.check)
        elif finding.level == "skipped":
            return  # it was found out in another way
        redacted = settings.redactor.event(finding)
        assert isinstance(redacted, Checked)
        emit(redacted)

    transport = AiohttpTransport(route=route, connect_timeout=STEP_SECONDS, redactor=settings.redactor)
    way = Way(settings.server, route, transport)
    try:
        async with asyncio.timeout(CHECKS_SECONDS):
            await _check_server(settings, way, tell, login=login)
    except TimeoutError:
        name = later[0] if later else LOGIN_CHECKS[-1]
        tell(failure(name, f"no time was left after {CHECKS_SECONDS:.0f} s", "Run again", Exit.UNFINISHED))
    finally:
        await transport.aclose()
    for name in tuple(later):
        reason = "use --login to check it" if name in LOGIN_CHECKS and not login else "a check before it failed"
        emit(skipped(name, reason))


async def _check_server(settings: Settings, way: Way, emit: Emit, *, login: bool) -> None:
    if not await check_way(way, emit):
        return
    probe = await check_protocol(way, settings, emit)
    emit(check_clock(way))
    if probe is None:
        return
    emit(await _measure_round_trip(way, probe))
    if login and settings.user and settings.has_credentials:
        await check_login(settings, way, probe, emit)


async def _measure_round_trip(way: Way, probe: Probe) -> Checked:
    loop = asyncio.get_running_loop()
    seconds: list[float] = []
    try:
        for _ in range(ROUND_TRIPS):
            started = loop.time()
            await send(way, probe)
            seconds.append(loop.time() - started)
    except ResyncError as error:
        return warning("round trip", f"the connection is not stable: {error}", "Check the network")
    way.timings["round_trip"] = min(seconds)
    found = f"{min(seconds) * 1000:.0f} ms, at most {max(seconds) * 1000:.0f} ms in {ROUND_TRIPS} requests"
    return ok("round trip", found, seconds=[round(value, 5) for value in seconds])


def check_proxy(proxy: Any, source: str) -> Checked:
    """Tell which proxy is used, and why."""
    if proxy is None:
        reason = {"": "none is set", "no_proxy": "no_proxy lists the server"}.get(source, "as set")
        return ok("proxy", f"none ({reason})")
    login = ", with a login" if proxy.user else ""
    return ok("proxy", f"{proxy.scheme}://{proxy.place}{login} (from {source})", scheme=proxy.scheme, source=source)


def summarise(findings: list[Checked]) -> dict[str, Any]:
    """Return the summary for JSON: the counts, the cause, and all findings."""
    cause = next((finding for finding in findings if finding.level == "failure"), None)
    return {
        "ok": cause is None,
        "failures": sum(finding.level == "failure" for finding in findings),
        "warnings": sum(finding.level == "warning" for finding in findings),
        "cause": cause.check if cause else "",
        "checks": [
            {name: value for name, value in finding.as_json().items() if name != "event"} for finding in findings
        ],
        "exit_code": int(exit_of(findings)),
    }
