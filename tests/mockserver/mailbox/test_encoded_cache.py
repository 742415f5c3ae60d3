from __future__ import annotations

from kerio_mockserver.mailbox.encoded_cache import EncodedItemCache


def test_least_recently_used_entry_goes() -> None:
    cache = EncodedItemCache(3 * 300)
    for name in "abc":
        cache.put(name, bytes(100))
    assert cache.get("a") == bytes(100)
    cache.put("d", bytes(100))
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]
    assert cache.size == 900


def test_too_large_entry_is_not_kept() -> None:
    cache = EncodedItemCache(500)
    cache.put("a", bytes(100))
    cache.put("big", bytes(400))
    assert (cache.get("big"), len(cache)) == (None, 1)
    EncodedItemCache(0).put("a", b"")


def test_dropped_entries_free_their_bytes() -> None:
    cache = EncodedItemCache(10_000)
    for name in ("f/1", "f/2", "g/1"):
        cache.put(name, b"x")
    cache.put("f/1", b"xx")
    cache.drop_under("f/")
    cache.drop("nothing")
    assert (cache.get("f/1"), cache.get("g/1"), cache.size) == (None, b"x", 201)
