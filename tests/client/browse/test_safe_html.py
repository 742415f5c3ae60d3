"""What is left of the HTML of a mail."""

from __future__ import annotations

import pytest

from kerio_resync.browse.safe_html import clean, to_text

CANARY = "http://canary.example"
HOSTILE = [
    "<script>x()</script>",
    "<img src=x onerror=x()>",
    "<svg onload=x()><script>x()</script></svg>",
    '<a href="javascript:x()">a</a>',
    '<a href=" jAvascript:x()">a</a>',
    '<a href="data:text/html,<script>x()</script>">a</a>',
    f'<base href="{CANARY}/">',
    f'<meta http-equiv=refresh content="0;url={CANARY}">',
    f'<link rel=stylesheet href="{CANARY}">',
    f'<link rel=dns-prefetch href="{CANARY}">',
    f'<iframe src="{CANARY}"></iframe>',
    f'<object data="{CANARY}"></object><embed src="{CANARY}">',
    f'<form action="{CANARY}"><input name=a><button formaction="javascript:x()">b</button></form>',
    f'<img src="{CANARY}/a.png" srcset="{CANARY}/b.png 2x">',
    f'<table background="{CANARY}/a.png"><td background="{CANARY}/b.png"></table>',
    f'<video poster="{CANARY}"><source src="{CANARY}"></video><audio src="{CANARY}"></audio>',
    '<img src="data:image/svg+xml,<svg onload=x()>">',
    "<math><mtext><style><img src=x onerror=x()></style></mtext></math>",
    '<a ping="http://canary.example" href="#">a</a>',
]


@pytest.mark.parametrize("html", HOSTILE)
def test_clean_leaves_nothing_that_runs_or_loads(html: str) -> None:
    left = clean(f"<p>before</p>{html}<p>after</p>", {}).html.lower()
    assert "before" in left
    assert "after" in left
    for word in ("canary", "x()", "script", "onerror", "onload", "<base", "<meta", "<link", "<form", "data:", "ping"):
        assert word not in left


def test_clean_keeps_looks_links_and_known_pictures() -> None:
    html = (
        '<p style="color: red">Hi <a href="https://example.com/a">there</a></p><img src="cid:dot@x" width="3">'
        '<img src="cid:gone@x"><img src="https://example.com/1.png"><img src="data:image/png;base64,AAAA">'
    )
    safe = clean(html, {"dot@x": 7}, {7: "data:image/png;base64,BBBB"})
    assert (safe.remote, set(safe.used)) == (1, {7})
    assert 'style="color: red"' in safe.html
    assert 'href="https://example.com/a"' in safe.html
    assert 'rel="noopener noreferrer"' in safe.html
    assert safe.html.count("<img") == 4
    assert 'src="data:image/png;base64,BBBB"' in safe.html
    assert 'src="data:image/png;base64,AAAA"' in safe.html
    assert "example.com/1.png" not in safe.html


def test_to_text_has_lines_and_no_tags() -> None:
    html = "<style>p{}</style><p>One &amp; two</p><p>three<br>four</p><script>no</script><td>5&lt;6</td>"
    assert to_text(html) == "One & two\nthree\nfour\n5<6"
