"""The sync key, and the changes since then.

The key is the states of mails and folders of each account, as JSON. A state that is a number may not go down: then the
server was restored from a backup, and the key means something else there. What changed of an existing mail are its
keywords and its mailboxes, so the reply has all that is needed, and no contents are fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from kerio_resync.errors import KeyExpired, ProtocolError
from kerio_resync.model import ChangeSet, ItemPatch, RemoteChange
from kerio_resync.server.jmap import emails
from kerio_resync.server.jmap.client import JmapClient
from kerio_resync.server.jmap.methods import Call, result_of

MAX_PAGES: Final = 32  # in one set of changes; the rest comes in the next
MAX_CHANGES: Final = 500  # per page, or as many as the server returns of one get
_COUNTS: Final = frozenset({"totalEmails", "unreadEmails", "totalThreads", "unreadThreads"})
_TYPES: Final = ("Email", "Mailbox")

States = dict[str, dict[str, str]]  # by account, then by type


def key_of(states: States) -> str:
    """Return states as a sync key."""
    return json.dumps(states, sort_keys=True, separators=(",", ":"))


def states_of(key: str) -> States:
    """Return the states of a sync key. KeyExpired if it is not one."""
    try:
        value = json.loads(key)
        return {str(account): {name: str(states[name]) for name in _TYPES} for account, states in value.items()}
    except (ValueError, TypeError, AttributeError, KeyError):
        raise KeyExpired("not a key of this server") from None


async def current_states(client: JmapClient, accounts: Sequence[str]) -> States:
    """Return the states of accounts, in as few requests as the server allows."""
    states: States = {}
    per_request = max(1, client.resource.limits.calls_in_request // len(_TYPES))
    for start in range(0, len(accounts), per_request):
        some = accounts[start : start + per_request]
        calls = [Call(f"{name}/get", {"accountId": account, "ids": []}) for account in some for name in _TYPES]
        answer = await client.call(calls, check=lambda results: _check_states(results, "state"))
        for call, result in zip(calls, answer.results, strict=True):
            states.setdefault(call.arguments["accountId"], {})[call.method.partition("/")[0]] = result["state"]
    return states


async def changes_since(client: JmapClient, key: str, accounts: Sequence[str], sizes: dict[str, int]) -> ChangeSet:
    """Return the changes since `key`, as `Mailbox.changes` describes.

    `sizes` learns the bytes of the mails that were created.
    """
    known = states_of(key)
    if not known.keys() >= set(accounts):
        raise KeyExpired("the key is that of other accounts")
    states = {account: known[account] for account in accounts}
    changes: list[RemoteChange] = []
    patches: list[ItemPatch] = []
    for account in accounts:
        feed = _Feed(client, account, states[account], sizes)
        await feed.read()
        states[account] = feed.states
        changes += [*feed.folders.values(), *feed.mails.values()]
        patches += feed.patches.values()
    return ChangeSet(tuple(changes), key_of(states), tuple(patches))


async def fetch_patches(client: JmapClient, account: str, email_ids: Sequence[str]) -> list[ItemPatch]:
    """Return flags and folders of mails, except those that are gone or in no folder."""
    scope = partial(client.resource.scoped, account)
    patches: list[ItemPatch] = []
    most = client.resource.limits.objects_in_get
    for start in range(0, len(email_ids), most):
        some = list(email_ids[start : start + most])
        call = Call("Email/get", {"accountId": account, "ids": some, "properties": emails.CHANGEABLE})
        answer = await client.call([call], check=lambda results: _check_list(results[0]))
        patches += [emails.patch_of(email, scope, answer.canonical) for email in _emails(answer.results[0])]
    return [patch for patch in patches if patch.version and patch.folder_ids]


@dataclass(slots=True)
class _Feed:
    """The changes of one account so far; `states` are those after them."""

    client: JmapClient
    account: str
    states: dict[str, str]
    sizes: dict[str, int]
    folders: dict[str, RemoteChange] = field(default_factory=dict)
    mails: dict[str, RemoteChange] = field(default_factory=dict)
    patches: dict[str, ItemPatch] = field(default_factory=dict)

    async def read(self) -> None:
        """Read pages until the server has no more, or there are many."""
        pending: tuple[str, ...] = _TYPES
        for _ in range(MAX_PAGES):
            pending = await self._read_page(pending)
            if not pending:
                return
        if not (self.folders or self.mails or self.patches):
            raise KeyExpired("the server has more changes without end")

    async def _read_page(self, types: Sequence[str]) -> tuple[str, ...]:
        """Read one page of each of `types`; return those that have more."""
        calls: list[Call] = []
        first = {}
        for name in types:
            first[name] = len(calls)
            calls += self._calls(name, len(calls))
        # A page may have all the mails that were created, but no contents.
        answer = await self.client.call(calls, check=lambda results: _check_changes(calls, results))
        more = []
        for name in types:
            result = answer.results[first[name]]
            if name == "Email":
                self._take_mails(result, *answer.results[first[name] + 1 : first[name] + 3], canonical=answer.canonical)
            else:
                self._take_folders(result)
            if self._advance(name, result):
                more.append(name)
        return tuple(more)

    def _calls(self, name: str, index: int) -> list[Call]:
        most = min(MAX_CHANGES, self.client.resource.limits.objects_in_get)
        arguments = {"accountId": self.account, "sinceState": self.states[name], "maxChanges": most}
        changes = Call(f"{name}/changes", arguments)
        if name != "Email":
            return [changes]
        created = {"#ids": result_of(index, changes, "/created"), "properties": emails.LISTED}
        updated = {"#ids": result_of(index, changes, "/updated"), "properties": emails.CHANGEABLE}
        return [changes, *(Call("Email/get", {"accountId": self.account, **more}) for more in (created, updated))]

    def _advance(self, name: str, result: Mapping[str, Any]) -> bool:
        """Take over the new state; return whether there are more changes.

        KeyExpired if the state went back, or does not move though there are changes.
        """
        old, new = self.states[name], result["newState"]
        if old.isdecimal() and new.isdecimal() and int(new) < int(old):
            raise KeyExpired("the server's state went back, as after a restore")
        self.states[name] = new
        if result.get("hasMoreChanges") is not True:
            return False
        if new == old:
            if any(result.get(member) for member in ("created", "updated", "destroyed")):
                raise KeyExpired("the server's state does not move")
            return False
        return True

    def _take_mails(
        self, changes: Mapping[str, Any], created: Mapping[str, Any], updated: Mapping[str, Any], *, canonical: Any
    ) -> None:
        scope = partial(self.client.resource.scoped, self.account)
        for email_id in map(scope, _texts(changes.get("destroyed"))):
            self.patches.pop(email_id, None)
            self.mails[email_id] = RemoteChange("deleted", email_id, "")
        for email in _emails(created):
            row = emails.row_of(email, scope)
            self.patches.pop(row.id, None)
            self.mails[row.id] = _creation(row.id, row.folder_ids, row.version)
            self.sizes[row.id] = row.size
        for email in _emails(updated):
            patch = emails.patch_of(email, scope, canonical)
            before = self.mails.get(patch.id)
            self.mails.pop(patch.id, None)
            self.patches.pop(patch.id, None)
            if patch.version and not patch.folder_ids:  # in no folder that the user may see
                self.mails[patch.id] = RemoteChange("deleted", patch.id, "")
            elif not patch.version or (before is not None and before.type == "created"):
                self.mails[patch.id] = _creation(patch.id, patch.folder_ids, patch.version)
            else:
                self.patches[patch.id] = patch

    def _take_folders(self, changes: Mapping[str, Any]) -> None:
        scope = partial(self.client.resource.scoped, self.account)
        properties = changes.get("updatedProperties")
        counts_only = isinstance(properties, list) and _COUNTS.issuperset(map(str, properties))
        for member, type_ in (("created", "created"), ("updated", "modified"), ("destroyed", "deleted")):
            if member == "updated" and counts_only:
                continue
            for folder_id in map(scope, _texts(changes.get(member))):
                self.folders[folder_id] = RemoteChange(type_, folder_id, "", is_folder=True)  # type: ignore[arg-type]


def _creation(item_id: str, folder_ids: tuple[str, ...], version: str) -> RemoteChange:
    parent = folder_ids[0] if folder_ids else ""
    return RemoteChange("created", item_id, parent, kind="mail", version=version, folder_ids=folder_ids)


def _check_states(results: Sequence[Mapping[str, Any]], member: str) -> None:
    if not all(isinstance(result.get(member), str) and result[member] for result in results):
        raise ProtocolError("the server sent no state")


def _check_changes(calls: Sequence[Call], results: Sequence[Mapping[str, Any]]) -> None:
    feeds = [result for call, result in zip(calls, results, strict=True) if call.method.endswith("/changes")]
    _check_states(feeds, "newState")
    for result in feeds:
        if not all(isinstance(result.get(member, []), list) for member in ("created", "updated", "destroyed")):
            raise ProtocolError("the server sent invalid changes")


def _check_list(result: Mapping[str, Any]) -> None:
    _emails(result)


def _emails(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    values = result.get("list")
    if not isinstance(values, list):
        raise ProtocolError("Email/get is answered without a list")
    return [value for value in values if isinstance(value, dict) and isinstance(value.get("id"), str)]


def _texts(values: Any) -> list[str]:
    return [value for value in values or () if isinstance(value, str) and value]
