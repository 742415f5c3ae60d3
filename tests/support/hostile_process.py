"""A rebuild in a subprocess that reports its result and its peak memory.

    python -m tests.support.hostile_process PROFILE URL USER RETRY_TIMEOUT

As many requests may be in flight from the first moment on as otherwise after a while. The password comes from
`KERIO_RESYNC_PASSWORD`. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path

from kerio_resync import Settings, rebuild
from kerio_resync.errors import ResyncError, explain
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.server.pacing.adaptive_limit import AdaptiveLimit

SILENCE = 2.0  # seconds that are borne


def memory() -> int:
    """Returns the peak memory of this process in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


async def main(profile: Path, url: str, user: str, retry_timeout: float) -> None:
    values = {
        "profile": profile, "server": url, "user": user, "password": os.environ["KERIO_RESYNC_PASSWORD"],
        "page_size": 20, "retry_timeout": retry_timeout,
    }  # fmt: skip
    settings = Settings.model_validate(values)
    mailbox = KerioMailbox(settings, limit=AdaptiveLimit(value=64.0), timeout=SILENCE)
    import kerio_resync.sync.rebuild  # noqa: F401  # so that it counts as before

    before, began = memory(), time.monotonic()
    error, code, named = "", 0, 0
    try:
        named = len((await rebuild(settings, mailbox=mailbox)).skipped)
    except ResyncError as caught:
        error, code = explain(caught)
    told = {"error": error, "code": code, "named": named, "before": before, "most": memory()}
    print(json.dumps({**told, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])))
