"""The cost of one very large attachment: the same mailbox with and without it.

An attachment is stored in pieces as it arrives, so its size must hardly show in the client's peak memory. The rest of
the mailbox is large enough to fill the buffers that every rebuild fills.
"""

from __future__ import annotations

from typing import Any

from benchmarks.tools import machine

SIZE = 200_000_000  # bytes
MORE = 20  # MB that it may add to the peak
_MADE: dict[str, Any] = {"seed": 9, "mails": 2_000, "total_bytes": 50_000_000, "shared": False}


def measure(quick: bool = False, *, rounds: int = 0) -> dict[str, Any]:
    """Return {"runs": with and without, "more": median MB added, "ok"}."""
    rounds = rounds or (1 if quick else 3)
    with machine.workspace() as folder, machine.server(**_MADE) as plain, machine.server(attached=SIZE, **_MADE) as big:
        runs = []
        for _ in range(rounds):
            for server, attached in ((plain, 0), (big, SIZE)):
                spent, summary = machine.rebuilt(server, machine.empty(folder / "profile"))
                found = {"attached": attached, "peak": spent.peak, "seconds": summary["seconds"], "cpu": spent.cpu}
                runs.append(found | {"bytes": summary["plain_bytes"]})
    more = machine.middle([big["peak"] - plain["peak"] for plain, big in zip(runs[::2], runs[1::2], strict=True)])
    return {"runs": runs, "more": more, "ok": more["median"] <= MORE}


def report(results: dict[str, Any]) -> str:
    """Return a table in Markdown."""
    lines = [
        "## One large attachment",
        "",
        f"A mailbox of {_MADE['mails']:,} mails, without and with one attachment of {SIZE / 1e6:.0f} MB. It adds"
        f" {machine.shown(results['more'], 0)} MB to the peak memory (at most {MORE}:"
        f" {'yes' if results['ok'] else 'NO'}).",
        "",
        "| attachment, MB | peak, MB | seconds | processor, s |",
        "|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {run['attached'] / 1e6:.0f} | {run['peak']:.0f} | {run['seconds']:.1f} | {run['cpu']:.1f} |"
        for run in results["runs"]
    ]
    return "\n".join([*lines, ""])
