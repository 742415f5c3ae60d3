"""Archives built in memory for the tests of the importer."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Sequence


def tarred(files: Sequence[tuple[str, bytes]], mode: str = "w") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_000_000_000
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def zipped(files: Sequence[tuple[str, bytes]]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name, (2001, 9, 9, 1, 46, 40)), data, zipfile.ZIP_DEFLATED)
    return target.getvalue()
