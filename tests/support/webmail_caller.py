"""A second client of a mock server in another process, to see what the webmail page did there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import quote
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

from tests.support.fork_server import forked

USER, PASSWORD = "anna@example.com", "secret"


def control(url: str, method: str = "GET", body: Any = None) -> Any:
    """Ask the control port; return the JSON of the reply."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}, method=method)) as reply:
        return json.load(reply)


class Caller:
    """One session."""

    def __init__(self, url: str, control_url: str) -> None:
        self.url, self.control_url = url, control_url
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))
        self._token = ""

    def call(self, method: str, **params: Any) -> Any:
        """Return the result of a call; the first one logs in."""
        if not self._token:
            application = {"name": "test", "vendor": "test", "version": "1"}
            login = {"userName": USER, "password": PASSWORD, "application": application}
            self._token = self._post("Session.login", login)["token"]
        return self._post(method, params)

    def _post(self, method: str, params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = Request(f"{self.url}/webmail/api/jsonrpc/", body, {"X-Token": self._token})
        with self._opener.open(request) as reply:
            return json.load(reply)["result"]

    def upload(self, data: bytes, content_type: str, name: str = "") -> str:
        """Upload a file, raw or as a form; return its id."""
        self.call("Session.whoAmI")
        headers = {"X-Token": self._token, "Content-Type": content_type} | ({"X-Filename": quote(name)} if name else {})
        request = Request(f"{self.url}/webmail/api/jsonrpc/attachment-upload/", data, headers)
        with self._opener.open(request) as reply:
            found: str = json.load(reply)["result"]["fileUpload"]["id"]
        return found

    def reset(self) -> None:
        """Make mailbox and conditions as they were at the start; all sessions end."""
        control(f"{self.control_url}/conditions", "PUT", {})
        control(f"{self.control_url}/reset", "POST", {"mailbox": True})
        self.forget_session()

    def forget_session(self) -> None:
        """Log in again before the next call."""
        self._token = ""

    def folder(self, name: str) -> Any:
        return next(folder for folder in self.call("Folders.get")["list"] if folder["name"] == name)

    def mails(self, folder: str, **members: Any) -> list[Any]:
        """Return the mails of a folder, newest first, only those with these members."""
        order = [{"columnName": "receiveDate", "direction": "Desc"}]
        found = self.call("Mails.get", folderIds=[self.folder(folder)["id"]], query={"orderBy": order})["list"]
        return [mail for mail in found if all(mail[name] == value for name, value in members.items())]

    def create(self, folder: str = "Inbox", /, **mail: Any) -> str:
        """Create a mail; return its id."""
        given = {"folderId": self.folder(folder)["id"], "to": [{"address": USER}], **mail}
        made: str = self.call("Mails.create", mails=[given])["result"][0]["id"]
        return made


@contextmanager
def mock_process(*options: str) -> Iterator[Caller]:
    """Run `kerio-mockserver serve` with these options."""
    words = [*forked("kerio_mockserver"), "serve", "--exit-with-parent", *options]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            line = json.loads(server.stdout.readline())
            yield Caller(line["url"], line["control_url"])
        finally:
            server.terminate()
