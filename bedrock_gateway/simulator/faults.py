"""Faults on demand: what may go wrong, for which requests, how often.

Knows kinds of faults, how they are matched, counted and spelt in a prompt; knows no sockets (``sending`` acts them
out) and no clock. Randomness comes from a seed.

In a prompt a fault is spelt ``[[simulate: KIND name=value ...]]``, for example ``[[simulate: throttle]]``,
``[[simulate: cut after=3]]`` or ``[[simulate: unavailable times=2]]``; the last needs requests with the same body,
as an SDK's repeats have. Only the last user message is read, so that a conversation outlives its faults.
"""

from __future__ import annotations

import random
import re
from collections import OrderedDict
from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

import attrs

__all__ = ["Directives", "Fault", "FaultKind", "Faults", "parse_directives"]

MEGABYTE = 1_000_000
MAX_REMEMBERED_BODIES = 1_024
MAX_SECONDS = 3_600.0
MAX_SIZE = 256 * MEGABYTE
MAX_TOKENS = 65_536


class FaultKind(StrEnum):
    """What goes wrong. The value is the word used in prompts and on the control path."""

    # AWS's own errors, as an HTTP status.
    THROTTLE = "throttle"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    NOT_READY = "not-ready"
    ACCESS_DENIED = "access-denied"
    VALIDATION = "validation"
    INVALID_MODEL = "invalid-model"
    ON_DEMAND_UNSUPPORTED = "on-demand-unsupported"
    NOT_FOUND = "not-found"
    QUOTA = "quota"
    MODEL_TIMEOUT = "model-timeout"
    MODEL_ERROR = "model-error"
    EXPIRED_TOKEN = "expired-token"
    BAD_GATEWAY = "bad-gateway"
    UNKNOWN_OPERATION = "unknown-operation"
    # The connection.
    SLOW = "slow"
    SILENT = "silent"
    SILENT_AFTER_HEAD = "silent-after-head"
    RESET = "reset"
    CUT = "cut"
    CUT_RESET = "cut-reset"
    CUT_CLEAN = "cut-clean"
    SHORT_BODY = "short-body"
    # The content.
    BROKEN_JSON = "broken-json"
    LARGE_BODY = "large-body"
    LONG_HEADER = "long-header"
    # Event streams only.
    EXCEPTION_FIRST = "exception-first"
    EXCEPTION = "exception"
    ERROR_MESSAGE = "error-message"
    WRONG_CRC = "wrong-crc"
    LARGE_MESSAGE = "large-message"


STREAM_ONLY = frozenset(
    {
        FaultKind.EXCEPTION_FIRST,
        FaultKind.EXCEPTION,
        FaultKind.ERROR_MESSAGE,
        FaultKind.WRONG_CRC,
        FaultKind.LARGE_MESSAGE,
    }
)


# Exception and error types travel in headers.
_TYPE_NAME = re.compile(r"[A-Za-z]{1,100}")


