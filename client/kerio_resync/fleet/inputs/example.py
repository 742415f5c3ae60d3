"""A small, commented set of files to start a plan from."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Final

from kerio_resync.errors import BadSettings
from kerio_resync.filesystem import translate_os_error

SETTINGS_NAME: Final = "settings.toml"
INVENTORY_NAME: Final = "inventory.csv"
_INVENTORY: Final = """\
user,email,site,language,machine,mailbox_bytes,items,cache_state,cache_format,cache_bytes,free_bytes
anna,anna@example.com,Prague,cs,PC-0101,2.1 GB,21000,old,7.2,2.4 GB,80 GB
bert,bert@example.com,Prague,de,PC-0102,450 MB,,old,7.1,500 MB,300 MB
carla,carla@example.com,Prague,cs,PC-0103,12 GB,90000,damaged,,,120 GB
david,david@example.com,Lyon,fr,PC-0201,800 MB,8200,absent,,,40 GB
elena,elena@example.com,Lyon,es,PC-0202,1.3 GB,,current,7.3,1.4 GB,15 GB
frank,frank@example.com,Lyon,en,PC-0203,30 GB,,damaged,,,9 GB
"""
_SETTINGS: Final = """\
# Settings of `kerio-resync fleet plan`. Each value shown with "default" may be left out.
# Rates: "20 Mbit/s" or "2.5 MB/s". Times: "20 ms", "5 min". Sizes: "1.5 GB", "300 MiB".

wave_minutes = 60        # default; users whose clients start within so many minutes are one wave, with one notice
uncertainty = 0.35       # default; a client may take so much longer than expected, and must still end in its window

[server]
workers = 8              # default; requests that the server serves at once
call_s = 0.015           # default; seconds of a worker for a request ...
kb_s = 0.0003            # default; ... and for 1,000 bytes of its reply. `fleet measure` measures the whole instead.
webmail_url = "https://mail.example.com/webmail/"   # where users work meanwhile; for the notices
time_zone = "Europe/Prague"   # default UTC; of the webmail users' day, and of windows and sites without their own

[server.webmail]
per_second = 40          # default; requests of webmail users in the busiest hour (or 24 values, from midnight)
service_s = 0.15         # default; seconds of a worker for one of them

[limits]
users_p95 = 2            # default; webmail users' p95 wait, at most this many times that without the clients
unnoticed_s = 0.1        # default; a p95 below this is always allowed
link_share = 0.8         # default; share of a site's link that the clients may use

[mailbox]
attachments_kept = "all" # default; "inbox" or "none" if the profiles have that setting

[[site]]
name = "Prague"
down = "50 Mbit/s"
up = "10 Mbit/s"
round_trip = "12 ms"

[[site]]
name = "Lyon"
down = "20 Mbit/s"
up = "5 Mbit/s"
round_trip = "35 ms"
time_zone = "Europe/Paris"

[[window]]               # as many as you like; an end before the start is on the next day
date = "{first}"
from = "22:00"
to = "06:00"

[[window]]
date = "{second}"
from = "22:00"
to = "06:00"
"""


def write_example(folder: Path, today: date) -> tuple[Path, Path]:
    """Write an inventory and settings into a folder; return their paths.

    Nothing is replaced: BadSettings if one of the files is there.
    """
    settings, inventory = folder / SETTINGS_NAME, folder / INVENTORY_NAME
    friday = today + timedelta(days=(4 - today.weekday()) % 7 or 7)
    text = _SETTINGS.format(first=friday.isoformat(), second=(friday + timedelta(days=1)).isoformat())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (settings, inventory):
            if path.exists():
                raise BadSettings(f"{path} is there already; choose another folder")
        settings.write_text(text, encoding="utf-8")
        inventory.write_text(_INVENTORY, encoding="utf-8")
    except OSError as error:
        raise translate_os_error(error, folder) from None
    return settings, inventory
