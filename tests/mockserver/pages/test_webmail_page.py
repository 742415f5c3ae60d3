"""The webmail page in Chromium, as its user sees it; a second client looks at what it did on the server."""

from __future__ import annotations

import base64
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Browser, needs_browser
from tests.support.webmail_caller import PASSWORD, USER, Caller, control, mock_process

pytestmark = needs_browser
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
WIDE, NARROW = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def process() -> Iterator[Caller]:
    with mock_process("--mails", "600") as caller:
        yield caller


@pytest.fixture
def server(process: Caller) -> Caller:
    process.reset()
    return process


@pytest.fixture
def page(browser: Browser, server: Caller) -> Iterator[Browser]:
    """The page after the login; its console must stay empty."""
    log_in(browser, server)
    yield browser
    assert browser.errors() == []


def log_in(browser: Browser, server: Caller, size: tuple[int, int] = WIDE) -> None:
    browser.driver.delete_all_cookies()
    browser.open(f"{server.url}/webmail/", *size)
    browser.driver.delete_all_cookies()
    browser.driver.refresh()
    browser.find("#login-user").send_keys(USER)
    browser.find("#login-password").send_keys(PASSWORD, Keys.ENTER)
    browser.until(lambda: not browser.find("#login").is_displayed() and browser.all("#mails li"))


def click(page: Browser, selector: str) -> None:
    element = page.find(selector)
    page.until(lambda: element.is_displayed() and element.is_enabled())
    element.click()


def toast(page: Browser, text: str) -> None:
    page.until(lambda: text in page.text("#toast"))


def subjects(page: Browser) -> list[str]:
    found: list[str] = page.run("return [...document.querySelectorAll('#mails .subject')].map((e) => e.textContent)")
    return found


def open_mail(page: Browser, subject: str) -> None:
    def find() -> bool:
        script = (
            "const link = [...document.querySelectorAll('#mails a.mail')].find((e) => e.querySelector('.subject')"
            ".textContent === arguments[0]); link?.click(); return Boolean(link)"
        )
        return bool(page.run(script, subject))

    page.until(find)
    page.until(lambda: page.text("#mail h2") == subject)


def open_folder(page: Browser, name: str) -> None:
    page.find(f'#folder-list a[title="{name}"]').click()
    page.until(lambda: page.text("#list-title") == name)
    page.until(lambda: not page.text("#mails-more"))


def write(page: Browser, **fields: str) -> None:
    for name, text in fields.items():
        page.find(f"#compose-{name}").send_keys(text)


def test_login_with_a_wrong_password_says_so_and_a_session_survives_a_reload(browser: Browser, server: Caller) -> None:
    browser.open(f"{server.url}/webmail/")
    browser.driver.delete_all_cookies()
    browser.driver.refresh()
    browser.find("#login-user").send_keys(USER)
    browser.find("#login-password").send_keys("wrong", Keys.ENTER)
    browser.until(lambda: browser.text("#login-error") == "Invalid user name or password.")
    browser.find("#login-password").send_keys(PASSWORD, Keys.ENTER)
    browser.until(lambda: browser.all("#mails li"))
    assert browser.text("#user") == USER
    browser.driver.refresh()
    browser.until(lambda: browser.all("#mails li"))
    assert not browser.find("#login").is_displayed()
    assert browser.foreign_addresses(server.url) == []
    assert control(f"{server.control_url}/stats")["sessions"] == 1
    browser.find("#logout").click()
    browser.until(lambda: browser.find("#login").is_displayed())
    assert control(f"{server.control_url}/stats")["sessions"] == 0


def test_list_shows_a_whole_folder_newest_first_as_it_is_scrolled(page: Browser, server: Caller) -> None:
    expected = [mail["subject"] or "(no subject)" for mail in server.mails("Inbox")]
    assert len(expected) > 100
    assert len(subjects(page)) < len(expected)

    def scroll() -> bool:
        page.run("const box = document.querySelector('#list .scroll'); box.scrollTop = box.scrollHeight")
        return len(subjects(page)) == len(expected)

    page.until(scroll)
    assert subjects(page) == expected
    ids = page.run("return [...document.querySelectorAll('#mails li')].map((e) => e.dataset.id)")
    assert ids == [mail["id"] for mail in server.mails("Inbox")]


