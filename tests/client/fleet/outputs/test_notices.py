"""Notices: the text in five languages, mails ready to send, and lists of recipients for a mail merge."""

from __future__ import annotations

import csv
import email
import io
from datetime import timedelta
from email.message import EmailMessage
from email.policy import default

import pytest
import vobject

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.outputs.notices import MAX_BCC, NoticeWriter, check_sender, mail_address
from kerio_resync.fleet.outputs.templates import NoticeTemplates
from kerio_resync.fleet.plan import Plan
from tests.support.plans import sample_plan

SENDER = "IT Helpdesk <helpdesk@example.com>"
HEADS = {
    "cs": ("Začátek: sobota 28. listopadu 2026, 22:00 (středoevropský čas)", "Doba trvání: ", "Webová pošta: "),
    "de": ("Beginn: Samstag, 28. November 2026, 22:00 Uhr (Mitteleuropäische Zeit)", "Dauer: ", "Webmail: "),
    "en": ("Start: Saturday, 28 November 2026, 22:00 (Central European Time)", "Duration: ", "Webmail: "),
    "es": ("Inicio: sábado, 28 de noviembre de 2026, 22:00 (hora de Europa central)", "Duración: ", "Correo web: "),
    "fr": ("Début : samedi 28 novembre 2026, 22:00 (heure d’Europe centrale)", "Durée : ", "Messagerie web : "),
}


def written(plan: Plan, sender: str = SENDER) -> tuple[dict[str, bytes], list[str]]:
    writer = NoticeWriter(plan, NoticeTemplates(), "series", sender)
    return dict(writer.files()), writer.notices()


def mail(content: bytes) -> EmailMessage:
    return email.message_from_bytes(content, policy=default)


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("language", sorted(HEADS))
def test_notice_says_when_how_long_where_and_whom_to_ask(language: str) -> None:
    files, _ = written(sample_plan(60))
    text = " ".join(files[f"notices/wave-001/rebuild.{language}.txt"].decode().split(" "))
    start, duration, webmail = HEADS[language]
    assert f"\n{start}\n{duration}" in text
    assert f"\n{webmail}https://mail.example.com/webmail\n" in text
    assert text.count(SENDER) == 1
    assert "{" not in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize("action", ["rebuild", "upgrade", "room"])
def test_all_languages_have_the_same_paragraphs(action: str) -> None:
    templates = NoticeTemplates()
    values = {
        "action": action, "start_date": "D", "start_time": "T", "end_date": "D", "end_time": "T", "zone": "Z",
        "duration_low": "1", "duration_high": "2", "webmail": "W", "contact": "", "room": "5 GB",
    }  # fmt: skip
    texts = [templates.render(language, values)[1] for language in templates.languages]
    assert len({text.count("\n") for text in texts}) == 1
    assert len({text.count("\n- ") for text in texts}) == 1
    assert ("W" in texts[0]) == (action != "room")


def test_end_on_another_day_is_said_with_its_day() -> None:
    files, _ = written(sample_plan(60))
    text = files["notices/wave-002/rebuild.de.txt"].decode()
    assert "\nFertig: spätestens Sonntag, 29. November 2026, 00:" in text


def test_ready_time_is_rounded_up_and_never_before_the_range_of_the_plan() -> None:
    plan = sample_plan(60)
    files, _ = written(plan)
    (entry,) = vobject.readOne(files["notices/wave-001/rebuild.de.ics"].decode()).vevent_list
    latest = max(user.end_high for user in plan.waves[0].users if user.end_high and user.language == "de")
    assert latest <= entry.dtend.value < latest + timedelta(minutes=5)
    assert entry.dtend.value.minute % 5 == 0


def test_mail_is_a_draft_to_all_of_the_group_with_its_entry() -> None:
    plan = sample_plan(60)
    files, _ = written(plan)
    found = mail(files["notices/wave-001/rebuild.en.eml"])
    members = [user.email for user in plan.waves[0].users if user.language in ("en", "") and user.action == "rebuild"]
    assert sorted(address.addr_spec for address in found["Bcc"].addresses) == sorted(members)
    assert found["From"] == SENDER
    assert found["X-Unsent"] == "1"
    assert found["Subject"] == "Upgrade of your mail program: Saturday, 28 November 2026, 22:00"
    body, attached = found.get_body(), list(found.iter_attachments())
    assert body is not None
    assert body.get_content().replace("\r\n", "\n").startswith("Hello,\n\nYour mail program will be upgraded.")
    assert [part.get_content_type() for part in attached] == ["text/calendar"]


def test_recipients_have_what_a_mail_merge_needs() -> None:
    plan = sample_plan(60)
    files, _ = written(plan)
    rows = rows_of(files["notices/wave-001/rebuild.cs.recipients.csv"])
    users = {user.user: user for user in plan.waves[0].users}
    assert rows
    for row in rows:
        assert users[row["user"]].email == row["email"]
        assert (row["start_date"], row["start_time"]) == ("sobota 28. listopadu 2026", "22:00")
        assert row["duration"].split()[-1] in ("minuty", "minut", "hodina", "hodiny")
        assert row["time_zone"] == "středoevropský čas"


