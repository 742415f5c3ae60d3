"""Makes the HTML of a mail safe to show, and turns it into plain text.

This is the first of three layers. The second is the Content-Security-Policy of the frame, the third its `sandbox`
attribute; each of them alone keeps scripts and remote content out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from html import unescape
from typing import Final, NamedTuple
from urllib.parse import unquote

import nh3

INLINE_TYPES: Final = frozenset({"image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"})
_DATA_IMAGE: Final = re.compile(r"data:image/(?:bmp|gif|jpeg|png|webp);base64,[A-Za-z0-9+/=\s]*\Z", re.IGNORECASE)
_TAGS: Final = nh3.ALLOWED_TAGS | {"font", "style"}
_CLEAN_CONTENT: Final = {"script", "title", "template", "noscript", "iframe", "object", "svg", "math"}
_SCHEMES: Final = {"http", "https", "mailto", "cid", "data", "tel"}
_LOOKS: Final = {
    "align",
    "bgcolor",
    "border",
    "class",
    "color",
    "dir",
    "height",
    "lang",
    "style",
    "title",
    "valign",
    "width",
}
_SPACE: Final = re.compile(r"[ \t\r\f\v]+")
_BLOCK_END: Final = re.compile(r"</(?:p|div|tr|li|h[1-6]|table|blockquote)\s*>|<br\s*/?>|<hr\s*/?>", re.IGNORECASE)


def _attributes() -> dict[str, set[str]]:
    attributes = deepcopy(nh3.ALLOWED_ATTRIBUTES)
    attributes["*"] = set(_LOOKS)
    attributes["font"] = {"color", "face", "size"}
    attributes.setdefault("table", set()).update({"cellpadding", "cellspacing"})
    attributes["a"] = {"href", "name"}
    attributes["img"] = {"alt", "src", "width", "height"}
    for cell in ("td", "th"):
        attributes.setdefault(cell, set()).update({"colspan", "rowspan", "nowrap"})
    return attributes


_ATTRIBUTES: Final = _attributes()


class SafeHtml(NamedTuple):
    """HTML without scripts and remote content.

    `remote`: the number of remote images that were taken out. `used`: the attachments that it shows.
    """

    html: str
    remote: int
    used: frozenset[int]


def clean(html: str, images: Mapping[str, int], addresses: Mapping[int, str] | None = None) -> SafeHtml:
    """Return the HTML of a mail without anything that runs or loads.

    `images`: number of the attachment for each Content-ID. `addresses`: the `data:` URIs of attachments.
    """
    known = addresses or {}
    remote = 0
    used: set[int] = set()

    def filter_attribute(tag: str, name: str, value: str) -> str | None:
        nonlocal remote
        if name != "src":
            return value if name != "href" or not value.lower().lstrip().startswith(("data:", "cid:")) else None
        if value[:4].lower() == "cid:":
            number = images.get(unquote(value[4:]).strip("<>").casefold())
            if number is None:
                return None
            used.add(number)
            return known.get(number)
        if _DATA_IMAGE.match(value):
            return value
        remote += 1
        return None

    safe = nh3.clean(
        html,
        tags=_TAGS,
        clean_content_tags=_CLEAN_CONTENT,
        attributes=_ATTRIBUTES,
        attribute_filter=filter_attribute,
        url_schemes=_SCHEMES,
        link_rel="noopener noreferrer",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    return SafeHtml(safe, remote, frozenset(used))


def to_text(html: str) -> str:
    """Return the text of an HTML page, without its tags."""
    spaced = _BLOCK_END.sub(lambda match: f"{match[0]}\n", html)
    text = unescape(nh3.clean(spaced, tags=set(), clean_content_tags={*_CLEAN_CONTENT, "style"}, attributes={}))
    lines = (_SPACE.sub(" ", line).strip() for line in text.replace("\xa0", " ").split("\n"))
    return "\n".join(line for line in lines if line)
