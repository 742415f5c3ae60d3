"""Names that are found when they are asked for."""

from __future__ import annotations

import pytest

import kerio_resync
import kerio_resync.upgrade
from kerio_resync._lazy import lazy_getattr


@pytest.mark.parametrize("package", [kerio_resync, kerio_resync.upgrade], ids=lambda each: each.__name__)
def test_every_name_that_is_promised_is_there(package: object) -> None:
    for name in package.__all__:  # type: ignore[attr-defined]
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'"):
        package.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_a_module_is_imported_when_its_name_is_asked_for() -> None:
    find = lazy_getattr("kerio_resync", {"rebuild": "no_such_module"})
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        find("rebuild")
