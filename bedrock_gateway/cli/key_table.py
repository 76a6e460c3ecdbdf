"""Keys for people: a table of many, all there is to know of one. Knows rows as the API answers them; knows no SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bedrock_gateway.cli.terminal import DIM, Column, Terminal

__all__ = ["print_key", "print_keys"]

#: Fields shown first of one key, in this order; the others follow if anything is set.
_FIRST = ("key_alias", "key_id", "key_name", "status", "user_id", "team_id", "models", "spend", "total_spend")
#: Twice said, or of no interest to people.
_LEFT_OUT = frozenset({"token_id", "settings_updated_at", "blocked", "config", "router_settings"})


def print_keys(terminal: Terminal, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of keys."""
    if not rows:
        terminal.line("There are no such keys. bedrock-gateway key create makes one.")
        return
    columns = [
        _words(terminal, "alias", [row["key_alias"] or "-" for row in rows], least=12),
        _words(terminal, "key", [row["key_name"] for row in rows]),
        _words(terminal, "id", [row["key_id"] for row in rows], spare=1),
        _words(terminal, "user", [row["user_id"] or "" for row in rows], least=8, spare=3),
        _words(terminal, "team", [row["team_id"] or "" for row in rows], least=8, spare=3),
        _words(terminal, "models", [", ".join(row["models"]) or "all" for row in rows], least=10, spare=4),
        Column(heading="spend USD", cells=[f"{row['spend']:.4f}" for row in rows]),
        Column(heading="budget USD", cells=[_budget(row) for row in rows]),
        _words(terminal, "expires", [(row["expires"] or "never")[:10] for row in rows], spare=2),
        _words(terminal, "status", [row["status"] for row in rows]),
    ]
    for heading in ("user", "team"):
        # What nobody has needs no column.
        columns = [column for column in columns if column.heading != heading or any(column.cells)]
    terminal.table(columns)


def _words(
    terminal: Terminal, heading: str, cells: Sequence[str], *, least: int | None = None, spare: int = 0
) -> Column:
    return Column(heading=heading, cells=[terminal.word(cell) for cell in cells], left=True, least=least, spare=spare)


def _budget(row: Mapping[str, Any]) -> str:
    table = row["litellm_budget_table"] or {}
    budget = row["max_budget"] if row["max_budget"] is not None else table.get("max_budget")
    duration = row["budget_duration"] or table.get("budget_duration")
    if budget is None:
        return "-"
    return f"{budget:g}/{duration}" if duration else f"{budget:g}"


def print_key(terminal: Terminal, row: Mapping[str, Any]) -> None:
    """Print what is set of a key, a line a field."""
    rest = [field for field in row if field not in _FIRST and field not in _LEFT_OUT]
    told = {field: row[field] for field in _FIRST}
    told |= {field: row[field] for field in rest if row[field] not in (None, False, [], {}, 0)}
    width = max(map(len, told))
    for field, value in told.items():
        text = "-" if value in (None, [], "") else _text(value)
        terminal.line(f"{terminal.style(DIM, field.ljust(width))}  {terminal.word(text)}")


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)
