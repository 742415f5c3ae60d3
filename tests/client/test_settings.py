from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked
from pydantic import SecretStr, ValidationError

from kerio_resync.errors import BadSettings, LocalError
from kerio_resync.profile_file import is_bound, load, make_profile, rebind, remember, remember_protocol, vouches
from kerio_resync.server.http.routes import route_of
from kerio_resync.settings import Settings, byte_rate, default_profile, with_password
from kerio_resync.variables import PASSWORD_VARIABLE

GIVEN = {"server": "mail.example.com", "user": "jane"}


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("500", 500),
        ("500B", 500),
        ("500k", 500 * 1024),
        ("10M", 10 * 2**20),
        ("10MiB", 10 * 2**20),
        ("10Mi", 10 * 2**20),
        ("1.5MiB", 1.5 * 2**20),
        ("1.5 MiB/s", 1.5 * 2**20),
        ("10MB", 10_000_000),
        ("64kB", 64_000),
        ("1g", 2**30),
    ],
)
def test_rates_are_read(text: str, rate: float) -> None:
    assert byte_rate(text) == rate
    assert Settings(profile=Path("p"), bwlimit=text).bwlimit == rate  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "M", "-1M", "0", "0M", "10 M B", "1e3", "10Mbit", "ten", "1.2.3k", "١k", "nan"])
def test_rates_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate in bytes per second"):
        byte_rate(text)


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("mail.example.com", "https://mail.example.com"),
        ("mail.example.com:8443", "https://mail.example.com:8443"),
        ("https://Mail.Example.com/webmail/#x", "https://mail.example.com"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        (" https://bücher.example\n", "https://bücher.example"),
        ("", ""),
    ],
)
def test_a_server_is_kept_as_its_origin(written: str, origin: str) -> None:
    assert Settings(profile=Path("p"), server=written).server == origin


@pytest.mark.parametrize(
    "written",
    [
        "ftp://x", "https://", "https://a b", "https://jane:secret@x", "https://x:99999", "https://x:port", "https://[::1",
        "file:///etc/passwd", "https://x:0", "https://a\\b", "https://x:",
    ],
)  # fmt: skip
def test_a_server_that_is_none_is_refused(written: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(profile=Path("p"), server=written)
    assert "secret" not in str(caught.value.errors(include_input=False))


@pytest.mark.parametrize(
    ("server", "clear"),
    [
        ("https://mail.example.com", False),
        ("http://mail.example.com", True),
        ("http://127.0.0.1:1", False),
        ("http://[::1]:1", False),
        ("http://localhost", False),
    ],
)
def test_a_password_in_clear_is_noticed(server: str, clear: bool) -> None:
    assert Settings(profile=Path("p"), server=server).sends_in_clear is clear


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text('server = "https://a"\nuser = "jane"\nmax_in_flight = 7\nbwlimit = "1M"\n')
    settings = load(tmp_path, {"server": "https://b", "user": None, "bwlimit": None, "attachments": None})
    assert (settings.server, settings.user, settings.max_in_flight) == ("https://b", "jane", 7)
    assert settings.bwlimit == 2**20
    assert settings.attachments == "all"
    assert load(tmp_path, {"bwlimit": "2M"}).bwlimit == 2 * 2**20


@pytest.mark.parametrize("text", ["retry_timeout = 5", "patience = 5", "patience = 9\nretry_timeout = 5"])
def test_load_reads_the_retry_timeout_under_its_former_name_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.toml").write_text(text)
    assert load(tmp_path, {}).retry_timeout == 5


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ('"22:00"', "22:00"), ("22:00:00", "22:00:00"), ("2026-12-01T22:00:00Z", "2026-12-01T22:00:00+00:00"),
        ('"none"', ""), ('""', ""),
    ],
)  # fmt: skip
def test_load_reads_times_as_text_and_as_toml_has_them(written: str, kept: str, tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text(f"not_before = {written}\nsplay = 90\n")
    settings = load(tmp_path, {})
    assert (settings.not_before, settings.splay) == (kept, 90)


def test_remember_saves_no_window_from_the_command_line(tmp_path: Path) -> None:
    given = {**GIVEN, "splay": "30m", "not_before": "22:00", "bwlimit": "1M"}
    remember(load(tmp_path, given), given, bound=False)
    assert load(tmp_path, {}).splay == 0
    assert load(tmp_path, {}).bwlimit == 2**20


def test_a_profile_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path / "none", {}) == Settings(profile=tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("server = ", "is not valid TOML"),
        ("serfer = 'x'", "no setting 'serfer'"),
        ("fresh = true", "no setting 'fresh'"),
        ("profile = '/x'", "no setting 'profile'"),
        ("password = 'hunter2'", "must not be in a file"),
        ("max_in_flight = 0", "profile.toml: max_in_flight: Input should be greater than or equal to 1"),
        ("bwlimit = 'fast'", "profile.toml: bwlimit: must be a rate"),
        ("attachments = 'some'", "profile.toml: attachments: Input should be 'all', 'inbox' or 'none'"),
        ("ca_file = 'none.pem'", "ca_file: there is no file"),
        ("user = 1", "profile.toml: user: Input should be a valid string"),
    ],
)
def test_a_bad_file_is_named_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "profile.toml").write_text(text)
    with pytest.raises(BadSettings) as caught:
        load(tmp_path, {})
    assert says in caught.value.detail
    assert "hunter2" not in caught.value.detail
    assert "\n" not in caught.value.detail


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_bytes(b"server = \xff")
    with pytest.raises(BadSettings, match="is not UTF-8"):
        load(tmp_path, {})


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_load_reads_a_file_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "profile.toml"
    file.write_bytes("# Zoë\r\nserver = 'https://a'\r\nuser = 'zoë'\r\n".encode(encoding))
    assert load(tmp_path, {}).user == "zoë"
    rebind(load(tmp_path, {"server": "https://b"}))
    assert (load(tmp_path, {}).server, "# Zoë" in file.read_text(encoding="utf-8")) == ("https://b", True)