def test_folders_are_a_tree_with_the_numbers_of_unread_mails(page: Browser, server: Caller) -> None:
    folders = [folder for folder in server.call("Folders.get")["list"] if folder["type"] == "FMail"]
    shown = page.run("return [...document.querySelectorAll('#folder-list a')].map((e) => e.title)")
    assert sorted(shown) == sorted(folder["name"] for folder in folders)
    unread = next(folder for folder in folders if folder["name"] == "Inbox")["messageUnread"]
    assert page.text("#folder-list li:has(a[title=Inbox]) .unread") == str(unread)
    page.find('[aria-label="Subfolders of Archive"]').click()
    assert not page.all("#folder-list a[title='2024']")
    page.find('[aria-label="Subfolders of Archive"]').click()
    assert page.all("#folder-list a[title='2024']")


def test_open_mail_is_read_and_can_be_marked_unread(page: Browser, server: Caller) -> None:
    server.create(
        subject="Fresh",
        isSeen=False,
        displayableParts=[{"contentType": "ctTextPlain", "content": "See https://example.org/a?b=1."}],
    )
    open_mail(page, "Fresh")
    assert page.find("#mail .text a").get_attribute("href") == "https://example.org/a?b=1"
    page.until(lambda: server.mails("Inbox", subject="Fresh")[0]["isSeen"])
    click(page, "#unread")
    page.until(lambda: not server.mails("Inbox", subject="Fresh")[0]["isSeen"])
    page.until(lambda: page.all("#mails li.new"))


