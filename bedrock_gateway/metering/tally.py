"""The tally of one answer: what its headers, bodies and messages told so far, merged field by field.

The latest value of a field wins, null or an absent field never overwrites, and a number told under two names is one
field and counts once. Knows no JSON shape (``families``), no framing and no money. Nothing here raises on what AWS or
anybody else sent: a value that is no count is a fault, kept as the name of its field and never with the value, which
may be text of an answer.
"""

from __future__ import annotations

from json import JSONEncoder
from typing import Any

import attrs

from bedrock_gateway.metering.said import Said
from bedrock_gateway.metering.usage import Usage

__all__ = [
    "INPUT",
    "MAX_NAME",
    "MAX_QUANTITY",
    "MAX_RAW",
    "OUTPUT",
    "READ",
    "WRITE",
    "WRITE_1H",
    "WRITE_5M",
    "Invocation",
    "Reading",
    "Tally",
    "is_name",
    "plain",
]

#: Slots of ``Tally.counts``.
INPUT, OUTPUT, READ, WRITE, WRITE_5M, WRITE_1H = range(6)
#: A count above this is no count: the largest context there is holds ten million tokens, SQLite's integers end at
#: 9.2e18.
MAX_QUANTITY = 10**12
#: Raw usage longer than this is not kept; that of the largest cache report is some 400 bytes.
MAX_RAW = 4096
#: Longest exception text kept, in characters.
MAX_TEXT = 2000

#: Meters of one answer; AWS tells ten.
MAX_METERS = 64
#: Longest name of a field that is kept.
MAX_NAME = 80

_encode = JSONEncoder(separators=(",", ":")).encode


@attrs.frozen(kw_only=True)
class Invocation:
    """What one model consumed on the way to an answer.

    Attributes:
        model: id or ARN, or "" where AWS does not say.
        usage: what it consumed.
        times: how often it was asked for that.
        service_tier, latency_mode: as in ``Reading``.
    """

    model: str
    usage: Usage
    times: int = 1
    service_tier: str | None = None
    latency_mode: str | None = None


# Nobody changes one; it is not frozen because a frozen one takes twice as long to make, once a call.
@attrs.define(kw_only=True)
class Reading:
    """What a meter read off one answer.

    Attributes:
        usage: quantities AWS told, or None where it told none.
        terminal: the answer's proper end was seen (metadata after messageStop, message_stop, invocationMetrics, a
            whole JSON body).
        exception_type: exception of the stream, as sent (``throttlingException``, or the code of an unmodelled error).
        exception_message: its text.
        service_tier, latency_mode: as answered; None means the default ones.
        invoked_model: id or ARN a prompt router chose.
        said_bytes: about how many bytes of words passed of the answer (``metering.said``), for an estimate.
        context_bytes: bytes of what a model read beside the request, as far as the answer shows it.
        invocations: what each model consumed that worked on the answer; empty where there is one.
        untold: models worked on the answer beside these, and AWS told nothing of it.
        guardrail_unpriced: a guardrail acted, but AWS told no units.
        fault: why the reading may be less than AWS told; None for a clean one.
        unreadable: a JSON body that does not parse or is empty: to AWS SDKs an empty success.
    """

    usage: Usage | None = None
    terminal: bool = False
    exception_type: str | None = None
    exception_message: str | None = None
    service_tier: str | None = None
    latency_mode: str | None = None
    invoked_model: str | None = None
    said_bytes: int = 0
    context_bytes: int = 0
    invocations: tuple[Invocation, ...] = ()
    untold: bool = False
    guardrail_unpriced: bool = False
    fault: str | None = None
    unreadable: bool = False


def is_name(text: str) -> bool:
    """Tell whether a name out of an answer may be kept: short, and plain enough for a log line and a column."""
    return len(text) <= MAX_NAME and text.isascii() and text.isprintable()


def plain(text: str, most: int) -> str:
    """Cut a text out of an answer to ``most`` characters, without the lone surrogates that JSON allows and UTF-8
    does not.
    """
    return text[:most].encode("utf-8", "replace").decode()