def test_found_protocol_takes_the_place_of_its_commented_line(tmp_path: Path) -> None:
    remember(load(tmp_path, GIVEN), GIVEN, bound=False)
    before = (tmp_path / "profile.toml").read_text().splitlines()
    remember_protocol(load(tmp_path, {}), "jmap")
    after = (tmp_path / "profile.toml").read_text().splitlines()
    assert before[at := before.index('# protocol = "auto"')].startswith("# ")
    assert after == [*before[:at], 'protocol = "jmap"', *before[at + 1 :]]


def test_found_protocol_is_added_to_a_file_without_that_line(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text("server = 'https://a'\nuser = 'x'\n")
    remember_protocol(load(tmp_path, {}), "kerio")
    assert load(tmp_path, {}).protocol == "kerio"


def test_an_empty_proxy_is_none_whatever_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    asked = load(tmp_path, GIVEN)
    assert route_of(asked).proxy is not None
    (tmp_path / "profile.toml").write_text('proxy = ""\n')
    assert route_of(load(tmp_path, GIVEN)).proxy is None


def test_vouches_for_the_server_and_user_that_the_file_names(tmp_path: Path) -> None:
    asked = load(tmp_path, GIVEN)
    assert not vouches(asked)
    rebind(asked)  # there is no file, and none is made
    assert not (tmp_path / "profile.toml").exists()
    remember(asked, GIVEN, bound=False)
    assert vouches(asked)
    assert not vouches(asked.model_copy(update={"user": "eve"}))
    (tmp_path / "profile.toml").write_text("server = 'ftp://x'\n")
    assert not vouches(asked)


def test_a_bad_option_is_named_as_it_is_spelled(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"^--max-in-flight: "):
        load(tmp_path, {"max_in_flight": 0})
    with pytest.raises(BadSettings, match=r"^--server: must not contain a user name or password$"):
        load(tmp_path, {"server": "https://a:b@c"})


def test_a_ca_file_is_relative_to_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile, here = tmp_path / "profile", tmp_path / "here"
    for folder in (profile, here):
        folder.mkdir()
        (folder / "ca.pem").write_text("x")
    (profile / "profile.toml").write_text("ca_file = 'ca.pem'")
    monkeypatch.chdir(here)
    assert load(profile, {}).ca_file == profile / "ca.pem"
    assert load(profile, {"ca_file": Path("ca.pem")}).ca_file == here / "ca.pem"


def test_first_use_writes_the_file_for_its_owner_only_and_it_reads_back(tmp_path: Path) -> None:
    profile = tmp_path / "new" / "profile"
    given = {**GIVEN, "bwlimit": "10M", "attachments": "inbox", "shared": True, "fresh": True, "folders": ("A",)}
    settings = load(profile, given).model_copy(update={"password": SecretStr("hunter2")})
    make_profile(settings)
    remember(settings, given, bound=False)
    file = profile / "profile.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(profile.stat().st_mode) == 0o700
    text = file.read_text()
    assert "hunter2" not in text
    assert 'bwlimit = "10M"' in text
    assert "# max_in_flight = 64" in text
    again = load(profile, {})
    one_run = {"fresh": False, "folders": (), "password": SecretStr("")}
    assert again == settings.model_copy(update=one_run)


def test_every_option_in_the_file_is_a_setting_with_its_default(tmp_path: Path) -> None:
    remember(load(tmp_path, GIVEN), GIVEN, bound=False)
    file = tmp_path / "profile.toml"
    switched_on = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line
        for line in file.read_text().splitlines()
    )
    for example in ("/path/to/ca.pem", "/path/to/client.pem", "/path/to/password"):
        switched_on = switched_on.replace(f'"{example}"', f'"{file}"')
    file.write_text(switched_on)
    settings = load(tmp_path, {})
    unset = {
        "ca_file": None,
        "client_cert": None,
        "password_file": None,
        "fingerprint": "",
        "proxy": None,
        "bwlimit": None,
        "since": "",
        "exclude_folders": (),
        "not_before": "",
        "not_after": "",
        "splay": 0.0,
    }
    assert settings.model_copy(update=unset) == load(tmp_path / "x", GIVEN).model_copy(update={"profile": tmp_path})