@contextmanager
def counting_server() -> Iterator[tuple[str, list[str]]]:
    """A server elsewhere: its address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def test_html_of_a_mail_cannot_act_or_load_anything(browser: Browser, server: Caller) -> None:
    log_in(browser, server)
    with counting_server() as (elsewhere, asked):
        html = f"""<html><head><meta http-equiv="refresh" content="0;url={elsewhere}/refresh">
            <link rel="stylesheet" href="{elsewhere}/style.css"><base href="{elsewhere}/">
            <style>p {{ color: rgb(1, 2, 3); background: url({elsewhere}/background.png) }}
            @import url({elsewhere}/import.css);</style></head>
            <body onload="parent.document.title = 'hacked'"><p id="p" onclick="top.location = '{elsewhere}'">Hello</p>
            <script>parent.document.title = 'hacked'; fetch('{elsewhere}/script')</script>
            <img src="{elsewhere}/pixel.png"><img src="x.png" srcset="{elsewhere}/set.png 2x"
            onerror="parent.document.title = 'hacked'"><iframe src="{elsewhere}/frame"></iframe>
            <svg><image href="{elsewhere}/svg.png"/><a xlink:href="javascript:alert(1)"><text>x</text></a></svg>
            <form action="{elsewhere}/form"><input name="a" autofocus></form><object data="{elsewhere}/object"></object>
            <a id="bad" href="javascript:parent.document.title = 'hacked'">x</a>
            <a id="good" href="https://example.org/x">y</a><img src="/webmail/icon.svg">
            <video src="{elsewhere}/video" autoplay></video><p style="background: url({elsewhere}/inline.png)">z</p>
            </body></html>"""
        server.create(subject="Hostile", displayableParts=[{"contentType": "ctTextHtml", "content": html}])
        title = browser.driver.title
        open_mail(browser, "Hostile")
        frame = browser.find("#mail iframe")
        sandbox = (frame.get_attribute("sandbox") or "").split()
        assert not {"allow-scripts", "allow-same-origin", "allow-forms", "allow-top-navigation"} & set(sandbox)
        assert "elsewhere are not shown" in browser.text("#mail .notice")
        browser.driver.switch_to.frame(frame)
        paragraph = browser.find("#p")
        assert paragraph.text == "Hello"
        assert paragraph.value_of_css_property("color") == "rgba(1, 2, 3, 1)"  # its own style applies
        paragraph.click()
        browser.find("#bad").click()
        assert browser.find("#good").get_attribute("rel") == "noopener noreferrer"
        assert browser.find("#good").get_attribute("target") == "_blank"
        browser.driver.switch_to.default_content()
        assert browser.driver.title == title
        assert browser.driver.current_url.startswith(server.url)
        assert asked == []
    browser.errors()  # Chromium names what the policy kept from loading


def test_inline_images_are_shown_and_are_no_attachments(page: Browser, server: Caller) -> None:
    boundary = "dot"
    part = (
        f'--{boundary}\r\nContent-Disposition: form-data; filename="dot.png"\r\nContent-Description: dot.png\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode() + DOT
    image = server.upload(part + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}")
    html = '<p>Look</p><img id="dot" src="cid:dot@here">'
    server.create(
        subject="Picture", displayableParts=[{"contentType": "ctTextHtml", "content": html}],
        attachments=[{"id": image, "contentId": "dot@here"}],
    )  # fmt: skip
    open_mail(page, "Picture")
    assert page.all("#mail .files") == []

    def is_shown() -> bool:
        page.driver.switch_to.frame(page.find("#mail iframe"))
        try:
            source = page.find("#dot").get_attribute("src") or ""
            return source == "data:image/png;base64," + base64.b64encode(DOT).decode()
        finally:
            page.driver.switch_to.default_content()

    page.until(is_shown)


def test_attachments_are_saved_one_by_one_and_as_an_archive(page: Browser, server: Caller, downloads: Path) -> None:
    files = {"report ä.txt": b"first" * 1000, "data.bin": bytes(range(256)) * 50}
    ids = [server.upload(data, "application/octet-stream", name) for name, data in files.items()]
    server.create(subject="Files", attachments=[{"id": one} for one in ids])
    open_mail(page, "Files")
    assert [button.text.split("\n")[0] for button in page.all("#mail .file")] == [*files, "All as a ZIP file"]
    page.all("#mail .file")[0].click()
    page.until((downloads / "report ä.txt").is_file)
    assert (downloads / "report ä.txt").read_bytes() == files["report ä.txt"]
    page.until(page.all("#mail .file")[2].is_enabled)
    page.all("#mail .file")[2].click()
    page.until((downloads / "attachments.zip").is_file)
    with zipfile.ZipFile(downloads / "attachments.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_search_finds_words_in_a_folder_or_in_all(page: Browser, server: Caller) -> None:
    text = [{"contentType": "ctTextPlain", "content": "the zebra crossing"}]
    server.create(subject="Here", displayableParts=text)
    server.create("Archive", subject="There", displayableParts=text)
    page.find("#words").send_keys("zebra", Keys.ENTER)
    page.until(lambda: subjects(page) == ["Here"])
    page.find("#everywhere").click()
    page.until(lambda: sorted(subjects(page)) == ["Here", "There"])
    assert "Archive" in [element.text for element in page.all("#mails .where")]
    page.find("#words").send_keys(Keys.CONTROL + "a", Keys.NULL, "no such word", Keys.ENTER)
    page.until(lambda: page.text("#mails-empty") == "No mail has these words.")
    page.find("#words").send_keys(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE, Keys.ENTER)
    page.until(lambda: page.text("#list-title") == "Inbox" and len(subjects(page)) > 10)


def test_mail_is_flagged_in_the_list_and_in_the_mail(page: Browser, server: Caller) -> None:
    newest = server.mails("Inbox")[0]
    before = newest["isFlagged"]
    page.find("#mails li:first-child .star").click()
    page.until(lambda: server.mails("Inbox")[0]["isFlagged"] is not before)
    assert page.find("#mails li:first-child .star").get_attribute("aria-pressed") == str(not before).lower()
    page.find("#mails li:first-child a.mail").click()
    click(page, "#flag")
    page.until(lambda: server.mails("Inbox")[0]["isFlagged"] is before)


def test_mail_is_moved_and_moved_back(page: Browser, server: Caller) -> None:
    server.create(subject="Wanderer")
    open_mail(page, "Wanderer")
    click(page, "#move")
    page.choose("dialog.choose select", server.folder("Archive")["id"])
    page.find("dialog.choose button.primary").click()
    toast(page, "The mail is moved to Archive.")
    assert server.mails("Archive", subject="Wanderer")
    assert "Wanderer" not in subjects(page)
    page.find("#toast button").click()
    page.until(lambda: server.mails("Inbox", subject="Wanderer"))
    page.until(lambda: "Wanderer" in subjects(page))


def test_mails_are_deleted_to_the_bin_and_from_there_for_good(page: Browser, server: Caller) -> None:
    for number in range(3):
        server.create(subject=f"Rubbish {number}")
    page.until(lambda: "Rubbish 2" in subjects(page))
    for number in range(3):
        page.find(f'[aria-label="Select: Rubbish {number}"]').click()
    assert page.text("#selection-count") == "3 selected"
    page.find("#selection-delete").click()
    toast(page, "3 mails are moved to Deleted Items.")
    assert not [subject for subject in subjects(page) if subject.startswith("Rubbish")]
    open_folder(page, "Deleted Items")
    count = len(server.mails("Deleted Items"))
    open_mail(page, "Rubbish 1")
    page.find("body").send_keys(Keys.DELETE)
    page.find("dialog button[value=yes]").click()
    toast(page, "The mail is deleted.")
    assert len(server.mails("Deleted Items")) == count - 1
    assert server.mails("Deleted Items", subject="Rubbish 1") == []


def test_draft_with_a_file_is_saved_edited_and_sent(page: Browser, server: Caller, tmp_path: Path) -> None:
    file = tmp_path / "notes ☃.txt"
    file.write_text("snow")
    page.find("#write").click()
    write(page, to="Bob <bob@example.org>, carol@example.org", subject="Plan", text="First\nsecond")
    page.find("#compose-files").send_keys(str(file))
    page.until(lambda: "notes ☃.txt" in page.text("#compose-attachments"))
    page.find("#compose-save").click()
    toast(page, "The draft is saved.")
    page.find("#compose-close").click()
    [draft] = server.mails("Drafts", subject="Plan")
    assert [one["name"] for one in draft["attachments"]] == ["notes ☃.txt"]
    assert [one["address"] for one in draft["to"]] == ["bob@example.org", "carol@example.org"]
    open_folder(page, "Drafts")
    open_mail(page, "Plan")
    click(page, "#edit")
    page.find("#compose-subject").send_keys(" B")
    page.find("#compose-send").click()
    toast(page, "The mail is sent.")
    [sent] = server.mails("Sent Items", subject="Plan B")
    assert sent["displayableParts"][0]["content"].replace("\r\n", "\n") == "First\nsecond"
    assert (sent["from"]["address"], sent["to"][0]["name"]) == (USER, "Bob")
    assert [one["size"] for one in sent["attachments"]] == [4]
    assert server.mails("Drafts", subject="Plan") == []


def test_reply_and_forward_know_their_mail(page: Browser, server: Caller) -> None:
    file = server.upload(b"data", "text/plain", "a.txt")
    people: dict[str, Any] = {
        "from": {"name": "Dora", "address": "dora@example.org"},
        "cc": [{"address": "eve@example.org"}],
    }
    server.create(
        subject="Question", **people, attachments=[{"id": file}], isAnswered=False,
        headers=[{"type": "mhMessageID", "value": "<q@example.org>"}],
        displayableParts=[{"contentType": "ctTextPlain", "content": "Why?\n> because"}],
    )  # fmt: skip
    open_mail(page, "Question")
    click(page, "#reply-all")
    assert page.find("#compose-to").get_property("value") == "Dora <dora@example.org>"
    assert page.find("#compose-cc").get_property("value") == "eve@example.org"
    text = str(page.find("#compose-text").get_property("value"))
    assert text.endswith("Dora wrote:\n> Why?\n>> because\n")
    page.find("#compose-text").send_keys("So.")
    page.find("#compose-send").click()
    toast(page, "The mail is sent.")
    [sent] = server.mails("Sent Items", subject="Re: Question")
    assert {"type": "mhInReplayTo", "value": "<q@example.org>"} in sent["headers"]
    assert sent["displayableParts"][0]["content"].startswith("So.")
    page.until(lambda: server.mails("Inbox", subject="Question")[0]["isAnswered"])
    click(page, "#forward")
    write(page, to="frank@example.org")
    page.find("#compose-send").click()
    page.until(lambda: server.mails("Sent Items", subject="Fwd: Question"))
    assert [one["name"] for one in server.mails("Sent Items", subject="Fwd: Question")[0]["attachments"]] == ["a.txt"]


def test_what_is_written_is_not_lost_by_an_error_or_a_slip(page: Browser, server: Caller) -> None:
    page.find("#write").click()
    write(page, subject="Keep", text="precious")
    page.find("#compose-send").click()
    page.until(lambda: page.text("#compose-error") == "Name somebody to send the mail to.")
    write(page, to="nobody")
    page.find("#compose-send").click()
    page.until(lambda: "“nobody” is not an address" in page.text("#compose-error"))
    page.find("#compose-close").click()
    page.find("dialog button[value=no]").click()
    assert page.find("#compose-text").get_property("value") == "precious"
    page.find("#compose-close").click()
    page.find("dialog button[value=yes]").click()
    page.until(lambda: not page.find("#compose").is_displayed())
    assert server.mails("Drafts", subject="Keep") == []


def test_mail_that_arrives_meanwhile_appears_by_itself(page: Browser, server: Caller) -> None:
    page.until(lambda: control(f"{server.control_url}/stats")["polls"])
    count = len(server.mails("Inbox"))
    [made] = control(f"{server.control_url}/churn", "POST", {"steps": [{"action": "arrive"}]})
    page.until(lambda: page.all(f'#mails li[data-id="{made["id"]}"]'))
    assert len(server.mails("Inbox")) == count + 1


def test_calendar_shows_the_events_of_a_month(page: Browser, server: Caller) -> None:
    folder = server.folder("Calendar")["id"]
    calendars = [one["id"] for one in server.call("Folders.get")["list"] if one["type"] == "FCalendar"]
    present = server.call("Events.get", folderIds=calendars, query={"fields": ["id"]})["list"]
    server.call("Events.remove", ids=[one["id"] for one in present])
    event = {"folderId": folder, "summary": "Launch party", "location": "Roof", "description": "Bring cake"}
    times = {"start": "20270610T100000Z", "end": "20270610T113000Z"}
    server.call("Events.create", events=[event | times])
    page.find("#views a[href='#calendar']").click()
    page.until(lambda: "There are no events in" in page.text("#calendar-hint"))
    page.find("#month-latest").click()
    page.until(lambda: page.find("#month-name").get_property("value") == "2027-06")
    [entry] = page.until(lambda: page.all(".event[title='Launch party']"))
    entry.click()
    details = page.text("dialog.details")
    assert all(text in details for text in ("Launch party", "June 10, 2027", "Roof", "Bring cake"))
    page.find("dialog.details button").click()
    page.find("#month-after").click()
    page.until(lambda: page.find("#month-name").get_property("value") == "2027-07")


def test_contacts_are_listed_searched_and_written_to(page: Browser, server: Caller) -> None:
    folder = server.folder("Contacts")["id"]
    emails, phones = [{"address": "zoe@example.org", "type": "EmailWork"}], [{"number": "+44 1", "type": "TypeMobile"}]
    contact = {"folderId": folder, "commonName": "Zoe Quartz", "emailAddresses": emails, "phoneNumbers": phones}
    server.call("Contacts.create", contacts=[contact])
    page.find("#views a[href='#contacts']").click()
    page.until(lambda: len(page.all("#contact-list li")) > 20)
    page.find("#contact-words").send_keys("quartz", Keys.ENTER)
    page.until(lambda: len(page.all("#contact-list li")) == 1)
    page.find("#contact-list button").click()
    assert page.text("#contact-card h2") == "Zoe Quartz"
    assert "+44 1" in page.text("#contact-card")
    page.find("#contact-card .address").click()
    assert page.find("#compose-to").get_property("value") == "Zoe Quartz <zoe@example.org>"
    page.find("#compose-close").click()


def test_page_shows_its_own_waits(page: Browser, server: Caller) -> None:
    control(f"{server.control_url}/conditions", "PATCH", {"load": {"call_s": 2, "spread": "fixed"}})
    page.find("#refresh").click()
    page.until(lambda: "Waiting" in page.text("#waits-now"))
    page.until(lambda: "Waiting" not in page.text("#waits-now"), 60)
    page.find("#waits").click()
    assert page.find("#waits-table").is_displayed()
    rows = [row.text for row in page.all("#waits-rows tr")]
    assert any("Mails.get" in row and "done" in row for row in rows)
    page.find("#waits-table button").click()


def test_refused_call_is_repeated_after_the_named_time(browser: Browser, server: Caller) -> None:
    log_in(browser, server)
    fault = {"kind": "status", "status": 503, "retry_after_s": 1, "method": "Mails.getById", "nth": 1}
    control(f"{server.control_url}/conditions", "PUT", {"faults": [fault]})
    browser.find("#mails li:first-child a.mail").click()
    browser.until(lambda: "The server is busy (503)." in browser.text("#waits-now"))
    browser.until(lambda: browser.all("#mail .head"))
    browser.find("#waits").click()
    assert "2 tries" in browser.text("#waits-rows")
    browser.find("#waits-table button").click()
    browser.errors()


def test_broken_read_is_repeated_and_a_broken_change_is_not(browser: Browser, server: Caller) -> None:
    log_in(browser, server)
    server.create(subject="Once")
    faults = [{"kind": "reset-after-head", "method": name, "nth": 1} for name in ("Mails.getById", "Mails.create")]
    control(f"{server.control_url}/conditions", "PUT", {"faults": faults})
    open_mail(browser, "Once")
    browser.find("#write").click()
    write(browser, to="bob@example.org", subject="Twice?")
    browser.find("#compose-send").click()
    browser.until(lambda: "It is not known whether the server did what was asked" in browser.text("#compose-error"))
    assert len(server.mails("Sent Items", subject="Twice?")) == 1
    browser.run("document.querySelector('#compose').hidden = true")
    browser.errors()


def test_ended_session_asks_for_a_login_and_keeps_what_was_written(browser: Browser, server: Caller) -> None:
    log_in(browser, server)
    browser.find("#write").click()
    write(browser, to="bob@example.org", subject="Still here")
    fault = {"kind": "session-death", "method": "Folders.get", "nth": 1}
    control(f"{server.control_url}/conditions", "PUT", {"faults": [fault]})
    control(f"{server.control_url}/churn", "POST", {"steps": [{"action": "arrive"}]})  # ends the page's poll
    browser.until(lambda: browser.find("#login").is_displayed())
    assert "what you wrote is still here" in browser.text("#login-error")
    browser.find("#login-password").send_keys(PASSWORD, Keys.ENTER)
    browser.until(lambda: not browser.find("#login").is_displayed())
    assert browser.find("#compose-subject").get_property("value") == "Still here"
    browser.find("#compose-send").click()
    server.forget_session()
    browser.until(lambda: server.mails("Sent Items", subject="Still here"))
    browser.errors()


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_every_view_fits_the_window(browser: Browser, server: Caller, size: tuple[int, int]) -> None:
    log_in(browser, server, size)
    assert browser.overflow() <= 0
    browser.find("#mails li:first-child a.mail").click()
    browser.until(lambda: browser.all("#mail .head"))
    assert browser.overflow() <= 0
    if size == NARROW:
        assert not browser.find("#list").is_displayed()
        browser.find("#back").click()
        browser.until(lambda: browser.find("#list").is_displayed())
        browser.find("#folders-toggle").click()
        browser.until(lambda: browser.find("#write").is_displayed())
        browser.find("#folder-list a[title='Sent Items']").click()
        browser.until(lambda: browser.text("#list-title") == "Sent Items")
    for view in ("calendar", "contacts"):
        browser.find(f"#views a[href='#{view}']").click()
        browser.until(lambda view=view: browser.find(f"#{view}").is_displayed())  # type: ignore[misc]
        assert browser.overflow() <= 0
    browser.find("#to-mails").click()
    assert browser.errors() == []


def test_page_is_used_with_the_keyboard(page: Browser) -> None:
    page.find("body").send_keys("/")
    assert page.run("return document.activeElement.id") == "words"
    page.run("document.querySelector('#mails a.mail').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    second = page.find("#mails li:nth-child(2)").get_attribute("data-id")
    assert page.run("return document.activeElement.closest('li').dataset.id") == second
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.until(lambda: page.all("#mail .head"))
    assert page.run("return document.activeElement.tagName") == "H2"
