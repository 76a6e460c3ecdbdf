"""Rates: what a million units cost, in integer nano-USD, and how USD figures become them.

Knows token kinds, service tiers, context bands and latency modes; knows no model and no file. There is no float here
but one that a config file brought in, and that one goes through ``Decimal(str(x))``: 3e-06 is three millionths and
not its binary neighbour.

Source of units: AWS prints USD per 1,000 or per million tokens and USD per image or request; LiteLLM's config keys
are USD per single token, image or query.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import attrs

from bedrock_gateway.errors import GatewayError

__all__ = ["KINDS", "PriceError", "RateSet", "Resolved", "per_million", "per_token", "per_unit", "resolve"]

#: Kinds of tokens with a rate of their own, in the order of ``RateSet``'s fields.
KINDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")

#: Sanity bounds, USD per million tokens. The cheapest and the dearest public rates are 0.00875 and 495: a figure
#: outside is a figure per token where one per million belongs, or the other way round.
MIN_PER_MILLION = Decimal("0.0005")
MAX_PER_MILLION = Decimal(2000)
#: Sanity bound, USD for one image, query, second or guardrail unit.
MAX_PER_UNIT = Decimal(20)

NANO = Decimal(10**9)
MILLION = Decimal(10**6)


class PriceError(GatewayError):
    """A figure of a price is wrong. ``key`` names it; ``str()`` says what is wrong and what was expected."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


@attrs.frozen(kw_only=True)
class RateSet:
    """Rates that hold under one condition; nano-USD per million tokens, None where AWS prints none.

    Attributes:
        tier: service tier as answered (``default``, ``priority``, ``flex``, ``ultrafast``, ``batches``).
        latency: ``standard`` or ``optimized``.
        above: context band: holds where the total input, cached tokens included, is larger than this.
        input, output, cache_read, cache_write_5m, cache_write_1h: the rates.
    """

    tier: str = "default"
    latency: str = "standard"
    above: int = 0
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None


@attrs.frozen
class Resolved:
    """Rates of one tier, latency and band with every gap filled.

    Attributes:
        above: the band's threshold.
        rates: nano-USD per million tokens in the order of ``KINDS``; None where nothing gives a rate.
        assumed: kinds whose rate is another kind's (an unpriced cache read costs what input costs).
        own: whether the tier and latency asked for have rates of their own.
    """

    above: int
    rates: tuple[int | None, int | None, int | None, int | None, int | None]
    assumed: tuple[str, ...]
    own: bool


def _decimal(value: object, key: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise PriceError(key, f"expected a number in USD, not {type(value).__name__}")
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        raise PriceError(key, f"expected a number in USD, not {str(value)[:40]!r}") from None
    if not number.is_finite() or number < 0:
        raise PriceError(key, f"expected a number of USD, zero or more, not {str(value)[:40]}")
    return number


def _integer(number: Decimal, key: str) -> int:
    rate = number.to_integral_value()
    if rate != number:
        raise PriceError(key, "is finer than a nano-USD per million")
    return int(rate)


def per_million(value: object, key: str) -> int:
    """Convert USD per million tokens to nano-USD per million tokens.

    Raises:
        PriceError: not a number, negative, out of bounds, or finer than a nano-USD.
    """
    number = _decimal(value, key)
    if number and not MIN_PER_MILLION <= number <= MAX_PER_MILLION:
        hint = "looks like USD per single token" if number < MIN_PER_MILLION else "is dearer than any model"
        raise PriceError(key, f"{value} USD per million tokens {hint}")
    return _integer(number * NANO, key)


def per_token(value: object, key: str) -> int:
    """Convert USD per single token (LiteLLM's keys) to nano-USD per million tokens.

    Raises:
        PriceError: as ``per_million``.
    """
    number = _decimal(value, key) * MILLION
    if number and not MIN_PER_MILLION <= number <= MAX_PER_MILLION:
        hint = "looks like USD per million tokens" if number > MAX_PER_MILLION else "is cheaper than any model"
        raise PriceError(key, f"{value} USD per token {hint}: this key is USD per single token, for example 0.000003")
    return _integer(number * NANO, key)


def per_unit(value: object, key: str) -> int:
    """Convert USD for one image, query, second or unit to nano-USD per million of them.

    Raises:
        PriceError: not a number, negative, over the bound, or finer than a nano-USD per million.
    """
    number = _decimal(value, key)
    if number > MAX_PER_UNIT:
        raise PriceError(key, f"{value} USD for one unit is over {MAX_PER_UNIT}: this key is USD for one")
    return _integer(number * NANO * MILLION, key)


def resolve(sets: tuple[RateSet, ...], tier: str, latency: str) -> tuple[Resolved, ...]:
    """Give the bands of one tier and latency, widest threshold first, so that the first one exceeded holds.

    A kind is looked for in the set of exactly this tier, latency and band, then in the tier's own rates without a
    band, then in the default rates of the band, then in the plain default rates. Where a tier has a plain rate and
    the band a default one, the dearer holds: AWS prints no product of the two, and too little would be a quiet loss.
    """
    by_key = {(s.tier, s.latency, s.above): s for s in sets}
    own = (tier, latency) == ("default", "standard") or any(s.tier == tier and s.latency == latency for s in sets)
    resolved = []
    for above in sorted({s.above for s in sets} | {0}, reverse=True):
        rates: list[int | None] = []
        for kind in KINDS:
            exact = _rate(by_key.get((tier, latency, above)), kind)
            if exact is None:
                plain = _rate(by_key.get((tier, latency, 0)), kind)
                band = _rate(by_key.get(("default", "standard", above)), kind)
                known = [rate for rate in (plain, band) if rate is not None]
                exact = max(known) if known else _rate(by_key.get(("default", "standard", 0)), kind)
            rates.append(exact)
        assumed = []
        for index, source in ((2, 0), (3, 0), (4, 3)):
            if rates[index] is None and rates[source] is not None:
                rates[index] = rates[source]
                assumed.append(KINDS[index])
        resolved.append(Resolved(above, (rates[0], rates[1], rates[2], rates[3], rates[4]), tuple(assumed), own))
    return tuple(resolved)


def _rate(rates: RateSet | None, kind: str) -> int | None:
    if rates is None:
        return None
    value: int | None = getattr(rates, kind)
    return value
