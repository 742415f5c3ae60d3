from __future__ import annotations

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerio_mockserver.mailbox.blobs import Bytes, NewBlob, Slice, hash_of


@given(st.integers(0, 2**32), st.integers(0, 5000), st.integers(0, 6000), st.integers(0, 6000), st.booleans())
def test_any_range_is_a_part_of_the_whole(offset: int, size: int, start: int, stop: int, text: bool) -> None:
    blob = Slice(b"%PDF of its own", offset, size, compressible=text)
    whole = blob.read(0, size)
    assert len(whole) == len(blob) == size
    assert blob.read(start, stop) == whole[start:stop]


def test_slice_wraps_around_the_pool() -> None:
    blob = Slice(b"x", 4_194_300, 9_000_000)
    whole = blob.read(0, len(blob))
    assert len(whole) == 9_000_000
    assert blob.read(8_388_600, 8_388_700) == whole[8_388_600:8_388_700]
    assert hash_of(blob) == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize(("compressible", "least", "most"), [(True, 0.0, 0.5), (False, 0.99, 1.01)])
def test_text_compresses_and_the_rest_does_not(compressible: bool, least: float, most: float) -> None:
    whole = Slice(b"", 12345, 300_000, compressible=compressible).read(0, 300_000)
    assert least <= len(zlib.compress(whole)) / len(whole) <= most


def test_equal_content_has_an_equal_tag() -> None:
    one, two, other = (NewBlob(data, "n").attached() for data in (b"a", b"a", b"b"))
    assert one.etag == two.etag != other.etag
    assert one.etag.startswith('"')
    assert NewBlob(Bytes(b"a")).attached().blob.read(0, 9) == b"a"
