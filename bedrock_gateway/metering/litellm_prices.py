"""A price as LiteLLM's price map writes it: USD per single token, image or query, under its keys. Pure.

Source: LiteLLM's public model map (``model_prices_and_context_window.json``), field names and ``mode``.
"""

from __future__ import annotations

from decimal import Decimal

from bedrock_gateway.metering.prices import LITELLM_METERS, LITELLM_TOKENS, Price

__all__ = ["litellm_prices", "mode_of"]

#: Decimal places between nano-USD per million and USD for one.
_PLACES = 15


def litellm_prices(price: Price | None) -> dict[str, float | None]:
    """Return what a price says under LiteLLM's keys; keys of tokens are always there, None where nothing is known."""
    told: dict[str, float | None] = dict.fromkeys(LITELLM_TOKENS)
    if price is None:
        return told
    for rates in price.sets:
        if rates.latency != "standard":
            continue  # LiteLLM has no keys for it
        band = f"_above_{rates.above // 1000}k_tokens" if rates.above else ""
        tier = "" if rates.tier == "default" else f"_{rates.tier}"
        for key, kind in LITELLM_TOKENS.items():
            rate: int | None = getattr(rates, kind)
            if rate is not None:
                told[f"{key}{band}{tier}"] = _usd(rate)
    for key, (meter, _) in LITELLM_METERS.items():
        rate = price.meter_rate(meter)
        if rate is not None:
            told[key] = _usd(rate)
    if price.images:
        rate = price.image_rate("default")
        told["output_cost_per_image"] = None if rate is None else _usd(rate)
    return told


def mode_of(price: Price | None) -> str | None:
    """Return LiteLLM's ``mode`` of a model by what it is paid for, or None where that is not known."""
    if price is None:
        return None
    if price.images:
        return "image_generation"
    if price.meter_rate("queries"):
        return "rerank"
    rates = price.rates("default", "standard", 0).rates
    return "chat" if rates[1] else "embedding" if rates[0] else None


def _usd(rate: int) -> float:
    return float(Decimal(rate).scaleb(-_PLACES))
