"""A client process that kills itself at a numbered instant of its disk work.

    python -m tests.support.crash_process PROFILE URL USER
    python -m tests.support.crash_process

Instants are the moments before and after each stored fact (a "mark" says how a local change fares), commit, fsync and
rename. The password comes from `KERIO_RESYNC_PASSWORD`. Without a death it prints how many instants of each kind there
were. Without arguments it is a nursery: it reads lines of JSON (`arguments`, `environment`, `out`, `err`), and each is
a life in a process of its own, forked, because the imports take longer than the life; a line tells how it ended.

`KERIO_CRASH_AT`: the instant to die at, from 1 (0: never); `rename done:2`: the second of its kind; `commit
begins:3+1.5`: 1.5 ms after it, wherever that is, which in a commit is between two writes.
`KERIO_CRASH_COPY`: where a copy of the profile is kept as it was after the last commit or fsync. Putting it back takes
away all writes that were not yet synced, as a power cut does.
`KERIO_FILE_LIMIT`: bytes beyond which no file grows.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kerio_resync import Settings, rebuild
from kerio_resync.cache import writer
from kerio_resync.cache.mutations import MarkChange, PutLocal
from kerio_resync.cache.write import dispatch
from kerio_resync.cache.write.session import WriteSession
from kerio_resync.errors import ResyncError, explain


class Deadly:
    """Counts instants, and dies at the one that was chosen."""

    def __init__(self, at: str, profile: Path, copy: Path | None) -> None:
        self.kind, _, number = at.rpartition(":")
        number, _, delay = number.partition("+")
        self.number, self.delay = int(number), float(delay or 0) / 1000
        self.profile = profile
        self.copy = copy
        self.met: Counter[str] = Counter()

    def instant(self, kind: str) -> None:
        self.met[kind] += 1
        count = self.met.total() if not self.kind else self.met[kind] if self.kind == kind else -1
        if count == self.number and self.delay:
            threading.Thread(target=self.die, args=(self.delay,), daemon=True).start()
        elif count == self.number:
            self.die(0)

    def die(self, delay: float) -> None:
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGKILL)

    def around(self, kind: str, work: Callable[..., Any], *, syncs: bool = False) -> Callable[..., Any]:
        def deadly(*args: Any, **named: Any) -> Any:
            self.instant(f"{kind} begins")
            found = work(*args, **named)
            if syncs:
                self.keep()
            self.instant(f"{kind} done")
            return found

        return deadly

    def keep(self) -> None:
        """What a power cut would leave from now on."""
        if self.copy is None:
            return
        new, old = (self.copy.with_name(self.copy.name + word) for word in (".new", ".old"))
        if old.exists() and not self.copy.exists():
            new.rename(self.copy)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(self.profile, new, ignore=shutil.ignore_patterns("*.lock", "*.holder"))
        if self.copy.exists():
            self.copy.rename(old)  # while that is there, and no copy, the new one is whole
        new.rename(self.copy)
        shutil.rmtree(old, ignore_errors=True)


def arm(deadly: Deadly) -> None:
    for kind, function in list(dispatch.apply_mutation.registry.items()):
        word = "mark" if kind in (MarkChange, PutLocal) else "fact"
        dispatch.apply_mutation.register(kind, deadly.around(word, function))
    WriteSession.commit = deadly.around("commit", WriteSession.commit, syncs=True)  # type: ignore[method-assign]
    rename, replace, fsync = os.rename, os.replace, os.fsync
    os.fsync = deadly.around("fsync", fsync, syncs=True)
    os.replace = deadly.around("rename", replace)
    os.rename = deadly.around("rename", rename)
    writer.COMMIT_INTERVAL_SECONDS, writer.APPLY_BYTES = 0.02, 64 * 1024  # type: ignore[misc]  # many small transactions: more instants


def main(profile: Path, url: str, user: str) -> int:
    copy = os.environ.get("KERIO_CRASH_COPY")
    deadly = Deadly(os.environ.get("KERIO_CRASH_AT", "0"), profile, Path(copy) if copy else None)
    settings = Settings.model_validate(
        {
            "profile": profile,
            "server": url,
            "user": user,
            "password": os.environ["KERIO_RESYNC_PASSWORD"],
            "page_size": 20,
            "max_in_flight": 4,
        }
    )
    profile.mkdir(parents=True, exist_ok=True)
    if limit := int(os.environ.get("KERIO_FILE_LIMIT", "0")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    deadly.keep()
    arm(deadly)
    try:
        report = asyncio.run(rebuild(settings))
    except ResyncError as error:
        print(explain(error)[0], file=sys.stderr)
        return int(error.exit)
    print(json.dumps({"instants": deadly.met, "skipped": report.skipped, "problems": report.problems}))
    return 0


def nurse() -> None:
    import kerio_resync.sync.rebuild  # noqa: F401  # once for all lives

    for line in sys.stdin:
        life = json.loads(line)
        pid = os.fork()
        if not pid:
            os.environ.update(life["environment"])
            for target, name in ((sys.stdout, "out"), (sys.stderr, "err")):
                os.dup2(os.open(life[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), target.fileno())
            code = 1
            try:
                code = main(Path(life["arguments"][0]), *life["arguments"][1:])
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        nurse()
    else:
        sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
