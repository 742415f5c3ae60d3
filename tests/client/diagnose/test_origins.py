from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kerio_resync.diagnose.origins import load_complete
from kerio_resync.variables import PASSWORD_VARIABLE, TOKEN_VARIABLE
from tests.support.cache import IDENTITY, filled


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")


def found(profile: Path, **given: Any) -> dict[str, tuple[str, str]]:
    return {name: (value, source) for name, value, source in load_complete(profile, given)[1]}


def test_each_setting_names_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://jane:proxy-secret@proxy:3128")
    monkeypatch.setenv(PASSWORD_VARIABLE, "pass-word")
    (tmp_path / "profile.toml").write_text('server = "https://x"\nuser = "jane"\nbwlimit = "10M"\nshared = true\n')
    origins = found(tmp_path, user="ann", attachments=None)
    assert origins["server"] == ("https://x", "profile.toml")
    assert origins["user"] == ("ann", "command line")
    assert origins["bwlimit"] == ("10485760", "profile.toml")
    assert origins["shared"] == ("true", "profile.toml")
    assert origins["attachments"] == ("all", "default")
    assert origins["ca_file"] == ("", "default")
    assert origins["proxy"] == ("http://proxy:3128 (with a login)", "https_proxy")
    assert origins["password"] == ("set", PASSWORD_VARIABLE)
    assert "fresh" not in origins
    assert not any(secret in str(origins) for secret in ("proxy-secret", "pass-word"))


def test_window_names_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERIO_RESYNC_SPLAY", "30m")
    monkeypatch.setenv("KERIO_RESYNC_NOT_AFTER", "05:00")
    (tmp_path / "profile.toml").write_text('not_before = "22:00"\nnot_after = "06:00"\n')
    origins = found(tmp_path)
    assert origins["splay"] == ("1800", "KERIO_RESYNC_SPLAY")
    assert origins["not_before"] == ("22:00", "profile.toml")
    assert origins["not_after"] == ("05:00", "KERIO_RESYNC_NOT_AFTER")
    assert found(tmp_path, not_after="04:00")["not_after"] == ("04:00", "command line")


@pytest.mark.parametrize(
    ("setting", "environment", "expected"),
    [
        ("none", "http://proxy:3128", ("none", "profile.toml")),
        ("socks5://proxy", "", ("socks5://proxy:1080", "profile.toml")),
        (None, "ftp://proxy", ("unusable (https_proxy: a proxy must be http://", "default")),
    ],
)
def test_proxy_is_what_a_rebuild_would_use(
    setting: str | None, environment: str, expected: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", environment)
    lines = ['server = "https://x"', *([] if setting is None else [f'proxy = "{setting}"'])]
    (tmp_path / "profile.toml").write_text("\n".join(lines))
    value, source = found(tmp_path)["proxy"]
    assert (value[: len(expected[0])], source) == expected


async def test_server_and_user_come_from_the_cache(tmp_path: Path) -> None:
    await (await filled(tmp_path / "cache.db")).close()
    origins = found(tmp_path)
    assert origins["server"] == (IDENTITY.server, "cache")
    assert origins["user"] == (IDENTITY.user, "cache")


def test_password_file_is_named_and_its_password_is_not(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pass-word\n")
    (tmp_path / "profile.toml").write_text('password_file = "secret"\n')
    origins = found(tmp_path)
    assert origins["password"] == ("set", str(tmp_path / "secret"))
    (tmp_path / "secret").write_text("")
    assert found(tmp_path)["password"][0].startswith("unusable (the password file")


def test_profile_names_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("KERIO_RESYNC_PROFILE", str(tmp_path / "variable"))
    sources = {name: found(tmp_path / name)["profile"][1] for name in ("kerio-resync", "variable", "other")}
    assert sources == {"kerio-resync": "default", "variable": "KERIO_RESYNC_PROFILE", "other": "command line"}


def test_token_is_named_instead_of_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "bearer-secret")
    monkeypatch.setenv(PASSWORD_VARIABLE, "pass-word")
    (tmp_path / "profile.toml").write_text('server = "https://x"\nuser = "jane"\n')
    origins = found(tmp_path)
    assert origins["token"] == ("set", TOKEN_VARIABLE)
    assert "password" not in origins
    assert "bearer-secret" not in str(origins)
