"""The method calls of the double, on one account's store."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.support.jmap_double.parsing import parsed
from tests.support.jmap_double.store import CannotCalculate, Mail, Mailbox, Store, Type, base64_text


class MethodError(Exception):
    """An error of one method call: its type, and more members."""

    def __init__(self, kind: str, **members: Any) -> None:
        super().__init__(kind)
        self.members = {"type": kind, **members}


def answer(store: Store, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of one call. MethodError."""
    if method == "Core/echo":
        return dict(arguments)
    known: dict[str, Callable[[Store, Mapping[str, Any]], dict[str, Any]]] = {
        "Email/get": email_get, "Email/query": email_query, "Email/changes": email_changes, "Email/set": email_set,
        "Email/import": email_import, "Mailbox/get": mailbox_get, "Mailbox/query": mailbox_query,
        "Mailbox/changes": mailbox_changes, "Blob/get": blob_get, "Quota/get": quota_get,
    }  # fmt: skip
    if method not in known or (method == "Blob/get" and not store.choices.blobs):
        raise MethodError("unknownMethod")
    return {"accountId": arguments.get("accountId"), **known[method](store, arguments)}


def _requested(store: Store, arguments: Mapping[str, Any], everything: Iterable[str], most: int) -> list[str]:
    ids = arguments.get("ids")
    wanted = list(everything) if ids is None else list(dict.fromkeys(ids))
    if len(wanted) > most:
        raise MethodError("requestTooLarge")
    return wanted


