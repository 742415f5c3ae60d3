"""The methods of `Folders`: the own mailbox, public folders, shared mailboxes.

Open (chosen here): subscriptions are empty and cannot be set; permissions name the owner only; `removeByType` and
`moveByType` treat their folders as `remove` and `set` do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kerio_mockserver.api.call import Call, method
from kerio_mockserver.api.errors import no_such_folder
from kerio_mockserver.api.items import for_each_id


@method("Folders.get")
def get(call: Call) -> dict[str, Any]:
    return {"list": list(call.server.store.folders())}


@method("Folders.getPublic")
def get_public(call: Call) -> dict[str, Any]:
    return {"list": list(call.server.store.folders("public"))}


@method("Folders.getSharedMailboxList")
def shared_mailboxes(call: Call) -> dict[str, Any]:
    return {"mailboxes": list(call.server.store.shared_mailboxes())}


@method("Folders.getShared")
def get_shared(call: Call) -> dict[str, Any]:
    return {"list": list(call.server.store.shared_folders(call.params["mailboxId"]))}


@method("Folders.getSubscribed")
def subscribed(call: Call) -> dict[str, Any]:
    return {"list": []}


@method("Folders.getSubscriptionList")
def subscription_list(call: Call) -> dict[str, Any]:
    return {"folderIds": []}


@method("Folders.getAutoCompleteContactsFolderId")
def auto_complete_folder(call: Call) -> dict[str, Any]:
    for folder in call.server.store.folders():
        if folder["type"] == "FContact":
            return {"folderId": folder["id"]}
    raise no_such_folder("")


@method("Folders.getPermissions")
def permissions(call: Call) -> dict[str, Any]:
    store = call.server.store
    store.folder(call.params["folderId"])
    owner = {
        "id": f"keriostorage://user/{store.domain}/{store.user}",
        "type": "ptUser",
        "displayName": store.user,
        "mailAddress": f"{store.user}@{store.domain}",
    }
    return {"permissions": [{"access": "FAccessAdmin", "principal": owner, "inherited": False, "isDelegatee": False}]}


@method("Folders.create")
def create(call: Call) -> dict[str, Any]:
    return for_each_id(call.params["folders"], call.server.store.create_folder)


@method("Folders.set")
def set_(call: Call) -> dict[str, Any]:
    return {"errors": _errors(call.params["folders"], call.server.store.set_folder)}


@method("Folders.moveByType")
def move_by_type(call: Call) -> dict[str, Any]:
    target = call.params["targetId"]
    return {
        "errors": _errors(
            call.params["ids"], lambda folder_id: call.server.store.set_folder({"id": folder_id, "parentId": target})
        )
    }


@method("Folders.remove")
def remove(call: Call) -> dict[str, Any]:
    recursive = call.params["recursive"]
    return {
        "errors": _errors(call.params["ids"], lambda folder_id: call.server.store.remove_folder(folder_id, recursive))
    }


@method("Folders.removeByType")
def remove_by_type(call: Call) -> dict[str, Any]:
    return {"errors": _errors(call.params["ids"], lambda folder_id: call.server.store.remove_folder(folder_id, True))}


@method("Folders.copyAllMessages")
def copy_all(call: Call) -> dict[str, Any]:
    store = call.server.store
    target = store.folder(call.params["destId"]).id
    for item_id in list(store.folder(call.params["sourceId"]).ordered("id")):
        if call.params["doMove"]:
            store.move(item_id, target)
        else:
            store.copy(item_id, target)
    return {}


def _errors(inputs: Sequence[Any], act: Callable[[Any], Any]) -> list[dict[str, Any]]:
    def one(given: Any) -> tuple[str, int]:
        act(given)
        return "", 0

    errors: list[dict[str, Any]] = for_each_id(inputs, one)["errors"]
    return errors
