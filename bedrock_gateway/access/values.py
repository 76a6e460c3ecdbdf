"""What a field of a key, user, team, … may hold, as parsers: each takes the field's name and a JSON value, and returns
the value in the one form that is kept.

Knows types and bounds; knows no field. Money stays USD as given here, rounded to the nano: documents keep it as it is
shown, and ``nano`` is what is counted with. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, TypeAlias

from bedrock_gateway.access.windows import after, parse_duration, zone
from bedrock_gateway.errors import InvalidField

__all__ = [
    "LARGEST_DOCUMENT",
    "LONGEST_NAME",
    "Parser",
    "boolean",
    "budget_duration",
    "budget_windows",
    "choice",
    "count",
    "grace",
    "json_object",
    "lifetime",
    "list_of",
    "mapping_of",
    "model_budgets",
    "money",
    "name",
    "nano",
    "operation_glob",
    "positive",
    "shown",
    "tag",
    "team_identifier",
    "text",
    "timezone",
]

Parser: TypeAlias = "Callable[[str, Any], Any]"
"""Takes a field's name and its value; returns what is kept, or raises ``InvalidField``."""

LONGEST_NAME = 256
"""Characters of a name, id or alias."""

LARGEST_DOCUMENT = 65_536
"""Bytes of everything that is set on one key, user, team, … as JSON."""

_LONGEST_TEXT = 4096
_LONGEST_TAG = 64
_MOST_ITEMS = 1000
#: A billion USD: what is above is a slip of units.
_MOST_USD = Decimal(1_000_000_000)
#: Of requests and tokens; every integer up to it is exact in JSON readers that know only doubles.
_MOST_COUNT = 2**53
_NANO = Decimal("0.000000001")
_DECIMAL = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,20})?")
_OPERATION = re.compile(r"(?:[A-Za-z0-9*?-]+:)?(?:[A-Za-z0-9*?]+|(?:GET|HEAD|POST|PUT|PATCH|DELETE) /[!-~]*)")


def nano(usd: float) -> int:
    """Return USD of a document in nano-USD."""
    return int(Decimal(str(usd)).scaleb(9).to_integral_value(ROUND_HALF_EVEN))


def shown(value: Any) -> str:
    """Return a value as a message may show it: short, on one line, and never a key that was put in a wrong place."""
    if isinstance(value, str) and value.startswith("sk-"):
        return '"sk-..."'
    try:
        told = json.dumps(value)
    except (TypeError, ValueError):
        told = type(value).__name__
    return told if len(told) <= 40 else f"{told[:37]}..."


def _wrong(field: str, expected: str, value: Any) -> InvalidField:
    return InvalidField(field, f"must be {expected}, not {shown(value)}")


def text(field: str, value: Any) -> str:
    """Take a text of up to 4,096 characters, line breaks among them."""
    if not isinstance(value, str):
        raise _wrong(field, "a text", value)
    if len(value) > _LONGEST_TEXT:
        raise InvalidField(field, f"is longer than {_LONGEST_TEXT} characters")
    if not all(character.isprintable() or character in "\n\t" for character in value):
        raise InvalidField(field, "has control characters")
    return value


def name(field: str, value: Any) -> str:
    """Take a name or id people give: one line, 1 to 256 characters, no blank at either end, and never what could be a
    key.
    """
    if not isinstance(value, str):
        raise _wrong(field, "a text", value)
    if len(value) > LONGEST_NAME:
        raise InvalidField(field, f"is longer than {LONGEST_NAME} characters")
    if not value or value != value.strip():
        raise InvalidField(field, "is empty" if not value.strip() else "begins or ends with a blank")
    if not value.isprintable():
        raise InvalidField(field, "has control characters")
    if value.startswith("sk-"):
        # Names stand in rows, logs and reports: a key that was put in a wrong place must not end there.
        raise InvalidField(field, "begins with sk-, as keys do: names and ids are no secrets")
    return value