def test_a_file_below_the_home_folder_is_found_in_the_profile_and_after_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.pem").touch()
    profile = tmp_path / "p"
    assert load(profile, GIVEN | {"ca_file": Path("~/ca.pem")}).ca_file == tmp_path / "ca.pem"
    profile.mkdir()
    (profile / "profile.toml").write_text('ca_file = "~/ca.pem"\n')
    assert load(profile, GIVEN).ca_file == tmp_path / "ca.pem"
    with pytest.raises(BadSettings, match="there is no file"):
        load(profile, GIVEN | {"ca_file": Path("~nobodyhere/ca.pem")})


def test_a_second_run_leaves_the_file_alone_once_there_is_a_cache(tmp_path: Path) -> None:
    remember(load(tmp_path, GIVEN), GIVEN, bound=False)
    before = (tmp_path / "profile.toml").read_text()
    other = {"server": "other.example.com", "user": "joe", "max_in_flight": 3}
    for name in ("cache.db", "cache.db.next"):
        assert not is_bound(load(tmp_path, {}))
        (tmp_path / name).touch()
        assert is_bound(load(tmp_path, {}))
        (tmp_path / name).unlink()
    remember(load(tmp_path, other), other, bound=True)
    assert (tmp_path / "profile.toml").read_text() == before


def test_without_a_cache_a_mistyped_server_is_corrected_and_comments_stay(tmp_path: Path) -> None:
    remember(load(tmp_path, GIVEN), GIVEN, bound=False)
    file = tmp_path / "profile.toml"
    file.write_text(file.read_text() + "# mine\npatience = 5.0\n")
    other = {"server": "other.example.com", "max_in_flight": 3, "ca_file": file}
    remember(load(tmp_path, other), other, bound=False)
    assert (load(tmp_path, {}).max_in_flight, load(tmp_path, {}).ca_file) == (3, file)
    assert 'server = "https://other.example.com"' in file.read_text()
    assert "# mine" in file.read_text()
    assert load(tmp_path, {}).retry_timeout == 5
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_profile_that_can_not_be_a_folder_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="not a folder"):
        make_profile(load(tmp_path / where, GIVEN))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadSettings, match="not writable"):
        make_profile(load(tmp_path, GIVEN))
    tmp_path.chmod(0o700)


