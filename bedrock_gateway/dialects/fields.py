"""Members of a request in JSON, read with their names: what is wrong is told with the path to it.

Knows JSON's types. Must not know what a member means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from bedrock_gateway.errors import InvalidRequest

__all__ = [
    "Block",
    "boolean",
    "fraction",
    "given",
    "given_in",
    "integer",
    "items",
    "mapping",
    "number",
    "one_of",
    "text",
    "written",
    "wrong",
]

#: A JSON object of a request or an answer.
Block = dict[str, Any]

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_dumps_ascii = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_KINDS = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}


def wrong(path: str, what: str) -> NoReturn:
    """Refuse a member.

    Raises:
        InvalidRequest: naming it.
    """
    raise InvalidRequest(f"{path}: {what}.", param=path)


def _not(path: str, wanted: str, value: object) -> NoReturn:
    if value is None:
        wrong(path, f"must be {wanted}, and is missing")
    wrong(path, f"must be {wanted}, not {_KINDS.get(type(value), 'that')}")


def given(holder: Mapping[str, Any], name: str, otherwise: object) -> Any:
    """Return a member, or ``otherwise`` where it is left out or null: SDKs send null for what nobody has set."""
    value = holder.get(name)
    return otherwise if value is None else value


def given_in(value: Any) -> Any:
    """Return a member without what is null in it; None for an object that holds nothing but nulls."""
    if not isinstance(value, dict):
        return value
    found = {name: told for name, told in value.items() if told is not None}
    return found if found or not value else None


def text(value: object, path: str) -> str:
    """Return a member that has to be a string."""
    if not isinstance(value, str):
        _not(path, "a string", value)
    return value


def boolean(value: object, path: str) -> bool:
    """Return a member that has to be true or false."""
    if not isinstance(value, bool):
        _not(path, "true or false", value)
    return value


def integer(value: object, path: str, least: int = 0) -> int:
    """Return a member that has to be a whole number of at least ``least``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        _not(path, "a whole number", value)
    if value < least:
        wrong(path, f"must be {least} or more")
    return value


def number(value: object, path: str) -> float:
    """Return a member that has to be a number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        _not(path, "a number", value)
    return value


def fraction(value: object, path: str, instead: float | None = None) -> float:
    """Return a member that has to be a number from 0 to 1; ``instead`` of a greater one, where that is given."""
    found = number(value, path)
    if found > 1 and instead is not None:
        return instead
    if not 0 <= found <= 1:
        wrong(path, "must be from 0 to 1, as Bedrock has it")
    return found


def items(value: object, path: str) -> list[Any]:
    """Return a member that has to be a list."""
    if not isinstance(value, list):
        _not(path, "a list", value)
    return value


def mapping(value: object, path: str) -> Mapping[str, Any]:
    """Return a member that has to be an object."""
    if not isinstance(value, dict):
        _not(path, "an object", value)
    return value


def written(document: Mapping[str, Any]) -> bytes:
    """Return a request as JSON.

    Raises:
        InvalidRequest: what is in it is no JSON.
    """
    try:
        try:
            return _dumps(document).encode()
        except UnicodeEncodeError:
            # Half of a surrogate pair can only be written escaped.
            return _dumps_ascii(document).encode()
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    except ValueError:
        raise InvalidRequest("A number in the body is none of JSON's (NaN, Infinity).") from None


def one_of(value: object, path: str, allowed: tuple[str, ...]) -> str:
    """Return a member that has to be one of certain strings."""
    if not isinstance(value, str) or value not in allowed:
        told = [one for one in allowed if one]
        wrong(path, f"must be {'one of ' if len(told) > 1 else ''}{', '.join(told)}")
    return value
