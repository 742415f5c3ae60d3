"""Which proxy leads to a server."""

from __future__ import annotations

import pytest

from kerio_resync.errors import BadSettings
from kerio_resync.server.http.proxies import Proxy, choose_proxy, is_exempt, parse_proxy

A, B, C = "http://a:1", "http://b:2", "http://c:3"


@pytest.mark.parametrize(
    ("server", "setting", "environment", "host"),
    [
        ("https://mail.test", None, {}, None),
        ("https://mail.test", None, {"https_proxy": A, "HTTPS_PROXY": B, "all_proxy": C}, "a"),
        ("https://mail.test", None, {"HTTPS_PROXY": B, "ALL_PROXY": C, "http_proxy": A}, "b"),
        ("https://mail.test", None, {"HTTP_PROXY": B}, None),
        ("https://mail.test", None, {"ALL_PROXY": C}, "c"),
        ("https://mail.test", None, {"https_proxy": "", "ALL_PROXY": C}, "c"),
        ("http://mail.test", None, {"http_proxy": A, "HTTP_PROXY": B}, "a"),
        ("http://mail.test", None, {"HTTP_PROXY": B}, "b"),
        ("http://mail.test", None, {"HTTP_PROXY": B, "REQUEST_METHOD": "GET"}, None),
        ("http://mail.test", None, {"HTTPS_PROXY": B}, None),
        ("http://127.0.0.1:8800", None, {"HTTP_PROXY": B}, "b"),
        ("https://mail.test", A, {"HTTPS_PROXY": B}, "a"),
        ("https://mail.test", "", {"HTTPS_PROXY": B}, None),
        ("https://mail.test", "None", {"HTTPS_PROXY": B}, None),
        ("https://mail.test", A, {"NO_PROXY": "mail.test"}, None),
        ("https://mail.test", None, {"HTTPS_PROXY": B, "no_proxy": "x", "NO_PROXY": "*"}, "b"),
        ("https://mail.test", None, {"HTTPS_PROXY": B, "NO_PROXY": "*"}, None),
        ("https://[::1]:8443", None, {"HTTPS_PROXY": B, "NO_PROXY": "::1"}, None),
    ],
)
def test_choose(server: str, setting: str | None, environment: dict[str, str], host: str | None) -> None:
    found = choose_proxy(server, setting, environment)
    assert (found and found.host) == host


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "expected"),
    [
        ("*", "mail.test", 443, True),
        ("x,*", "mail.test", 443, False),
        ("mail.test", "mail.test", 443, True),
        ("MAIL.test.", "mail.TEST", 443, True),
        ("mail.test", "mail.test.", 443, True),
        (".test", "mail.test", 443, True),
        ("test", "mail.test", 443, True),
        ("est", "mail.test", 443, False),
        ("mail.test", "xmail.test", 443, False),
        (".mail.test", "mail.test", 443, True),
        ("*.test", "mail.test", 443, True),
        ("a b,c , mail.test", "mail.test", 443, True),
        ("", "mail.test", 443, False),
        (".", "mail.test", 443, False),
        ("mail.test:443", "mail.test", 443, True),
        ("mail.test:8443", "mail.test", 443, False),
        ("10.0.0.1", "10.0.0.1", 443, True),
        ("10.0.0.1", "10.0.0.11", 443, False),
        ("0.0.1", "10.0.0.1", 443, False),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.1.2.3/8", "10.9.9.9", 443, True),
        ("10.0.0.0/99", "10.0.0.0", 443, False),
        ("10.0.0.0/8", "mail.test", 443, False),
        ("10.0.0.1:443", "10.0.0.1", 443, True),
        ("10.0.0.1:444", "10.0.0.1", 443, False),
        ("::1", "::1", 443, True),
        ("[::1]", "::1", 443, True),
        ("[::1]:443", "::1", 443, True),
        ("[::1]:444", "::1", 443, False),
        ("fd00::/8", "fd00::1", 443, True),
        ("0:0:0:0:0:0:0:1", "::1", 443, True),
        ("10.0.0.1", "::ffff:10.0.0.1", 443, True),
        ("localhost", "127.0.0.1", 443, False),
    ],
)
def test_exempt(no_proxy: str, host: str, port: int, expected: bool) -> None:
    assert is_exempt(host, port, no_proxy) is expected


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("proxy.test", Proxy("http", "proxy.test", 80)),
        ("proxy.test:3128", Proxy("http", "proxy.test", 3128)),
        (" http://proxy.test:3128/ ", Proxy("http", "proxy.test", 3128)),
        ("HTTP://u%40x:p%3Aw@proxy.test", Proxy("http", "proxy.test", 80, "u@x", "p:w")),
        ("socks5://[::1]:9", Proxy("socks5", "::1", 9)),
        ("socks5h://proxy.test", Proxy("socks5h", "proxy.test", 1080)),
    ],
)
def test_parsed(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    ["https://u:p4ssw0rd@x", "socks4://u:p4ssw0rd@x", "http://u:p4ssw0rd@", "http://u:p4ssw0rd@x:99999", "http://"],
)
@pytest.mark.parametrize("setting", [True, False])
def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(text: str, setting: bool) -> None:
    with pytest.raises(BadSettings) as caught:
        choose_proxy("https://mail.test", text if setting else None, {"HTTPS_PROXY": text})
    assert "p4ssw0rd" not in str(caught.value)
    assert str(caught.value).startswith("proxy:" if setting else "HTTPS_PROXY:")


def test_repr_shows_no_password() -> None:
    assert repr(Proxy("http", "::1", 80, "user", "p4ssw0rd")) == "Proxy(http://[::1]:80)"
