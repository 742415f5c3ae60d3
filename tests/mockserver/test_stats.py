from __future__ import annotations

from kerio_mockserver.stats import Stats


def test_counts_requests_bytes_and_errors() -> None:
    stats = Stats()
    stats.began(b"12345")
    stats.began(b"")
    assert (stats.in_flight, stats.most_in_flight) == (2, 2)
    stats.ended("Folders.get", 200, 100, 40)
    stats.ended("Folders.get", 500, 10, 10)
    told = stats.as_json()
    assert told["requests"] == {"Folders.get": 2}
    assert told["statuses"] == {"200": 1, "500": 1}
    assert told["bytes"] == {"in": 5, "out_plain": 110, "out_wire": 50}
    assert (told["in_flight"], told["most_in_flight"]) == (0, 2)


def test_reset_keeps_what_is_in_flight() -> None:
    stats = Stats()
    stats.began(b"x")
    stats.reset()
    assert (stats.in_flight, stats.most_in_flight, stats.bytes_in) == (1, 1, 0)
    stats.ended("x", 200, 1, 1)
    assert stats.in_flight == 0


def test_internal_error_is_named_without_its_text() -> None:
    stats = Stats()
    try:
        raise ValueError("somebody's mail")
    except ValueError as error:
        stats.internal_error(error)
    (line,) = stats.as_json()["mistakes_at"]
    assert line.startswith("ValueError at ")
    assert "mail" not in line.split("/")[-1].replace("test_stats.py", "")
