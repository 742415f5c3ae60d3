"""Archives are read as streams, whatever is in them, within bounds."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kerio_mockserver.mailbox.imports.archives import Broken, Limits, Member, Skipped, is_archive, members
from tests.support.archives import tarred, zipped

FILES = [("a/one.eml", b"1" * 1000), ("a/b/two.eml", b"2" * 100_000), ("three.eml", b"")]


Taken = tuple[tuple[str, ...], bytes] | Skipped
BOUNDS = Limits()


def taken(one: Member | Skipped) -> Taken:
    if isinstance(one, Skipped):
        return one
    try:
        return one.path, one.open().read()
    except Broken as broken:
        return Skipped(one.name, broken.reason)


def read(path: Path, limits: Limits = BOUNDS) -> list[Taken]:
    return [taken(one) for one in members(path, limits)]


PACKERS: dict[str, Callable[[], bytes]] = {
    "x.tar": lambda: tarred(FILES),
    "x.tar.gz": lambda: tarred(FILES, "w:gz"),
    "x.tar.bz2": lambda: tarred(FILES, "w:bz2"),
    "x.tar.xz": lambda: tarred(FILES, "w:xz"),
    "x.zip": lambda: zipped(FILES),
}


@pytest.mark.parametrize("name", PACKERS)
def test_each_format_yields_its_files_in_order(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACKERS[name]())
    assert is_archive(path)
    assert read(path) == [(tuple(file.split("/")), data) for file, data in FILES]
    assert {one.modified for one in members(path, Limits()) if isinstance(one, Member)} == {1_000_000_000}


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.99])
def test_truncated_archive_gives_what_is_whole_and_says_so(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    whole = PACKERS[name]()
    path.write_bytes(whole[: int(len(whole) * share)])
    found = read(path)
    expected = [(tuple(file.split("/")), data) for file, data in FILES]
    files = [one for one in found if not isinstance(one, Skipped)]
    assert files == expected[: len(files)]
    assert len(files) == 3 or found[-1] == Skipped(name, "archive damaged")


@pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.tar.gz"])
def test_garbage_is_a_damaged_archive(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for data in (
        b"PK\x03\x04 not really",
        b"\x1f\x8b nor this",
        b"\xfd7zXZ\0 nor this",
        b"BZh9nor this",
        b"\xff" * 5000,
    ):
        path.write_bytes(data)
        assert read(path) == [Skipped(name, "archive damaged")]


TRICKS = [
    ("../../../../tmp/evil.eml", ("tmp", "evil.eml")),
    ("/etc/passwd.eml", ("etc", "passwd.eml")),
    ("..\\..\\evil.eml", ("evil.eml",)),
    ("a/./b/../c.eml", ("a", "b", "c.eml")),
]


@pytest.mark.parametrize("pack", [tarred, zipped])
def test_names_cannot_leave_the_archive(tmp_path: Path, pack: Callable[[Sequence[tuple[str, bytes]]], bytes]) -> None:
    path = tmp_path / "x.archive"
    path.write_bytes(pack([(name, b"x") for name, _ in TRICKS]))
    assert read(path) == [(steps, b"x") for _, steps in TRICKS]
    assert list(tmp_path.iterdir()) == [path]


def test_links_devices_and_encrypted_files_are_skipped_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("dev", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("file"))
    assert read(path) == [
        *(Skipped(name, "neither file nor folder") for name in ("link", "hard", "dev")),
        (("file",), b""),
    ]
    data = bytearray(zipped([("secret.eml", b"x")]))
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag that says so, in the directory
    path.write_bytes(data)
    assert read(path) == [Skipped("secret.eml", "encrypted")]


@pytest.mark.parametrize("pack", [lambda files: tarred(files, "w:xz"), zipped])
def test_archive_bomb_is_stopped(tmp_path: Path, pack: Callable[[Sequence[tuple[str, bytes]]], bytes]) -> None:
    path = tmp_path / "x.archive"
    path.write_bytes(pack([(f"{n}.eml", bytes(1 << 20)) for n in range(20)]))
    found = read(path, Limits(ratio=10, floor=5 << 20))
    assert found[-1] == Skipped("x.archive", "archive unpacks to too much")
    assert 4 <= len(found) <= 7


def test_header_that_claims_to_be_huge_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        info = tarfile.TarInfo("name")
        info.type, info.size = tarfile.XHDTYPE, 64 << 20
        archive.addfile(info, io.BytesIO(bytes(64 << 20)))
    path.write_bytes(target.getvalue())
    assert read(path) == [Skipped("x.tar.gz", "archive unpacks to too much")]


def test_too_many_members_are_stopped(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tarred([(f"{n}.eml", b"") for n in range(30)]))
    found = read(path, Limits(members=10))
    assert len(found) == 11
    assert found[-1] == Skipped("x.tar", "archive unpacks to too much")
