"""How to reach the server of some settings."""

from __future__ import annotations

import os
from urllib.parse import quote

from kerio_resync.server.http import proxies
from kerio_resync.server.http.connections import Route
from kerio_resync.settings import Settings


def route_of(settings: Settings) -> Route:
    """Return how to reach the server of these settings.

    BadSettings if the proxy cannot be used.
    """
    setting = settings.proxy.get_secret_value() if settings.proxy is not None else None
    proxy = proxies.choose_proxy(settings.server, setting, os.environ)
    if proxy is not None:
        settings.redactor.keep(proxy.password, quote(proxy.password, safe=""))
    return Route(proxy, settings.ca_file, settings.client_cert, settings.fingerprint)