def email_get(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    choices = store.choices
    properties = arguments.get("properties") or ["id"]
    whole = choices.whole_objects_in_get if "bodyValues" in properties else 0
    wanted = _requested(store, arguments, store.mails, whole or choices.objects_in_get)
    found = [_email(store, store.mails[one], arguments, properties) for one in wanted if one in store.mails]
    return {
        "state": store.state,
        "list": found[::-1],  # the order is not that of the request
        "notFound": [one for one in wanted if one not in store.mails],
    }


def _email(store: Store, mail: Mail, arguments: Mapping[str, Any], properties: Iterable[str]) -> dict[str, Any]:
    value: dict[str, Any] = {
        "id": mail.id, "blobId": mail.blob_id, "threadId": f"T{mail.id}", "size": len(mail.source),
        "mailboxIds": dict.fromkeys(sorted(mail.mailboxes), True),
        "keywords": dict.fromkeys(sorted(mail.keywords), True),
        "receivedAt": mail.received,
    }  # fmt: skip
    if not set(properties) <= value.keys():
        from_source, texts, contents = parsed(mail.source)
        value |= from_source
        for member in ("textBody", "htmlBody", "attachments"):
            value[member] = [
                {**part, "blobId": store.add_blob(contents[part["partId"]])} for part in from_source[member]
            ]
        shown = [
            part["partId"]
            for member, asked in (("textBody", "fetchTextBodyValues"), ("htmlBody", "fetchHTMLBodyValues"))
            for part in value[member]
            if arguments.get(asked)
        ]
        most = arguments.get("maxBodyValueBytes") or None
        value["bodyValues"] = {
            one: {
                "value": texts[one][:most],
                "isEncodingProblem": False,
                "isTruncated": bool(most and len(texts[one]) > most),
            }
            for one in shown
        }
    return {name: value[name] for name in properties if name in value}


def _matches(store: Store, mail: Mail, condition: Mapping[str, Any]) -> bool:
    for name, value in condition.items():
        if name == "inMailbox":
            fits = value in mail.mailboxes
        elif name == "header" and value[0].lower() == "subject" and store.choices.subject_header:
            fits = value[1].lower() in str(parsed(mail.source)[0]["subject"]).lower()
        elif name == "header" and value[0].lower() == "message-id":
            fits = any(value[1] in one for one in parsed(mail.source)[0]["messageId"] or ())
        else:
            raise MethodError("unsupportedFilter")
        if not fits:
            return False
    return True


def email_query(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    condition = arguments.get("filter") or {}
    mailbox_id = condition.get("inMailbox")
    if mailbox_id is not None and mailbox_id not in store.mailboxes:
        raise MethodError("invalidArguments", arguments=["filter/inMailbox"])
    rows = store.ordered
    if condition:
        rows = [row for row in rows if _matches(store, store.mails[row[1]], condition)]
    return _query(store, arguments, len(rows), lambda index: rows[index][1], lambda one: _index(store, rows, one))


def _index(store: Store, rows: list[tuple[tuple[str, str], str]], mail_id: str) -> int:
    mail = store.mails.get(mail_id)
    row = (mail.order, mail_id) if mail else None
    index = bisect_left(rows, row) if row else len(rows)
    if row is None or index >= len(rows) or rows[index] != row:
        raise MethodError("anchorNotFound")
    return index


def _query(
    store: Store,
    arguments: Mapping[str, Any],
    total: int,
    its_id: Callable[[int], str],
    index_of: Callable[[str], int],
) -> dict[str, Any]:
    if arguments.get("anchor") is not None:
        start = max(0, index_of(arguments["anchor"]) + arguments.get("anchorOffset", 0))
    else:
        start = arguments.get("position", 0)
    asked = arguments.get("limit")
    most = store.choices.query_rows
    limit = min(asked or total, most) if most else (total if asked is None else asked)
    result: dict[str, Any] = {
        "queryState": store.state,
        "canCalculateChanges": False,
        "position": start,
        "ids": [its_id(index) for index in range(start, min(total, start + limit))],
    }
    if arguments.get("calculateTotal"):
        result["total"] = total
    if most and limit != asked:
        result["limit"] = limit
    return result


def email_changes(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return _changes(store, "Email", arguments)[0]


def mailbox_changes(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    result, counts_only = _changes(store, "Mailbox", arguments)
    counts = ["totalEmails", "unreadEmails", "totalThreads", "unreadThreads"]
    return {**result, "updatedProperties": counts if counts_only else None}


def _changes(store: Store, kind: Type, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    most = arguments.get("maxChanges") or 10**9
    try:
        new, more, found, counts_only = store.changes(kind, arguments["sinceState"], most)
    except CannotCalculate:
        raise MethodError("cannotCalculateChanges") from None
    result: dict[str, Any] = {"oldState": arguments["sinceState"], "newState": new, "hasMoreChanges": more}
    return result | dict(found.items()), counts_only


def mailbox_get(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    wanted = _requested(store, arguments, store.mailboxes, store.choices.objects_in_get)
    return {
        "state": store.state,
        "list": [_mailbox(store, store.mailboxes[one]) for one in wanted if one in store.mailboxes],
        "notFound": [one for one in wanted if one not in store.mailboxes],
    }


def _mailbox(store: Store, mailbox: Mailbox) -> dict[str, Any]:
    mails = list(store.in_mailbox(mailbox.id))
    return {
        "id": mailbox.id, "name": mailbox.name, "parentId": mailbox.parent, "role": mailbox.role, "sortOrder": 10,
        "totalEmails": len(mails), "unreadEmails": sum("$seen" not in mail.keywords for mail in mails),
        "myRights": {"mayReadItems": mailbox.readable}, "isSubscribed": True,
    }  # fmt: skip


def mailbox_query(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    ids = list(store.mailboxes)
    return _query(store, arguments, len(ids), ids.__getitem__, ids.index)


def blob_get(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    properties = arguments.get("properties") or ["data", "size"]
    if not store.choices.digests and "digest:sha-256" in properties:
        raise MethodError("invalidArguments", arguments=["properties"])
    wanted = _requested(store, arguments, (), store.choices.objects_in_get)
    found = []
    for blob_id in wanted:
        if blob_id not in store.blobs:
            continue
        data = store.blobs[blob_id]
        value: dict[str, Any] = {"id": blob_id, "size": len(data)}
        try:
            value["data:asText"] = data.decode()
        except UnicodeDecodeError:
            value["data:asBase64"] = base64_text(data)
        if "digest:sha-256" in properties:
            value["digest:sha-256"] = base64_text(hashlib.sha256(data).digest())
        found.append(value)
    return {"list": found, "notFound": [one for one in wanted if one not in store.blobs]}


def quota_get(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    if not store.choices.quota:
        raise MethodError("unknownMethod")
    used = {"octets": sum(len(mail.source) for mail in store.mails.values()), "count": len(store.mails)}
    return {
        "state": store.state,
        "list": [
            {"id": kind, "resourceType": kind, "used": size, "hardLimit": 10**12, "types": ["Email"]}
            for kind, size in used.items()
        ],
        "notFound": [],
    }


# Writing


def email_set(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    create, update = arguments.get("create") or {}, arguments.get("update") or {}
    destroy = arguments.get("destroy") or []
    if len(create) + len(update) + len(destroy) > store.choices.objects_in_set:
        raise MethodError("requestTooLarge")
    if arguments.get("ifInState") not in (None, store.state):
        raise MethodError("stateMismatch")
    old = store.state
    result: dict[str, Any] = {
        "created": {}, "updated": {}, "destroyed": [], "notCreated": {}, "notUpdated": {}, "notDestroyed": {},
    }  # fmt: skip
    for name, value in create.items():
        result["created"][name] = _create(store, value)
    for mail_id, patch in update.items():
        if error := _update(store, mail_id, patch):
            result["notUpdated"][mail_id] = error
        else:
            result["updated"][mail_id] = None
    for mail_id in destroy:
        if mail_id in store.mails:
            store.destroy(mail_id)
            result["destroyed"].append(mail_id)
        else:
            result["notDestroyed"][mail_id] = {"type": "notFound"}
    return {"oldState": old, "newState": store.state, **result}


def _create(store: Store, value: Mapping[str, Any]) -> dict[str, Any]:
    """Create a mail from an Email object with the members that a test needs."""
    lines = [f"Subject: {value.get('subject', '')}", "From: jane@example.com"]
    lines += [f"Message-ID: <{one}>" for one in value.get("messageId") or ()]
    lines += ["To: " + ", ".join(one["email"] for one in value["to"])] if value.get("to") else []
    texts = [part["value"] for part in (value.get("bodyValues") or {}).values()]
    source = ("\r\n".join(lines) + "\r\n\r\n" + "".join(texts)).encode()
    mail_id = store.deliver(source, set(value["mailboxIds"]), set(value.get("keywords") or ()))
    return {"id": mail_id, "blobId": store.mails[mail_id].blob_id, "size": len(source)}


def _update(store: Store, mail_id: str, patch: Mapping[str, Any]) -> dict[str, Any] | None:
    if mail_id not in store.mails:
        return {"type": "notFound"}
    mail = store.mails[mail_id]
    members = {"keywords": set(mail.keywords), "mailboxIds": set(mail.mailboxes)}
    for path, value in patch.items():
        name, slash, key = path.partition("/")
        if name not in members:
            return {"type": "invalidProperties", "properties": [name]}
        if not slash:
            members[name] = set(value)
        elif value is None:
            members[name].discard(key)
        else:
            members[name].add(key)
    if not members["mailboxIds"] or not members["mailboxIds"] <= store.mailboxes.keys():
        return {"type": "invalidProperties", "properties": ["mailboxIds"]}
    store.change(mail_id, mailboxes=members["mailboxIds"], keywords=members["keywords"])
    return None


def email_import(store: Store, arguments: Mapping[str, Any]) -> dict[str, Any]:
    created: dict[str, Any] = {}
    refused: dict[str, Any] = {}
    for name, value in arguments["emails"].items():
        source = store.blobs.get(value["blobId"])
        mailboxes = set(value["mailboxIds"])
        if source is None:
            refused[name] = {"type": "blobNotFound"}
        elif not mailboxes <= store.mailboxes.keys():
            refused[name] = {"type": "invalidProperties", "properties": ["mailboxIds"]}
        elif same := next((mail for mail in store.mails.values() if mail.source == source), None):
            refused[name] = {"type": "alreadyExists", "existingId": same.id}
        else:
            mail_id = store.deliver(source, mailboxes, set(value.get("keywords") or ()), value.get("receivedAt") or "")
            created[name] = {"id": mail_id, "blobId": store.mails[mail_id].blob_id, "size": len(source)}
    return {"oldState": None, "newState": store.state, "created": created, "notCreated": refused}
