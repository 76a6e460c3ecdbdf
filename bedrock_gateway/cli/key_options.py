"""What the options of ``bedrock-gateway key`` come to: fields of a key under LiteLLM's names, checked by the same code
as the API's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

import attrs

from bedrock_gateway.access.fields import KINDS, parse
from bedrock_gateway.access.values import Parser, list_of
from bedrock_gateway.cli.configured import operation_names
from bedrock_gateway.errors import Refusal, StartError

__all__ = ["add_fields", "fields_of", "start_error"]


@attrs.frozen(kw_only=True)
class _Option:
    """An option and the field it sets.

    Attributes:
        kind: how its text becomes a value: text, number, list (by commas, or said again), flag.
    """

    name: str
    field: str
    kind: str
    metavar: str | None
    help: str


def _option(name: str, field: str, kind: str, metavar: str | None, help_: str) -> _Option:
    return _Option(name=name, field=field, kind=kind, metavar=metavar, help=help_)


_OPTIONS = (
    _option("--alias", "key_alias", "text", "NAME", "what people call it; no two keys have the same"),
    _option("--user", "user_id", "text", "ID", "whose it is; a user not known yet is made"),
    _option("--team", "team_id", "text", "ID", "its team"),
    _option("--models", "models", "list", "LIST", "model groups, model ids, globs: claude,nova-* (default: all)"),
    _option("--max-budget", "max_budget", "number", "USD", "what it may spend"),
    _option("--budget-duration", "budget_duration", "text", "TIME", "in how long: 1d, 7d, 30d, 1mo (default: ever)"),
    _option("--soft-budget", "soft_budget", "number", "USD", "from where on it is said how much was spent"),
    _option("--budget-id", "budget_id", "text", "ID", "a budget it takes all that from instead"),
    _option("--on-budget", "on_budget", "text", "WHAT", "refuse, or clamp the answer's length to what is left"),
    _option("--rpm", "rpm_limit", "number", "COUNT", "requests a minute"),
    _option("--tpm", "tpm_limit", "number", "COUNT", "tokens a minute"),
    _option("--parallel", "max_parallel_requests", "number", "COUNT", "calls at once"),
    _option("--duration", "duration", "text", "TIME", "how long it lives: 30d, 12h; -1 for ever"),
    _option("--tag", "tags", "list", "LIST", "tags of all its calls"),
    _option(
        "--allowed-operations", "allowed_operations", "list", "LIST", "operations by name or glob, instead of the usual"
    ),
    _option("--on-disconnect", "on_disconnect", "text", "WHAT", "drain or abort what a caller that left had asked for"),
    _option("--key-type", "key_type", "text", "KIND", "default, llm_api, management or read_only"),
)
_BY_FIELD = {option.field: option for option in _OPTIONS}


def add_fields(parser: argparse.ArgumentParser, *, change: bool) -> None:
    """Add the options that set fields of a key; ``change``: and those that take fields away."""
    for option in _OPTIONS:
        parser.add_argument(
            option.name,
            dest=option.field,
            metavar=option.metavar,
            help=option.help,
            action="append" if option.kind == "list" else "store",
        )
    parser.add_argument(
        "--metadata",
        metavar="NAME=VALUE",
        action="append",
        help="something of your own to keep with it; again for more",
    )
    parser.add_argument(
        "--set", metavar="FIELD=JSON", action="append", dest="others", help="any other field of LiteLLM's /key/generate"
    )
    if change:
        parser.add_argument(
            "--unset", metavar="OPTION", action="append", help="take a field away: max-budget, models; again for more"
        )


def fields_of(args: argparse.Namespace, also: Mapping[str, Parser]) -> dict[str, Any]:
    """Return the fields that options set, as ``access.fields.parse`` does; operations have to be there.

    Raises:
        StartError: one is wrong, under the option's name.
    """
    body: dict[str, Any] = {}
    for option in _OPTIONS:
        told = getattr(args, option.field)
        if told is not None:
            body[option.field] = _value(option, told)
    for pair in args.others or ():
        field, separator, text = pair.partition("=")
        if not separator:
            raise StartError(f"--set {pair}: write FIELD=JSON, for example model_max_budget='{{\"claude\": 5}}'")
        try:
            body[field] = json.loads(text)
        except (ValueError, RecursionError):
            raise StartError(
                f"--set {field}: the value is no JSON; a text stands in quotes, {field}='\"text\"'"
            ) from None
    if args.metadata:
        more = body.get("metadata") or {}
        if not isinstance(more, dict):
            raise StartError("--set metadata: must be an object, that --metadata adds to")
        body["metadata"] = {**more, **dict(_pair(pair) for pair in args.metadata)}
    for word in getattr(args, "unset", None) or ():
        body[_field_named(word)] = None
    if body.get("allowed_operations"):
        # Some tens of milliseconds: where they are asked for.
        also = {**also, "allowed_operations": list_of(operation_names().parse)}
    try:
        return parse("key", body, also=also)
    except Refusal as refusal:
        raise start_error(refusal) from None


def _value(option: _Option, told: Any) -> Any:
    if option.kind == "list":
        words = [word.strip() for text in told for word in text.split(",") if word.strip()]
        if not words:
            # Most likely a variable that is not set; an empty list would mean all of them.
            raise StartError(f"{option.name}: names nothing; leave it out, or take it away by --unset")
        return words
    if option.kind == "number":
        try:
            return json.loads(told, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise StartError(f"{option.name}: must be a number, not {told[:40]!r}") from None
    return told


def _no_number(word: str) -> float:
    raise ValueError(word)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise StartError(f"--metadata {text}: write NAME=VALUE")
    return name, value


def _field_named(word: str) -> str:
    """Return the field of an option's name, with or without its dashes, or of a field's."""
    by_name = {option.name: option.field for option in _OPTIONS} | {"--metadata": "metadata"}
    field = by_name.get(f"--{word.removeprefix('--').replace('_', '-')}", word)
    if field not in KINDS["key"].kept and field != "duration":
        raise StartError(f"--unset {word}: there is no such option; known are {', '.join(by_name)}")
    return field


def start_error(refusal: Refusal) -> StartError:
    """Return a refusal as the command line says it: a field goes by its option's name."""
    field = getattr(refusal, "field", "")
    option = _BY_FIELD.get(field.partition("[")[0].partition(".")[0])
    message = refusal.message
    if option is not None and message.startswith(field):
        message = option.name + message[len(field) :]
    return StartError(message)
