"""The base of what the files of `fleet` hold, and how such a file is read."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from kerio_resync.errors import BadSettings
from kerio_resync.os_errors import describe


class Value(BaseModel):
    """An immutable part of a file; members that are not known are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


ValueT = TypeVar("ValueT", bound=Value)


def read_value(path: Path, kind: type[ValueT], what: str) -> ValueT:
    """Read a JSON file as `kind`; BadSettings if it is unreadable or something else.

    `what`: the file's name in messages, such as "a plan of `fleet plan`".
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadSettings(describe(error, str(path))) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadSettings(f"{path} is not {what} ({f'{where}: ' if where else ''}{first['msg']})") from None
