"""What a JMAP server chooses, within RFC 8620 and beyond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Choices:
    """The defaults are unlike Cyrus's.

    `whole_objects_in_get`: Emails with body values per get, 0 for no further limit. `query_rows`: ids per query, 0 for
    no limit of its own. `two_hosts`: contents are at another origin, and addresses are absolute. `well_known`: where
    the session resource is. `blobs`: the capability that offers Blob/get, `digests`: with SHA-256. `token`: a Bearer
    token instead of a password. `one_per_content`: equal mails are one Email, as on Cyrus. `reference_error`: the
    error of a call whose back-reference failed. `subject_header`: a query may name the header Subject. `compresses`:
    blobs are compressed for clients that accept it (over sockets only).
    """

    objects_in_get: int = 5
    objects_in_set: int = 3
    calls_in_request: int = 16
    request_bytes: int = 100_000
    concurrent_requests: int = 2
    concurrent_uploads: int = 1
    whole_objects_in_get: int = 0
    query_rows: int = 0
    two_hosts: bool = True
    well_known: Literal["here", "redirect", "missing"] = "redirect"
    ranges: bool = True
    blobs: Literal["", "urn:ietf:params:jmap:blob", "https://cyrusimap.org/ns/jmap/blob"] = ""
    digests: bool = False
    token: str = ""
    numeric_states: bool = False
    one_per_content: bool = False
    reference_error: Literal["invalidResultReference", "resultReference"] = "invalidResultReference"
    subject_header: bool = False
    compresses: bool = False
    quota: bool = True
    bare_session: bool = False  # only the members that no client can do without


LIKE_CYRUS = Choices(
    objects_in_get=4096, objects_in_set=4096, calls_in_request=50, request_bytes=10_485_760, concurrent_requests=5,
    concurrent_uploads=5, two_hosts=False, ranges=False, blobs="https://cyrusimap.org/ns/jmap/blob",
    numeric_states=True, one_per_content=True, reference_error="resultReference", subject_header=True,
    bare_session=True,
)  # fmt: skip
