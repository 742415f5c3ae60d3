"""The list of test accounts, and the check by logging in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from kerio_mockserver.testing import running
from kerio_resync.errors import BadCredentials, BadSettings, Unreachable
from kerio_resync.fleet.measure.accounts import Account, check_accounts, read_accounts
from kerio_resync.settings import Settings


def write(folder: Path, content: bytes) -> Path:
    path = folder / "accounts.csv"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"anna,one\nben,t\xc3\xb6o\n",
        b"user,password\r\nanna,one\r\nben,t\xc3\xb6o\r\n",
        b"\xef\xbb\xbfUser, Password\nanna, one\n\nben, t\xc3\xb6o",
        b'"anna","one"\nben,"t\xc3\xb6o"\n',
    ],
)
def test_read_accounts_takes_usual_csv(tmp_path: Path, content: bytes) -> None:
    found = read_accounts(write(tmp_path, content))
    assert [(account.user, account.password.get_secret_value()) for account in found] == [
        ("anna", "one"),
        ("ben", "töo"),
    ]


def test_read_accounts_keeps_commas_and_quotes_in_a_password(tmp_path: Path) -> None:
    (account,) = read_accounts(write(tmp_path, b'anna,"a,""b"" "\n'))
    assert account.password.get_secret_value() == 'a,"b" '


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty; write a line"),
        (b"user,password\n", "is empty; write a line"),
        (b"anna,hunter2\nben\n", "line 2: there must be a user and a password"),
        (b"anna,hunter2,x\n", "line 1: there must be a user and a password"),
        (b"anna,\n", "line 1: the password is empty"),
        (b",hunter2\n", "line 1: the user is empty"),
        (b"anna,hunter2\nanna,hunter2\n", "line 2: anna is in the list twice"),
        (b'anna,"hunter2\n', "line 1: this is not CSV"),
        (b"anna,hunter2\xff\n", "is not UTF-8"),
    ],
)
def test_read_accounts_names_the_line_and_no_password(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(BadSettings) as caught:
        read_accounts(write(tmp_path, content))
    assert problem in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_read_accounts_refuses_a_file_that_others_can_read(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path, b"anna,one\n")
    path.chmod(mode)
    with pytest.raises(BadSettings, match=f"run `chmod 600 {path}`"):
        read_accounts(path)


def test_read_accounts_reports_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"cannot be read: no such file"):
        read_accounts(tmp_path / "accounts.csv")


def test_an_account_does_not_show_its_password() -> None:
    assert "hunter2" not in repr(Account("anna", SecretStr("hunter2")))


def account(password: str, user: str = "anna") -> Account:
    return Account(user, SecretStr(password))


async def test_check_accounts_leaves_out_what_the_server_refuses(tmp_path: Path) -> None:
    async with running(mails=5) as server:
        base = Settings(profile=tmp_path, server=server.url, proxy=SecretStr(""))
        counts: list[int] = []
        accounts = [account("wrong", "anna"), account("secret"), account("secret", "carla")]
        checked = await check_accounts(base, accounts, counts.append)
        assert server.core.stats.as_json()["requests"]["Session.login"] == 3  # each once: nothing is locked
    assert checked.accounts == (accounts[1],)
    assert checked.rejected == ("anna", "carla")
    assert (checked.protocol, counts) == ("kerio", [1, 2, 3])
    assert checked.items >= 5
    assert checked.bytes > 0


async def test_check_accounts_fails_if_all_are_refused(tmp_path: Path) -> None:
    async with running(mails=1) as server:
        base = Settings(profile=tmp_path, server=server.url, protocol="kerio", proxy=SecretStr(""))
        with pytest.raises(BadCredentials):
            await check_accounts(base, [account("wrong")], lambda count: None)


async def test_check_accounts_reports_an_unreachable_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kerio_resync.fleet.measure.accounts.RETRY_SECONDS", 0.1)
    base = Settings(profile=tmp_path, server="http://127.0.0.1:9", protocol="kerio", proxy=SecretStr(""))
    with pytest.raises(Unreachable):
        await check_accounts(base, [account("secret")], lambda count: None)
