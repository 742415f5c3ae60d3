"""A measured program's figures are its own, whatever we have in memory ourselves."""

from __future__ import annotations

import sys

import pytest

from benchmarks.tools import machine


def test_a_peak_is_not_ours() -> None:
    ours = bytearray(b"x") * (150 << 20)
    assert machine.spend([sys.executable, "-c", "pass"]).peak < 100 < len(ours) >> 20


def test_a_program_says_what_it_took_and_how_it_ended() -> None:
    program = "import sys; kept = bytearray(b'x') * (100 << 20); print('said'); sys.exit(3)"
    spent = machine.spend([sys.executable, "-c", program], codes=(3,))
    assert spent.output == "said\n"
    assert 100 < spent.peak < 150
    assert spent.cpu > 0
    assert spent.wall > 0
    with pytest.raises(OSError, match="ended with 3: said"):
        machine.spend([sys.executable, "-c", program])


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(OSError, match="could not be started"):
        machine.spend(["/no/such/program"])
