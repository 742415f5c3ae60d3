"""API errors in the documented shape.

`ApiError` is raised below the dispatcher and becomes `{"error": {code, message, data}}`; in calls about many items it
becomes a line of `errors` instead. Messages keep their `%1` placeholders, as the real server's do.
"""

from __future__ import annotations

from typing import Any

PARSE, INVALID_REQUEST, NO_SUCH_METHOD, INVALID_PARAMS, INTERNAL, EXPIRED = (
    -32700,
    -32600,
    -32601,
    -32602,
    -32603,
    -32001,
)
FAILED, ALREADY_EXISTS, NO_SUCH_ITEM, NOT_PERMITTED, ACCESS_DENIED = 1000, 1001, 1002, 1003, 1004
REINDEXING, BLOCKED, QUOTA, NO_SUCH_FOLDER = 4100, 4101, 4102, 4104
TOO_LARGE = 413

_STATUS = {
    PARSE: 500,
    INVALID_REQUEST: 500,
    INVALID_PARAMS: 500,
    INTERNAL: 500,
    EXPIRED: 500,
    NO_SUCH_METHOD: 404,
    TOO_LARGE: 413,
}


class ApiError(Exception):
    """An error reply: code, message with placeholders, and their parameters."""

    def __init__(self, code: int, message: str, *parameters: str, plurality: int = 1) -> None:
        super().__init__(code, message, *parameters)
        self.code = code
        self.message = message
        self.parameters = list(parameters)
        self.plurality = plurality

    def as_error(self) -> dict[str, Any]:
        """Return the `error` member of a reply."""
        return {"code": self.code, "message": self.message, "data": {"messageParameters": self._details()}}

    def as_item_error(self, index: int) -> dict[str, Any]:
        """Return a line of `errors` in a reply about many items (the struct `Error`)."""
        return {
            "inputIndex": index,
            "code": self.code,
            "message": self.message,
            "messageParameters": self._details(),
        }

    def _details(self) -> dict[str, Any]:
        return {"positionalParameters": self.parameters, "plurality": self.plurality}


def http_status(code: int, style: str) -> int:
    """Return the HTTP status of an error reply.

    `documented` gives 500 or 404 for protocol errors, `always_200` always 200.
    """
    if style == "always_200" and code != TOO_LARGE:
        return 200
    return _STATUS.get(code, 200)


def expired() -> ApiError:
    """Return the error for an expired session."""
    return ApiError(EXPIRED, "Session expired.")


def no_such_item(item_id: str) -> ApiError:
    """Return the error for an unknown item."""
    return ApiError(NO_SUCH_ITEM, "Item %1 does not exist.", item_id)


def no_such_folder(folder_id: str) -> ApiError:
    """Return the error for an unknown folder."""
    return ApiError(NO_SUCH_FOLDER, "Folder %1 does not exist.", folder_id)


def busy(code: int) -> ApiError:
    """Return error 4100 (the folder is reindexed) or 4101 (the mailbox is locked)."""
    texts = {REINDEXING: "The folder is being reindexed.", BLOCKED: "A long operation holds the mailbox."}
    return ApiError(code, texts.get(code, "The mailbox is busy."))


def unsupported(method: str) -> ApiError:
    """Return the error for a method that this server lacks."""
    return ApiError(NOT_PERMITTED, "The operation %1 is not permitted on this server.", method)
