"""The accounts to measure with: a list in a file, checked by logging in once.

The file is CSV: a user and a password per line, perhaps with the header `user,password`. It must be readable by its
owner only. A wrong password is tried once, so that no account is locked.
"""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from kerio_resync.errors import BadCredentials, BadSettings, Overloaded
from kerio_resync.filesystem import read_small
from kerio_resync.os_errors import reason_of
from kerio_resync.server.connect import open_mailbox
from kerio_resync.settings import Settings
from kerio_resync.sync.disk_space import expected_bytes
from kerio_resync.sync.fetch.folders import syncable

LOGIN_SECONDS = 30.0
RETRY_SECONDS = 10.0
_HEADER = ["user", "password"]
_OTHERS = 0o077  # permissions of other users


@dataclass(frozen=True, slots=True)
class Account:
    """A user with a password or a token."""

    user: str
    password: SecretStr = field(default=SecretStr(""), repr=False)
    token: SecretStr | None = field(default=None, repr=False)

    def settings(self, base: Settings) -> Settings:
        """Return the settings of a run as this user."""
        return base.model_copy(update={"user": self.user, "password": self.password, "token": self.token})


class Checked(NamedTuple):
    """The accounts that could log in, with their mailboxes' mean size.

    `items`, `bytes`: of one mailbox; `bytes` is 0 if the server states no sizes. `protocol`: of the server. `rejected`:
    the users whom the server refused.
    """

    accounts: tuple[Account, ...]
    items: int
    bytes: int
    protocol: str
    rejected: tuple[str, ...]


def read_accounts(path: Path) -> tuple[Account, ...]:
    """Read a list of accounts; BadSettings if it is unusable.

    No message quotes a password.
    """
    try:
        if os.name == "posix" and path.stat().st_mode & _OTHERS:
            raise BadSettings(f"other users can read the passwords in {path}: run `chmod 600 {path}`")
        data = read_small(path)
    except OSError as error:
        raise BadSettings(f"the list of accounts {path} cannot be read: {reason_of(error)}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadSettings(f"the list of accounts {path} is not UTF-8; save it as UTF-8") from None
    accounts: dict[str, Account] = {}
    reader = csv.reader(text.splitlines(), skipinitialspace=True, strict=True)
    try:
        for row in reader:
            if not any(row) or (not accounts and [cell.strip().lower() for cell in row] == _HEADER):
                continue
            _add(accounts, row, f"{path}, line {reader.line_num}")
    except csv.Error:
        raise BadSettings(
            f'{path}, line {reader.line_num}: this is not CSV; write a password with a quotation mark as "a""b"'
        ) from None
    if not accounts:
        raise BadSettings(f"the list of accounts {path} is empty; write a line `user,password` for each account")
    return tuple(accounts.values())


def _add(accounts: dict[str, Account], row: Sequence[str], place: str) -> None:
    if len(row) != len(_HEADER):
        raise BadSettings(f"{place}: there must be a user and a password; put one with a comma in quotation marks")
    user, password = row[0].strip(), row[1]
    if not user or not password:
        raise BadSettings(f"{place}: the {'password' if user else 'user'} is empty")
    if user in accounts:
        raise BadSettings(f"{place}: {user} is in the list twice")
    accounts[user] = Account(user, SecretStr(password))


async def check_accounts(base: Settings, accounts: Sequence[Account], progress: Callable[[int], None]) -> Checked:
    """Log in as each user, one after the other, and look at the mailboxes.

    `progress` gets the number of accounts checked so far. BadCredentials if the server refuses all of them; the errors
    of a login otherwise.
    """
    good, rejected, sizes = list[Account](), list[str](), list[tuple[int, int]]()
    refusal: BadCredentials | None = None
    for number, account in enumerate(accounts, 1):
        try:
            base, size = await _look(base, account)
        except BadCredentials as error:
            refusal = error
            rejected.append(account.user)
        else:
            good.append(account)
            sizes.append(size)
        progress(number)
    if refusal is not None and not good:
        raise refusal
    items, size_bytes = (sum(column) // len(good) for column in zip(*sizes, strict=True))
    return Checked(tuple(good), items, size_bytes, base.protocol, tuple(rejected))


async def _look(base: Settings, account: Account) -> tuple[Settings, tuple[int, int]]:
    """Return the settings with the protocol, and a mailbox's items and bytes."""
    settings = account.settings(base)
    try:
        async with asyncio.timeout(LOGIN_SECONDS):
            mailbox = await open_mailbox(settings.model_copy(update={"retry_timeout": RETRY_SECONDS}))
            try:
                identity = await mailbox.open()
                folders = await mailbox.folders()
            finally:
                await mailbox.close()
    except TimeoutError:
        raise Overloaded(f"the login as {account.user} got no answer within {LOGIN_SECONDS:.0f} s") from None
    known = base.model_copy(update={"protocol": identity.protocol})
    return known, (sum(folder.count for folder in syncable(folders)), expected_bytes(folders, "all"))
