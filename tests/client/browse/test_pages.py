"""The pages: who may see them, what they show, and how they escape it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from kerio_resync.browse.metadata import QUERIES
from kerio_resync.cache.mutations import PutItems
from kerio_resync.cache.schema import TABLES
from tests.support.browsing import DOT, FILE, PORT, client, html_mail, indexed, log_in, make_cache, some_mails
from tests.support.cache import change, mail, whole

ROUTES = [
    "/", "/-/folder/2", "/-/search?q=a", "/-/item/1", "/-/item/3/html", "/-/part/1", "/cache", "/cache/mail",
    "/cache/item/1", "/cache/newest", "/cache.db", "/cache.json?sql=select+1", "/-/metadata", "/-/settings.json",
    "/-/versions", "/-/plugins.json", "/-/databases", "/-/threads", "/-/actor.json", "/-/allow-debug", "/-/patterns",
    "/-/messages", "/-/permissions", "/-/logout", "/-/static/app.css", "/favicon.ico", "/_internal", "/_memory",
    "/-/static-plugins/kerio_resync.browse/browse.css", "/nothing",
]  # fmt: skip


@pytest.fixture
async def cache(tmp_path: Path) -> Path:
    return await make_cache(tmp_path / "profile", *some_mails())


@pytest.fixture
async def owner(cache: Path) -> AsyncIterator[httpx.AsyncClient]:
    with client(cache, indexed(cache)) as made:
        await log_in(made)
        yield made


@pytest.mark.parametrize("path", ROUTES)
async def test_page_without_the_cookie_is_refused(cache: Path, path: str) -> None:
    with client(cache, logged_in=False) as made:
        answer = await made.get(path)
        made.cookies.set(f"ds_actor_{PORT}", "forged.signature")
        forged = await made.get(path)
    assert (answer.status_code, forged.status_code) == (403, 403)
    assert answer.text == (
        "Open the address that `kerio-resync browse` printed. Each run prints a new one, for one browser.\n"
    )


async def test_address_works_once(cache: Path) -> None:
    with client(cache) as made:
        path = made.headers["x-login"]
        first = await log_in(made)
        cookie = first.headers["set-cookie"]
        second = await made.get(path)
        wrong = await made.get("/-/auth-token?token=x")
    assert (first.status_code, second.status_code, wrong.status_code) == (302, 403, 403)
    assert cookie.startswith(f"ds_actor_{PORT}=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1.evil:{PORT}", ""])
async def test_request_for_another_host_is_refused(owner: httpx.AsyncClient, host: str) -> None:
    assert (await owner.get("/", headers={"host": host})).status_code == 421


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("same-origin", "cors", "empty", 200),
        ("none", "navigate", "document", 200),
        ("cross-site", "navigate", "document", 200),
        ("cross-site", "navigate", "iframe", 403),
        ("same-site", "no-cors", "image", 403),
        ("cross-site", "no-cors", "script", 403),
        ("same-site", "cors", "empty", 403),
    ],
)
async def test_other_sites_may_only_open_a_window(
    owner: httpx.AsyncClient, site: str, mode: str, dest: str, status: int
) -> None:
    sent = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    assert (await owner.get("/", headers=sent)).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_methods_that_could_change_something_are_refused(owner: httpx.AsyncClient, method: str) -> None:
    answer = await owner.request(method, "/cache/newest")
    assert (answer.status_code, answer.text) == (405, "These pages are read-only.\n")


@pytest.mark.parametrize("path", ["/", "/cache", "/-/item/3", "/-/item/3/html", "/-/part/1", "/nothing"])
async def test_every_answer_has_a_policy(owner: httpx.AsyncClient, path: str) -> None:
    headers = (await owner.get(path)).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "no-store" in headers["cache-control"]


async def test_home_shows_folders_with_counts(owner: httpx.AsyncClient) -> None:
    page = (await owner.get("/")).text
    rows = re.findall(r'title="([^"]*)">.*?</a>.*?"number">(\d+)<', page, re.DOTALL)
    assert rows == [("Contacts", "1"), ("Inbox", "3"), ("Work", "1")]  # not the root, which holds no items
    for title, _, _ in QUERIES.values():
        assert title in page


async def test_folder_lists_its_items_escaped(owner: httpx.AsyncClient, cache: Path) -> None:
    with closing(sqlite3.connect(cache)) as db:
        number = db.execute("SELECT number FROM folder WHERE id = 'inbox'").fetchone()[0]
    page = (await owner.get(f"/-/folder/{number}")).text
    assert "Budget &amp; &lt;plan&gt;" in page
    assert page.count('href="/-/item/') == 3
    assert (await owner.get("/-/folder/999")).status_code == 404


async def test_folder_has_pages(tmp_path: Path) -> None:
    items = tuple(mail(str(n), title=f"Mail {n}", date=f"2026-03-01T{n // 60:02}:{n % 60:02}:00Z") for n in range(150))
    cache = await make_cache(tmp_path / "profile", PutItems(items))
    with closing(sqlite3.connect(cache)) as db:
        number = db.execute("SELECT number FROM folder WHERE id = 'inbox'").fetchone()[0]
    with client(cache) as made:
        await log_in(made)
        first, second = [(await made.get(f"/-/folder/{number}?page={page}")).text for page in (0, 1)]
    titles = [re.findall(r">Mail (\d+)<", page) for page in (first, second)]
    assert [*titles[0], *titles[1]] == [str(n) for n in reversed(range(150))]
    assert "Older" in first
    assert "Older" not in second


async def test_search_marks_the_words_and_escapes_the_rest(owner: httpx.AsyncClient) -> None:
    page = (await owner.get("/-/search", params={"q": "quarterly"})).text
    assert "The <mark>quarterly</mark> numbers" in page
    assert "Budget &amp; &lt;plan&gt;" in page
    hostile = (await owner.get("/-/search", params={"q": '"><script>x</script>'})).text
    assert "<script>x" not in hostile


async def test_item_in_two_folders_names_both(owner: httpx.AsyncClient) -> None:
    page = (await owner.get("/-/item/2")).text
    assert "Inbox, Work" in page
    assert "Grüße aus Brünn" in page


async def test_item_of_another_kind_is_shown(owner: httpx.AsyncClient) -> None:
    page = (await owner.get("/-/item/4")).text
    assert "Zoe" in page
    assert "a friend" in page


async def test_html_is_shown_in_a_sandboxed_frame_only(owner: httpx.AsyncClient) -> None:
    page, frame = await owner.get("/-/item/3"), await owner.get("/-/item/3/html")
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in page.text
    assert "script-src" not in page.headers["content-security-policy"]
    assert "Hello <b>world</b>" not in page.text
    assert "Hello <b>world</b>" in frame.text
    assert "alert" not in frame.text
    policy = frame.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert re.search(r"; sandbox (?!.*allow-(scripts|same-origin|top-navigation))", policy)
    text = (await owner.get("/-/item/3?as=text")).text
    assert "Hello world" in text
    assert "<iframe" not in text


async def test_html_shows_pictures_of_its_attachments(tmp_path: Path) -> None:
    page = '<img src="cid:dot@example.com"><img src="https://example.com/a.png">'
    cache = await make_cache(tmp_path / "profile", PutItems((html_mail("1", page, DOT),)), *whole(1, b"\x89PNG"))
    with client(cache) as made:
        await log_in(made)
        frame, item = (await made.get("/-/item/1/html")).text, (await made.get("/-/item/1")).text
    assert '<img src="data:image/png;base64,iVBORw=="' in frame
    assert "https://example.com" not in frame
    assert "1 picture on other servers was not loaded" in item


async def test_part_is_a_download_of_no_type(owner: httpx.AsyncClient) -> None:
    answer = await owner.get("/-/part/1")
    assert answer.content == FILE
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"plan _a_..__.html\"; filename*=UTF-8''plan%20_a_.._%C3%BC.html"
    )
    assert "sandbox" in answer.headers["content-security-policy"]
    assert (await owner.get("/-/part/99")).status_code == 404


async def test_part_with_a_wrong_checksum_is_an_error(owner: httpx.AsyncClient, cache: Path) -> None:
    change(cache, 'UPDATE chunk SET data = zeroblob(size) WHERE attachment = 1 AND "offset" = 0')
    answer = await owner.get("/-/part/1")
    assert answer.status_code == 400
    assert "checksum" in answer.text


@pytest.mark.parametrize("name", QUERIES)
async def test_canned_query_answers(owner: httpx.AsyncClient, name: str) -> None:
    answer = await owner.get(f"/cache/{name}.json", params={"_shape": "array", "sender": "ann"})
    assert answer.status_code == 200, answer.text
    assert answer.json()
    page = await owner.get(f"/cache/{name}", params={"sender": "ann"})
    assert page.status_code == 200
    if re.search(r"AS mail\b", QUERIES[name][2]):
        assert '<a href="/-/item/' in page.text


async def test_each_table_and_view_has_a_title(owner: httpx.AsyncClient) -> None:
    names = re.findall(r"^CREATE TABLE (\w+)", TABLES, re.MULTILINE)
    views = ["mail", "mail_attachment", "contact", "event", "task", "note", "folder_tree"]
    known = (await owner.get("/-/metadata.json")).json()["databases"]["cache"]["tables"]
    assert set(known) == {*names, *views}
    for name in (*names, *views):
        answer = await owner.get(f"/cache/{name}")
        assert answer.status_code == 200, name
        columns = {
            row[0]
            for row in (
                await owner.get(f"/cache.json?sql=select+name+from+pragma_table_info('{name}')&_shape=arrays")
            ).json()["rows"]
        }
        assert set(known[name]["columns"]) <= columns, name


@pytest.mark.parametrize(
    "sql",
    ["delete from item", "pragma query_only=0", "attach 'x.db' as y", "select load_extension('x')",
     "with x as (select 1) insert into meta values ('a', 'b')", "vacuum into 'copy.db'"],
)  # fmt: skip
async def test_sql_that_is_no_query_is_refused(owner: httpx.AsyncClient, cache: Path, sql: str) -> None:
    before = cache.read_bytes()
    answer = await owner.get("/cache.json", params={"sql": sql})
    assert answer.status_code == 400
    assert cache.read_bytes() == before
    assert sorted(path.name for path in cache.parent.iterdir()) == ["cache.db", "cache.db.search"]


async def test_sql_can_join_the_search_index(owner: httpx.AsyncClient) -> None:
    joined = "mail join search.item_text on item_text.rowid = mail.number"
    sql = f"select subject from {joined} where item_text match 'quarterly'"
    answer = await owner.get("/cache.json", params={"sql": sql, "_shape": "arrays"})
    assert answer.json()["rows"] == [["Budget & <plan>"]]


async def test_endless_query_is_stopped(owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"
    answer = await owner.get("/cache", params={"sql": sql, "_timelimit": "200"})
    assert answer.status_code == 400


async def test_error_page_shows_no_text_of_a_mail(
    owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("secret words")

    monkeypatch.setattr("kerio_resync.browse.pages.read_text", fail)
    answer = await owner.get("/-/item/1")
    assert answer.status_code == 500
    assert "failed with ValueError" in answer.text
    assert "secret" not in answer.text
    assert capfd.readouterr() == ("", "")


async def test_replaced_cache_is_told(owner: httpx.AsyncClient, cache: Path, tmp_path: Path) -> None:
    assert "has been replaced" not in (await owner.get("/")).text
    (await make_cache(tmp_path / "other")).replace(cache)
    assert "has been replaced" in (await owner.get("/")).text


async def test_names_in_the_cache_are_escaped_everywhere(tmp_path: Path) -> None:
    evil = '<img src=x onerror="x()">'
    item = mail("1", title=evil, text=evil)._replace(who=evil, recipients=evil)
    cache = await make_cache(tmp_path / "profile", PutItems((item,)))
    change(cache, f"UPDATE folder SET name = '{evil}', path = '{evil}' WHERE id = 'inbox'")
    with closing(sqlite3.connect(cache)) as db:
        number = db.execute("SELECT number FROM folder WHERE id = 'inbox'").fetchone()[0]
    with client(cache, indexed(cache)) as made:
        await log_in(made)
        for path in ("/", f"/-/folder/{number}", "/-/item/1", "/-/search?q=onerror", "/cache/mail", "/cache/newest"):
            page = await made.get(path)
            assert page.status_code == 200
            assert "<img" not in page.text, path
            assert "&lt;img" in page.text, path