def team_identifier(field: str, value: Any) -> str:
    """Take a team's id; it has no slash, which parts team and user in the name of a member's account."""
    kept = name(field, value)
    if "/" in kept:
        raise InvalidField(field, "has a slash, which a team's id cannot have")
    return kept


def tag(field: str, value: Any) -> str:
    """Take a tag: a name of up to 64 characters."""
    kept = name(field, value)
    if len(kept) > _LONGEST_TAG:
        raise InvalidField(field, f"a tag is longer than {_LONGEST_TAG} characters")
    return kept


def boolean(field: str, value: Any) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise _wrong(field, "true or false", value)
    return value


def count(field: str, value: Any) -> int:
    """Take a whole number of requests, tokens or calls, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value % 1:
        raise _wrong(field, "a whole number", value)
    if value < 0:
        raise _wrong(field, "0 or more", value)
    if value > _MOST_COUNT:
        raise InvalidField(field, f"is larger than {_MOST_COUNT}; leave it out for no limit")
    return int(value)


def positive(field: str, value: Any) -> int:
    """Take a whole number, 1 or more."""
    kept = count(field, value)
    if not kept:
        raise _wrong(field, "1 or more", value)
    return kept


def money(field: str, value: Any) -> int | float:
    """Take USD, 0 or more, rounded to the nano-dollar."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(field, "a number of USD", value)
    if value != value or value in (float("inf"), float("-inf")):
        raise InvalidField(field, "must be a finite number of USD")
    if value < 0:
        raise _wrong(field, "0 or more USD", value)
    if value > _MOST_USD:
        raise InvalidField(field, "is more than a billion USD; leave it out for no budget")
    usd = Decimal(str(value)).quantize(_NANO, ROUND_HALF_EVEN)
    return int(usd) if usd == usd.to_integral_value() else float(usd)


