"""The digest of an item, computed in the same way by the mock server."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from kerio_resync.model import Kind
from kerio_resync.server.kerio.items import attachment_id
from kerio_resync.server.kerio.json_codec import parse_json


def struct_digest(kind: Kind, payload: bytes, contents: Mapping[str, str]) -> str:
    """Return the SHA-256 (hex) of an item's documented struct.

    In each attachment and photo with a `url`, the SHA-256 of its content (hex, from `contents` by `Attachment.id`)
    takes the place of the `url`. ValueError if `payload` is no JSON object.
    """
    # Inside a JSON string these quotes would be escaped, so text cannot match.
    has_reference = (kind == "mail" and b'"attachments":[{' in payload) or (
        kind == "contact" and b'"photo":{' in payload
    )
    if not has_reference:
        return sha256(payload).hexdigest()
    value, write = parse_json(payload)
    if kind == "contact":
        references, owner = [value.get("photo")], str(value.get("id", ""))
    else:
        references, owner = value.get("attachments", ()), ""
    for reference in references:
        if isinstance(reference, dict):
            name = attachment_id(reference, owner)
            if reference.pop("url", "") and name in contents:
                reference["sha256"] = contents[name]
    return sha256(write(value)).hexdigest()
