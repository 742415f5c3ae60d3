"""Answers HTTP requests as a JMAP server does: sessions, limits, back-references, contents, faults."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import zstandard

from tests.support.jmap_double.choices import Choices
from tests.support.jmap_double.methods import MethodError, answer
from tests.support.jmap_double.store import Store

USER, PASSWORD = "jane", "a secret of the double"
CORE, MAIL = "urn:ietf:params:jmap:core", "urn:ietf:params:jmap:mail"
PROBLEM = "urn:ietf:params:jmap:error:"
SESSION_PATH, API_PATH, UPLOAD_PATH, BLOB_PATH = "/session", "/api", "/upload", "/blobs"
FaultKind = Literal["lost", "refused", "cut", "html", "429", "503", "serverFail", "serverUnavailable", "unauthorized"]


@dataclass
class Reply:
    """`fault`: "lost": processed, but never answered; "refused": not processed; "cut": only half of the body."""

    status: int
    headers: dict[str, str]
    body: bytes
    fault: str = ""


@dataclass
class Fault:
    """Happens at the `nth` request from now on with `method` ("": any)."""

    kind: FaultKind
    method: str = ""
    nth: int = 1
    retry_after: str = ""


@dataclass
class JmapDouble:
    """`stores`: the accounts by id; the first one is the user's own. `content_origin`: of downloads, if elsewhere.

    `latency`: seconds that a call takes. `calls` counts the methods, `requests` the paths, `exceeded` the requests
    beyond the concurrency allowed.
    """

    choices: Choices = field(default_factory=Choices)
    seed: int = 0
    origin: str = "http://jmap.test"
    content_origin: str = "http://content.test"
    latency: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    exceeded: int = 0
    most_objects: int = 0
    logins: list[str] = field(default_factory=list)
    _busy: int = 0
    _alterations: dict[str, Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stores = {"a1": Store(self.choices, seed=self.seed)}

    @property
    def store(self) -> Store:
        return self.stores["a1"]

    def share(self, account: str, owner: str) -> Store:
        """Add another user's account."""
        self.stores[account] = Store(self.choices, seed=self.seed + 1, name=owner)
        return self.stores[account]

    def authorization(self) -> str:
        if self.choices.token:
            return f"Bearer {self.choices.token}"
        return "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    async def handle(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer one request; header names are in lower case."""
        path = unquote(urlsplit(url).path)
        self.requests["/" + path.strip("/").partition("/")[0]] += 1
        given = headers.get("authorization", "")
        self.logins.append(given)
        if path == "/.well-known/jmap" and self.choices.well_known == "redirect":
            return Reply(301, {"location": f"{self.origin}{SESSION_PATH}"}, b"")
        fault = self._fault(path, body)
        if given != self.authorization() or (fault and fault.kind == "unauthorized"):
            return Reply(401, {"content-type": "text/html"}, b"<html>Unauthorized</html>")
        if fault and (reply := self._faulty(fault)):
            return reply
        reply = await self._route(method, path, headers, body, fault)
        if fault and fault.kind in ("lost", "cut"):
            reply.fault = fault.kind
        return reply

    async def _route(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, fault: Fault | None
    ) -> Reply:
        here = self.choices.well_known == "here" and path == "/.well-known/jmap"
        if here or path == SESSION_PATH:
            return json_reply(self.session())
        if path == API_PATH and method == "POST":
            return await self._api(body, fault)
        if path.startswith(BLOB_PATH):
            return self._blob(path, headers)
        if path.startswith(UPLOAD_PATH) and method == "POST":
            account = path.removeprefix(UPLOAD_PATH).strip("/")
            blob_id = self.stores[account].add_blob(body)
            return json_reply({"accountId": account, "blobId": blob_id, "type": "x/y", "size": len(body)}, status=201)
        return Reply(404, {"content-type": "text/html"}, b"<html>Not Found</html>")

    def session(self) -> dict[str, Any]:
        """Return the session resource."""
        choices = self.choices
        base, content = (self.origin, self.content_origin) if choices.two_hosts else ("", "")
        core = {
            "maxObjectsInGet": choices.objects_in_get, "maxObjectsInSet": choices.objects_in_set,
            "maxCallsInRequest": choices.calls_in_request, "maxSizeRequest": choices.request_bytes,
            "maxConcurrentRequests": choices.concurrent_requests, "maxSizeUpload": 10**7,
            "maxConcurrentUpload": choices.concurrent_uploads, "collationAlgorithms": [],
        }  # fmt: skip
        resource: dict[str, Any] = {
            "apiUrl": base + API_PATH,
            "downloadUrl": content + BLOB_PATH + "/{accountId}/{blobId}/{name}?accept={type}",
            "uploadUrl": base + UPLOAD_PATH + "/{accountId}/",
            "capabilities": {CORE: core, MAIL: {}},
            "accounts": {
                account: {"name": store.name, "isPersonal": account == "a1"} for account, store in self.stores.items()
            },
            "primaryAccounts": {MAIL: "a1"},
        }
        if choices.blobs:
            resource["capabilities"][choices.blobs] = {}
        if choices.quota:
            resource["capabilities"]["urn:ietf:params:jmap:quota"] = {}
        if not choices.bare_session:
            abilities: dict[str, Any] = {MAIL: {"emailQuerySortOptions": ["receivedAt"]}}
            if choices.blobs:
                abilities[choices.blobs] = {"supportedDigestAlgorithms": ["sha", "sha-256"] if choices.digests else []}
            for account in resource["accounts"].values():
                account |= {"isReadOnly": False, "accountCapabilities": abilities}
            resource |= {"username": "jane@example.com", "state": "1", "eventSourceUrl": base + "/events"}
        return resource

    async def _api(self, body: bytes, fault: Fault | None) -> Reply:
        choices = self.choices
        self._busy += 1
        try:
            if self._busy > choices.concurrent_requests:
                self.exceeded += 1
                return problem("limit", 429, limit="maxConcurrentRequests")
            if self.latency:
                await asyncio.sleep(self.latency)
            if len(body) > choices.request_bytes:
                return problem("limit", 400, limit="maxSizeRequest")
            try:
                request = json.loads(body)
                calls, using = request["methodCalls"], request["using"]
            except (ValueError, KeyError):
                return problem("notRequest", 400)
            if len(calls) > choices.calls_in_request:
                return problem("limit", 400, limit="maxCallsInRequest")
            if not set(using) <= self.session()["capabilities"].keys():
                return problem("unknownCapability", 400)
            return json_reply({"methodResponses": self._responses(calls, fault), "sessionState": "1"})
        finally:
            self._busy -= 1

    def _responses(self, calls: list[Any], fault: Fault | None) -> list[Any]:
        responses: list[Any] = []
        for method, arguments, number in calls:
            self.calls[method] += 1
            try:
                if fault and fault.kind in ("serverFail", "serverUnavailable") and fault.method in ("", method):
                    raise MethodError(fault.kind)
                resolved = self._resolved(arguments, responses)
                account = resolved.get("accountId", "a1")
                if account not in self.stores:
                    raise MethodError("accountNotFound")
                result = self._answer(account, method, resolved)
                self.most_objects = max(self.most_objects, len(resolved.get("ids") or ()))
                responses.append([method, result, number])
            except MethodError as error:
                responses.append(["error", error.members, number])
        return responses

    def _answer(self, account: str, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        alter = self._alterations.get(method)
        try:
            result = answer(self.stores[account], method, arguments)
        except MethodError:
            if alter is None:
                raise
            result = {}
        return alter(result, arguments) if alter else result

    def alter(self, method: str, change: Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]]) -> None:
        """Let `change(result, arguments)` replace the results of a method; {} instead of an error."""
        self._alterations[method] = change

    def _resolved(self, arguments: Mapping[str, Any], responses: list[Any]) -> dict[str, Any]:
        """Return the arguments with their back-references resolved (RFC 8620, 3.7)."""
        resolved = {}
        for name, value in arguments.items():
            if not name.startswith("#"):
                resolved[name] = value
                continue
            found = [one for one in responses if one[2] == value["resultOf"] and one[0] == value["name"]]
            if not found:
                raise MethodError(self.choices.reference_error)
            resolved[name[1:]] = _follow(found[0][1], value["path"].strip("/").split("/"))
        return resolved

    def _blob(self, path: str, headers: Mapping[str, str]) -> Reply:
        account, _, rest = path.removeprefix(BLOB_PATH).strip("/").partition("/")
        blob_id = rest.partition("/")[0]
        data = self.stores[account].blobs.get(blob_id) if account in self.stores else None
        if data is None:
            return problem("notFound", 404)
        sent = {"content-type": "application/octet-stream"}
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if self.choices.ranges and wanted:
            start = int(wanted[1])
            if start >= len(data):
                return Reply(416, {"content-range": f"bytes */{len(data)}"}, b"")
            sent["content-range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return Reply(206, sent, data[start:])
        if self.choices.compresses and "zstd" in headers.get("accept-encoding", ""):
            sent["content-encoding"] = "zstd"
            data = zstandard.compress(data)
        return Reply(200, sent, data)

    def _fault(self, path: str, body: bytes) -> Fault | None:
        for fault in self.faults:
            if fault.method in ("", path.strip("/").partition("/")[0]) or f'"{fault.method}"'.encode() in body:
                fault.nth -= 1
                if fault.nth == 0:
                    self.faults.remove(fault)
                    return fault
        return None

    def _faulty(self, fault: Fault) -> Reply | None:
        after = {"retry-after": fault.retry_after} if fault.retry_after else {}
        match fault.kind:
            case "refused":
                return Reply(0, {}, b"", "refused")
            case "html":
                return Reply(200, {"content-type": "text/html"}, b"<html>Please log in to this network</html>")
            case "429":
                return problem("limit", 429, headers=after, limit="requests per minute")
            case "503":
                return Reply(503, after, b"busy")
        return None


def _follow(value: Any, path: list[str]) -> Any:
    if not path:
        return value
    if path[0] == "*":
        found = [_follow(one, path[1:]) for one in value]
        return [one for some in found for one in some] if found and isinstance(found[0], list) else found
    return _follow(value[path[0]], path[1:])


def json_reply(value: Any, status: int = 200) -> Reply:
    return Reply(status, {"content-type": "application/json"}, json.dumps(value).encode())


def problem(kind: str, status: int, *, headers: Mapping[str, str] = {}, **members: Any) -> Reply:
    body = json.dumps({"type": PROBLEM + kind, "status": status, "detail": "the double refuses it", **members})
    return Reply(status, {"content-type": "application/problem+json", **headers}, body.encode())
