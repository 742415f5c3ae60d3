"""Standard streams that neither raise nor hold up the work."""

from __future__ import annotations

import errno
import io
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kerio_resync import streams


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        with suppress(OSError):  # a test may have closed it
            os.close(descriptor)


def read(descriptor: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += os.read(descriptor, count - len(data))
    return data


def test_write_to_a_reader_that_is_gone_is_discarded_and_remembered(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    out = streams.text(pipe[1], "<pipe>")
    for _ in range(3):
        print("x", file=out, flush=True)
    assert isinstance(streams.failure(out), BrokenPipeError)
    assert not streams.is_congested(out)


def test_write_to_a_full_disk_is_discarded_and_remembered() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb", buffering=0) as full:
        out = streams.text(full.fileno(), "<full>")
        print("x", file=out, flush=True)
        error = streams.failure(out)
        assert error is not None
        assert error.errno == errno.ENOSPC


def test_write_to_a_stalled_reader_returns_and_all_comes_in_order_later(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    out = streams.text(writer, "<pipe>")
    text = "".join(f"{number:07}\n" for number in range(30_000))  # more than a pipe holds
    out.write(text)
    out.flush()
    print("the last", file=out, flush=True)
    assert streams.is_congested(out)
    expected = (text + "the last\n").encode()
    assert read(reader, len(expected)) == expected
    deadline = time.monotonic() + 60
    while streams.has_backlog(out) and time.monotonic() < deadline:
        time.sleep(0.001)  # the thread counts what it has written just after the last byte is there
    assert not streams.has_backlog(out)
    assert streams.failure(out) is None


def test_a_terminal_that_takes_what_it_is_given_is_never_congested() -> None:
    """What is drawn in quick succession is drawn whole: only a stalled terminal misses pictures."""
    main, secondary = pty.openpty()
    try:
        out = streams.text(secondary, "<terminal>")
        for number in range(50):
            print(f"line {number}", file=out, flush=True)
            assert not streams.is_congested(out)
        assert read(main, 50 * len("line 0\r\n") + 40).endswith(b"line 49\r\n")
    finally:
        os.close(secondary)
        os.close(main)


def test_two_streams_to_one_place_keep_their_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    other = os.dup(writer)
    try:
        one, two = streams.text(writer, "<one>"), streams.text(other, "<two>")
        filling = "x" * 200_000
        for out, text in ((one, filling), (two, "second"), (one, "third")):
            out.write(text)
            out.flush()
        assert read(reader, len(filling) + 11).endswith(b"secondthird")
    finally:
        os.close(other)


def test_a_descriptor_that_another_process_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    out = streams.text(writer, "<pipe>")
    out.write("y" * 200_000)
    out.flush()
    assert read(reader, 200_000) == b"y" * 200_000


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("ascii", "ü · ━ …", r"\xfc - = ..."),
        ("cp1252", "ü · ━ 日", "ü · = \\u65e5"),
        ("utf-8", "ü \udcff \ud800", r"ü \xff \ud800"),
        ("latin-1", "Grüße \N{REPLACEMENT CHARACTER}", "Grüße ?"),
    ],
)
def test_what_an_encoding_lacks_is_written_as_an_escape(
    pipe: tuple[int, int], encoding: str, text: str, shown: str
) -> None:
    like = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print(text, file=streams.text(pipe[1], "<pipe>", like), end="", flush=True)
    assert os.read(pipe[0], 100).decode(encoding) == shown


def test_a_stream_of_a_test_is_left_alone() -> None:
    out = io.StringIO()
    assert (streams.raw(out), streams.raw(None), streams.failure(out)) == (None, None, None)
    assert not streams.is_congested(out)


def test_close_closes_the_stream_once_and_leaves_the_descriptor_open(pipe: tuple[int, int]) -> None:
    """Python 3.13 reports the error of a stream that its end closes again."""
    out = streams.text(pipe[1], "<pipe>")
    print("x", file=out)
    below = streams.raw(out)
    out.close()
    assert below is not None
    assert below.closed
    os.write(pipe[1], b"y")
    assert read(pipe[0], 3) == b"x\ny"


def test_a_process_that_ends_complains_of_no_stream() -> None:
    code = "from kerio_resync import streams; streams.prepare(); print('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")
