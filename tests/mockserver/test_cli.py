from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kerio_mockserver.app import bind_socket
from kerio_mockserver.cli import conditions_of, main, parser, store_of
from tests.support.mock_caller import envelope

MAIL = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: one\r\nMessage-ID: <1@x>\r\n\r\nhello\r\n"


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kerio_mockserver", "serve", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def told(process: asyncio.subprocess.Process) -> dict[str, str]:
    assert process.stdout is not None
    line: dict[str, str] = json.loads(await process.stdout.readline())
    return line


async def login(line: dict[str, str], **options: Any) -> int:
    body = envelope("Session.login", userName=line["user"], password=line["password"], application={})
    url = line["url"] + "/webmail/api/jsonrpc"
    async with aiohttp.ClientSession() as client, client.post(url, data=body, **options) as reply:
        return reply.status


async def test_names_its_pages_at_a_terminal() -> None:
    terminal, end = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kerio_mockserver", "serve", "--mails", "5",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=end,
    )  # fmt: skip
    os.close(end)
    line = await told(process)
    shown = await asyncio.to_thread(os.read, terminal, 1000)
    process.terminate()
    await process.communicate()
    os.close(terminal)
    text = f"webmail: {line['url']}/webmail/  control page: {line['control_url']}/control/"
    assert shown.decode().strip() == text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serves_until_a_signal(number: signal.Signals) -> None:
    async with started("--mails", "20", "--user", "eva@example.net", "--password", "pw") as process:
        line = await told(process)
        assert line.keys() == {"url", "control_url", "user", "password"}
        assert (line["user"], line["password"]) == ("eva@example.net", "pw")
        assert line["url"].startswith("http://127.0.0.1:")
        assert await login(line) == 200
        process.send_signal(number)
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")


async def test_ends_with_its_parent_and_cleans_up_its_certificate() -> None:
    async with started("--mails", "0", "--tls", "--exit-with-parent") as process:
        line = await told(process)
        trust = ssl.create_default_context(cafile=line["ca_file"])
        assert await login(line, ssl=trust) == 200
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == 0
        assert not os.path.exists(line["ca_file"])  # the test has nothing else to do


async def test_import_option_fills_the_mailbox(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(MAIL)
    (tmp_path / "notes.txt").write_text("no mail\n")
    async with started("--import", str(tmp_path), "--tls-dir", str(tmp_path)) as process:
        line = await told(process)
        async with aiohttp.ClientSession() as client, client.get(line["control_url"] + "/digest") as reply:
            assert len((await reply.text()).splitlines()) == 1
        imported: Any = line["imported"]
        assert (imported["mails"], imported["skipped"], imported["names"]) == (
            1,
            {"no mail, calendar or card": 1},
            ["notes.txt: no mail, calendar or card"],
        )
        process.send_signal(signal.SIGTERM)
        _, err = await process.communicate()
        assert b'"mails": 1' in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "99999"],
        ["--mails", "-1"],
        ["--attachments", "2"],
        ["--total-bytes", "many"],
        ["--user", "a/b"],
        ["--http-errors", "sometimes"],
        ["--preset", "nonsense"],
        ["--nonsense"],
        ["--import", "/does/not/exist"],
        ["--conditions", "/does/not/exist"],
        ["--host", "256.256.256.256"],
        ["--control-host", "256.256.256.256"],
        ["--mails", "10", "--folders", "1"],
    ],
)
def test_invalid_arguments_exit_with_2_and_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *arguments])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("kerio-mockserver: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--port", "--control-port"])
async def test_port_in_use_exits_with_2(option: str) -> None:
    with bind_socket("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        async with started("--mails", "0", option, port) as process:
            _, err = await process.communicate()
    assert process.returncode == 2
    assert err.count(b"\n") == 1
    assert port.encode() in err


def test_unwritable_certificate_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--mails", "0", "--tls", "--tls-dir", str(tmp_path / "file")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_conditions_file_patches_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "conditions.json"
    file.write_text('{"quirks": {"page_limit": 7}}')
    options = parser().parse_args(
        ["serve", "--preset", "lan", "--conditions", str(file), "--http-errors", "always_200"]
    )
    conditions = conditions_of(options)
    assert conditions.link is not None
    assert (conditions.quirks.page_limit, conditions.quirks.http_errors) == (7, "always_200")


def test_mailbox_options_set_seed_and_counts() -> None:
    options = parser().parse_args(
        ["serve", "--seed", "3", "--mails", "50", "--contacts", "2", "--total-bytes", "1M", "--attachments", "0.5"]
    )
    store = store_of(options)
    assert sum(one["messageCount"] for one in store.folders() if one["type"] == "FMail") == 50
    assert sum(one["messageCount"] for one in store.folders() if one["type"] == "FContact") == 2
    assert list(store.digest()) == list(store_of(options).digest())
