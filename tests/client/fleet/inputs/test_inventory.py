"""Reading an inventory."""

from __future__ import annotations

from pathlib import Path

import pytest

from kerio_resync.errors import BadSettings
from kerio_resync.fleet.inputs.inventory import Person, read_inventory


def write(tmp_path: Path, content: str | bytes, name: str = "people.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_read_inventory_takes_all_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "user,email,site,language,machine,mailbox_bytes,items,cache_state,cache_format,cache_bytes,free_bytes\n"
        "anna,anna@example.com,Prague,cs_CZ,PC-1,2.1 GB,21000,old,7.2,2.4 GB,80 GB\n",
    )
    assert read_inventory(path).people == (
        Person(
            "anna",
            "Prague",
            2.1e9,
            21000,
            "anna@example.com",
            "cs-CZ",
            "PC-1",
            "old",
            "7.2",
            2_400_000_000,
            80_000_000_000,
        ),
    )


@pytest.mark.parametrize(
    "content",
    [
        "\N{BYTE ORDER MARK}User;Site;Mailbox size\r\nanna;Prague;1,5 GB\r\n".encode(),
        b'sep=;\nuser;site;size\n"anna";"Prague";"1,5 GB"\n',
        "user\tsite\tsize\nanna\tPrague\t1.5 GB\n".encode("utf-16"),
        b'\n[{"user": "anna", "site": "Prague", "bytes": 1.5e9}]',
        b'{"users": [{"login": "anna", "office": "Prague", "mailbox_bytes": "1500 MB"}]}',
    ],
)
def test_read_inventory_takes_what_programs_write(tmp_path: Path, content: bytes) -> None:
    (person,) = read_inventory(write(tmp_path, content)).people
    assert (person.user, person.site, person.mailbox_bytes) == ("anna", "Prague", 1.5e9)


def test_read_inventory_keeps_quoted_delimiters_and_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path, 'user,site\n"anna, ""the first""","Prague\nWest"\nbert,Lyon\n')
    assert [(p.user, p.site) for p in read_inventory(path).people] == [
        ('anna, "the first"', "Prague\nWest"),
        ("bert", "Lyon"),
    ]


def test_read_inventory_names_ignored_columns(tmp_path: Path) -> None:
    found = read_inventory(write(tmp_path, "user,site,shoe size\nanna,Prague,38\n"))
    assert found.notices == ('Ignored columns of the inventory that are not known: "shoe size".',)


def test_read_inventory_names_all_wrong_rows_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "user,site,size,cache_state\n,Prague,1,\nanna,,1,\nbert,Lyon,many,\nbert,Lyon,-5,\ncarl,Lyon,1,fine\n"
        "dora,Lyon,1,old\nDora,Lyon,2,old\nemil,Lyon,1,old,x\n",
    )
    with pytest.raises(BadSettings) as caught:
        read_inventory(path)
    text = str(caught.value)
    for line in (
        "line 2: the user is missing", "line 3: the site is missing", "line 4: mailbox_bytes is 'many'",
        "line 5: mailbox_bytes is '-5'", 'line 6: cache_state is "fine": give one of current',
        "line 8: Dora is already in line 7", "line 9: it has 5 fields",
    ):  # fmt: skip
        assert line in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", 'no column "user"'),
        (b"user,site\n", "has no users"),
        (b"site,size\nPrague,1\n", 'no column "user"'),
        (b"user,login,site\na,b,c\n", 'two columns mean "user"'),
        (b'user,site\n"anna,Prague\n', "line 2 is no CSV"),
        ("user,site\njos\u00e9,Prague\n".encode("latin-1"), "not in UTF-8 (line 2)"),
        (b"[{]", "is no JSON"),
        (b'{"people": []}', 'the member "users"'),
        (b'[{"user": "anna", "site": "x", "size": true}, 3]', "user 1: mailbox_bytes is True"),
        (b'[{"user": "anna", "site": "x"}, 3]', "user 2: it is no object"),
    ],
)
def test_read_inventory_says_what_is_wrong(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(BadSettings) as caught:
        read_inventory(write(tmp_path, content))
    assert reason in str(caught.value)


def test_read_inventory_says_that_a_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="does not exist"):
        read_inventory(tmp_path / "none.csv")


def test_read_inventory_uses_the_only_site(tmp_path: Path) -> None:
    (person,) = read_inventory(write(tmp_path, "user\nanna@example.com\n"), "office").people
    assert (person.site, person.email) == ("office", "anna@example.com")


@pytest.mark.parametrize("site", ["Praha 1", "praha 1", " PRAHA  1", "Praha\N{NO-BREAK SPACE}1"])
def test_read_inventory_finds_a_site_whose_name_differs_in_case_or_spaces(tmp_path: Path, site: str) -> None:
    (person,) = read_inventory(write(tmp_path, f"user,site\nanna,{site}\n"), sites=("Lyon", "Praha 1")).people
    assert person.site == "Praha 1"


def test_read_inventory_finds_a_site_in_decomposed_letters(tmp_path: Path) -> None:
    path = write(tmp_path, "user,site\nanna,Zu\N{COMBINING DIAERESIS}rich\nbert,Bern\n")
    assert [person.site for person in read_inventory(path, sites=("Zürich",)).people] == ["Zürich", "Bern"]


def test_read_inventory_names_the_columns_if_that_of_the_user_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "Benutzer;Standort\nanna;Prag\n")
    with pytest.raises(BadSettings, match=r'no column "user" \(the first line has: "Benutzer", "Standort"\); `fleet'):
        read_inventory(path)


def test_read_inventory_tells_what_to_do_with_a_workbook(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="is a workbook; save it as CSV UTF-8"):
        read_inventory(write(tmp_path, b"PK\x03\x04\x14\x00", "people.xlsx"))
