"""Rates as people write them."""

from __future__ import annotations

import pytest

from kerio_mockserver.conditions.values import parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("8 bit/s", 1.0),
        ("20 Mbit/s", 2_500_000.0),
        ("20Mbit", 2_500_000.0),
        ("768 kbit/s", 96_000.0),
        ("1.6 Mbps", None),
        ("1.6 Mbitps", 200_000.0),
        ("2.5 MB/s", 2_500_000.0),
        ("1 GB/s", 1e9),
        (" 500 kB ", 500_000.0),
        ("fast", None),
        ("-1 MB/s", None),
        ("", None),
    ],
)
def test_parse_rate_reads_bits_and_bytes(text: str, rate: float | None) -> None:
    if rate is None:
        with pytest.raises(ValueError, match="a rate is"):
            parse_rate(text)
    else:
        assert parse_rate(text) == rate


def test_number_is_bytes_per_second() -> None:
    assert parse_rate(1250) == 1250
