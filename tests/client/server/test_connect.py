from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kerio_resync.errors import BadSettings
from kerio_resync.server.connect import open_mailbox
from kerio_resync.server.kerio.mailbox import KerioMailbox
from kerio_resync.settings import Settings


def test_open_mailbox_returns_that_of_kerio() -> None:
    mailbox = open_mailbox(Settings(profile=Path("x"), server="https://mail.example.com", user="jane"))
    assert isinstance(mailbox, KerioMailbox)


def test_open_mailbox_refuses_settings_without_server() -> None:
    with pytest.raises(BadSettings, match="server"):
        open_mailbox(Settings(profile=Path("x"), user="jane"))


def test_import_loads_no_protocol() -> None:
    """The command line imports it, and `--help` must be quick."""
    code = "import sys, kerio_resync.server.connect; print([name for name in sys.modules if '.server.kerio' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
