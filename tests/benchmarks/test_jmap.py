"""The JMAP measurement: equal mails for both, counts of what passes, and a report."""

from __future__ import annotations

import re
import socket
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.measure import jmap
from benchmarks.rivals import cyrus, imap_mailbox, programs
from benchmarks.rivals.clients import Run
from benchmarks.rivals.cyrus import Cyrus
from benchmarks.rivals.imap_mailbox import SAMPLE
from benchmarks.rivals.programs import Programs
from benchmarks.tools import counting

_DEFLATER = zlib.compressobj(wbits=-zlib.MAX_WBITS)
DEFLATED = _DEFLATER.compress(b"2 SELECT a\r\n3 LOGOUT\r\n") + _DEFLATER.flush(zlib.Z_SYNC_FLUSH)
MBSYNC = programs.find_mbsync()
COUNTS = {"connections": 1, "requests": 1234, "up_bytes": 20_000, "down_bytes": 5_000_000}


def test_mailbox_has_no_mail_twice() -> None:
    made = list(jmap._mailbox(40, 2, None))
    assert len({mail.source for mail in made}) == len(made) == 42
    assert made == list(jmap._mailbox(40, 2, None))
    real = list(jmap._mailbox(40, 2, SAMPLE))
    assert len(real) == 42
    assert not {mail.source for mail in real[:40]} & {mail.source for mail in made}


def echo_server() -> tuple[socket.socket, threading.Thread]:
    """A server that answers one connection with as many bytes as it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listener.accept()[0] as made:
            while data := made.recv(1000):
                made.sendall(data)

    thread = threading.Thread(target=answer)
    thread.start()
    return listener, thread


@pytest.mark.parametrize(
    ("request_", "pieces", "number"),
    [
        (
            counting.HTTP_REQUEST,
            [b"GET / HT", b"TP/1.1\r", b"\nA: b\r\n\r\nPOST /a?b HTTP/1.1\r\n\r\n{}GET /c HTTP/1.1\r\nA: b"],
            3,
        ),
        (counting.IMAP_COMMAND, [b"1 LOGIN a b\r\n2 UID FETCH 1:9 (BODY.PEEK[])\r\n", b"3 LOG", b"OUT\r\n"], 3),
    ],
)
def test_counting_counts_requests_in_any_pieces(request_: re.Pattern[bytes], pieces: list[bytes], number: int) -> None:
    listener, thread = echo_server()
    with (
        counting.before(listener.getsockname()[1], request_) as (port, counts),
        socket.create_connection(("127.0.0.1", port)) as made,
    ):
        for piece in pieces:
            made.sendall(piece)
            received = b""
            while len(received) < len(piece):
                received += made.recv(1000)
            assert received == piece
    thread.join()
    listener.close()
    total = sum(map(len, pieces))
    assert counts == counting.Counts(1, number, total, total)


def test_turn_refuses_run_that_brought_fewer_mails() -> None:
    runners: dict[str, Callable[[int, int], Run]] = {
        "ours": lambda *_: Run(1.0, 1.0, 5),
        "mbsync": lambda *_: Run(1.0, 1.0, 4),
    }
    with pytest.raises(OSError, match="mbsync brought 4 of 5 mails"):
        jmap._turn(runners, 5, 1, 2)


def test_report_has_every_link_or_says_why_there_is_none() -> None:
    turns = [
        {"ours": {"seconds": ours, "cpu": 1.0}, **{name: {"seconds": 8.0, "cpu": 1.0} for name in jmap._WAYS}}
        for ours in (1.0, 2.0, 4.0)
    ]
    counts = dict.fromkeys(("ours", *jmap._WAYS), COUNTS)
    cell = {"name": jmap.LINE, "link": None, "turns": turns, "counts": counts, "programs": jmap._judged(turns)}
    results: dict[str, Any] = {
        "skipped": "", "versions": {"Cyrus": "3.6.1"}, "source": "real text", "mails": 1560, "bytes": 1,
        "cells": [cell],
    }  # fmt: skip
    text = jmap.report(results)
    assert "1,560 mails" in text
    assert "| mbsync | 8.00 (8.00–8.00) | 1.00 (1.00–1.00) | 4.00 (2.00–8.00) | 1,234 | 1 | 5.0 | 0.02 |" in text
    assert "Skipped: no such thing." in jmap.report({"skipped": "no such thing", "versions": {}, "cells": []})


def test_measure_says_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cyrus, "missing", lambda: "no Cyrus")
    assert jmap.measure(quick=True)["skipped"] == "no Cyrus"
    monkeypatch.setattr(cyrus, "missing", str)
    monkeypatch.setattr(programs, "find_mbsync", lambda: "no mbsync")
    assert jmap.measure(quick=True)["skipped"] == "no mbsync"


@pytest.mark.cyrus
@pytest.mark.skipif(isinstance(MBSYNC, str), reason=str(MBSYNC))
def test_mbsync_brings_every_mail_from_cyrus_and_is_counted(cyrus: Cyrus, tmp_path: Path) -> None:
    assert isinstance(MBSYNC, Programs)
    mailbox = list(jmap._mailbox(30, 2, None))
    with cyrus.imap() as imap:
        imap_mailbox.fill(imap, mailbox)
    runners = jmap._runners(MBSYNC, tmp_path, mailbox)
    for name in ("mbsync, no fsync", "mbsync, no fsync, 4 processes"):
        assert runners[name](0, cyrus.imap_port).mails == 32
    counts = jmap._counted(runners["mbsync, no fsync"], 1, cyrus.imap_port)
    size = sum(len(mail.source) for mail in mailbox)
    assert 0.7 * size < counts["down_bytes"] < size  # mbsync asks for compression, which takes back what base64 adds
    assert counts["connections"] == 1
    assert counts["requests"] > 32
