"""Bounds: what a call can spend at most, known before it is sent.

Knows prices, windows and how many tokens each part of a request can be at most; what a request holds is handed in.
Knows no JSON, no transport and no store. Money is integer nano-USD, summed in millionths of one and rounded up.

A bound is for hard budgets: whatever ``settle`` books later is no more. It takes

* a token for each byte of text, ``HIDDEN_TOKENS`` that no byte stands for, the model's own figure for each picture,
* the whole context window for a document or a recording, and never more than the window,
* the longest answer the request allows, else the model's own, for each of the answers asked for,
* for all of these the dearest rate of any service tier, latency mode and context band,
* every image, query and unit of a guardrail there can be.

Source: token counts of tools' descriptions: Anthropic, tool use (at most some 700 each); pictures: ``prices.yaml``,
and for ``IMAGE_TOKENS`` Qwen-VL's preprocessor (``max_pixels`` of 16,384 tokens), the most any model here has printed;
Amazon Nova prints no maximum.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from bedrock_gateway.metering.asked import CHUNKS_PER_QUERY, MAX_IMAGES
from bedrock_gateway.metering.prices import GUARDRAILS, Price
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.wire.operations import Kind, Operation

__all__ = ["Bound", "Measured", "at_most", "bound", "bound_of_units"]

MILLION = 1_000_000

#: Input tokens no byte of the body stands for: system prompts of tool use (AWS and Anthropic print up to some 700)
#: and of citations.
HIDDEN_TOKENS = 2048
#: The same for each tool that the model's side describes by itself.
HIDDEN_TOOL_TOKENS = 1024
#: The most tokens of a picture, for models of which no source tells.
IMAGE_TOKENS = 16_384
#: A picture or document in a body is at least this long: its own JSON around it and the smallest file of its kind.
PICTURE_BYTES = 128
#: Longest text of one token, in characters, for the bound on a guardrail's units.
CHARS_PER_TOKEN = 16
#: Characters of one text unit of a guardrail.
CHARS_PER_UNIT = 1000

_MEASURED_KINDS = (Kind.CONVERSE, Kind.INVOKE, Kind.GUARDRAIL)

_NO_PRICE = "its price is not known"
_NO_WINDOW = "a document or recording may hold any number of tokens, and the model's context window is not known"
_SECONDS = "a recording is charged by its length, which no request tells"
_ANSWERS = "the number of answers it asks for cannot be read"
_OUTPUT = "it does not say how long its answer may be, and the model's own maximum is not known"


class Measured(Protocol):
    """What is read of a request. ``dialects.requests.Extent`` is one; that room is not imported from here."""

    @property
    def body_bytes(self) -> int: ...
    @property
    def text_bytes(self) -> int: ...
    @property
    def pictures(self) -> int: ...
    @property
    def documents(self) -> int: ...
    @property
    def recordings(self) -> int: ...
    @property
    def described_tools(self) -> int: ...
    @property
    def max_output(self) -> int | None: ...
    @property
    def answers(self) -> int | None: ...
    @property
    def images(self) -> int | None: ...
    @property
    def unbounded(self) -> str: ...
    @property
    def plain(self) -> bool: ...


# Nobody changes one; it is not frozen because a frozen one takes twice as long to make, once a call.
@attrs.define(kw_only=True)
class Bound:
    """What a call can spend at most, in parts, so that a shorter answer can be found that fits.

    Attributes:
        fixed: millionths of a nano-USD for everything but output tokens; None where nothing bounds it.
        output_rate: millionths of a nano-USD for each output token.
        output_tokens: output tokens of all answers together at most; None where nothing bounds them.
        answers: how many answers share them.
        input_tokens: input tokens at most, cached ones included; None where nothing bounds them.
        unbounded: why the call has no bound, as the end of a sentence about it ("its price is not known"), or "".
        spend: nano-USD, rounded up; None where nothing bounds it.
    """

    fixed: int | None = 0
    output_rate: int = 0
    output_tokens: int | None = 0
    answers: int = 1
    input_tokens: int | None = None
    unbounded: str = ""
    spend: int | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if self.unbounded or self.fixed is None:
            self.spend = None
        else:
            self.spend = -(-(self.fixed + (self.output_tokens or 0) * self.output_rate) // MILLION)

    def fitting(self, available: int) -> int | None:
        """Return the most output tokens each answer may have for the whole call to spend no more than ``available``
        nano-USD; None where no answer, however short, makes it fit.

        Never more than the request allows already. Zero where everything but the answer fits.
        """
        if self.fixed is None or self.fixed > available * MILLION:
            return None
        allowed = None if self.output_tokens is None else self.output_tokens // self.answers
        if not self.output_rate:
            return allowed
        fits = (available * MILLION - self.fixed) // self.output_rate // self.answers
        return fits if allowed is None else min(fits, allowed)

    def shortened(self, each: int) -> Bound:
        """Return the bound of the same call whose answers have at most ``each`` tokens."""
        unbounded = "" if self.unbounded == _OUTPUT else self.unbounded
        return attrs.evolve(self, output_tokens=each * self.answers, unbounded=unbounded)


_NOTHING = Bound(input_tokens=0)


def bound(
    operation: Operation, price: Price | None, request: Measured | None, *, flat: bool = False, guarded: bool = False
) -> Bound:
    """Bound the spend of a call.

    Args:
        price: of the model where it will run, or None where it is not known.
        request: what the body asks for; None where it was not read, which only free and flat calls may do without.
        flat: whether the deployment is paid by the hour.
        guarded: whether a guardrail is asked for, by the caller or by the deployment.
    """
    if operation.free or flat:
        return _NOTHING
    if operation.kind not in _MEASURED_KINDS or operation.stream_in or request is None:
        return _unbounded(f"no request of {operation.name} tells how much it consumes")
    if price is None:
        return _unbounded(_NO_PRICE)
    if request.plain and price.by_tokens and not guarded:
        # Nearly every call; the rest of this comes to the same.
        each = price.max_output_tokens if request.max_output is None else request.max_output
        if each is not None:
            tokens = request.text_bytes + HIDDEN_TOKENS
            if price.window is not None and tokens > price.window:
                tokens = price.window
            dearest, rate = price.dearest
            fixed = tokens * (dearest or 0)
            return Bound(fixed=fixed, output_rate=rate or 0, output_tokens=each, input_tokens=tokens)
    input_tokens, reason = _input_tokens(price, request)
    reason = request.unbounded or reason
    if not reason and request.recordings and price.unbounded:
        reason = _SECONDS
    if reason:
        return _unbounded(reason)
    if request.answers is None:
        return _unbounded(_ANSWERS)
    images = MAX_IMAGES if request.images is None else request.images
    fixed = _fixed(price, input_tokens, images, request.body_bytes, request.pictures + 1)
    if guarded or price.model == GUARDRAILS:
        # A picture is a unit of each policy that looks at pictures.
        fixed += _units(price, request.text_bytes + request.pictures * CHARS_PER_UNIT)
    rate = _output_rate(price, guarded)
    each = price.max_output_tokens if request.max_output is None else request.max_output
    if not rate:
        each = each or 0
    return Bound(
        fixed=fixed,
        output_rate=rate,
        output_tokens=None if each is None else each * request.answers,
        answers=request.answers,
        input_tokens=input_tokens,
        unbounded=_OUTPUT if each is None else "",
    )


def bound_of_units(usage: Usage, price: Price | None) -> Bound:
    """Bound the spend of a call whose request tells all that it consumes, in units alone."""
    fixed = 0
    for meter, quantity in usage.meters:
        rate = None if price is None else price.meter_rate(meter)
        if rate is None:
            return _unbounded(_NO_PRICE)
        fixed += quantity * rate
    return Bound(fixed=fixed, input_tokens=0)


def at_most(
    price: Price,
    *,
    body_bytes: int,
    max_output: int | None,
    guarded: bool = False,
) -> int | None:
    """Bound the spend of a call before it is sent, in nano-USD, without parsing its body; None where nothing bounds it.

    One input token a byte of body and ``HIDDEN_TOKENS`` more, no more than the context window; ``max_output`` output
    tokens (None: the model's own maximum); ten images; each at the dearest rate the answer may be charged by.
    ``guarded`` adds a guardrail's units. A picture that packs more tokens than bytes (a blank page of a megapixel) is
    beyond what a length can tell.
    """
    if price.by_tokens and not guarded and price.max_output_tokens is not None:
        # Nearly every call; the rest of this comes to the same.
        tokens = body_bytes + HIDDEN_TOKENS
        if price.window is not None and tokens > price.window:
            tokens = price.window
        dearest, each = price.dearest
        answer = price.max_output_tokens if max_output is None else max_output
        return -(-(tokens * (dearest or 0) + answer * (each or 0)) // MILLION)
    if price.unbounded:
        return None
    rate = _output_rate(price, guarded)
    outputs = price.max_output_tokens if max_output is None else max_output
    if rate and outputs is None:
        return None
    input_tokens = _in_window(price, body_bytes + HIDDEN_TOKENS)
    total = _fixed(price, input_tokens, MAX_IMAGES, body_bytes, body_bytes // PICTURE_BYTES + 1)
    if guarded or price.model == GUARDRAILS:
        total += _units(price, body_bytes)
    return -(-(total + (outputs or 0) * rate) // MILLION)


def _unbounded(reason: str) -> Bound:
    return Bound(fixed=None, output_tokens=None, unbounded=reason)


def _input_tokens(price: Price, request: Measured) -> tuple[int, str]:
    """Return the most input tokens of a request and, where nothing bounds them, why."""
    tokens = request.text_bytes + HIDDEN_TOKENS + request.described_tools * HIDDEN_TOOL_TOKENS
    if request.pictures:
        tokens += request.pictures * (IMAGE_TOKENS if price.max_image_tokens is None else price.max_image_tokens)
    if not (request.documents or request.recordings):
        return _in_window(price, tokens), ""
    if price.window is not None:
        return price.window, ""
    # A model that charges nothing for tokens (images, seconds) may read as many as it likes.
    return tokens, _NO_WINDOW if price.dearest[0] else ""


def _in_window(price: Price, tokens: int) -> int:
    return tokens if price.window is None else min(tokens, price.window)


def _fixed(price: Price, input_tokens: int, images: int, body_bytes: int, input_images: int) -> int:
    """Sum up everything but output tokens and a guardrail's units, in millionths of a nano-USD."""
    total = input_tokens * (price.dearest[0] or 0) + images * price.dearest_image
    if price.by_request:
        total += (body_bytes // CHUNKS_PER_QUERY + 1) * (price.meter_rate("queries") or 0)
        total += input_images * (price.meter_rate("input_images") or 0)
    return total


def _units(price: Price, characters: int) -> int:
    """Price a guardrail's units for an input, and those begun on either side."""
    return -(-characters * price.guardrail_units // CHARS_PER_UNIT) + 2 * price.guardrail_units


def _output_rate(price: Price, guarded: bool) -> int:
    """Return millionths of a nano-USD for an output token, a guardrail's look at it included."""
    rate = price.dearest[1] or 0
    if guarded and price.guardrail_units:
        rate += -(-CHARS_PER_TOKEN * price.guardrail_units // CHARS_PER_UNIT)
    return rate
