"""Quoting of mboxrd, in chunks of any size."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from kerio_resync.export.mbox import _Quoting

LINES = st.sampled_from([b"From ", b">From ", b">", b"F", b"rom ", b"\n", b"x", b" From ", b"\r\n"])


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


@given(st.lists(LINES, max_size=20).map(b"".join), st.lists(st.integers(1, 7), max_size=20))
@example(b"From a\nFrom", [1, 1, 1, 1])
def test_quoting_is_that_of_the_whole_and_can_be_undone(data: bytes, sizes: list[int]) -> None:
    sink = Sink()
    out = _Quoting(sink)  # type: ignore[arg-type]
    at = 0
    for size in [*sizes, len(data)]:
        out.write(data[at : at + size])
        at += size
    out.end()
    body = sink.data.removesuffix(b"\n")
    assert re.sub(rb"(?m)^>(>*From )", rb"\1", body) in (data, data + b"\n")
    assert re.search(rb"(?m)^From ", body) is None
    assert sink.data.endswith(b"\n\n") or data in (b"", b"\n")