def test_every_user_of_the_plan_is_in_one_list_of_recipients() -> None:
    plan = sample_plan(90, unplaced=4, no_room=5)
    files, _ = written(plan)
    listed = [row["user"] for name, content in files.items() if name.endswith(".csv") for row in rows_of(content)]
    planned = [user.user for wave in plan.waves for user in wave.users]
    no_room = [user.user for user in plan.others if user.action == "needs-room"]
    assert sorted(listed) == sorted(planned + no_room)


def test_users_without_room_are_told_how_much_to_free() -> None:
    files, _ = written(sample_plan(10, no_room=5))
    names = [name for name in files if "no-room" in name and name.endswith(".txt")]
    assert names
    assert all("free-5-GB" in name for name in names)  # 3000 MiB needed, 400 MiB free, and some spare
    assert "5 GB" in files[next(name for name in names if ".de." in name)].decode().replace("\xa0", " ")


def test_groups_in_several_zones_have_a_file_for_each() -> None:
    files, _ = written(sample_plan(60, [("Praha", "Europe/Prague"), ("Kolkata", "Asia/Kolkata")]))
    assert "22:00 (Central European Time)" in files["notices/wave-001/rebuild.en.Europe-Prague.txt"].decode()
    text = files["notices/wave-001/rebuild.cs.Asia-Kolkata.txt"].decode()
    assert "Začátek: neděle 29. listopadu 2026, 2:30 (GMT+05:30)" in text


def test_sites_whose_clocks_agree_share_their_texts() -> None:
    files, _ = written(sample_plan(60, [("Praha", "Europe/Prague"), ("Lyon", "Europe/Paris")]))
    assert {name.split("/")[2] for name in files if name.endswith(".de.txt")} == {"rebuild.de.txt"}
    assert not [name for name in files if "Europe" in name]


def test_missing_webmail_address_is_said_and_left_out_of_the_text() -> None:
    files, notices = written(sample_plan(20, webmail=""))
    assert [text for text in notices if "Set webmail_url of the server" in text]
    text = files["notices/wave-001/rebuild.de.txt"].decode()
    assert "Webmail" not in text
    assert "Bitte lassen Sie das E-Mail-Programm geschlossen.\n" in text


def test_large_groups_are_split_into_mails_that_servers_accept() -> None:
    plan = sample_plan(2 * MAX_BCC + 400, waves_per_window=1)
    users = tuple(user.model_copy(update={"language": "de", "action": "rebuild"}) for user in plan.waves[0].users)
    files, _ = written(plan.model_copy(update={"waves": (plan.waves[0].model_copy(update={"users": users}),)}))
    counts = [content.split(b"\r\nSubject")[0].count(b"@") for name, content in files.items() if name.endswith(".eml")]
    assert counts == [MAX_BCC, MAX_BCC, 400]
    assert "notices/wave-001/rebuild.de-3.eml" in files


def test_addresses_cannot_add_headers_and_bad_ones_are_counted() -> None:
    plan = sample_plan(8, waves_per_window=1)
    bad = ("x@y.example\r\nBcc: z@z.example", "a b@c.example", "carla", "@x", "ü@x.example", "")
    addresses = (*bad, "ok@müller.example", "ok@müller.example")
    users = tuple(
        user.model_copy(update={"email": address, "language": "de", "action": "rebuild"})
        for user, address in zip(plan.waves[0].users, addresses, strict=True)
    )
    files, notices = written(plan.model_copy(update={"waves": (plan.waves[0].model_copy(update={"users": users}),)}))
    found = mail(files["notices/wave-001/rebuild.de.eml"])
    assert [address.addr_spec for address in found["Bcc"].addresses] == ["ok@xn--mller-kva.example"] * 2
    assert "6 users have no usable e-mail address" in " ".join(notices)


def test_names_of_sites_and_addresses_cannot_break_a_text() -> None:
    files, _ = written(sample_plan(8, [("X\nSubject: y", "Europe/Prague")], webmail="https://x\r\nBcc: a@b.example"))
    for name, content in files.items():
        if name.endswith(".eml"):
            assert mail(content).get_all("Subject") is not None
            assert len(mail(content).get_all("Bcc", [])) == 1
        if name.endswith(".txt"):
            assert "https://x\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}Bcc" in content.decode()


@pytest.mark.parametrize("sender", ["", "a@example.com", SENDER, '"Müller, IT" <it@müller.example>'])
def test_senders_are_accepted(sender: str) -> None:
    check_sender(sender)
    assert written(sample_plan(8), sender)[0]


@pytest.mark.parametrize("sender", ["helpdesk", "a@b@c d", "x <>", "a@example.com\r\nBcc: b@example.com"])
def test_sender_that_is_no_address_is_refused(sender: str) -> None:
    with pytest.raises(BadSettings, match="is no e-mail address; give one such as"):
        check_sender(sender)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("o'neil+x@example.com", "o'neil+x@example.com"), (" a@b.example ", "a@b.example"), ("a..b@c.example", ""),
        ("a@b", "a@b"), ("a@" + "x" * 64 + "ü.example", ""), ("a,b@c.example", ""), ("<a@b.example>", ""),
    ],
)  # fmt: skip
def test_addresses_for_headers(text: str, address: str) -> None:
    assert mail_address(text) == address