def _count(instance: object, attribute: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and (type(value) is not int or not 0 <= value <= MAX_SIZE):
        raise ValueError(f"{attribute.name} must be an integer from 0 to {MAX_SIZE}")


def _amount(instance: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and (type(value) not in (int, float) or not 0 <= value <= MAX_SECONDS):
        raise ValueError(f"{attribute.name} must be a number from 0 to {MAX_SECONDS:g}")


def _chance(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} must be a number from 0 to 1")


def _text(instance: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{attribute.name} must be text")


def _type_name(instance: object, attribute: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and (not isinstance(value, str) or not _TYPE_NAME.fullmatch(value)):
        raise ValueError(f"{attribute.name} must be made of letters")


@attrs.frozen(kw_only=True)
class Fault:
    """One fault and the requests it befalls.

    Attributes:
        kind: what goes wrong.
        model: glob over the model id as asked for (decoded); None for every request, also those without a model.
        operation: glob over the operation's name; None for every one.
        access_key_id: whose requests; None for everybody's.
        times: how many requests it befalls; None for all of them.
        probability: chance, from 0 to 1, that a matching request is befallen; a request that is spared does not count.
        seconds: length of a delay (``slow``: 1 s if None) or of a silence (None: for ever).
        after: event-stream messages that leave whole before the fault.
        size: bytes of a large body or message (5 MB if None; a message at most 24 MB) or header (9,000 if None; at most
            1 MB).
        error_type: exception type in a stream, lower camel case.
        message: text of the error.
    """

    kind: FaultKind = attrs.field(converter=FaultKind)
    model: str | None = attrs.field(default=None, validator=_text)
    operation: str | None = attrs.field(default=None, validator=_text)
    access_key_id: str | None = attrs.field(default=None, validator=_text)
    times: int | None = attrs.field(default=None, validator=_count)
    probability: float = attrs.field(default=1.0, validator=_chance)
    seconds: float | None = attrs.field(default=None, validator=_amount)
    after: int = attrs.field(default=2, validator=_count)
    size: int | None = attrs.field(default=None, validator=_count)
    error_type: str | None = attrs.field(default=None, validator=_type_name)
    message: str | None = attrs.field(default=None, validator=_text)

    def befalls(self, *, operation: str, model: str | None, access_key_id: str | None, streamed: bool) -> bool:
        """Tell whether a request matches; faults of event streams match streaming operations only."""
        return (
            (streamed or self.kind not in STREAM_ONLY)
            and (self.operation is None or fnmatchcase(operation, self.operation))
            and (self.model is None or (model is not None and fnmatchcase(model, self.model)))
            and (self.access_key_id is None or self.access_key_id == access_key_id)
        )


@attrs.define(eq=False)
class _Entry:
    number: int
    fault: Fault
    left: int | None


class Faults:
    """The faults asked for, in order; the first that befalls a request is acted out."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._entries: list[_Entry] = []
        self._number = 0
        self._bodies: OrderedDict[tuple[str, str], int] = OrderedDict()

    def add(self, kind: FaultKind | str, *, times: int | None = 1, **options: Any) -> int:
        """Ask for a fault, once unless ``times`` says otherwise (None: always), and return its number.

        Raises:
            ValueError: unknown kind, or a value out of its range.
        """
        fault = Fault(kind=kind, times=times, **options)
        self._number += 1
        self._entries.append(_Entry(self._number, fault, fault.times))
        return self._number

    def remove(self, number: int) -> bool:
        """Withdraw one fault; False if it is not there any more."""
        before = len(self._entries)
        self._entries = [entry for entry in self._entries if entry.number != number]
        return len(self._entries) < before

    def clear(self) -> None:
        """Withdraw all faults."""
        self._entries.clear()

    def __iter__(self) -> Iterator[tuple[int, Fault, int | None]]:
        """Give number, fault and how many times are left (None: always) of each."""
        return iter([(entry.number, entry.fault, entry.left) for entry in self._entries])

    def __len__(self) -> int:
        return len(self._entries)

    def take(self, *, operation: str, model: str | None, access_key_id: str | None, streamed: bool) -> Fault | None:
        """Find the fault that befalls this request and count it."""
        for entry in self._entries:
            fault = entry.fault
            if entry.left == 0 or not fault.befalls(
                operation=operation, model=model, access_key_id=access_key_id, streamed=streamed
            ):
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            if entry.left is not None:
                entry.left -= 1
                if entry.left == 0:
                    self._entries.remove(entry)
            return fault
        return None

    def take_from_prompt(self, directives: Directives, *, body_hash: str, streamed: bool) -> Fault | None:
        """Find the first fault spelt in a prompt; ``times`` counts requests of the same body."""
        for fault in directives.faults:
            if fault.kind in STREAM_ONLY and not streamed:
                continue
            if fault.probability < 1 and self._random.random() >= fault.probability:
                continue
            if fault.times is not None:
                key = (fault.kind.value, body_hash)
                seen = self._bodies.pop(key, 0)
                self._bodies[key] = seen + 1
                if len(self._bodies) > MAX_REMEMBERED_BODIES:
                    self._bodies.popitem(last=False)
                if seen >= fault.times:
                    continue
            return fault
        return None


@attrs.frozen(kw_only=True)
class Directives:
    """What a prompt asks of the simulator.

    Attributes:
        faults: in the order written.
        tokens: length of the answer, or None.
        reasoning: whether the answer begins with reasoning.
        text: the prompt without its directives.
    """

    faults: tuple[Fault, ...]
    tokens: int | None
    reasoning: bool
    text: str


_DIRECTIVE = re.compile(r"\[\[\s*simulate\s*:\s*([^\[\]]*)\]\]")
_NUMBERS: dict[str, tuple[type[int] | type[float], float]] = {
    "times": (int, 1_000_000),
    "after": (int, 1_000_000),
    "size": (int, MAX_SIZE),
    "seconds": (float, MAX_SECONDS),
    "probability": (float, 1),
}


def parse_directives(prompt: str) -> Directives:
    """Read every ``[[simulate: ...]]`` of a prompt; what is not understood is left in the text, so that it is seen."""
    if "[[" not in prompt:
        return Directives(faults=(), tokens=None, reasoning=False, text=prompt)
    faults: list[Fault] = []
    tokens: int | None = None
    reasoning = False

    def replace(match: re.Match[str]) -> str:
        nonlocal tokens, reasoning
        try:
            name, options = _words(match[1])
            length = options.pop("tokens", None)
            if name == "reasoning" and not options:
                reasoning = True
            elif name:
                faults.append(Fault(kind=name, **options))
            elif options or length is None:
                return match[0]
            if length is not None:
                tokens = min(max(int(length), 1), MAX_TOKENS)
        except (ValueError, TypeError):
            return match[0]
        return ""

    text = _DIRECTIVE.sub(replace, prompt)
    return Directives(faults=tuple(faults), tokens=tokens, reasoning=reasoning, text=text)


def _words(inside: str) -> tuple[str, dict[str, Any]]:
    """Split ``name key=value ...`` into the name (or "") and the options, numbers converted and bounded."""
    name = ""
    options: dict[str, Any] = {}
    for word in inside.split():
        key, equals, value = word.partition("=")
        if not equals:
            if name or options:
                raise ValueError("a name comes once and first")
            name = key
        elif key in _NUMBERS:
            kind, most = _NUMBERS[key]
            options[key] = min(kind(value), kind(most))
        else:
            options[key] = value
    return name, options
