"""Prices as LiteLLM's keys: what was read from them comes out again, in USD for one."""

from __future__ import annotations

import pytest

from bedrock_gateway.metering.litellm_prices import litellm_prices, mode_of
from bedrock_gateway.metering.prices import Price, PriceTable

KEYS = {
    "input_cost_per_token": 3e-06,
    "output_cost_per_token": 1.5e-05,
    "cache_read_input_token_cost": 3e-07,
    "cache_creation_input_token_cost": 3.75e-06,
    "cache_creation_input_token_cost_above_1hr": 6e-06,
    "input_cost_per_token_above_200k_tokens": 6e-06,
    "output_cost_per_token_flex": 7.5e-06,
    "input_cost_per_audio_token": 3.4e-06,
    "input_cost_per_query": 0.002,
    "output_cost_per_image": 0.04,
}


def test_keys_come_out_as_they_went_in() -> None:
    """Every kind of LiteLLM's price keys survives the way into a price and back, to the last digit."""
    assert KEYS == {key: value for key, value in litellm_prices(Price.from_litellm(KEYS)).items() if value is not None}


def test_token_keys_are_always_there() -> None:
    """A model without a price has the token keys, each without a figure."""
    assert {None} == set(litellm_prices(None).values())
    assert "cache_read_input_token_cost" in litellm_prices(None)


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "chat"),
        ("amazon.titan-embed-text-v2:0", "embedding"),
        ("amazon.nova-canvas-v1:0", "image_generation"),
        ("cohere.rerank-v3-5:0", "rerank"),
        ("nobody.knows-this", None),
    ],
)
def test_the_mode_follows_from_the_price(table: PriceTable, model: str, mode: str | None) -> None:
    """What a model is paid for tells what it is for."""
    assert mode == mode_of(table.find(model, "us-east-1"))