def choice(*words: str) -> Parser:
    """Take one of the words."""

    def parse(field: str, value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise _wrong(field, f"{', '.join(words[:-1])} or {words[-1]}", value)
        return value

    return parse


def list_of(parse_item: Parser, *, most: int = _MOST_ITEMS) -> Parser:
    """Take a list; what stands twice in it counts once."""

    def parse(field: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong(field, "a list", value)
        if len(value) > most:
            raise InvalidField(field, f"has more than {most} entries")
        return list(dict.fromkeys(parse_item(f"{field}[{index}]", item) for index, item in enumerate(value)))

    return parse


def mapping_of(parse_value: Parser) -> Parser:
    """Take an object from names to values."""

    def parse(field: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(field, "an object", value)
        if len(value) > _MOST_ITEMS:
            raise InvalidField(field, f"has more than {_MOST_ITEMS} entries")
        # A fault of the key is told by its place, not by its text, which may be anything.
        return {
            name(f"{field} (a name in it)", key): parse_value(f"{field}.{key}", item) for key, item in value.items()
        }

    return parse


def json_object(field: str, value: Any) -> dict[str, Any]:
    """Take any JSON object that fits into a document."""
    if not isinstance(value, dict):
        raise _wrong(field, "an object", value)
    try:
        length = len(json.dumps(value, allow_nan=False))
    except ValueError:
        raise InvalidField(field, "has NaN or Infinity in it, which is no JSON") from None
    except RecursionError:
        raise InvalidField(field, "is nested too deeply") from None
    if length > LARGEST_DOCUMENT // 2:
        raise InvalidField(field, f"is larger than {LARGEST_DOCUMENT // 2} bytes")
    return value


def budget_duration(field: str, value: Any) -> str:
    """Take the length of a budget's window, as ``access.windows`` reads it."""
    if not isinstance(value, str):
        raise _wrong(field, "a duration such as 30d, 1mo, 7d or 1h", value)
    try:
        parse_duration(value)
    except ValueError as error:
        raise InvalidField(field, str(error)) from None
    return value


def lifetime(field: str, value: Any) -> str | None:
    """Take how long something lives from now on; ``-1``, LiteLLM's word, is for ever."""
    if not isinstance(value, str):
        raise _wrong(field, "a duration such as 30d, 12h or 1mo", value)
    if value == "-1":
        return None
    try:
        after(value, 0)
    except ValueError as error:
        raise InvalidField(field, str(error)) from None
    return value


def grace(field: str, value: Any) -> str | None:
    """Take how long an old key lives beside the new one; nothing and 0 are not at all, and for ever there is not."""
    if value == "-1":
        raise InvalidField(field, "must be a duration such as 24h: an old key does not live on for ever")
    return None if value in ("", "0", "0s") else lifetime(field, value)


def timezone(field: str, value: Any) -> str:
    """Take the IANA name of a time zone."""
    kept = name(field, value)
    try:
        zone(kept)
    except ValueError as error:
        raise InvalidField(field, str(error)) from None
    return kept


def operation_glob(field: str, value: Any) -> str:
    """Take a glob of operations: ``Converse``, ``bedrock-agent-runtime:*``, ``*``; of one that has no name yet method
    and path (``bedrock-agent-runtime:POST /flows/*/newthing``).
    """
    kept = name(field, value)
    if not _OPERATION.fullmatch(kept):
        raise InvalidField(
            field, f"{shown(kept)} is no operation: write Converse, bedrock-agent-runtime:InvokeAgent or *"
        )
    return kept


def budget_windows(field: str, value: Any) -> list[dict[str, Any]]:
    """Take concurrent budgets: ``[{"budget_duration": "1d", "max_budget": 5}]``."""
    if not isinstance(value, list):
        raise _wrong(field, "a list of {budget_duration, max_budget}", value)
    if len(value) > 10:
        raise InvalidField(field, "has more than 10 entries")
    kept = [_window(f"{field}[{index}]", item, required=True) for index, item in enumerate(value)]
    if len({item["budget_duration"] for item in kept}) < len(kept):
        raise InvalidField(field, "has two budgets of one duration")
    return kept


def model_budgets(field: str, value: Any) -> dict[str, Any]:
    """Take a budget for each model: USD for good, or ``{"budget_limit": 5, "time_period": "1d"}``."""
    if not isinstance(value, dict):
        raise _wrong(field, "an object from model to budget", value)
    if len(value) > _MOST_ITEMS:
        raise InvalidField(field, f"has more than {_MOST_ITEMS} entries")
    return {
        name(f"{field} (a name in it)", model): (
            _window(f"{field}.{model}", item, required=False)
            if isinstance(item, dict)
            else {"max_budget": money(f"{field}.{model}", item)}
        )
        for model, item in value.items()
    }


#: LiteLLM's two spellings of a budget within another field, and the one that is kept.
_WINDOW_FIELDS: Mapping[str, tuple[str, Parser]] = {
    "max_budget": ("max_budget", money),
    "budget_limit": ("max_budget", money),
    "budget_duration": ("budget_duration", budget_duration),
    "time_period": ("budget_duration", budget_duration),
}


def _window(field: str, value: Any, *, required: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(field, "an object {budget_duration, max_budget}", value)
    kept: dict[str, Any] = {}
    for key, item in value.items():
        if key not in _WINDOW_FIELDS:
            if key in ("reset_at", "tpm_limit", "rpm_limit") and item is None:
                continue  # LiteLLM shows them beside the rest
            raise InvalidField(f"{field}.{key}", "is not known here; a budget has max_budget and budget_duration")
        target, parse = _WINDOW_FIELDS[key]
        if item is None and target == "budget_duration" and not required:
            continue
        if key == "budget_limit" and isinstance(item, str) and _DECIMAL.fullmatch(item):
            item = float(item)  # LiteLLM's documentation writes this one figure as text
        if target in kept:
            raise InvalidField(f"{field}.{key}", f"says {target} a second time")
        kept[target] = parse(f"{field}.{key}", item)
    for target in ("max_budget", "budget_duration") if required else ("max_budget",):
        if target not in kept:
            raise InvalidField(f"{field}.{target}", "is missing")
    return kept
