"""Spend: quantities times rates, and the state an attempt is booked in.

Knows usage, prices and how an attempt ended; knows no transport and no store. Money is integer nano-USD, rounded once
an attempt, half up. No state is a quiet zero: what is not known is None under a state that says why.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bedrock_gateway.metering.asked import Asked, read_request
from bedrock_gateway.metering.bounding import Bound
from bedrock_gateway.metering.prices import Price
from bedrock_gateway.metering.states import Outcome, State
from bedrock_gateway.metering.tally import MAX_NAME, Reading
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.metering.work import WORKING, work_of
from bedrock_gateway.wire.operations import Kind, Operation

__all__ = ["Outcome", "Settlement", "State", "priced", "settle", "spend"]

MILLION = 1_000_000
HALF = MILLION // 2

#: Bytes of text that make a token, for estimates: four characters of English, fewer of most else, more of base64.
BYTES_PER_TOKEN = 4

_REFUSED = (Outcome.REFUSED, Outcome.UNREACHED, Outcome.INTERNAL)
_OF_MODELS = (Kind.CONVERSE, Kind.INVOKE)


# Nobody changes one; it is not frozen because a frozen one takes twice as long to make, once a call.
@attrs.define(kw_only=True)
class Settlement:
    """How one attempt is booked.

    Attributes:
        state: never ``open`` or ``interrupted``.
        charged: whether it counts in the call's spend.
        spend: nano-USD; None where the state says so.
        usage: what was consumed, estimated where the state says so; None where nothing is known.
        notes: remarks kept with the row.
    """

    state: State
    charged: bool
    spend: int | None
    usage: Usage | None
    notes: tuple[str, ...] = ()


@attrs.define(eq=False)
class _Sum:
    """A spend under way: the sum in millionths of a nano-USD, what was priced, and what could not be."""

    total: int = 0
    priced: bool = False
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    own: bool = True

    def add(self, quantity: int, rate: int | None, name: str) -> None:
        if not quantity:
            return
        if rate is None:
            self.missing += (name,)
        else:
            self.total += quantity * rate
            self.priced = True

    def rounded(self) -> int:
        return (self.total + HALF) // MILLION


def spend(
    usage: Usage,
    price: Price,
    *,
    tier: str | None = None,
    latency: str | None = None,
    image_class: str = "default",
) -> int:
    """Give the spend of a usage in nano-USD: the sum of quantity times rate, rounded once, half up.

    Quantities that have no rate add nothing; ``settle`` says which these are.
    """
    return _sum(usage, price, tier or "default", latency or "standard", image_class).rounded()


def settle(
    *,
    operation: Operation,
    reading: Reading | None,
    price: Price | None,
    outcome: Outcome,
    flat: bool,
    body_bytes: int,
    status: int | None = None,
    request_body: bytes | bytearray = b"",
    guarded: bool = False,
    bound: Bound | None = None,
    price_of: Callable[[str], Price | None] | None = None,
) -> Settlement:
    """Decide the state, spend and usage of one attempt.

    Args:
        reading: what the meter read, or None where there was nothing to read.
        price: of the model where it ran, or None.
        outcome: how the attempt ended.
        flat: whether the deployment is paid by the hour.
        body_bytes: length of the request body, for estimates.
        status: upstream's HTTP status, or None where none arrived.
        request_body: the request's body; parsed only for models priced by images, queries or pictures.
        guarded: whether a guardrail was asked for, by the caller or by the deployment.
        bound: what was reserved for it, or None; what AWS does not tell is estimated within it.
        price_of: gives the price of a model by its id, for answers that several of them worked on.
    """
    usage = None if reading is None else reading.usage
    if outcome in _REFUSED:
        return _settled(State.REFUSED, 0, None, "maybe-billed" if outcome is Outcome.INTERNAL else None, charged=False)
    if status is not None and status >= 400 and usage is None and outcome is Outcome.COMPLETE:
        return _settled(State.REFUSED, 0, None, charged=False)
    if operation.free:
        return _settled(State.FREE, 0, usage)
    notes = [] if usage is None else list(usage.flags)
    if reading is not None and reading.fault is not None:
        notes.append(reading.fault)
    if flat:
        return _settled(State.FLAT, 0, usage, *notes)
    if reading is not None and reading.service_tier == "reserved":
        # Reserved capacity is paid by the month; what overflows it is answered as "default".
        return _settled(State.FLAT, 0, usage, *notes, "tier:reserved")
    ended = outcome is Outcome.COMPLETE and _ended_properly(operation, reading)
    estimated = usage is None or not (ended or _told_the_end(reading))
    untold = False
    if operation.kind in _OF_MODELS:
        if estimated and not ended:
            usage = _estimate(usage, reading, price, body_bytes, request_body, bound)
            if outcome is Outcome.COMPLETE:
                notes.append("no-proper-end")
        if price is not None and price.by_request:
            asked = read_request(request_body)
            told, usage = usage, _with_units(usage, price, asked)
            if told != usage:
                estimated = True
                notes.append("units-from-request")
            if asked.recording:
                untold = True
                notes.append("recording-untold")
    elif operation.kind in WORKING and (usage is None or not usage.meters):
        work = work_of(operation, request_body, reading)
        usage, untold, estimated = work.usage, work.untold, True
        notes += work.notes
    elif operation.kind is Kind.AGENT and usage is None:
        notes.append("no-trace")
    if usage is None:
        return _settled(State.UNMETERED, None, None, *notes)
    if reading is not None and reading.invocations and price_of is not None:
        return _of_several(reading, usage, price, price_of, notes, estimated=estimated, guarded=guarded)
    tier = (reading.service_tier if reading else None) or "default"
    latency = (reading.latency_mode if reading else None) or "standard"
    image_class = read_request(request_body).image_class if usage.images else "default"
    # What a price hangs on and no column holds: whoever prices the row again reads it here.
    if tier != "default":
        notes.append(f"tier:{tier}")
    if latency != "standard":
        notes.append(f"latency:{latency}")
    if image_class != "default":
        notes.append(f"images:{image_class}")
    estimated = estimated or (reading is not None and reading.fault is not None)
    if _guardrail_untold(reading, usage, guarded):
        notes.append("guardrail-unpriced")
        untold = True
    state, amount, remarks = priced(
        usage,
        price,
        tier=tier,
        latency=latency,
        image_class=image_class,
        estimated=estimated,
        untold=untold,
        # An agent asks its models as often as it likes.
        requests=0 if operation.kind is Kind.AGENT else 1,
    )
    return _settled(state, amount, usage, *notes, *remarks)


def _of_several(
    reading: Reading,
    usage: Usage,
    price: Price | None,
    price_of: Callable[[str], Price | None],
    notes: list[str],
    *,
    estimated: bool,
    guarded: bool,
) -> Settlement:
    """Settle an answer that several models worked on: each at its own price; one without a name at ``price``."""
    amount, unpriced = _Sum(), []
    for one in reading.invocations:
        own = price_of(one.model) if one.model else price
        if own is None:
            unpriced.append(f"no-price:{one.model or 'unnamed'}"[:MAX_NAME])
        else:
            tier, latency = one.service_tier or "default", one.latency_mode or "standard"
            _add(amount, one.usage, own, tier, latency, "default", one.times)
    unpriced += [f"no-rate:{name}" for name in amount.missing]
    notes += ["by-model", *unpriced, *amount.notes]
    if unpriced and not amount.priced:
        return _settled(State.UNPRICED, None, usage, *notes)
    guarded = _guardrail_untold(reading, usage, guarded)
    if guarded:
        notes.append("guardrail-unpriced")
    if reading.untold:
        notes.append("models-untold")
    if estimated or reading.fault is not None or not amount.own:
        state = State.ESTIMATED
    elif unpriced or guarded or reading.untold:
        state = State.INCOMPLETE
    else:
        state = State.METERED
    return _settled(state, amount.rounded(), usage, *notes)


def priced(
    usage: Usage,
    price: Price | None,
    *,
    tier: str,
    latency: str,
    image_class: str,
    estimated: bool,
    untold: bool,
    requests: int = 1,
) -> tuple[State, int | None, tuple[str, ...]]:
    """Return state and spend (nano-USD) of a usage, and remarks on how it was priced.

    Args:
        estimated: whether quantities are not AWS's own.
        untold: whether AWS bills something that is not in the usage.
        requests: how many requests of a model the usage is of; 0 where nobody knows.
    """
    if price is None:
        return State.UNPRICED, None, ("estimated-usage",) if estimated else ()
    amount = _sum(usage, price, tier, latency, image_class, requests)
    remarks = (*amount.notes, *(f"no-rate:{name}" for name in amount.missing))
    if amount.missing and not amount.priced:
        return State.UNPRICED, None, (*remarks, "estimated-usage") if estimated else remarks
    if estimated or not amount.own:
        state = State.ESTIMATED
    elif amount.missing or untold:
        state = State.INCOMPLETE
    else:
        state = State.METERED
    return state, amount.rounded(), remarks


def _settled(
    state: State, amount: int | None, usage: Usage | None, *notes: str | None, charged: bool = True
) -> Settlement:
    kept = tuple(dict.fromkeys(note for note in notes if note)) if notes else ()
    return Settlement(state=state, charged=charged, spend=amount, usage=usage, notes=kept)


def _ended_properly(operation: Operation, reading: Reading | None) -> bool:
    """Tell whether a complete answer said all it had to say: a stream without its last event did not, whatever its
    framing.
    """
    if reading is None or reading.unreadable:
        return False
    if reading.exception_type is not None:
        return False
    return reading.terminal or not operation.stream_out


def _told_the_end(reading: Reading | None) -> bool:
    """Tell whether usage came with the end, although the answer broke off after it."""
    return reading is not None and reading.terminal and not reading.unreadable


def _guardrail_untold(reading: Reading | None, usage: Usage, guarded: bool) -> bool:
    if reading is not None and reading.guardrail_unpriced:
        return True
    return guarded and not any(meter.startswith("guardrail.") for meter, _ in usage.meters)


def _estimate(
    seen: Usage | None,
    reading: Reading | None,
    price: Price | None,
    body_bytes: int,
    request_body: bytes | bytearray,
    bound: Bound | None,
) -> Usage:
    """Estimate what AWS did not tell: what was seen stands; input from the body, output from what was delivered."""
    seen = Usage() if seen is None else seen
    if price is not None and not any(price.dearest):
        # Priced by images or queries alone.
        images = read_request(request_body).images if price.images else 0
        return attrs.evolve(seen, images=seen.images or images)
    known = seen.input_tokens or seen.cache_read_tokens or seen.cache_write_5m_tokens or seen.cache_write_1h_tokens
    read = -(-body_bytes // BYTES_PER_TOKEN)
    said = 0 if reading is None else -(-reading.said_bytes // BYTES_PER_TOKEN)
    if bound is not None:
        # Pictures are fewer tokens than their base64, and long words are fewer than their bytes.
        read = read if bound.input_tokens is None else min(read, bound.input_tokens)
        said = said if bound.output_tokens is None else min(said, bound.output_tokens)
    return attrs.evolve(
        seen,
        input_tokens=seen.input_tokens if known else read,
        output_tokens=max(seen.output_tokens, said),
    )


def _with_units(usage: Usage | None, price: Price, asked: Asked) -> Usage | None:
    """Add the units of a model that is priced by them and that AWS tells in no answer."""
    meters = dict(usage.meters) if usage is not None else {}
    if asked.queries and price.meter_rate("queries"):
        meters.setdefault("queries", asked.queries)
    if asked.input_images and price.meter_rate("input_images"):
        meters.setdefault("input_images", asked.input_images)
    if not meters:
        return usage
    return attrs.evolve(Usage() if usage is None else usage, meters=tuple(sorted(meters.items())))


def _sum(usage: Usage, price: Price, tier: str, latency: str, image_class: str, requests: int = 1) -> _Sum:
    amount = _Sum()
    _add(amount, usage, price, tier, latency, image_class, requests)
    return amount


def _add(
    amount: _Sum, usage: Usage, price: Price, tier: str, latency: str, image_class: str, requests: int = 1
) -> None:
    read, written_5m, written_1h = usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens
    total = usage.input_tokens + read + written_5m + written_1h
    # Many requests are taken for as large as each other, those of which nobody knows the number for one.
    band = price.rates(tier, latency, -(-total // requests) if requests else total)
    rates = band.rates
    amount.add(usage.input_tokens, rates[0], "input")
    amount.add(usage.output_tokens, rates[1], "output")
    if read or written_5m or written_1h:
        amount.add(read, rates[2], "cache_read")
        amount.add(written_5m, rates[3], "cache_write_5m")
        amount.add(written_1h, rates[4], "cache_write_1h")
        amount.notes += tuple(f"rate-assumed:{kind}" for kind in band.assumed if getattr(usage, f"{kind}_tokens"))
        if "cache_write_1h" in band.assumed and written_1h:
            # An hour costs more than five minutes wherever both are printed: the figure is ours, not AWS's.
            amount.own = False
    if usage.images:
        amount.add(usage.images, price.image_rate(image_class), "images")
    for meter, quantity in usage.meters:
        amount.add(quantity, price.meter_rate(meter), meter)
    if requests != 1 and not price.one_band(tier, latency, total):
        amount.own = False
        amount.notes += ("band-untold",)
    if not band.own:
        amount.own = False
        amount.notes += (f"no-rates-of:{tier}/{latency}",)