class Tally:
    """Fields of one answer, as they come in."""

    __slots__ = (
        "counts",
        "exception_message",
        "exception_type",
        "fault",
        "flags",
        "guarded",
        "images",
        "invoked_model",
        "latency_mode",
        "meters",
        "said",
        "service_tier",
        "sources",
        "terminal",
    )

    def __init__(self) -> None:
        self.counts: list[int | None] = [None, None, None, None, None, None]
        self.images: int | None = None
        self.meters: dict[str, int] = {}
        #: AWS's usage objects by where they stood; ``usage`` alone is the common case.
        self.sources: dict[str, Any] = {}
        self.flags: list[str] = []
        self.fault: str | None = None
        self.terminal = False
        self.exception_type: str | None = None
        self.exception_message: str | None = None
        self.service_tier: str | None = None
        self.latency_mode: str | None = None
        self.invoked_model: str | None = None
        self.said = Said()
        self.guarded = False

    def put(self, slot: int, value: object, name: str) -> None:
        """Take the count of one slot; null is passed over, anything but a count is a fault."""
        if type(value) is int and 0 <= value <= MAX_QUANTITY:
            self.counts[slot] = value
        elif value is not None:
            self.blame(name)

    def put_meter(self, meter: str, value: object) -> None:
        """Take the quantity of any other meter."""
        if type(value) is int and 0 <= value <= MAX_QUANTITY and is_name(meter):
            if meter in self.meters or len(self.meters) < MAX_METERS:
                self.meters[meter] = value
            else:
                self.blame("meters")
        elif value is not None:
            self.blame(meter)

    def blame(self, name: str) -> None:
        """Keep the first fault: a field that holds no count."""
        if self.fault is None:
            self.fault = f"no-count:{name if is_name(name) else 'name'}"

    def flag(self, flag: str) -> None:
        """Keep a remark, once."""
        if flag not in self.flags:
            self.flags.append(flag)

    def usage(self) -> Usage | None:
        """Build the usage; None where nothing was told."""
        inputs, outputs, read, written, written_5m, written_1h = self.counts
        if written is None and written_5m is None and written_1h is None:
            written_5m = written_1h = 0
            if inputs is None and outputs is None and read is None and self.images is None and not self.meters:
                return None
        elif written_5m is None and written_1h is None:
            # AWS's default time to live is 5 minutes; answers of older models carry no detail.
            written_5m, written_1h = written or 0, 0
            if written_5m:
                self.flag("cache-ttl-assumed")
        else:
            written_5m, written_1h = written_5m or 0, written_1h or 0
            rest = (written or 0) - written_5m - written_1h
            if rest > 0:
                written_5m += rest
                self.flag("cache-ttl-assumed")
            elif rest < 0 and written is not None:
                self.flag("cache-detail-mismatch")
        return Usage(
            input_tokens=inputs or 0,
            output_tokens=outputs or 0,
            cache_read_tokens=read or 0,
            cache_write_5m_tokens=written_5m,
            cache_write_1h_tokens=written_1h,
            images=self.images or 0,
            meters=tuple(sorted(self.meters.items())) if self.meters else (),
            raw=self._raw(),
            flags=tuple(self.flags) if self.flags else (),
        )

    def reading(self, *, unreadable: bool = False) -> Reading:
        """Give what is known by now."""
        usage = self.usage()
        return Reading(
            usage=usage,
            terminal=self.terminal,
            exception_type=self.exception_type,
            exception_message=self.exception_message,
            service_tier=self.service_tier,
            latency_mode=self.latency_mode,
            invoked_model=self.invoked_model,
            said_bytes=self.said.words(),
            guardrail_unpriced=self.guarded and not any(name.startswith("guardrail.") for name in self.meters),
            fault=self.fault,
            unreadable=unreadable,
        )

    def _raw(self) -> str | None:
        sources = self.sources
        if not sources:
            return None
        told = sources["usage"] if len(sources) == 1 and "usage" in sources else sources
        try:
            raw = _flat(told) or _encode(told)
        except (ValueError, RecursionError):  # an integer of thousands of digits, a tree of thousands of levels
            raw = ""
        if raw and len(raw) <= MAX_RAW:
            return raw
        self.flag("raw-usage-dropped")
        return None


def _flat(told: dict[str, Any]) -> str | None:
    """Write an object of plain names and integers, which nearly every usage is, as the encoder would; else None.

    The encoder costs five times as much: it sets itself up anew for every object.
    """
    parts = [f'"{name}":{value}' for name, value in told.items() if type(value) is int]
    if len(parts) != len(told):
        return None
    raw = "{" + ",".join(parts) + "}"
    plain = raw.isascii() and raw.isprintable() and "\\" not in raw and raw.count('"') == 2 * len(parts)
    return raw if plain else None