def test_a_folder_that_the_system_calls_unwritable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(BadSettings, match="not writable"):
        make_profile(load(tmp_path, GIVEN))


class Ring(KeyringBackend):
    priority = 1

    def __init__(self, entries: dict[tuple[str, str], str] | Exception) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entries = entries

    def get_password(self, service: str, username: str) -> str | None:
        if isinstance(self.entries, Exception):
            raise self.entries
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError


@pytest.fixture
def ring() -> object:
    former = keyring.get_keyring()
    yield lambda entries: keyring.set_keyring(Ring(entries))
    keyring.set_keyring(former)


def no_prompt(_: str) -> str:
    raise AssertionError("the prompt must not appear")


def test_the_password_comes_from_the_variable_then_the_keyring_then_a_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ring: Any
) -> None:
    settings = load(tmp_path, GIVEN)
    ring({("kerio-resync:https://mail.example.com", "jane"): "from the keyring"})
    monkeypatch.setenv(PASSWORD_VARIABLE, "from the variable")
    assert with_password(settings, no_prompt).password.get_secret_value() == "from the variable"
    monkeypatch.setenv(PASSWORD_VARIABLE, "")
    assert with_password(settings, no_prompt).password.get_secret_value() == "from the keyring"
    ring({})
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "typed"

    assert with_password(settings, ask).password.get_secret_value() == "typed"
    assert asked == ["Password of jane at https://mail.example.com: "]


@pytest.mark.parametrize("trouble", [KeyringLocked("locked"), RuntimeError("no bus"), OSError()])
def test_a_keyring_in_trouble_is_never_fatal(tmp_path: Path, ring, trouble: Exception) -> None:  # type: ignore[no-untyped-def]
    ring(trouble)
    assert with_password(load(tmp_path, GIVEN), lambda _: "typed").password.get_secret_value() == "typed"


def test_no_password_anywhere_says_where_it_could_be(tmp_path: Path, ring) -> None:  # type: ignore[no-untyped-def]
    ring({})
    for ask in (None, lambda _: ""):
        with pytest.raises(BadSettings, match=PASSWORD_VARIABLE):
            with_password(load(tmp_path, GIVEN), ask)


def test_a_password_is_not_shown_by_accident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "hunter2")
    settings = with_password(load(tmp_path, GIVEN), None)
    assert "hunter2" not in f"{settings!r}{settings}{settings.model_dump()}{settings.model_dump_json()}"


def test_the_default_profile_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_profile().name == "kerio-resync"
    assert default_profile().is_absolute()


@pytest.mark.parametrize("given", [{"user": "\udcff"}, {"folders": ("Inbox", "a\udcfc")}])
def test_load_refuses_names_with_undecodable_bytes(given: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"--(user|folder): must be text") as caught:
        load(tmp_path, given)
    str(caught.value).encode()


def test_load_ignores_blanks_around_a_user_name(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text('user = " jane "\n', encoding="utf-8-sig")
    assert load(tmp_path, {}).user == "jane"


@pytest.mark.parametrize(("value", "problem"), [("x\n", "line end"), ("x\r\n", "line end"), ("caf\udce9", "UTF-8")])
def test_with_password_names_a_line_end_and_foreign_bytes(
    value: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, value)
    with pytest.raises(BadSettings, match=f"{PASSWORD_VARIABLE}.*{problem}"):
        with_password(Settings(profile=tmp_path, server="https://mail.example.com", user="jane"), None)


@pytest.mark.parametrize("text", ["pass-word", "pass-word\n", "pass-word\r\n"])
def test_password_file_precedes_variable(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "other")
    (tmp_path / "password").write_bytes(text.encode())
    settings = load(tmp_path, GIVEN | {"password_file": tmp_path / "password"})
    assert with_password(settings, None).password.get_secret_value() == "pass-word"


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "is empty"), (b"one\ntwo\n", "more than one line"), (b"\xff", "is not UTF-8"), (None, "there is no file")],
)
def test_unusable_password_file_is_refused(data: bytes | None, says: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "password").write_bytes(data)
    with pytest.raises(BadSettings, match=says):
        with_password(load(tmp_path, GIVEN | {"password_file": tmp_path / "password"}), None)
