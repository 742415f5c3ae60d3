"""Versions and flags of older formats get today's words."""

from __future__ import annotations

import json

import pytest

from kerio_resync.cache.old_values import neutral_change, version_text


@pytest.mark.parametrize(("watermark", "version"), [(0, ""), (-1, ""), (1, "1"), (2**63 - 1, "9223372036854775807")])
def test_version_text_is_empty_if_the_version_is_unknown(watermark: int, version: str) -> None:
    assert version_text(watermark) == version


def test_neutral_change_renames_flags() -> None:
    old = b'{"isSeen":true,"isFlagged":false,"isAnswered":true,"isDraft":false}'
    action, struct = neutral_change("flags", old)
    assert action == "flags"
    assert json.loads(struct) == {"seen": True, "flagged": False, "answered": True, "draft": False}


@pytest.mark.parametrize("struct", [b'{"isSeen":true,"isForwarded":true}', b"[1]", b"no json"])
def test_neutral_change_keeps_struct_with_other_members_as_edit(struct: bytes) -> None:
    assert neutral_change("flags", struct) == ("edit", struct)


def test_neutral_change_leaves_other_actions() -> None:
    assert neutral_change("edit", b'{"isSeen":true}') == ("edit", b'{"isSeen":true}')
