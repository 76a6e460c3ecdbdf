"""A request as the handlers of operations see it: what its path, its query, its headers and its body say.

Knows no operation.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import attrs

from bedrock_gateway.simulator.counting import count, text_part
from bedrock_gateway.simulator.dialogue import Question, Reply, answer
from bedrock_gateway.simulator.faults import Directives, parse_directives
from bedrock_gateway.simulator.inference import Prepared, parse_json
from bedrock_gateway.simulator.protocol import Streamed, Whole, require
from bedrock_gateway.simulator.routes import Route
from bedrock_gateway.simulator.signatures import Identity, Incoming

__all__ = ["Asked", "Said", "identifier", "member", "plain", "say", "text_member"]

_IDENTIFIER = re.compile(r"[0-9a-zA-Z._:-]{2,100}")
_NOTHING = Directives(faults=(), tokens=None, reasoning=False, text="")


@attrs.frozen(kw_only=True)
class Asked:
    """One request. ``body`` is parsed when it is first asked for; it has to be an object then."""

    route: Route
    incoming: Incoming
    identity: Identity
    _parsed: list[dict[str, Any]] = attrs.field(factory=list, init=False, repr=False)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.route.labels

    @property
    def account(self) -> str:
        return self.identity.account

    @property
    def region(self) -> str:
        return self.identity.region

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.incoming.raw_path.partition("?")[2], keep_blank_values=True))

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name."""
        return {name.lower(): value for name, value in self.incoming.headers}

    @property
    def body(self) -> dict[str, Any]:
        if not self._parsed:
            self._parsed.append(parse_json(self.incoming.body) if self.incoming.body else {})
        return self._parsed[0]


def member(value: Any, *path: str) -> Any:
    """Give what a path of members leads to, or None."""
    return functools.reduce(lambda found, name: found.get(name) if isinstance(found, dict) else None, path, value)


def text_member(value: Any, *path: str) -> str:
    """Give the text a path of members leads to.

    Raises:
        SimulatedError: there is none.
    """
    found = member(value, *path)
    require(isinstance(found, str) and bool(found), f"{'.'.join(path)}: is required.")
    return str(found)


def identifier(value: Any, otherwise: str) -> str:
    """Give an id that the request may bring for a session, a memory or an execution; ``otherwise`` where it has none.

    Raises:
        SimulatedError: it is none.
    """
    if value is None:
        return otherwise
    require(
        isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None,
        "The id of a session, a memory or an execution must have from 2 to 100 of the characters 0-9a-zA-Z._:-",
    )
    return str(value)


def plain(whole: Whole) -> Prepared:
    """Prepare an answer that nothing in its request changes."""
    return Prepared(directives=_NOTHING, finish=lambda: whole)


@attrs.frozen(kw_only=True)
class Said:
    """What a model says to a prompt: its text, and tokens in and out by the rule of ``counting``."""

    reply: Reply
    input: int

    @property
    def text(self) -> str:
        return self.reply.text

    @property
    def output(self) -> int:
        return self.reply.output_tokens


def say(text: str, context: tuple[str, ...], seed: int, finish: Callable[[Said], Whole | Streamed]) -> Prepared:
    """Prepare an answer that holds what a model says to a text, after whatever else it has to read."""
    directives = parse_directives(text)
    parts = tuple(text_part(part) for part in (*context, text))

    def finished() -> Whole | Streamed:
        reply = answer(Question(text=text, parts=parts), directives, seed)
        return finish(Said(reply=reply, input=count(parts)))

    return Prepared(directives=directives, finish=finished)


Handler = Callable[[Asked], Prepared]
Handlers = Mapping[str, Handler]
